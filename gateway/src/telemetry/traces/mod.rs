//! Spans for OpenTelemetry: which ones are recorded, and their way to the exporter.
//!
//! A node without a receiver pays a branch where a span could begin, and one that samples pays a cheap random number
//! there; nothing else. There is no span of a connection, and none of a message but of those that are sampled. Spans wait in
//! one queue with a bound; its other end is [`export`]'s thread. What does not fit is dropped and counted.
//!
//! Not `tracing-opentelemetry`: its layer would look at every span and event of every library, and keep those that are open
//! in a registry with locks. Here a span is a value that whoever does the work holds. And of the SDK only the format: its
//! processor has no count of what it loses.

mod export;
mod headers;
mod receiver;
mod span;

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use broadgate_adapter::TraceParent;
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use tokio::sync::mpsc;

pub(crate) use export::{Exporter, start};
use headers::HeadersCounts;
pub(crate) use receiver::{Receiver, ReceiverError};
pub use span::{Span, SpanKind};

/// Begins spans. Cloning gives another handle; the default records nothing.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Recorder>>);

struct Recorder {
    samples_per_million: u32,
    queue: mpsc::Sender<Box<WireSpan>>,
    counts: SpanCounts,
    headers: HeadersCounts,
}

/// What became of spans.
#[derive(Debug, Default)]
struct SpanCounts {
    exported: AtomicU64,
    queue_full: AtomicU64,
    export_failed: AtomicU64,
}

impl Traces {
    /// A span that begins a trace, where chance has it.
    #[must_use]
    pub fn root(&self, name: &'static str, kind: SpanKind) -> Option<Span> {
        let recorder = self.0.as_ref()?;
        let is_chosen = chance() % 1_000_000 < u64::from(recorder.samples_per_million);
        if !is_chosen || !recorder.has_room() {
            return None;
        }
        let mut trace_id = [0; 16];
        getrandom::fill(&mut trace_id).ok()?;
        Span::begin(recorder, trace_id, None, name, kind)
    }

    /// A span of a trace that somebody else began, where that one is recorded.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind, parent: &TraceParent) -> Option<Span> {
        let recorder = self.0.as_ref().filter(|_| parent.is_sampled())?;
        if !recorder.has_room() {
            return None;
        }
        Span::begin(recorder, parent.trace_id(), Some(parent), name, kind)
    }

    /// The one or the other.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind, parent: Option<&TraceParent>) -> Option<Span> {
        match parent {
            Some(parent) => self.child(name, kind, parent),
            None => self.root(name, kind),
        }
    }

    /// Would a span of this trace be recorded?
    #[must_use]
    pub fn records(&self, trace: Option<&TraceParent>) -> bool {
        self.0.is_some() && trace.is_some_and(TraceParent::is_sampled)
    }

    /// Times that `traces.headers_file` had changed, and looks at it while it could not be used.
    pub(crate) fn header_reloads(&self) -> [(&'static str, u64); 2] {
        let read = |count: fn(&HeadersCounts) -> &AtomicU64| {
            self.0.as_ref().map_or(0, |recorder| count(&recorder.headers).load(Ordering::Relaxed))
        };
        [("ok", read(|counts| &counts.reloads)), ("failed", read(|counts| &counts.failed_looks))]
    }

    /// Spans by what became of them.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let read = |count: fn(&SpanCounts) -> &AtomicU64| {
            self.0.as_ref().map_or(0, |recorder| count(&recorder.counts).load(Ordering::Relaxed))
        };
        [
            ("exported", read(|counts| &counts.exported)),
            ("queue_full", read(|counts| &counts.queue_full)),
            ("export_failed", read(|counts| &counts.export_failed)),
        ]
    }
}

impl Recorder {
    fn new(samples_per_million: u32, queue: mpsc::Sender<Box<WireSpan>>) -> Self {
        let (counts, headers) = (SpanCounts::default(), HeadersCounts::default());
        Self { samples_per_million, queue, counts, headers }
    }

    /// Is there any use in a span now? Whoever publishes may want each of its messages recorded; what is more than the
    /// receiver takes costs a look at the queue.
    fn has_room(&self) -> bool {
        let has_room = self.queue.capacity() > 0;
        if !has_room {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn take(&self, span: Box<WireSpan>) {
        if self.queue.try_send(span).is_err() {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A number that nobody need fear to be guessed (SplitMix64), at the price of a few instructions.
fn chance() -> u64 {
    thread_local! {
        // Without a random source all threads choose alike, which is no reason to stop.
        static STATE: Cell<u64> = Cell::new(getrandom::u64().unwrap_or_default());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(samples_per_million: u32, room: usize) -> (Traces, mpsc::Receiver<Box<WireSpan>>) {
        let (queue, spans) = mpsc::channel(room);
        (Traces(Some(Arc::new(Recorder::new(samples_per_million, queue)))), spans)
    }

    fn parent(is_sampled: bool) -> TraceParent {
        TraceParent::new([7; 16], [8; 8], is_sampled).expect("ids that are not 0")
    }

    #[test]
    fn chance_decides_over_roots_and_the_parent_over_children() {
        for (samples_per_million, expected) in [(0, 0..1), (1_000_000, 10_000..10_001), (100_000, 700..1300)]
        {
            let (traces, _spans) = traces(samples_per_million, 20_000);
            let roots = (0..10_000).filter(|_| traces.root("a", SpanKind::Server).is_some()).count();
            assert!(expected.contains(&roots), "{samples_per_million}: {roots}");
            assert!(traces.child("a", SpanKind::Server, &parent(true)).is_some());
            assert!(traces.span("a", SpanKind::Server, Some(&parent(false))).is_none());
            assert!(traces.records(Some(&parent(true))) && !traces.records(Some(&parent(false))));
            assert!(!traces.records(None));
        }
    }

    #[test]
    fn without_a_receiver_nothing_is_recorded() {
        let off = Traces::default();
        assert!(off.root("a", SpanKind::Server).is_none());
        assert!(off.child("a", SpanKind::Server, &parent(true)).is_none());
        assert!(!off.records(Some(&parent(true))));
        assert_eq!(off.counts().map(|(_, count)| count), [0; 3]);
        assert_eq!(off.header_reloads().map(|(_, count)| count), [0; 2]);
    }

    #[test]
    fn a_span_knows_its_trace_and_its_parent_and_ends_when_it_is_dropped() {
        let (traces, mut spans) = traces(0, 8);
        let mut first = traces.child("publish", SpanKind::Producer, &parent(true)).expect("sampled");
        first.set("delivered", 3_usize);
        let second = traces.child("deliver", SpanKind::Consumer, &first.context()).expect("sampled");
        assert!(second.context().is_sampled());
        drop(second);
        drop(first);
        let (second, first) = (spans.try_recv().expect("ended"), spans.try_recv().expect("ended"));
        assert_eq!((&first.trace_id, &second.trace_id), (&vec![7; 16], &vec![7; 16]));
        assert_eq!((&first.parent_span_id, &second.parent_span_id), (&vec![8; 8], &first.span_id));
        assert_ne!(first.span_id, second.span_id);
        assert!(first.end_time_unix_nano >= second.end_time_unix_nano);
        assert_eq!((&*first.name, &*first.attributes[0].key), ("publish", "delivered"));
    }

    #[test]
    fn spans_that_find_no_room_are_counted() {
        let (traces, _spans) = traces(1_000_000, 2);
        for _ in 0..5 {
            drop(traces.root("a", SpanKind::Client));
        }
        assert_eq!(traces.counts(), [("exported", 0), ("queue_full", 3), ("export_failed", 0)]);
    }
}
