//! What a session on HTTP long-polling has beside its other state: the request that waits, the messages that wait for
//! a request, and the WebSocket that is about to take over (wire.md 1.6 and 1.8).

use std::{collections::VecDeque, rc::Rc};

use broadgate_protocol::engineio::payload;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    NodeId, Outgoing,
    peer::{Leave, PeerReply, Visitor},
    request::Refused,
};
use crate::net::ConnectionId;

/// While a WebSocket is probing, a waiting poll is let go with a noop this often (wire.md 1.8).
pub(super) const NOOP_INTERVAL_MS: u64 = 100;
/// A session that is closing waits this long for a poll that takes the rest (wire.md 1.1, "polling close grace").
pub(super) const CLOSE_GRACE_MS: u64 = 30_000;

/// The body that answers a poll.
#[derive(Debug)]
pub(super) struct PollBody {
    pub(super) bytes: Bytes,
    pub(super) compress: bool,
}

/// The way back for what a poll is answered with.
pub(super) enum PollReply {
    /// To a request of this node.
    Here(oneshot::Sender<Result<PollBody, Refused>>),
    /// To a request that another node holds.
    Elsewhere(PeerReply),
}

impl PollReply {
    /// The node that holds the client's request, where it is another.
    pub(super) fn asker(&self) -> Option<NodeId> {
        match self {
            Self::Here(_) => None,
            Self::Elsewhere(reply) => Some(reply.asker()),
        }
    }

    /// Answers. A client that is gone needs none: its session is closed by whoever notices that.
    pub(super) fn send(self, answer: Result<PollBody, Refused>) {
        match self {
            Self::Here(sender) => {
                let _gone = sender.send(answer);
            }
            Self::Elsewhere(reply) => reply.send(answer),
        }
    }
}

/// Where a WebSocket is that asked to take the session over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeAt {
    Here(ConnectionId),
    /// At another node, to which the session moves with it.
    Elsewhere(Visitor),
}

/// A WebSocket that asked to take the session over.
pub(super) struct Probe {
    pub(super) at: ProbeAt,
    /// Did it send `2probe`?
    pub(super) probed: bool,
    pub(super) deadline_ms: u64,
    pub(super) next_noop_ms: u64,
}

#[derive(Default)]
pub(super) struct Polling {
    pub(super) poll: Option<PollReply>,
    /// A POST whose body is being read; dropping this drops its connection without an answer.
    pub(super) push: Option<oneshot::Sender<()>>,
    pub(super) probe: Option<Probe>,
    /// The session is on its way to another node.
    pub(super) leave: Option<Leave>,
    /// The application knows that the session is over; the next poll gets the rest and a close packet.
    pub(super) closing_until_ms: Option<u64>,
    waiting: VecDeque<Rc<Outgoing>>,
    queued_bytes: usize,
}

impl Polling {
    pub(super) fn push(&mut self, outgoing: &Rc<Outgoing>) {
        self.queued_bytes += outgoing.chunk().len();
        self.waiting.push_back(Rc::clone(outgoing));
    }

    /// May a message of this size wait, too? One always may, however large.
    pub(super) fn has_place_for(&self, bytes: usize, max_queued_bytes: usize) -> bool {
        !self.has_waiting() || self.queued_bytes + bytes <= max_queued_bytes
    }

    /// Takes all that waits, for another transport.
    pub(super) fn take_waiting(&mut self) -> VecDeque<Rc<Outgoing>> {
        self.queued_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// How many messages wait, for the counters.
    pub(super) fn waiting_messages(&self) -> u64 {
        self.waiting.iter().map(|outgoing| u64::from(outgoing.messages())).sum()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes all that waits as one payload, with `last` (a control packet) behind it. Also tells how many messages.
    pub(super) fn take_body(&mut self, last: Option<&'static str>) -> (PollBody, u64) {
        let mut bytes = Vec::with_capacity(self.queued_bytes + self.waiting.len() + 2);
        // A poll is compressed unless every packet in it asks for the contrary (wire.md 1.6).
        let (mut compress, mut messages) = (false, 0);
        for outgoing in self.take_waiting() {
            if !bytes.is_empty() {
                bytes.push(payload::SEPARATOR);
            }
            bytes.extend_from_slice(outgoing.chunk());
            compress |= outgoing.may_compress();
            messages += u64::from(outgoing.messages());
        }
        if let Some(last) = last {
            if !bytes.is_empty() {
                bytes.push(payload::SEPARATOR);
            }
            bytes.extend_from_slice(last.as_bytes());
        }
        (PollBody { bytes: bytes.into(), compress }, messages)
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        if let Some(leave) = &self.leave {
            return leave.deadline_ms;
        }
        self.probe.as_ref().map_or(u64::MAX, |probe| {
            let noop_ms = if probe.probed { probe.next_noop_ms } else { u64::MAX };
            probe.deadline_ms.min(noop_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Part, *};

    fn message(text: &'static str, compress: bool) -> Rc<Outgoing> {
        Outgoing::new(vec![Part::Text(text.into())], 1, compress)
    }

    #[test]
    fn all_that_waits_goes_out_in_one_payload() {
        let mut polling = Polling::default();
        polling.push(&message("a", false));
        polling.push(&Outgoing::binary(vec![1]));
        assert_eq!(polling.queued_bytes, 7);
        let (body, messages) = polling.take_body(Some("1"));
        assert_eq!((&*body.bytes, body.compress, messages), (&b"4a\x1ebAQ==\x1e1"[..], true, 2));
        assert_eq!(&*polling.take_body(Some("6")).0.bytes, b"6");
        assert_eq!(polling.queued_bytes, 0);
    }

    #[test]
    fn one_packet_that_may_be_compressed_is_enough() {
        let mut polling = Polling::default();
        polling.push(&message("a", false));
        polling.push(&message("b", true));
        assert!(polling.take_body(None).0.compress);
    }
}
