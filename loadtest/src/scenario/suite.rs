//! Everything that Broadgate promises, measured one after the other, each against a fresh node.

use std::time::Duration;

use super::{BroadcastPlan, IdlePlan, Session, Target, baseline::LoopPlan, run_broadcast, run_idle};
use crate::{
    cli::{SpawnArgs, Via},
    driver::Until,
    report::SuiteReport,
    spawn::{Cores, OPEN_RULES},
};

const SIZE_BYTES: usize = 100;

/// `broadgate-loadtest suite`
pub(crate) fn run(
    session: &Session,
    spawn: &SpawnArgs,
    rounds: u16,
    round_time: Duration,
) -> anyhow::Result<SuiteReport> {
    // Found out once: a thread that has entered the clients' cores does not see the others.
    let cores = Cores::with_server_on(spawn.server_core)?;
    let binary = spawn.server_bin.as_deref();
    let broadcast = |members, in_flight: &[usize], rounds| {
        session.progress.say(&format!("== broadcast to {members} members"));
        let shape = LoopPlan { members, size_bytes: SIZE_BYTES, until: Until::Elapsed(round_time), rounds };
        let target = Target::spawn(binary, cores, OPEN_RULES, &session.interrupt)?;
        let plan =
            BroadcastPlan { shape, room: "load".to_owned(), in_flight: in_flight.to_vec(), via: Via::Redis };
        run_broadcast(session, &target, &plan)
    };
    let idle = |connections, hold| {
        session.progress.say(&format!("== {connections} idle connections"));
        let target = Target::spawn(binary, cores, OPEN_RULES, &session.interrupt)?;
        run_idle(session, &target, &IdlePlan { connections, room: "idle".to_owned(), rate: 0, hold })
    };
    Ok(SuiteReport {
        thousand: broadcast(1000, &[1, 16, 64], rounds)?,
        ten_thousand: broadcast(10_000, &[1], rounds.div_ceil(2).max(2))?,
        opening: idle(10_000, Duration::ZERO)?,
        idle: idle(15_000, Duration::from_secs(15))?,
    })
}
