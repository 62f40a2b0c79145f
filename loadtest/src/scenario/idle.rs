//! Many connections that do nothing: how fast they open, and what they cost while they are there.

use std::time::{Duration, Instant};

use super::{Session, Target, baseline::conclude};
use crate::{
    driver::{Faults, Fleet, OpeningPlan, Script, open},
    measure::{ProcessMeter, per_second},
    plan,
    report::{IdleCost, IdleReport},
};

/// These come first, so that what a server allocates once is told from what it needs for each connection.
const FIRST: usize = 100;
const SETTLE: Duration = Duration::from_millis(500);
const CONCURRENCY: usize = 256;

/// Which connections.
#[derive(Debug, Clone)]
pub(crate) struct IdlePlan {
    pub(crate) connections: usize,
    pub(crate) room: String,
    /// Per second; 0 for as fast as possible.
    pub(crate) rate: u32,
    pub(crate) hold: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    rss_bytes: u64,
    cpu: Duration,
}

/// `broadgate-loadtest idle`
pub(crate) fn run(session: &Session, target: &Target, plan: &IdlePlan) -> anyhow::Result<IdleReport> {
    plan::check_open_files(plan.connections)?;
    let script = Script::new(&target.endpoint, &plan.room);
    let mut fleet = Fleet::new(target.endpoint.address, Some(script), 0)?;
    let mut faults = Faults::default();
    let outcome = measure(session, target.meter, plan, &mut fleet);
    let measured = conclude(outcome, &fleet, 0, &mut faults)?;
    let (opened_in, cost) = measured.unwrap_or((Duration::ZERO, None));
    Ok(IdleReport {
        connections: plan.connections,
        joined: fleet.joined(),
        opened_in_s: opened_in.as_secs_f64(),
        opened_per_second: per_second(fleet.joined() as u64, opened_in),
        held_s: plan.hold.as_secs_f64(),
        cost,
        faults,
    })
}

fn measure(
    session: &Session,
    meter: Option<ProcessMeter>,
    plan: &IdlePlan,
    fleet: &mut Fleet,
) -> anyhow::Result<(Duration, Option<IdleCost>)> {
    let Session { progress, interrupt } = session;
    let opening = OpeningPlan { rate: plan.rate, concurrency: CONCURRENCY };
    let first = plan.connections.min(FIRST);
    let without = read(meter)?;
    let mut opened_in = open(fleet, first, opening, *progress, interrupt)?;
    hold(session, fleet, SETTLE)?;
    let with_first = read(meter)?;
    opened_in += open(fleet, plan.connections - first, opening, *progress, interrupt)?;
    hold(session, fleet, SETTLE)?;
    let opened = read(meter)?;
    let spinner = progress.waiting(&format!("holding for {:?}", plan.hold));
    let held_for = Instant::now();
    hold(session, fleet, plan.hold)?;
    let held_for = held_for.elapsed();
    spinner.finish();
    let held = read(meter)?;
    let cost = match (without, with_first, opened, held) {
        (Some(without), Some(with_first), Some(opened), Some(held)) => {
            let further = plan.connections - first;
            let grown = held.rss_bytes as f64 - with_first.rss_bytes as f64;
            Some(IdleCost {
                rss_before_bytes: without.rss_bytes,
                rss_opened_bytes: opened.rss_bytes,
                rss_held_bytes: held.rss_bytes,
                rss_per_connection_bytes: (held.rss_bytes as f64 - without.rss_bytes as f64)
                    / plan.connections as f64,
                rss_per_further_connection_bytes: (further > 0).then(|| grown / further as f64),
                opening_cpu_us_per_connection: opened.cpu.saturating_sub(without.cpu).as_secs_f64() * 1e6
                    / plan.connections as f64,
                idle_cpu_seconds_per_second: held.cpu.saturating_sub(opened.cpu).as_secs_f64()
                    / held_for.as_secs_f64().max(1e-3),
            })
        }
        _ => None,
    };
    Ok((opened_in, cost))
}

fn read(meter: Option<ProcessMeter>) -> anyhow::Result<Option<Reading>> {
    let Some(meter) = meter else { return Ok(None) };
    Ok(Some(Reading { rss_bytes: meter.rss_bytes()?, cpu: meter.cpu()? }))
}

/// Lets time pass; clients answer pings meanwhile.
fn hold(session: &Session, fleet: &mut Fleet, time: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        session.interrupt.check()?;
        fleet.poll(left.min(Duration::from_millis(100)), &mut |_, _| {})?;
    }
    Ok(())
}
