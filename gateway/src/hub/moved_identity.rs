//! Who a client is, on its way between nodes.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    HubMessage,
    identity::{Credential, Identity, SocketGrant},
    moving::MovedSocket,
    shard_hub::{Hub, unix_time_ms},
};
use crate::{
    auth::Grant,
    config::Authentication,
    engineio::{BadState, EngineIo, EngineMessage, SessionId},
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

    /// Fails for a socket without the token that it needs here: a node with other settings, or of a version without tokens,
    /// lets clients in whom this one does not.
    pub(super) fn check_tokens(&self, sockets: &[MovedSocket]) -> Result<(), BadState> {
        let needs_token = |name: &str| {
            let mut namespaces = self.spec.namespaces.iter();
            let namespace = namespaces.find(|namespace| namespace.name == name);
            namespace.is_some_and(|namespace| namespace.authentication == Authentication::Required)
        };
        let lacks_token = |socket: &MovedSocket| socket.grant.is_none() && needs_token(&socket.namespace);
        if sockets.iter().any(lacks_token) { Err(BadState) } else { Ok(()) }
    }

    /// Takes in what [`Self::export_identity`] gave. A handshake that is longer than it may be here, or has no room, ends the session.
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
            Some(SocketGrant { namespace, grant: Rc::new(grant), is_warned, place: None })
        });
        let mut grants: SmallVec<[SocketGrant; 1]> = grants.collect();
        if grants.is_empty() && handshake.is_none() {
            return Ok(());
        }
        self.place_moved(&mut grants);
        let now_s = unix_time_ms() / 1000;
        let are_revoked = grants.iter().any(|one| self.spec.revocations.is_revoked(&one.grant, now_s));
        io.counters().inbound_buffer_bytes.add(bytes as u64);
        let client = self.directory.client_mut(session.index).ok_or(BadState)?;
        client.identity = Some(Box::new(Identity { handshake, grants, ..Identity::default() }));
        // While it was on its way. All clients are looked at then, which is too much for each that comes.
        if are_revoked {
            self.inbox().send(EngineMessage::Application(HubMessage::Revoked));
        }
        Ok(())
    }

    /// It was admitted where it comes from: one place for each of its users.
    fn place_moved(&self, grants: &mut [SocketGrant]) {
        for index in 0..grants.len() {
            let (before, rest) = grants.split_at_mut(index);
            let Some(one) = rest.first_mut() else { return };
            let mut known = before.iter().filter_map(|other| other.place.as_ref());
            let shared = known.find(|place| place.user() == &*one.grant.user).cloned();
            one.place = shared.or_else(|| self.spec.users.take(&one.grant.user).map(Rc::new));
        }
    }
}
