//! Rounds of the bare loop, alone or between those of a server.

use super::Session;
use crate::{
    baseline::BareLoop,
    driver::{Faults, Fleet, Load, OpeningPlan, Round, Until, open, run_round},
    interrupt::Interrupted,
    measure::ProcessMeter,
    plan,
    publish::Publisher,
    report::{BaselineReport, Series},
    spawn::Cores,
};

/// Messages that are sent before a round counts.
pub(super) const WARM_UP_MESSAGES: u64 = 20;

/// Which rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopPlan {
    pub(crate) members: usize,
    pub(crate) size_bytes: usize,
    pub(crate) until: Until,
    pub(crate) rounds: u16,
}

/// `broadgate-loadtest baseline`
pub(crate) fn run(session: &Session, cores: &Cores, plan: LoopPlan) -> anyhow::Result<BaselineReport> {
    plan::check_open_files(plan.members)?;
    let mut faults = Faults::default();
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        session.progress.say(&format!("round {number} of {}", plan.rounds));
        rounds.extend(round(session, cores, plan, &mut faults)?);
        if !faults.is_clean() {
            break;
        }
    }
    let bare = Series::over(1, &rounds);
    Ok(BaselineReport { members: plan.members, size_bytes: plan.size_bytes, bare, faults })
}

/// One round with a fresh process and fresh connections; `None` if it went wrong, which `faults` tells.
pub(super) fn round(
    session: &Session,
    cores: &Cores,
    plan: LoopPlan,
    faults: &mut Faults,
) -> anyhow::Result<Option<Round>> {
    let mut bare = BareLoop::start(plan.members, plan.size_bytes, cores)?;
    let meter = ProcessMeter::new(bare.id())?;
    let mut fleet = Fleet::new(bare.address, None, 0)?;
    let opening = OpeningPlan { rate: 0, concurrency: plan.members };
    open(&mut fleet, plan.members, opening, session.progress, &session.interrupt)?;
    if fleet.failed() > 0 {
        faults.add(&fleet.faults(0));
        return Ok(None);
    }
    let mut publisher = Publisher::Bare(bare.control()?);
    let what = format!("bare loop, {} members, 1 in flight", plan.members);
    let spinner = session.progress.waiting(&what);
    let mut next = 0;
    let warm_up = Load { in_flight: 1, until: Until::Messages(WARM_UP_MESSAGES) };
    let load = Load { in_flight: 1, until: plan.until };
    let outcome = run_round(&mut fleet, &mut publisher, None, warm_up, &mut next, &session.interrupt)
        .and_then(|_| {
            run_round(&mut fleet, &mut publisher, Some(meter), load, &mut next, &session.interrupt)
        });
    spinner.finish();
    conclude(outcome, &fleet, next, faults)
}

/// Adds the faults of `fleet`, and the reason of a round that failed; only a signal stays an error.
pub(super) fn conclude<T>(
    outcome: anyhow::Result<T>,
    fleet: &Fleet,
    next: u64,
    faults: &mut Faults,
) -> anyhow::Result<Option<T>> {
    faults.add(&fleet.faults(next));
    match outcome {
        Ok(round) => Ok(Some(round)),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            faults.abort(&error);
            Ok(None)
        }
    }
}
