//! The figures of one engine, counted without locks.

use std::sync::atomic::{AtomicU64, Ordering};

/// One figure: a count that only grows, or a gauge.
#[derive(Debug, Default)]
pub(crate) struct Figure(AtomicU64);

impl Figure {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What both engines count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: Figure,
    pub(crate) received_bytes: Figure,
    pub(crate) skipped_own: Figure,
    pub(crate) malformed: Figure,
    pub(crate) published: Figure,
    pub(crate) publish_failed: Figure,
    pub(crate) reconnects: Figure,
    pub(crate) gaps: Figure,
}
