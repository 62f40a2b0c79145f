//! Requests for sessions, as they reach the session's owner: from a connection of the same shard by a call, from
//! another shard by its inbox. Both are the same values, so that a third way, from another node, can be the same too.

use broadgate_protocol::engineio::RequestError;
use tokio::sync::oneshot;

use super::{Id, NodeId, PeerDelivery, SessionId, polling::PollReply};
use crate::net::PeerStream;

/// Why a request got no `200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// One of the documented errors with its body (wire.md 1.3).
    Error(RequestError),
    /// An empty answer with this status.
    Status(u16),
}

/// How a POST goes on: reading of the body ends when this is cancelled.
pub(super) type PushTicket = oneshot::Receiver<()>;

/// What a WebSocket for an existing session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpgradeVerdict {
    /// Accept it and start the probe.
    Probe,
    /// Accept it and close it at once: another one has the session already (wire.md 1.3).
    AcceptAndClose,
}

/// One request for one session.
pub(super) enum Request {
    Poll {
        eio4: bool,
        reply: PollReply,
    },
    PollAborted,
    BeginPush {
        eio4: bool,
        binary: bool,
        reply: oneshot::Sender<Result<PushTicket, Refused>>,
    },
    Push {
        body: Vec<u8>,
        reply: oneshot::Sender<()>,
    },
    /// The body did not come. `keep_session`: it was too large, which costs only the request (wire.md 1.6).
    PushFailed {
        keep_session: bool,
    },
    /// Another method on a session (wire.md 1.6).
    Check {
        eio4: bool,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    CheckUpgrade {
        eio4: bool,
        reply: oneshot::Sender<Result<UpgradeVerdict, Refused>>,
    },
    Upgrade {
        socket: PeerStream,
        early: Vec<u8>,
    },
}

/// What a shard with an Engine.IO server takes from other threads.
pub enum EngineMessage<M> {
    /// For the application.
    Application(M),
    /// For a session of this shard.
    #[doc(hidden)]
    Request(RoutedRequest),
    /// Of another node.
    Peer(PeerDelivery),
    /// What this node published before a cut is in the inbox before this.
    #[doc(hidden)]
    CutHere(SessionId),
    /// A message about this session, which is on its way to another node or from there, did not arrive.
    #[doc(hidden)]
    PeerUnreachable(SessionId),
    /// A node is gone; or the link to all of them, with what was on it.
    PeerLost(Option<NodeId>),
    /// The node is going away: take no new sessions, and close those that are there over this time. When none is left it
    /// is told.
    Drain {
        /// How long it takes.
        window_ms: u64,
        /// Who waits for the end.
        drained: oneshot::Sender<()>,
    },
    /// Close every session at once, and all connections with them.
    Shutdown,
}

/// A request with the session that it is for.
pub struct RoutedRequest {
    pub(super) session: Id,
    pub(super) request: Request,
}
