//! The figures of one engine, counted without locks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{EngineMetrics, RequestKind, durations::DurationFigures};

/// One figure for each kind of request.
pub(crate) type ByKind<T> = [T; RequestKind::NAMES.len()];

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
    pub(crate) node_messages_sent: Figure,
    pub(crate) node_messages_received: Figure,
    pub(crate) node_messages_unreachable: Figure,
    pub(crate) requests_received: ByKind<Figure>,
    pub(crate) requests_sent: ByKind<Figure>,
    pub(crate) requests_unknown: Figure,
    pub(crate) requests_complete: Figure,
    pub(crate) requests_partial: Figure,
    pub(crate) requests_failed: Figure,
    pub(crate) responses_sent: Figure,
    pub(crate) responses_received: Figure,
    pub(crate) responses_truncated: Figure,
    pub(crate) responses_failed: Figure,
    pub(crate) revocations_received: Figure,
    pub(crate) revocations_not_kept: Figure,
    pub(crate) revocations_dropped: Figure,
    pub(crate) topology_changes: Figure,
    pub(crate) resubscribe_durations: DurationFigures,
    pub(crate) publish_durations: DurationFigures,
    pub(crate) request_durations: DurationFigures,
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
            node_messages_sent_total: self.node_messages_sent.get(),
            node_messages_received_total: self.node_messages_received.get(),
            node_messages_unreachable_total: self.node_messages_unreachable.get(),
            requests_received_total: self.requests_received.each_ref().map(Figure::get),
            requests_sent_total: self.requests_sent.each_ref().map(Figure::get),
            requests_unknown_total: self.requests_unknown.get(),
            requests_complete_total: self.requests_complete.get(),
            requests_partial_total: self.requests_partial.get(),
            requests_failed_total: self.requests_failed.get(),
            responses_sent_total: self.responses_sent.get(),
            responses_received_total: self.responses_received.get(),
            responses_truncated_total: self.responses_truncated.get(),
            responses_failed_total: self.responses_failed.get(),
            revocations_received_total: self.revocations_received.get(),
            revocations_not_kept_total: self.revocations_not_kept.get(),
            revocations_dropped_total: self.revocations_dropped.get(),
            topology_changes_total: self.topology_changes.get(),
            resubscribe_durations: self.resubscribe_durations.read(),
            publish_durations: self.publish_durations.read(),
            request_durations: self.request_durations.read(),
            ..EngineMetrics::default()
        }
    }
}
