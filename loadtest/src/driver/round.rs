//! One measured round: messages are published so that a fixed number is in flight, until the time or the number of
//! messages is over.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{fleet::Fleet, window::Window};
use crate::{
    interrupt::Interrupt,
    measure::{Latency, ProcessMeter},
    publish::Publisher,
};

/// A message that is not everywhere after this time is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Before a reading of CPU time, so that what the processes do after the last delivery is in it.
const SETTLE: Duration = Duration::from_millis(20);

/// When a round has published enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// After this many messages.
    Messages(u64),
    /// After this time.
    Elapsed(Duration),
}

/// What a round does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Messages in flight; 1: the next one is published when every member has the last.
    pub(crate) in_flight: usize,
    pub(crate) until: Until,
}

/// What a round measured.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) elapsed: Duration,
    /// CPU time of the process under test, if it is known.
    pub(crate) server_cpu: Option<Duration>,
    /// CPU time of the load generator.
    pub(crate) client_cpu: Duration,
    pub(crate) latency: Latency,
}

/// Runs one round. `next` is the sequence number of the next message, and is advanced.
///
/// # Errors
/// A signal, a failing publisher, a member that was disconnected, a message that does not arrive everywhere.
pub(crate) fn run(
    fleet: &mut Fleet,
    publisher: &mut Publisher,
    server: Option<ProcessMeter>,
    load: Load,
    next: &mut u64,
    interrupt: &Interrupt,
) -> anyhow::Result<Round> {
    let members = fleet.joined();
    let client = ProcessMeter::this_process();
    let mut window = Window::new(members, *next);
    std::thread::sleep(SETTLE);
    let server_before = server.map(ProcessMeter::cpu).transpose()?;
    let client_before = client.cpu()?;
    let begun = Instant::now();
    let mut last_progress = (begun, 0);
    let mut published = 0;
    let mut now = begun;
    loop {
        let room = (load.in_flight - window.in_flight()) as u64;
        let wanted = match load.until {
            Until::Messages(messages) => room.min(messages - published),
            Until::Elapsed(time) if begun.elapsed() < time => room,
            Until::Elapsed(_) => 0,
        };
        if wanted > 0 {
            now = Instant::now();
            (0..wanted).for_each(|_| window.publish(now));
            publisher.publish(*next..*next + wanted).context("publishing failed")?;
            *next += wanted;
            published += wanted;
        } else if window.in_flight() == 0 {
            break;
        }
        let mut latest = now;
        fleet.poll(Duration::from_millis(100), &mut |sequence, at| {
            window.deliver(sequence, at);
            latest = at;
        })?;
        now = latest;
        interrupt.check()?;
        if window.completed() != last_progress.1 {
            last_progress = (now, window.completed());
        } else if last_progress.0.elapsed() > LOST_AFTER {
            publisher.check()?;
            bail!("message {} is not everywhere after {LOST_AFTER:?}", *next - window.in_flight() as u64);
        }
        if fleet.joined() != members {
            bail!("{} of {members} members were disconnected", members - fleet.joined());
        }
    }
    let elapsed = now.duration_since(begun);
    publisher.check()?;
    // Messages that come twice come late; they would be seen here.
    fleet.poll(SETTLE, &mut |_, _| {})?;
    std::thread::sleep(SETTLE);
    let server_cpu = match (server, server_before) {
        (Some(server), Some(before)) => Some(server.cpu()?.saturating_sub(before)),
        _ => None,
    };
    let client_cpu = client.cpu()?.saturating_sub(client_before);
    let deliveries = published * members as u64;
    Ok(Round {
        messages: published,
        deliveries,
        elapsed,
        server_cpu,
        client_cpu,
        latency: window.into_latency(),
    })
}
