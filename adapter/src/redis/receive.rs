//! From a message that Redis pushed to the node, on the link's reader: no task and no queue in between.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::warn;

use super::{Clock, exchange::Exchange, log_bound::LogBound, nodes::Nodes, revocations::RevocationKeeper};
use crate::{
    Event, EventSink, Origin, Responder,
    counters::Counters,
    wire::{
        self, ChannelName, Channels, DecodeError, Inbound, Limits, NodeChannel, PythonMessage,
        RequestChannel, decode_python,
    },
};

/// Decodes what arrives and hands it to the sink.
pub(super) struct Receiver {
    pub(super) uid: Box<str>,
    pub(super) channels: Channels,
    /// Empty: none.
    pub(super) python_channel: Box<str>,
    pub(super) limits: Limits,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
    pub(super) malformed_log: Mutex<LogBound>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) revocations: Arc<RevocationKeeper>,
}

impl Receiver {
    /// Takes one message.
    pub(super) fn receive(&self, channel: &[u8], payload: &[u8]) {
        self.counters.received_bytes.add(payload.len() as u64);
        if let Err(error) = self.take(channel, payload) {
            self.skip(channel, payload, &error);
        }
    }

    fn take(&self, channel: &[u8], payload: &[u8]) -> Result<(), DecodeError> {
        let channel = std::str::from_utf8(channel).map_err(|_| DecodeError::Utf8("the channel's name"))?;
        if let Some(name) = self.channels.parse(channel) {
            return self.on_broadcast(name, payload);
        }
        match self.channels.parse_request(channel) {
            Some(RequestChannel::Requests(namespace)) => self.exchange.on_request(namespace, payload),
            Some(RequestChannel::Responses(_)) => self.exchange.on_response(payload),
            None => self.on_node_channel(channel, payload),
        }
    }

    fn on_node_channel(&self, channel: &str, payload: &[u8]) -> Result<(), DecodeError> {
        match self.channels.parse_node(channel) {
            Some(NodeChannel::Notices) => self.nodes.on_notice(payload),
            Some(NodeChannel::Revocations) => self.revocations.on_message(payload),
            Some(NodeChannel::To(_)) => {
                DecodeError::check_message_bytes(payload, &self.limits)?;
                self.counters.node_messages_received.increment();
                self.sink.deliver(Event::NodeMessage { payload: Bytes::copy_from_slice(payload) });
                Ok(())
            }
            None if channel == &*self.python_channel => self.on_python(payload),
            None => Err(DecodeError::Channel("it must end with #")),
        }
    }

    fn on_broadcast(&self, name: ChannelName<'_>, payload: &[u8]) -> Result<(), DecodeError> {
        match wire::decode(payload, &self.uid, name, &self.limits)? {
            Inbound::Broadcast(broadcast, origin) => {
                self.counters.received.increment();
                self.sink.deliver(Event::Broadcast(Arc::new(broadcast), origin));
            }
            Inbound::Own => self.counters.skipped_own.increment(),
            Inbound::OtherNamespace => {}
        }
        Ok(())
    }

    fn on_python(&self, payload: &[u8]) -> Result<(), DecodeError> {
        match decode_python(payload, &self.limits)? {
            PythonMessage::Emit(broadcast) => {
                self.counters.received.increment();
                self.sink.deliver(Event::Broadcast(Arc::new(broadcast), Origin::OTHER));
            }
            PythonMessage::Command(request) => {
                self.counters.requests_received[usize::from(request.kind.number())].increment();
                self.sink.deliver(Event::Request(Arc::new(request), Responder::default(), Origin::OTHER));
            }
            PythonMessage::Unknown => self.counters.requests_unknown.increment(),
            PythonMessage::Nothing => {}
        }
        Ok(())
    }

    fn skip(&self, channel: &[u8], payload: &[u8], error: &DecodeError) {
        self.counters.malformed.increment();
        let Some(left_out) = self.malformed_log.lock().allow(self.clock.now_ms()) else { return };
        let channel = excerpt(&String::from_utf8_lossy(channel), 100);
        // A JSON error quotes keys of the message, which can be long.
        let error = excerpt(&error.to_string(), 300);
        warn!(
            ?channel,
            ?error,
            payload_bytes = payload.len(),
            lines_left_out = left_out,
            "skipped a malformed message from Redis"
        );
    }
}

fn excerpt(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}
