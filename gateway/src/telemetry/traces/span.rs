//! One span, from its beginning to its end.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use broadgate_adapter::TraceParent;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span as WireSpan, Status, span, status::StatusCode},
};

use super::Recorder;

/// What a span is to others (OpenTelemetry, "SpanKind").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Somebody asked this node.
    Server,
    /// This node asks somebody.
    Client,
    /// A message begins its way.
    Producer,
    /// A message arrives.
    Consumer,
}

/// A span that is recorded. It ends when it is dropped.
pub struct Span {
    recorder: Arc<Recorder>,
    context: TraceParent,
    span: Box<WireSpan>,
}

impl Span {
    /// `None` without a random source.
    pub(super) fn begin(
        recorder: &Arc<Recorder>,
        trace_id: [u8; 16],
        parent: Option<&TraceParent>,
        name: &str,
        kind: SpanKind,
    ) -> Option<Self> {
        let mut span_id = [0; 8];
        getrandom::fill(&mut span_id).ok()?;
        let context = TraceParent::new(trace_id, span_id, true)?;
        let span = WireSpan {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: parent.map_or_else(Vec::new, |parent| parent.span_id().to_vec()),
            flags: 1,
            name: name.to_owned(),
            kind: wire_kind(kind).into(),
            start_time_unix_nano: unix_now_ns(),
            ..WireSpan::default()
        };
        Some(Self { recorder: Arc::clone(recorder), context, span: Box::new(span) })
    }

    /// For those whose parent this is.
    #[must_use]
    pub fn context(&self) -> TraceParent {
        self.context
    }

    /// It began before it was made, at `time`.
    pub fn began(&mut self, time: SystemTime) {
        self.span.start_time_unix_nano = unix_ns(time);
    }

    /// Something that is known of it. `key` as the semantic conventions of OpenTelemetry have it, where they do.
    pub fn set(&mut self, key: &'static str, value: impl Into<Attribute>) {
        let value = Some(AnyValue { value: Some(value.into().0) });
        self.span.attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    /// It did not end well. `message` is for people, and holds no secret.
    pub fn fail(&mut self, message: impl Into<String>) {
        self.span.status = Some(Status { message: message.into(), code: StatusCode::Error.into() });
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.span.end_time_unix_nano = unix_now_ns();
        self.recorder.take(std::mem::take(&mut self.span));
    }
}

/// The value of an attribute.
pub struct Attribute(pub(super) Value);

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self(Value::StringValue(text.to_owned()))
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self(Value::IntValue(number))
    }
}

impl From<usize> for Attribute {
    fn from(number: usize) -> Self {
        Self(Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

fn wire_kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
    }
}

fn unix_now_ns() -> u64 {
    unix_ns(SystemTime::now())
}

fn unix_ns(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
