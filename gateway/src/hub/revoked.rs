//! Tokens that count no more: whoever is here with one is disconnected. Which those are, the node's
//! [`RevocationStore`](crate::auth::RevocationStore) knows; CONNECT and fresh tokens are checked there, too.

use super::{
    client::NamespaceId,
    packets,
    shard_hub::{Hub, unix_time_ms},
};
use crate::engineio::{CloseReason, EngineIo, SessionId};

impl Hub {
    /// Tokens were revoked since this was looked at last.
    pub(super) fn disconnect_revoked(&mut self, io: &mut EngineIo) {
        let (now_s, store) = (unix_time_ms() / 1000, &self.spec.revocations);
        let mut revoked: Vec<(SessionId, NamespaceId)> = Vec::new();
        for client in self.directory.clients() {
            let grants = client.identity.iter().flat_map(|identity| &identity.grants);
            let of_client = grants.filter(|one| store.is_revoked(&one.grant, now_s));
            revoked.extend(of_client.map(|one| (client.session, one.namespace)));
        }
        for (session, namespace) in revoked {
            self.end_revoked(io, session, namespace);
        }
    }

    /// The client is told by a DISCONNECT, so it does not come back by itself (wire.md 1.11); were it to, its token would
    /// be refused.
    fn end_revoked(&mut self, io: &mut EngineIo, session: SessionId, namespace: NamespaceId) {
        io.send(session, &packets::disconnect(&self.namespace_name(namespace)), false);
        self.disconnect(io, session, namespace);
        io.counters().sockets_revoked.add(1);
        if self.directory.client(session.index).is_some_and(|client| client.sockets.is_empty()) {
            io.doom(session, CloseReason::TokenRevoked);
        }
    }
}
