//! The figures of one engine, counted without locks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::EngineMetrics;

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

impl Counters {
    /// The counts; the gauges are left at 0.
    pub(crate) fn read(&self) -> EngineMetrics {
        EngineMetrics {
            received_total: self.received.get(),
            received_bytes_total: self.received_bytes.get(),
            skipped_own_total: self.skipped_own.get(),
            malformed_total: self.malformed.get(),
            published_total: self.published.get(),
            publish_failed_total: self.publish_failed.get(),
            reconnects_total: self.reconnects.get(),
            gaps_total: self.gaps.get(),
            ..EngineMetrics::default()
        }
    }
}
