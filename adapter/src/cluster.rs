//! What nodes of a cluster ask each other, and how they answer (the request table of wire.md 3.1).

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{Broadcast, PublishError};

/// Which sockets of a namespace a request is about: the union of the rooms (everyone where there is none), minus the
/// members of the excepted ones. A socket's id is a room of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets {
    /// See the type.
    pub rooms: Vec<Box<str>>,
    /// See the type.
    pub except: Vec<Box<str>>,
}

/// A request to the nodes of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// With its slash.
    pub namespace: Box<str>,
    /// What is asked.
    pub kind: RequestKind,
}

/// The kinds of requests; the numbers are those of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// 0: the ids of the sockets in some room of these, or of all.
    Sockets {
        /// Union of these rooms.
        rooms: Vec<Box<str>>,
    },
    /// 1: the names of all rooms, with the sockets' own.
    AllRooms,
    /// 2: sockets join rooms.
    Join {
        /// Which sockets.
        targets: Targets,
        /// What they join.
        rooms: Vec<Box<str>>,
    },
    /// 3: sockets leave rooms.
    Leave {
        /// Which sockets.
        targets: Targets,
        /// What they leave.
        rooms: Vec<Box<str>>,
    },
    /// 4: sockets are disconnected from the namespace.
    Disconnect {
        /// Which sockets.
        targets: Targets,
        /// Is the connection closed, too?
        close: bool,
    },
    /// 5: the sockets with their details.
    Fetch {
        /// Which sockets.
        targets: Targets,
    },
    /// 6: an event for the servers themselves.
    ServerSideEmit {
        /// The JSON array of the event's name and arguments.
        data: Box<str>,
    },
    /// 7: a broadcast whose receivers answer.
    Broadcast {
        /// What, and to whom.
        broadcast: Arc<Broadcast>,
        /// How long the asker waits for the receivers.
        timeout_ms: Option<u64>,
    },
}

impl RequestKind {
    /// Names of all kinds, by their number; for metrics.
    pub const NAMES: [&'static str; 8] =
        ["sockets", "all_rooms", "join", "leave", "disconnect", "fetch", "server_side_emit", "broadcast"];

    /// The number on the wire.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::Sockets { .. } => 0,
            Self::AllRooms => 1,
            Self::Join { .. } => 2,
            Self::Leave { .. } => 3,
            Self::Disconnect { .. } => 4,
            Self::Fetch { .. } => 5,
            Self::ServerSideEmit { .. } => 6,
            Self::Broadcast { .. } => 7,
        }
    }

    /// Is it carried out by every node, the sender's included, and answered by none?
    #[must_use]
    pub fn is_command(&self) -> bool {
        matches!(self, Self::Join { .. } | Self::Leave { .. } | Self::Disconnect { .. })
    }
}

/// A socket, as other nodes are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketDetails {
    /// Its id.
    pub id: Box<str>,
    /// Its rooms; its id first.
    pub rooms: Vec<Box<str>>,
    /// When it connected, in milliseconds since 1970; `handshake.issued` to Node.
    pub connected_at_ms: Option<u64>,
    /// What the application keeps with the socket, as JSON.
    pub data: Option<Box<str>>,
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`RequestKind::Sockets`].
    Sockets(Vec<Box<str>>),
    /// To [`RequestKind::AllRooms`].
    Rooms(Vec<Box<str>>),
    /// To [`RequestKind::Fetch`].
    Fetched(Vec<SocketDetails>),
    /// To a command in its old form, by the node that has the socket.
    Done,
    /// To [`RequestKind::ServerSideEmit`] with an ack: its one argument as JSON, if there is one.
    ServerSideAck(Option<Box<str>>),
    /// To [`RequestKind::Broadcast`]: how many clients got it and are to answer (8 on the wire). Always sent.
    ClientCount(u64),
    /// The same: what one client answered (9 on the wire).
    ClientAck {
        /// The first argument of the client's ack as JSON, if there is one.
        json: Option<Box<str>>,
        /// Attachments, to which the placeholders in `json` refer.
        attachments: Vec<Bytes>,
    },
}

/// The way of the answers to one request. Cloning gives another handle of the same way.
#[derive(Clone, Default)]
pub struct Responder(Option<Arc<dyn Fn(Response) + Send + Sync>>);

impl Responder {
    /// Answers by calling `respond`, which must not block.
    pub fn new(respond: impl Fn(Response) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(respond)))
    }

    /// Does anybody wait for an answer?
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        self.0.is_some()
    }

    /// Answers. Does nothing where nobody waits.
    pub fn respond(&self, response: Response) {
        if let Some(respond) = &self.0 {
            respond(response);
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Responder").field(&self.wants_answer()).finish()
    }
}

/// What became of a request of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// Other nodes that should have answered; 0 for a command.
    pub expected: usize,
    /// How many did, in time.
    pub answered: usize,
    /// What they said.
    pub responses: Vec<Response>,
    /// Was something left out, because it was more than the node takes?
    pub truncated: bool,
}

impl Answers {
    /// Is nothing missing?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.answered >= self.expected && !self.truncated
    }
}

/// Why a request did not reach the other nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It could not be published, or the nodes could not be counted.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// As many requests of this node wait for answers as may.
    #[error("too many requests wait for the other nodes")]
    TooManyPending,
}
