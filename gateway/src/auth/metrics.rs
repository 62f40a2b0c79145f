//! What is counted of tokens and keys, over the node.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    TokenError, Verdict,
    fetch::{FetchError, RESULTS},
    keys::KeySet,
};

/// Tokens come when clients connect, from all shards: too seldom for counters of each shard.
#[derive(Debug, Default)]
pub(super) struct AuthCounters {
    granted: AtomicU64,
    needs_keys: AtomicU64,
    refused: [AtomicU64; TokenError::ALL.len()],
    fetches: [AtomicU64; RESULTS.len()],
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

/// The keys of an issuer that fetches them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeysSample<'a> {
    /// `auth.issuers.name`.
    pub(crate) issuer: &'a str,
    /// Keys in use.
    pub(crate) keys: usize,
    /// Since the last fetch that succeeded, or since the start.
    pub(crate) age_seconds: f64,
}

impl AuthCounters {
    pub(super) fn verified(&self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Granted(_) => &self.granted,
            Verdict::NeedsKeys(_) => &self.needs_keys,
            Verdict::Refused(error) => &self.refused[error.index()],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fetched(&self, fetched: &Result<KeySet, FetchError>) {
        let result = fetched.as_ref().err().map_or(0, FetchError::result);
        self.fetches[result].fetch_add(1, Ordering::Relaxed);
    }

    /// The file of a key has changed, or can't be used.
    pub(super) fn reloaded(&self, is_usable: bool) {
        let counter = if is_usable { &self.reloads } else { &self.failed_reloads };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Files of keys that have changed, and looks at one that can't be used.
    pub(super) fn reloads(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.failed_reloads.load(Ordering::Relaxed))
    }

    /// Verifications by result.
    pub(super) fn verifications(&self) -> Vec<(&'static str, u64)> {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = TokenError::ALL.iter().zip(&self.refused);
        [("granted", value(&self.granted)), ("needs_keys", value(&self.needs_keys))]
            .into_iter()
            .chain(refused.map(|(error, counter)| (error.code(), value(counter))))
            .collect()
    }

    /// Fetches by result.
    pub(super) fn fetches(&self) -> Vec<(&'static str, u64)> {
        RESULTS.into_iter().zip(self.fetches.iter().map(|counter| counter.load(Ordering::Relaxed))).collect()
    }
}
