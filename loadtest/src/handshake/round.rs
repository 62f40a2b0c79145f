//! One measured round: several clients at a time connect again and again, until the number of handshakes is reached.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::client::Client;
use crate::{
    driver::Faults,
    interrupt::Interrupt,
    measure::{Latency, ProcessMeter},
    plan::Endpoint,
    progress::Bar,
};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Before a reading of CPU time, so that the end of the last sessions is in it.
const SETTLE: Duration = Duration::from_millis(100);

/// What decides which node gets a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// All requests of a client go to one node: clients take turns.
    Client,
    /// Each request goes to the next node, whoever sends it.
    None,
}

/// What a round does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeLoad {
    pub(crate) handshakes: usize,
    /// Clients at a time.
    pub(crate) concurrency: usize,
    pub(crate) affinity: Affinity,
}

/// Whom to measure; empty or `None` where it is not known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    pub(crate) nodes: Vec<ProcessMeter>,
    pub(crate) redis: Option<ProcessMeter>,
}

/// What a round measured.
#[derive(Debug, Clone)]
pub(crate) struct HandshakeRound {
    pub(crate) handshakes: usize,
    pub(crate) elapsed: Duration,
    /// CPU time of all nodes together.
    pub(crate) nodes_cpu: Option<Duration>,
    pub(crate) redis_cpu: Option<Duration>,
    pub(crate) client_cpu: Duration,
    /// From the first request to the ack over the WebSocket.
    pub(crate) latency: Latency,
}

/// What the clients of a round share.
struct Shared {
    started: AtomicUsize,
    completed: AtomicUsize,
    requests: AtomicUsize,
    is_over: AtomicBool,
    faults: Mutex<Faults>,
}

/// Runs one round; `None` if a handshake failed, which `faults` tells. `first` numbers the first handshake.
///
/// # Errors
/// A signal, or a process that is measured has ended.
pub(crate) fn run_round(
    endpoints: &[Endpoint],
    meters: &Meters,
    load: HandshakeLoad,
    first: usize,
    bar: &Bar,
    interrupt: &Interrupt,
    faults: &mut Faults,
) -> anyhow::Result<Option<HandshakeRound>> {
    let shared = Shared {
        started: AtomicUsize::new(0),
        completed: AtomicUsize::new(0),
        requests: AtomicUsize::new(first),
        is_over: AtomicBool::new(false),
        faults: Mutex::default(),
    };
    let client = ProcessMeter::this_process();
    let (nodes_before, redis_before, client_before) = (nodes_cpu(meters)?, redis_cpu(meters)?, client.cpu()?);
    let begun = Instant::now();
    let (latency, elapsed) = thread::scope(|scope| -> anyhow::Result<_> {
        let clients: Vec<_> = (0..load.concurrency)
            .map(|_| scope.spawn(|| connect_until_over(endpoints, load, first, &shared)))
            .collect();
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            bar.set(shared.completed.load(Ordering::Relaxed));
            if let Err(interrupted) = interrupt.check() {
                shared.is_over.store(true, Ordering::Relaxed);
                return Err(interrupted.into());
            }
            thread::sleep(LOOK_EVERY.min(begun.elapsed() / 10));
        }
        let elapsed = begun.elapsed();
        let mut latency = Latency::new();
        for client in clients {
            latency.add(&client.join().expect("a client does not panic"));
        }
        Ok((latency, elapsed))
    })?;
    thread::sleep(SETTLE);
    let failed = shared.faults.into_inner().expect("no client panicked");
    faults.add(&failed);
    if !failed.is_clean() {
        return Ok(None);
    }
    let spent = |before: Option<Duration>, after: Option<Duration>| Some(after?.saturating_sub(before?));
    Ok(Some(HandshakeRound {
        handshakes: load.handshakes,
        elapsed,
        nodes_cpu: spent(nodes_before, nodes_cpu(meters)?),
        redis_cpu: spent(redis_before, redis_cpu(meters)?),
        client_cpu: client.cpu()?.saturating_sub(client_before),
        latency,
    }))
}

fn nodes_cpu(meters: &Meters) -> anyhow::Result<Option<Duration>> {
    if meters.nodes.is_empty() {
        return Ok(None);
    }
    let each = meters.nodes.iter().map(|meter| meter.cpu());
    Ok(Some(each.sum::<Result<Duration, _>>()?))
}

fn redis_cpu(meters: &Meters) -> anyhow::Result<Option<Duration>> {
    Ok(meters.redis.map(ProcessMeter::cpu).transpose()?)
}

/// One thread's clients, one after the other.
fn connect_until_over(endpoints: &[Endpoint], load: HandshakeLoad, first: usize, shared: &Shared) -> Latency {
    let mut latency = Latency::new();
    let mut client = Client::new(endpoints);
    while !shared.is_over.load(Ordering::Relaxed) {
        let number = shared.started.fetch_add(1, Ordering::Relaxed);
        if number >= load.handshakes {
            break;
        }
        let node = || match load.affinity {
            Affinity::Client => number % endpoints.len(),
            Affinity::None => shared.requests.fetch_add(1, Ordering::Relaxed) % endpoints.len(),
        };
        let begun = Instant::now();
        match client.connect(first + number, node) {
            Ok(()) => {
                latency.record(begun.elapsed());
                shared.completed.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) => {
                shared.is_over.store(true, Ordering::Relaxed);
                shared.faults.lock().expect("no client panicked").connection_failed(&fault);
            }
        }
    }
    latency
}
