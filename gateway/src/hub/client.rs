//! What the hub knows of one session: its sockets and the rooms that they are in. Owned by the shard's
//! [`Directory`](super::directory::Directory).

use broadgate_protocol::socketio::Assembler;
use smallvec::SmallVec;

use super::identity::Identity;
use crate::engineio::{IdText, SessionId};

/// A namespace of the configuration, by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NamespaceId(pub(super) u16);

/// A room of this shard, by its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoomId(pub(super) u32);

/// A socket in a room: where the room has it in its list of members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) room: RoomId,
    pub(super) position: u32,
}

/// One Socket.IO socket. The first membership is always that in the room of everyone in the namespace.
pub(super) struct Socket {
    pub(super) namespace: NamespaceId,
    /// In seconds since 1970; lies in space that would be empty otherwise.
    pub(super) connected_at_s: u32,
    /// The secret part of its id, which tells it from an earlier socket of the same session.
    pub(super) secret: u64,
    pub(super) memberships: SmallVec<[Membership; 2]>,
}

/// A session as the hub sees it. Most have one socket, which lives in place.
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) sockets: SmallVec<[Socket; 1]>,
    /// A packet that waits for its attachments.
    pub(super) assembler: Option<Box<Assembler>>,
    /// Joins and publishes that wait for the adapter.
    pub(super) pending_acks: u32,
    /// When the session opened here, by the low bits of the shard's clock in milliseconds; lies in space that would be
    /// empty otherwise.
    pub(super) opened_at_ms: u32,
    /// Of a session that came from another node.
    pub(super) foreign: Option<Box<Foreign>>,
    /// Of one with a token.
    pub(super) identity: Option<Box<Identity>>,
}

/// What a session has kept of the node that it came from.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// The ids of its sockets.
    pub(super) ids: Vec<(NamespaceId, IdText)>,
    /// The session as it was there.
    pub(super) session: u64,
    /// Acks that the client owes that node.
    pub(super) acks: Vec<(u64, NamespaceId)>,
}

impl Client {
    pub(super) fn new(session: SessionId, now_ms: u64) -> Self {
        Self {
            session,
            sockets: SmallVec::new(),
            assembler: None,
            pending_acks: 0,
            opened_at_ms: now_ms as u32,
            foreign: None,
            identity: None,
        }
    }

    /// How long it has been open here, in milliseconds; wrong for one that is older than 49 days.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        u64::from((now_ms as u32).wrapping_sub(self.opened_at_ms))
    }

    pub(super) fn socket(&self, namespace: NamespaceId) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.namespace == namespace)
    }

    pub(super) fn socket_mut(&mut self, namespace: NamespaceId) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|socket| socket.namespace == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_client_outlives_a_turn_of_its_clock() {
        for (opened_ms, now_ms, age_ms) in [
            (5, 5, 0),
            (5, 1005, 1000),
            ((1 << 32) - 1, 1 << 32, 1),
            ((3 << 32) + 7, (4 << 32) + 6, u64::from(u32::MAX)),
        ] {
            assert_eq!(Client::new(SessionId::for_tests(0), opened_ms).age_ms(now_ms), age_ms);
        }
    }

    #[test]
    fn a_client_with_one_socket_in_one_room_is_small_and_owns_no_heap() {
        assert!(size_of::<Client>() <= 104, "{}", size_of::<Client>());
    }
}
