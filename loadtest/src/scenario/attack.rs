//! One abuse after the other, each behind some calm, with clients beside it that only want their messages.

use std::time::Duration;

use super::{Session, Target, baseline::conclude};
use crate::{
    attack::{Abuse, Attack},
    cli::AttackArgs,
    driver::{Faults, Fleet, OpeningPlan, Pace, Script, open, run_paced},
    measure::{MetricsPage, ProcessMeter},
    plan,
    publish::Publisher,
    report::{AbuseResult, AttackReport},
    spawn::Cores,
};

use clap::ValueEnum;

/// Strict enough for each abuse to meet its bound within seconds; clients that behave are far below.
const RULES: &str = r#"[limits]
max_queued_bytes = 1048576
max_connections_per_address = 1500
max_handshakes_per_second_per_address = 1000
address_limit_exempt = []
max_pending_connections = 500
max_messages_per_second = 100
rate_burst_ms = 5000
http_header_timeout_ms = 2000

[engine]
max_payload_bytes = 100000
ping_interval_ms = 1000
ping_timeout_ms = 1000
connect_timeout_ms = 2000

[[auth.issuers]]
name = "nobody"
issuer = "https://issuer.example"
audiences = ["broadgate"]
algorithms = ["HS256"]
key = "a secret of the load test that signs nothing"

[[namespaces]]
name = "/"
authentication = "optional"

[[rooms]]
match = "load"
join = "anyone"

[[rooms]]
match = "slow"
join = "anyone"
publish = "anyone"

[[rooms]]
match = "flood-*"
join = "anyone"
"#;

const ROOM: &str = "load";
const SIZE_BYTES: usize = 100;
/// Abusers have no more than this many connections.
const ABUSERS: usize = 4000;
/// What the node counts when it refuses or cuts somebody.
const FAMILIES: &[&str] = &[
    "broadgate_connections_closed_total",
    "broadgate_handshake_rejected_total",
    "broadgate_protocol_errors_total",
    "broadgate_connects_total",
    "broadgate_joins_total",
    "broadgate_publishes_total",
    "broadgate_limit_reached_total",
];
/// The clients' own pongs go on while the abusers' last connections end.
const SETTLE: Duration = Duration::from_secs(1);

/// `broadgate-loadtest attack`
pub(crate) fn run(session: &Session, args: &AttackArgs) -> anyhow::Result<AttackReport> {
    let members = args.members as usize;
    plan::check_open_files(members + ABUSERS)?;
    let cores = Cores::with_server_on(args.spawned.server_core)?;
    let target = Target::spawn(args.spawned.server_bin.as_deref(), cores, RULES, &session.interrupt)?;
    let script = Script::new(&target.endpoint, ROOM);
    let mut fleet = Fleet::new(target.endpoint.address, Some(script), 0)?;
    open(
        &mut fleet,
        members,
        OpeningPlan { rate: 0, concurrency: 100 },
        session.progress,
        &session.interrupt,
    )?;
    let (mut faults, mut next, mut results) = (Faults::default(), 0, Vec::new());
    if fleet.failed() == 0 {
        let mut publisher = Publisher::redis(target.redis, ROOM, SIZE_BYTES)?;
        let abuses = if args.abuses.is_empty() { Abuse::value_variants() } else { &args.abuses };
        let mut outcome = Ok(());
        for (number, &abuse) in abuses.iter().enumerate() {
            let what = format!("{} of {}: {}", number + 1, abuses.len(), abuse.name());
            let spinner = session.progress.waiting(&what);
            let result = one(session, args, &target, &mut fleet, &mut publisher, &mut next, abuse);
            spinner.finish();
            match result {
                Ok(result) => results.push(result),
                Err(error) => {
                    outcome = Err(error.context(abuse.name()));
                    break;
                }
            }
        }
        conclude(outcome, &fleet, next, &mut faults)?;
    } else {
        faults.add(&fleet.faults(next));
    }
    for result in &results {
        faults.reasons.extend(result.complaint(args.max_p99_ratio));
    }
    Ok(AttackReport { members, messages_per_second: args.rate, seconds: args.seconds, results, faults })
}

fn one(
    session: &Session,
    args: &AttackArgs,
    target: &Target,
    fleet: &mut Fleet,
    publisher: &mut Publisher,
    next: &mut u64,
    abuse: Abuse,
) -> anyhow::Result<AbuseResult> {
    let pace = Pace { messages_per_second: args.rate, time: Duration::from_secs_f64(args.seconds) };
    let settle = Pace { messages_per_second: args.rate, time: SETTLE };
    let mut paced = |pace, next: &mut u64| run_paced(fleet, publisher, pace, next, &session.interrupt);
    paced(settle, next)?;
    let calm = paced(pace, next)?;
    let before = MetricsPage::fetch(target.ops)?;
    let cpu = || target.meter.map(ProcessMeter::cpu).transpose();
    let cpu_before = cpu()?;
    let attack = Attack::start(abuse, &target.endpoint)?;
    let abused = paced(pace, next)?;
    let attempts = attack.stop();
    let node_cpu = cpu()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    let node_rss_bytes = target.meter.map(ProcessMeter::rss_bytes).transpose()?;
    paced(settle, next)?;
    let after = MetricsPage::fetch(target.ops)?;
    Ok(AbuseResult {
        abuse: abuse.name(),
        attempts,
        calm: calm.percentiles(),
        abused: abused.percentiles(),
        node_cpu_share: node_cpu.map(|cpu| cpu.as_secs_f64() / args.seconds),
        node_rss_bytes,
        counted: after.grown(&before, FAMILIES),
        expected: abuse.expected().to_vec(),
    })
}
