//! Publishing to a room: rounds of the bare loop and of the server in turn, each with fresh connections, so that both
//! meet the same host and no more sockets are open than one process may have.

use std::time::{Duration, Instant};

use super::{
    Session, Target,
    baseline::{self, LoopPlan, WARM_UP_MESSAGES, conclude},
};
use crate::{
    cli::Via,
    driver::{Faults, Fleet, Load, OpeningPlan, Round, Script, Until, open, run_round},
    measure::ProcessMeter,
    plan,
    publish::Publisher,
    report::{BroadcastReport, Series},
};

const OPENING: OpeningPlan = OpeningPlan { rate: 0, concurrency: 256 };

/// Which rounds.
#[derive(Debug, Clone)]
pub(crate) struct BroadcastPlan {
    pub(crate) shape: LoopPlan,
    pub(crate) room: String,
    pub(crate) in_flight: Vec<usize>,
    pub(crate) via: Via,
}

/// `broadgate-loadtest broadcast`
pub(crate) fn run(
    session: &Session,
    target: &Target,
    plan: &BroadcastPlan,
) -> anyhow::Result<BroadcastReport> {
    plan::check_open_files(plan.shape.members)?;
    let mut faults = Faults::default();
    let mut bare = Vec::new();
    let mut server: Vec<Vec<Round>> = vec![Vec::new(); plan.in_flight.len()];
    let mut next = 0;
    for number in 1..=plan.shape.rounds {
        session.progress.say(&format!("round {number} of {}", plan.shape.rounds));
        bare.extend(baseline::round(session, &target.cores, plan.shape, &mut faults)?);
        if faults.is_clean() {
            server_rounds(session, target, plan, &mut next, &mut server, &mut faults)?;
        }
        if !faults.is_clean() {
            break;
        }
    }
    // The last word is the bare loop's, so that each of the server's rounds stands between two of it.
    if faults.is_clean() {
        bare.extend(baseline::round(session, &target.cores, plan.shape, &mut faults)?);
    }
    let bare = Series::over(1, &bare);
    let series = plan.in_flight.iter().zip(&server);
    let server =
        series.map(|(&in_flight, rounds)| Series::over(in_flight, rounds).compared_to(&bare)).collect();
    let BroadcastPlan { shape, room, .. } = plan;
    Ok(BroadcastReport {
        members: shape.members,
        size_bytes: shape.size_bytes,
        room: room.clone(),
        bare,
        server,
        faults,
    })
}

/// One round for each number of messages in flight, on the same connections.
fn server_rounds(
    session: &Session,
    target: &Target,
    plan: &BroadcastPlan,
    next: &mut u64,
    rounds: &mut [Vec<Round>],
    faults: &mut Faults,
) -> anyhow::Result<()> {
    let Session { progress, interrupt } = session;
    let LoopPlan { members, size_bytes, until, .. } = plan.shape;
    let script = Script::new(&target.endpoint, &plan.room);
    let mut fleet = Fleet::new(target.endpoint.address, Some(script), *next)?;
    open(&mut fleet, members, OPENING, *progress, interrupt)?;
    if fleet.failed() > 0 {
        faults.add(&fleet.faults(*next));
        return Ok(());
    }
    let mut publisher = match plan.via {
        Via::Redis => Publisher::redis(target.redis, &plan.room, size_bytes)?,
        Via::Ops => Publisher::ops(target.ops, &plan.room, size_bytes)?,
    };
    let mut outcome = Ok(());
    for (&in_flight, rounds) in plan.in_flight.iter().zip(rounds) {
        let spinner = progress.waiting(&format!("server, {members} members, {in_flight} in flight"));
        let warm_up = Load { in_flight, until: Until::Messages(WARM_UP_MESSAGES + 4 * in_flight as u64) };
        let load = Load { in_flight, until };
        let round = run_round(&mut fleet, &mut publisher, None, warm_up, next, interrupt)
            .and_then(|_| run_round(&mut fleet, &mut publisher, target.meter, load, next, interrupt));
        spinner.finish();
        match round {
            Ok(round) => rounds.push(round),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    conclude(outcome, &fleet, *next, faults)?;
    drop(fleet);
    target.meter.map_or(Ok(()), |meter| wait_until_quiet(session, meter))
}

/// The end of many connections is work for the server; the next round must not share the core with it.
fn wait_until_quiet(session: &Session, meter: ProcessMeter) -> anyhow::Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    const QUIET: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    let mut before = meter.cpu()?;
    while begun.elapsed() < Duration::from_secs(5) {
        session.interrupt.check()?;
        std::thread::sleep(LOOK_EVERY);
        let cpu = meter.cpu()?;
        if cpu.saturating_sub(before) < QUIET {
            break;
        }
        before = cpu;
    }
    Ok(())
}
