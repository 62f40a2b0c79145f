//! What is left of an HTTP connection after its upgrade: the naked socket, and the TLS session on it if there is one.

use std::os::fd::OwnedFd;

use super::tls::TlsSession;

/// See the module. May travel to another shard.
pub struct PeerStream {
    pub(super) socket: OwnedFd,
    pub(super) tls: Option<Box<TlsSession>>,
}

impl From<OwnedFd> for PeerStream {
    fn from(socket: OwnedFd) -> Self {
        Self { socket, tls: None }
    }
}
