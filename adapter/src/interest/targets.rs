//! What can be subscribed, and what is known of each.

use std::sync::Arc;

/// One channel or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The channel of a whole namespace.
    Everyone {
        /// With its slash.
        namespace: Arc<str>,
    },
    /// The pattern of the rooms that start with the node's prefix.
    OwnRooms {
        /// With its slash.
        namespace: Arc<str>,
    },
    /// The channel of requests to all nodes. Whoever is subscribed is counted as a node, so it is one subscription.
    Requests {
        /// With its slash.
        namespace: Arc<str>,
    },
    /// The channel of answers to all nodes.
    Responses {
        /// With its slash.
        namespace: Arc<str>,
    },
    /// The channel of answers to this node.
    OwnResponses {
        /// With its slash.
        namespace: Arc<str>,
    },
    /// The channel of what nodes tell each other of themselves.
    Notices,
    /// The channel of messages to this node.
    NodeMessages,
    /// The channel of revocations.
    Revocations,
    /// The channel of python-socketio.
    Python,
    /// The channel of one room.
    Room {
        /// With its slash.
        namespace: Arc<str>,
        /// The room.
        room: Arc<str>,
    },
}

impl Target {
    pub(super) fn subscribe_verb(&self) -> Verb {
        match self {
            Self::OwnRooms { .. } => Verb::SubscribePatterns,
            Self::Everyone { .. }
            | Self::Requests { .. }
            | Self::Responses { .. }
            | Self::OwnResponses { .. }
            | Self::Notices
            | Self::NodeMessages
            | Self::Revocations
            | Self::Python
            | Self::Room { .. } => Verb::Subscribe,
        }
    }
}

/// Which Redis command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `SUBSCRIBE`
    Subscribe,
    /// `PSUBSCRIBE`
    SubscribePatterns,
    /// `UNSUBSCRIBE`
    Unsubscribe,
}

/// Names a command until it is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(pub(super) u64);

/// A command to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// For [`super::Interest::confirmed`].
    pub id: CommandId,
    /// What to do.
    pub verb: Verb,
    /// With what; never empty.
    pub targets: Arc<[Target]>,
}

/// Where a target stands on the present link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LinkState {
    /// Not subscribed, and nothing under way: the link is down.
    #[default]
    Absent,
    /// To be subscribed by a next command.
    Queued,
    /// A command is under way.
    Subscribing,
    /// Redis has confirmed it.
    Confirmed,
    /// Still confirmed; to be unsubscribed by a next command.
    Leaving,
    /// A command is under way.
    Unsubscribing,
}

impl LinkState {
    pub(super) fn is_confirmed(self) -> bool {
        matches!(self, Self::Confirmed | Self::Leaving)
    }
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// One bit for each subscriber.
    pub(super) wanted_by: u64,
    /// Those of them who were not told yet.
    pub(super) waiting: u64,
    /// Wanted as long as the node runs.
    pub(super) always: bool,
    pub(super) link: LinkState,
    pub(super) idle_since_ms: Option<u64>,
    pub(super) in_idle_queue: bool,
    /// The gap's end waits for its confirmation.
    pub(super) after_outage: bool,
}

impl Entry {
    pub(super) fn always() -> Self {
        Self { always: true, ..Self::default() }
    }

    /// To be unsubscribed: it is not idle any more.
    pub(super) fn leave(&mut self) {
        self.idle_since_ms = None;
        self.link = LinkState::Leaving;
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.always || self.wanted_by != 0
    }
}

/// A room that has no subscription of its own, as the pattern covers it. One bit for each subscriber.
#[derive(Debug, Default)]
pub(super) struct Covered {
    pub(super) wanted_by: u64,
    /// Those of them who were not told yet.
    pub(super) waiting: u64,
}
