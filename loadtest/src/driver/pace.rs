//! Messages at a steady pace, whatever becomes of the earlier ones: what a latency under load is measured with. One that is
//! late counts from the time at which it was due.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{fleet::Fleet, window::Window};
use crate::{interrupt::Interrupt, measure::Latency, publish::Publisher};

/// A message that is not everywhere after this time is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// How many messages, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) messages_per_second: u32,
    pub(crate) time: Duration,
}

/// Publishes at a pace and waits until all members have everything. `next` is the sequence number of the next message,
/// and is advanced.
///
/// # Errors
/// A signal, a failing publisher, a member that was disconnected, a message that does not arrive everywhere.
pub(crate) fn run_paced(
    fleet: &mut Fleet,
    publisher: &mut Publisher,
    pace: Pace,
    next: &mut u64,
    interrupt: &Interrupt,
) -> anyhow::Result<Latency> {
    let members = fleet.joined();
    let mut window = Window::new(members, *next);
    let interval = Duration::from_secs(1) / pace.messages_per_second.max(1);
    let begun = Instant::now();
    let (mut published, mut last_progress) = (0_u32, (begun, 0));
    loop {
        interrupt.check()?;
        let due = begun + interval * published;
        let is_over = due >= begun + pace.time;
        let mut timeout = Duration::from_millis(100);
        if !is_over {
            timeout = timeout.min(due.saturating_duration_since(Instant::now()));
            if timeout.is_zero() {
                window.publish(due);
                publisher.publish(*next..*next + 1).context("publishing failed")?;
                (*next, published) = (*next + 1, published + 1);
            }
        } else if window.in_flight() == 0 {
            break;
        }
        fleet.poll(timeout, &mut |sequence, at| window.deliver(sequence, at))?;
        if window.completed() != last_progress.1 || window.in_flight() == 0 {
            last_progress = (Instant::now(), window.completed());
        } else if last_progress.0.elapsed() > LOST_AFTER {
            bail!("message {} is not everywhere after {LOST_AFTER:?}", *next - window.in_flight() as u64);
        }
        if fleet.joined() != members {
            bail!("{} of {members} members were disconnected", members - fleet.joined());
        }
    }
    publisher.check()?;
    Ok(window.into_latency())
}
