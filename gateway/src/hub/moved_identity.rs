//! Who a client is, on its way between nodes.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    identity::{Credential, Identity, SocketGrant},
    moving::MovedSocket,
    shard_hub::Hub,
};
use crate::{
    auth::Grant,
    engineio::{BadState, EngineIo, SessionId},
};

/// What the token of a socket allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MovedGrant {
    pub(super) grant: Grant,
    pub(super) is_warned: bool,
}

/// The token of the session's first request, or what it gave.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MovedCredential {
    Token(Box<str>),
    Granted(Box<Grant>),
}

impl Hub {
    /// Gives each socket its grant; returns what there is of the handshake.
    pub(super) fn export_identity(
        &self,
        session: SessionId,
        sockets: &mut [MovedSocket],
    ) -> Option<MovedCredential> {
        let identity = self.directory.client(session.index)?.identity.as_ref()?;
        for one in &identity.grants {
            let name = self.namespace_name(one.namespace);
            let grant = MovedGrant { grant: (*one.grant).clone(), is_warned: one.is_warned };
            if let Some(socket) = sockets.iter_mut().find(|socket| socket.namespace == *name) {
                socket.grant = Some(grant);
            }
        }
        identity.handshake.as_ref().map(|credential| match credential {
            Credential::Token(token) => MovedCredential::Token(token.clone()),
            Credential::Granted(grant) => MovedCredential::Granted(Box::new((**grant).clone())),
        })
    }

    /// The opposite. A handshake that is longer than it may be here, or has no room, ends the session.
    pub(super) fn import_identity(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        sockets: Vec<MovedSocket>,
        handshake: Option<MovedCredential>,
    ) -> Result<(), BadState> {
        let handshake = handshake.map(|moved| match moved {
            MovedCredential::Token(token) => Credential::Token(token),
            MovedCredential::Granted(grant) => Credential::Granted(Rc::new(*grant)),
        });
        let bytes = handshake.as_ref().map_or(0, Credential::waiting_bytes);
        // One byte more than a token may have is what is kept of a longer one; a character more at most.
        if bytes > self.spec.tokens.max_token_bytes + 4 || !io.has_inbound_room(bytes) {
            return Err(BadState);
        }
        let grants = sockets.into_iter().filter_map(|socket| {
            let MovedGrant { grant, is_warned } = socket.grant?;
            let namespace = self.namespace(&socket.namespace)?;
            Some(SocketGrant { namespace, grant: Rc::new(grant), is_warned })
        });
        let grants: SmallVec<[SocketGrant; 1]> = grants.collect();
        if grants.is_empty() && handshake.is_none() {
            return Ok(());
        }
        io.counters().inbound_buffer_bytes.add(bytes as u64);
        let client = self.directory.client_mut(session.index).ok_or(BadState)?;
        client.identity = Some(Box::new(Identity { handshake, grants, ..Identity::default() }));
        Ok(())
    }
}
