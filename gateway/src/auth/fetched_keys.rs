//! Keys that are fetched: what is known of them now, and what the shards and the task that fetches them tell each other.
//!
//! The keys have one writer, that task; a shard only reads, and asks for a fetch.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, time::timeout};

use super::{KeysUnavailable, fetch::FETCH_TIMEOUT, keys::KeySet};

/// How long a token waits for a fetch. The fetch is bounded itself; this is for a node whose main thread is stalled.
const WAIT_TIMEOUT: Duration = FETCH_TIMEOUT.saturating_add(Duration::from_secs(1));

/// The keys of one issuer, and the state of their fetching.
#[derive(Debug)]
pub(super) struct FetchedKeys {
    keys: ArcSwap<KeySet>,
    status: watch::Sender<Status>,
    started: Instant,
    /// Milliseconds from `started` to the last fetch that succeeded.
    fetched_ms: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    phase: Phase,
    /// Fetches that have ended.
    fetches: u64,
    /// How the last one ended.
    succeeded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A fetch is under way.
    Fetching,
    /// The last one is too recent for another.
    Cooling,
    /// A token may ask for one.
    Open,
    /// A token has.
    Wanted,
}

impl FetchedKeys {
    /// Without a key. The first fetch counts as under way.
    pub(super) fn new() -> Self {
        let status = Status { phase: Phase::Fetching, fetches: 0, succeeded: false };
        Self {
            keys: ArcSwap::default(),
            status: watch::Sender::new(status),
            started: Instant::now(),
            fetched_ms: AtomicU64::new(0),
        }
    }

    /// Looks at the keys as they are now.
    pub(super) fn read<T>(&self, read: impl FnOnce(&KeySet) -> T) -> T {
        read(&self.keys.load())
    }

    /// For a token whose key is unknown: the fetches that it has seen end, or nothing where another one would not help,
    /// since the last one succeeded a moment ago.
    pub(super) fn awaited_fetch(&self) -> Option<u64> {
        let status = *self.status.borrow();
        let is_known = status.phase == Phase::Cooling && status.succeeded;
        (!is_known).then_some(status.fetches)
    }

    /// Asks for a fetch, unless one is under way or the last one is too recent, and waits for its end.
    pub(super) async fn refreshed(&self, seen_fetches: u64) -> Result<(), KeysUnavailable> {
        let mut watcher = self.status.subscribe();
        self.status.send_if_modified(|status| {
            let asks = status.phase == Phase::Open && status.fetches == seen_fetches;
            if asks {
                status.phase = Phase::Wanted;
            }
            asks
        });
        let ended =
            watcher.wait_for(|status| status.fetches > seen_fetches || status.phase == Phase::Cooling);
        let status = timeout(WAIT_TIMEOUT, ended).await.ok().and_then(Result::ok).map(|status| *status);
        if status.is_some_and(|status| status.succeeded) { Ok(()) } else { Err(KeysUnavailable) }
    }

    /// The fetching task begins a fetch.
    pub(super) fn begin(&self) {
        self.status.send_modify(|status| status.phase = Phase::Fetching);
    }

    /// It ended, with new keys or without: then the old ones stay.
    pub(super) fn end(&self, keys: Option<KeySet>) {
        let succeeded = keys.is_some();
        if let Some(keys) = keys {
            self.keys.store(keys.into());
            self.fetched_ms.store(self.now_ms(), Ordering::Relaxed);
        }
        self.status.send_modify(|status| {
            let fetches = status.fetches + 1;
            *status = Status { phase: Phase::Cooling, fetches, succeeded };
        });
    }

    /// Tokens may ask for a fetch from now on; ends when one does.
    pub(super) async fn wanted(&self) {
        self.status.send_modify(|status| status.phase = Phase::Open);
        let mut watcher = self.status.subscribe();
        // It can't fail: `self` holds the sender.
        let _wanted = watcher.wait_for(|status| status.phase == Phase::Wanted).await;
    }

    /// A clock for the schedule.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Keys in use.
    pub(super) fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Since the last fetch that succeeded, or since the node started.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.fetched_ms.load(Ordering::Relaxed)))
    }
}
