//! One WebSocket in the set: its socket, its decoder and its outgoing queue; nothing else. Owned by the socket set.

use std::os::fd::OwnedFd;

use broadgate_protocol::websocket::Decoder;

use super::frame::Outbox;

/// Names a connection of one shard; a later connection in the same place has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    pub(super) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_token(token: u64) -> Self {
        Self { index: token as u32, generation: (token >> 32) as u32 }
    }
}

/// Why a connection ended, as the layer above needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer sent a close frame, or ended its side.
    Peer,
    /// The transport failed.
    Error,
    /// The peer broke RFC 6455; the code was sent.
    Violation(u16),
    /// There was no room for its incomplete message; code 1013 was sent.
    NoRoom,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages go both ways.
    Open,
    /// A close frame is queued; what arrives is read and thrown away.
    Closing,
    /// Our side is shut down; waits for the peer's end, so that unread input does not reset what we sent.
    Lingering,
}

/// The state of one connection. An idle one is 48 bytes; a test holds it there.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) generation: u32,
    /// What the layer above knows it by.
    pub(super) tag: u32,
    pub(super) decoder: Decoder,
    pub(super) outbox: Outbox,
    pub(super) phase: Phase,
    /// Stands in the list of connections with something to write.
    pub(super) dirty: bool,
    /// The kernel's buffer is full; write interest is registered.
    pub(super) blocked: bool,
    /// It has a TLS session in the set.
    pub(super) is_encrypted: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, generation: u32, tag: u32) -> Self {
        Self {
            socket,
            generation,
            tag,
            decoder: Decoder::new(),
            outbox: Outbox::new(),
            phase: Phase::Open,
            dirty: false,
            blocked: false,
            is_encrypted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() <= 48, "{}", size_of::<Connection>());
    }

    #[test]
    fn a_token_names_index_and_generation() {
        let id = ConnectionId { index: 7, generation: u32::MAX };
        assert_eq!(ConnectionId::from_token(id.token()), id);
    }
}
