//! Spans of what is sampled: handshakes from the open session to the answer of CONNECT, and deliveries.

use std::time::SystemTime;

use super::fanout::Received;
use crate::{
    engineio::SessionId,
    telemetry::{Span, SpanKind, Traces},
};

/// Handshakes of one shard that are recorded at a time. They are few, so a list is looked through.
const MAX_HANDSHAKES: usize = 64;

/// The handshakes that are recorded; nearly always none. Sessions know nothing of it.
#[derive(Default)]
pub(super) struct HandshakeSpans(Vec<(SessionId, Span)>);

impl HandshakeSpans {
    /// A session is open.
    pub(super) fn begin(&mut self, traces: &Traces, session: SessionId) {
        if self.0.len() < MAX_HANDSHAKES
            && let Some(span) = traces.root("handshake", SpanKind::Server)
        {
            self.0.push((session, span));
        }
    }

    /// It is in a namespace, or was refused or closed before, with the code of that.
    pub(super) fn end(&mut self, session: SessionId, result: Result<&str, &'static str>) {
        let Some(at) = self.0.iter().position(|(one, _)| *one == session) else { return };
        let (_, mut span) = self.0.swap_remove(at);
        match result {
            Ok(namespace) => span.set("broadgate.namespace", namespace),
            Err(code) => span.fail(code),
        }
    }
}

/// When the delivery of a run begins, where one of its messages is recorded.
pub(super) fn begun(traces: &Traces, run: &[Received]) -> Option<SystemTime> {
    let is_recorded = |received: &Received| traces.records(received.broadcast.stamp.trace.as_ref());
    run.iter().any(is_recorded).then(SystemTime::now)
}

/// A span for each message that is recorded, if the shard has anyone for it.
pub(super) fn delivered(traces: &Traces, run: &[Received], shard: u8, reached: usize, begun: SystemTime) {
    if reached == 0 {
        return;
    }
    for received in run {
        let Some(trace) = received.broadcast.stamp.trace else { continue };
        let Some(mut span) = traces.child("deliver", SpanKind::Consumer, &trace) else { continue };
        span.began(begun);
        span.set("broadgate.shard", i64::from(shard));
        span.set("broadgate.delivered", reached);
    }
}
