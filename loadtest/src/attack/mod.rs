//! What strangers do to a server on the open internet: each abuse as threads of its own, bounded in number and rate, with
//! the reason that the server should give for cutting it.

mod abuse;
mod flood;
mod hold;
mod peer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

pub(crate) use self::abuse::Abuse;
use crate::plan::Endpoint;

/// Clients of abuses come from addresses from here on; the well-behaved ones from those below.
const FIRST_SOURCE: u8 = 101;

/// What the threads of one abuse share.
#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    is_over: AtomicBool,
    attempts: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A connection, a request or a message of the abuse was made.
    fn attempted(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }
}

/// An abuse that goes on until this is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Attack {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Starts an abuse of the server at `endpoint`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub(crate) fn start(abuse: Abuse, endpoint: &Endpoint) -> anyhow::Result<Self> {
        let (is_over, attempts) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { endpoint: endpoint.clone(), is_over, attempts });
        let mut attack = Self { shared, threads: Vec::new() };
        for number in 0..abuse.threads() {
            let shared = Arc::clone(&attack.shared);
            let thread =
                thread::Builder::new().name(format!("{}-{number}", abuse.name())).spawn(move || {
                    // The well-behaved clients are measured on the same cores: they go first. Where the system refuses,
                    // the figures are only worse.
                    let _kept = rustix::process::nice(19);
                    abuse.run(&shared, number);
                })?;
            attack.threads.push(thread);
        }
        Ok(attack)
    }

    /// Ends it; gives how often it was tried.
    pub(crate) fn stop(mut self) -> u64 {
        self.end();
        self.shared.attempts.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("an abuse does not panic");
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.end();
    }
}
