//! What one client may, and what it is told where it may not: the rules of the configuration, and names that are kept for
//! others, whatever the rules say.

use super::{
    client::NamespaceId,
    commands::{Caller, Refusal, forbidden},
    connecting::USER_ROOM,
    policy::{Denied, names_for_join},
    shard_hub::Hub,
};
use crate::{auth::Grant, engineio::Id};

impl Hub {
    pub(super) fn check_join(&self, caller: Caller<'_>, room: &str) -> Result<(), Refusal> {
        // It is in that room already.
        if self.is_users_room(caller, room) {
            return Ok(());
        }
        let grant = self.grant_of(caller);
        if room.starts_with(USER_ROOM) && !grant.is_some_and(|grant| names_for_join(grant, room)) {
            return Err(forbidden("this is the room of another user, and no token of the client names it"));
        }
        if self.is_an_id(caller.namespace, caller.session.index, room) {
            return Err(forbidden("this is the id of a socket, which nobody else can join"));
        }
        let namespace = self.namespace_name(caller.namespace);
        self.spec.policy.may_join(&namespace, room, grant).map_err(|denied| match denied {
            Denied::NoRule => forbidden("no rule allows to join this room"),
            Denied::Nobody => forbidden("no client may join this room"),
            Denied::NoToken => {
                forbidden("to join this room needs a token, and the client connected without one")
            }
            Denied::NotNamed => forbidden("the client's token does not name this room among those to join"),
        })
    }

    pub(super) fn check_publish(&self, caller: Caller<'_>, room: &str) -> Result<(), Refusal> {
        let namespace = self.namespace_name(caller.namespace);
        self.spec.policy.may_publish(&namespace, room, self.grant_of(caller)).map_err(|denied| match denied {
            Denied::NoRule => forbidden("no rule allows to publish to this room"),
            Denied::Nobody => forbidden("no client may publish to this room"),
            Denied::NoToken => {
                forbidden("to publish to this room needs a token, and the client connected without one")
            }
            Denied::NotNamed => {
                forbidden("the client's token does not name this room among those to publish to")
            }
        })
    }

    fn grant_of(&self, caller: Caller<'_>) -> Option<&Grant> {
        self.directory.client(caller.session.index)?.grant(caller.namespace)
    }

    /// Is this the room of all sockets of the caller's user, which it can't leave?
    pub(super) fn is_users_room(&self, caller: Caller<'_>, room: &str) -> bool {
        let user = room.strip_prefix(USER_ROOM);
        user.is_some_and(|user| self.grant_of(caller).is_some_and(|grant| *grant.user == *user))
    }

    /// Does the name look like the id of a socket of a node that is there? Whoever is in such a room gets what is meant
    /// for that socket. Its own socket is in it without a join.
    fn is_an_id(&self, namespace: NamespaceId, index: u32, room: &str) -> bool {
        let Some((node, _)) = Id::parse(room) else { return false };
        let is_known =
            node == self.spec.node || self.spec.peers.as_ref().is_some_and(|peers| peers.knows(node));
        is_known && !self.is_own_room(index, namespace, room)
    }
}
