//! The edge: spans to the receiver, as OTLP over HTTP with protobuf, from a thread of its own.
//!
//! What the receiver does not take is dropped and counted: a span is worth nothing next to a message. After a failure
//! the next attempt waits longer, and what finds no room in the queue meanwhile is counted there.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Recorder, Traces,
    receiver::{Receiver, ReceiverError},
};
use crate::config::TracesSettings;

/// Spans of one request.
const MAX_BATCH_SPANS: usize = 512;
/// How long spans are gathered.
const EXPORT_INTERVAL: Duration = Duration::from_millis(500);
/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// At most one line about failures in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The exporter's thread, for the end.
pub(crate) struct Exporter {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

/// Starts the exporter, where there is a receiver. `instance` is the node's name.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(settings: &TracesSettings, instance: &str) -> io::Result<(Traces, Option<Exporter>)> {
    let Some(receiver) = Receiver::new(settings) else { return Ok((Traces::default(), None)) };
    let (queue, spans) = mpsc::channel(settings.max_queued_spans);
    let samples_per_million = settings.samples_per_million;
    let recorder = Arc::new(Recorder::new(samples_per_million, queue));
    let ((stop, stopping), (done, stopped)) = (oneshot::channel(), oneshot::channel());
    let mut export = Export {
        receiver,
        resource: resource(settings, instance),
        recorder: Arc::clone(&recorder),
        failures: 0,
        last_line: None,
        is_told: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("traces".to_owned()).spawn(move || {
        runtime.block_on(export.run(spans, stopping));
        // Nobody waits where the node gave up on it.
        let _unheard = done.send(());
    })?;
    Ok((Traces(Some(recorder)), Some(Exporter { stop, stopped })))
}

impl Exporter {
    /// Sends what waits, for as long as `timeout` at most. False: the time was up before.
    pub(crate) async fn shut_down(self, timeout: Duration) -> bool {
        if self.stop.send(()).is_err() {
            return false;
        }
        tokio::time::timeout(timeout, self.stopped).await.is_ok_and(|stopped| stopped.is_ok())
    }
}

struct Export {
    receiver: Receiver,
    resource: Resource,
    recorder: Arc<Recorder>,
    /// Requests that failed one after the other.
    failures: u32,
    last_line: Option<Instant>,
    /// Was a line written that it takes none?
    is_told: bool,
}

impl Export {
    async fn run(&mut self, mut spans: mpsc::Receiver<Box<WireSpan>>, mut stopping: oneshot::Receiver<()>) {
        let mut is_stopping = false;
        while !is_stopping {
            tokio::select! {
                () = tokio::time::sleep(pause(self.failures)) => {}
                _ = &mut stopping => is_stopping = true,
            }
            loop {
                let batch = next_batch(&mut spans);
                if batch.is_empty() {
                    break;
                }
                let is_full = batch.len() == MAX_BATCH_SPANS;
                if !self.export(batch).await || !is_full {
                    break;
                }
            }
        }
    }

    /// False: nothing was taken.
    async fn export(&mut self, batch: Vec<WireSpan>) -> bool {
        let count = batch.len() as u64;
        // It blocks this thread, which is the exporter's own.
        self.receiver.headers.look_again(&self.recorder.headers, LOG_INTERVAL);
        let request = self.request_of(batch);
        let answer = self.receiver.post(&request).await;
        let counts = &self.recorder.counts;
        match answer {
            Ok(answer) => {
                let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
                let rejected = u64::try_from(rejected).unwrap_or_default().min(count);
                counts.exported.fetch_add(count - rejected, Ordering::Relaxed);
                counts.export_failed.fetch_add(rejected, Ordering::Relaxed);
                self.failures = 0;
                if std::mem::take(&mut self.is_told) {
                    tracing::info!("the receiver takes spans again");
                }
                true
            }
            Err(error) => {
                counts.export_failed.fetch_add(count, Ordering::Relaxed);
                self.failures = self.failures.saturating_add(1);
                self.log(&error);
                false
            }
        }
    }

    fn request_of(&self, spans: Vec<WireSpan>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "broadgate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }
    }

    fn log(&mut self, error: &ReceiverError) {
        if self.last_line.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        (self.last_line, self.is_told) = (Some(Instant::now()), true);
        let retry_ms = pause(self.failures).as_millis();
        tracing::warn!(%error, retry_ms, "the receiver of traces took no spans; they are dropped and counted");
    }
}

fn pause(failures: u32) -> Duration {
    EXPORT_INTERVAL.saturating_mul(1 << failures.min(8)).min(MAX_PAUSE)
}

fn next_batch(spans: &mut mpsc::Receiver<Box<WireSpan>>) -> Vec<WireSpan> {
    let mut batch = Vec::new();
    while batch.len() < MAX_BATCH_SPANS {
        let Ok(span) = spans.try_recv() else { break };
        batch.push(*span);
    }
    batch
}

fn resource(settings: &TracesSettings, instance: &str) -> Resource {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    let attributes = vec![
        attribute("service.name", &settings.service_name),
        attribute("service.instance.id", instance),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
    ];
    Resource { attributes, ..Resource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<_> = [0, 1, 2, 6, 100].map(|failures| pause(failures).as_millis()).into();
        assert_eq!(pauses, [500, 1000, 2000, 30_000, 30_000]);
    }
}
