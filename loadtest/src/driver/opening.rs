//! Opening many clients: as fast as the server takes them, or at a rate.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use crate::{interrupt::Interrupt, progress::Progress};

/// A client may be silent for this long before the opening is given up.
const STALL: Duration = Duration::from_secs(10);

/// How to open clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpeningPlan {
    /// Clients per second; 0 for as fast as possible.
    pub(crate) rate: u32,
    /// Clients that are between connect and join at the same time.
    pub(crate) concurrency: usize,
}

/// Opens `count` more clients and waits until each is in its room or has failed. Gives the time that it took.
///
/// # Errors
/// A signal, or epoll itself. Connections that fail are counted by the fleet.
pub(crate) fn open(
    fleet: &mut Fleet,
    count: usize,
    plan: OpeningPlan,
    progress: Progress,
    interrupt: &Interrupt,
) -> anyhow::Result<Duration> {
    let already = fleet.started();
    let target = already + count;
    let bar = progress.counting("opening connections", count);
    let begun = Instant::now();
    let mut last_change = (begun, 0);
    loop {
        interrupt.check()?;
        let settled = settled(fleet);
        bar.set(settled.saturating_sub(already));
        if settled >= target {
            break;
        }
        if settled != last_change.1 {
            last_change = (Instant::now(), settled);
        } else if last_change.0.elapsed() > STALL && fleet.started() > settled {
            fleet.abandon_unjoined();
            break;
        }
        let due = already + due_after(plan.rate, begun.elapsed());
        let until = target.min(due).min(settled + plan.concurrency);
        while fleet.started() < until {
            fleet.start();
        }
        let paced = plan.rate > 0 && fleet.started() < target;
        let timeout = Duration::from_millis(if paced { 1 } else { 100 });
        fleet.poll(timeout, &mut |_, _| {})?;
    }
    bar.finish();
    Ok(begun.elapsed())
}

fn settled(fleet: &Fleet) -> usize {
    fleet.joined() + usize::try_from(fleet.failed()).unwrap_or(usize::MAX)
}

/// How many clients may have been started by now.
fn due_after(rate: u32, elapsed: Duration) -> usize {
    if rate == 0 {
        return usize::MAX / 2;
    }
    let due = u128::from(rate) * elapsed.as_millis() / 1000;
    usize::try_from(due).unwrap_or(usize::MAX / 2) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_paces_the_starts() {
        assert_eq!(due_after(1000, Duration::ZERO), 1);
        assert_eq!(due_after(1000, Duration::from_millis(500)), 501);
        assert!(due_after(0, Duration::ZERO) > 1_000_000);
    }
}
