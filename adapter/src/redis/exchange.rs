//! Requests and answers between nodes, over the two links of the engine.
//!
//! Owns the requests of this node that wait for answers. What arrives comes from the subscribe link's reader; what is
//! sent goes through the publish queue, and the nodes are counted on the publish link.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Clock,
    driver::{LinkError, Outbound},
    log_bound::LogBound,
    publish::{PublishQueue, Traffic},
    topology::Census,
};
use crate::{
    Answers, Event, EventSink, Origin, PublishError, Request, RequestError, Responder, Response,
    counters::Counters,
    requests::PendingRequests,
    wire::{
        Channels, DecodeError, InboundRequest, Limits, decode_request, decode_response, encode_request,
        encode_response, response_request_id,
    },
};

/// Requests of this node that wait for answers, at most.
const MAX_PENDING: usize = 256;
const REQUEST_ID_BYTES: usize = 6;

/// See the module.
pub(super) struct Exchange {
    pub(super) uid: Box<str>,
    pub(super) channels: Channels,
    pub(super) limits: Limits,
    pub(super) queue: Arc<PublishQueue>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) counters: Arc<Counters>,
    pub(super) census: Census,
    pub(super) answer_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) cut_log: Mutex<LogBound>,
    pub(super) pending: Mutex<PendingRequests<Arc<Notify>>>,
}

impl Exchange {
    /// Takes what arrived on a request channel.
    pub(super) fn on_request(self: &Arc<Self>, namespace: &str, payload: &[u8]) -> Result<(), DecodeError> {
        let incoming = match decode_request(payload, namespace, &self.limits)? {
            InboundRequest::Request(incoming) => incoming,
            InboundRequest::Unknown(_) => {
                self.counters.requests_unknown.increment();
                return Ok(());
            }
        };
        let is_own = incoming.uid.as_deref() == Some(&*self.uid);
        // Commands are carried out when they come back, by the sender as well (wire.md 3.1).
        if is_own && !incoming.request.kind.is_command() {
            return Ok(());
        }
        self.counters.requests_received[usize::from(incoming.request.kind.number())].increment();
        let responder = match incoming.request_id {
            Some(id) => self.responder(namespace, id),
            None => Responder::default(),
        };
        let origin = incoming.uid.as_deref().map_or(Origin::UNKNOWN, Origin::of);
        self.sink.deliver(Event::Request(Arc::new(incoming.request), responder, origin));
        Ok(())
    }

    /// Answers on the channel to all nodes: Node.js servers of every version read it.
    fn responder(self: &Arc<Self>, namespace: &str, request_id: Box<str>) -> Responder {
        let channel = self.channels.responses(namespace);
        let exchange = Arc::clone(self);
        Responder::new(move |response| exchange.respond(channel.clone(), &request_id, &response))
    }

    fn respond(&self, channel: String, request_id: &str, response: &Response) {
        let max_bytes = self.limits.max_message_bytes;
        let encoded = encode_response(request_id, response, &self.limits).or_else(|_| {
            // A client may send JSON that has no value (1e999), or is too large. The one who asks must not wait for it.
            let nothing = Response::ClientAck { json: None, attachments: Vec::new() };
            encode_response(request_id, &nothing, &self.limits)
        });
        let Ok(encoded) = encoded else { return self.counters.responses_failed.increment() };
        if encoded.truncated {
            self.counters.responses_truncated.increment();
            if let Some(left_out) = self.cut_log.lock().allow(self.clock.now_ms()) {
                tracing::warn!(
                    max_bytes,
                    lines_left_out = left_out,
                    "an answer to another node is cut, since it would be too large"
                );
            }
        }
        match self.queue.push(Outbound::new(channel, encoded.payload), Traffic::Published) {
            Ok(_published) => self.counters.responses_sent.increment(),
            Err(_) => self.counters.responses_failed.increment(),
        }
    }

    /// Takes what arrived on a response channel; most of it answers requests of other nodes.
    pub(super) fn on_response(&self, payload: &[u8]) -> Result<(), DecodeError> {
        if self.pending.lock().is_empty() {
            return Ok(());
        }
        let Some(id) = response_request_id(payload, &self.limits)? else { return Ok(()) };
        let Some(kind) = self.pending.lock().kind(&id) else { return Ok(()) };
        let response = decode_response(payload, kind, &self.limits)?;
        self.counters.responses_received.increment();
        if let Some(done) = self.pending.lock().answer(&id, response) {
            done.notify_one();
        }
        Ok(())
    }

    pub(super) fn pending_count(&self) -> usize {
        self.pending.lock().len()
    }

    /// Publishes a command: nobody answers, so it is enough that Redis has it.
    pub(super) fn command(&self, request: &Request) -> Result<super::publish::Published, RequestError> {
        let payload = encode_request(&self.uid, None, request, &self.limits)
            .map_err(|error| PublishError::Invalid(error.to_string()))?;
        Ok(self.publish(request, payload)?)
    }

    fn publish(
        &self,
        request: &Request,
        payload: Vec<u8>,
    ) -> Result<super::publish::Published, PublishError> {
        let outbound = Outbound::new(self.channels.requests(&request.namespace), payload);
        let published = self.queue.push(outbound, Traffic::Published)?;
        self.counters.requests_sent[usize::from(request.kind.number())].increment();
        Ok(published)
    }

    /// Counts the nodes, asks them, and waits for all answers or the deadline.
    pub(super) async fn ask(self: Arc<Self>, request: Arc<Request>) -> Result<Answers, RequestError> {
        let channel = self.channels.requests(&request.namespace);
        let link = self.queue.link().ok_or(PublishError::LinkDown)?;
        let count = self.census.count(link, &channel).await.map_err(|error| match error {
            LinkError::Timeout => PublishError::Refused("the nodes were not counted in time".into()),
            LinkError::Failed(reason) => PublishError::Refused(reason),
        })?;
        // This node is one of them. Where a server is silent, somebody may be missing.
        let subscriptions = usize::try_from(count.subscriptions).unwrap_or(usize::MAX);
        let expected = subscriptions.saturating_sub(1).saturating_add(count.silent_servers);
        if expected == 0 {
            return Ok(Answers::default());
        }
        let mut random = [0; REQUEST_ID_BYTES];
        getrandom::fill(&mut random).map_err(|_| PublishError::Refused("no random source".into()))?;
        let id = URL_SAFE_NO_PAD.encode(random);
        let payload = encode_request(&self.uid, Some(&id), &request, &self.limits)
            .map_err(|error| PublishError::Invalid(error.to_string()))?;
        let done = Arc::new(Notify::new());
        self.pending.lock().begin(&id, &request, expected, Arc::clone(&done))?;
        let waiting = Waiting { exchange: &self, id: &id };
        let began = Instant::now();
        // Whether it was taken is seen by the answers.
        let _published = self.publish(&request, payload)?;
        let in_time = tokio::time::timeout(self.answer_timeout, done.notified()).await.is_ok();
        let answers = waiting.take();
        self.counters.request_durations.observe(began.elapsed());
        let figure = if in_time { &self.counters.requests_complete } else { &self.counters.requests_partial };
        figure.increment();
        Ok(answers)
    }
}

/// Takes the request out even where nobody waits for it any more.
struct Waiting<'a> {
    exchange: &'a Exchange,
    id: &'a str,
}

impl Waiting<'_> {
    fn take(self) -> Answers {
        self.exchange.pending.lock().finish(self.id).unwrap_or_default()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.exchange.pending.lock().finish(self.id);
    }
}

/// No request waits.
pub(super) fn none_pending() -> Mutex<PendingRequests<Arc<Notify>>> {
    Mutex::new(PendingRequests::new(MAX_PENDING))
}
