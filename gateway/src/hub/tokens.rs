//! The tokens of sockets over time: they expire, and clients send fresh ones (`emit("auth", token, ack)`). A session has
//! one deadline, which is the earliest of all that wait.

use std::{collections::HashSet, rc::Rc};

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{
    client::NamespaceId,
    commands::{Caller, invalid, limit},
    connecting::claimed_rooms,
    identity::{Identity, Pending, Purpose, Stage},
    packets::{self, Answer},
    refused::Refused,
    shard_hub::{Hub, unix_time_ms},
};
use crate::{
    auth::Grant,
    config::OnExpiry,
    engineio::{CloseReason, EngineIo, SessionId},
};

impl Hub {
    /// Has the session looked at when something is to be done about it.
    pub(super) fn set_deadline(&self, io: &mut EngineIo, session: SessionId, now_ms: u64) {
        let Some(client) = self.directory.client(session.index) else { return };
        let deadline_ms = client.identity.as_ref().and_then(|identity| {
            identity.next_deadline_ms(&self.spec.tokens, unix_time_ms().saturating_sub(now_ms))
        });
        io.set_deadline(session, deadline_ms);
    }

    /// Its time has come.
    pub(super) fn on_time(&mut self, io: &mut EngineIo, session: SessionId, now_ms: u64) {
        let Some(client) = self.directory.client(session.index) else { return };
        let is_late = |identity: &Identity| identity.connect_deadline_ms.is_some_and(|at_ms| at_ms <= now_ms);
        // Without an identity it has no other deadline.
        if client.identity.as_deref().is_none_or(is_late) {
            return io.doom(session, CloseReason::ConnectTimeout);
        }
        self.expire_pending(io, session, now_ms);
        self.expire_grants(io, session);
        self.set_deadline(io, session, now_ms);
    }

    /// Who has an expired token is told, and later cut.
    fn expire_grants(&mut self, io: &mut EngineIo, session: SessionId) {
        let (unix_ms, grace_ms) = (unix_time_ms(), self.spec.tokens.expiry_grace_ms);
        let Some(client) = self.directory.client_mut(session.index) else { return };
        let Some(identity) = &mut client.identity else { return };
        let mut expired: SmallVec<[(NamespaceId, u64); 2]> = SmallVec::new();
        for one in &mut identity.grants {
            let Some(expires_at_ms) = one.expires_at_ms().filter(|&at_ms| at_ms <= unix_ms) else { continue };
            let left_ms = expires_at_ms.saturating_add(grace_ms).saturating_sub(unix_ms);
            if left_ms == 0 || !one.is_warned {
                expired.push((one.namespace, left_ms));
                one.is_warned = true;
            }
        }
        for (namespace, left_ms) in expired {
            match left_ms {
                0 => self.end_expired(io, session, namespace),
                _ => {
                    let packet = packets::token_expired(&self.namespace_name(namespace), left_ms);
                    io.send(session, &packet, false);
                }
            }
        }
    }

    fn end_expired(&mut self, io: &mut EngineIo, session: SessionId, namespace: NamespaceId) {
        io.counters().sockets_expired.add(1);
        match self.spec.tokens.on_expiry {
            OnExpiry::Reconnect => io.doom(session, CloseReason::TokenExpired),
            OnExpiry::Disconnect => {
                io.send(session, &packets::disconnect(&self.namespace_name(namespace)), false);
                self.disconnect(io, session, namespace);
            }
        }
    }

    /// A client sends a fresh token.
    pub(super) fn on_auth(&mut self, io: &mut EngineIo, caller: Caller<'_>, args: &[&RawValue], now_ms: u64) {
        let token = match args {
            [token] => serde_json::from_str::<Box<str>>(token.get()).ok(),
            _ => None,
        };
        let Some(client) = self.directory.client(caller.session.index) else { return };
        let Some(token) = token else {
            io.counters().refreshes_refused.add(1);
            return self.refuse(io, caller, invalid("auth takes one token, a string"));
        };
        if client.is_pending(caller.namespace) {
            io.counters().refreshes_refused.add(1);
            return self.refuse(io, caller, limit("another token of this socket is still being looked at"));
        }
        let is_anonymous = client.grant(caller.namespace).is_none();
        let purpose = Purpose::Refresh { ack_id: caller.ack_id.map(Into::into) };
        if is_anonymous {
            return self.refuse_token(io, caller.session, caller.namespace, &purpose, Refused::OtherUser);
        }
        self.look_at_token(io, caller.session, (caller.namespace, purpose), Some(token), true, now_ms);
    }

    /// A fresh token takes the place of a socket's: what it lets the client do holds at once.
    pub(super) fn renew(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        ack_id: Option<Box<str>>,
        now_ms: u64,
    ) {
        let purpose = Purpose::Refresh { ack_id };
        let change = match self.check_renewal(session, namespace, &grant) {
            Ok(change) => change,
            Err(refused) => return self.refuse_token(io, session, namespace, &purpose, refused),
        };
        let identity = self.directory.client_mut(session.index).and_then(|client| client.identity.as_mut());
        let held =
            identity.and_then(|identity| identity.grants.iter_mut().find(|one| one.namespace == namespace));
        let Some(held) = held else { return };
        (held.grant, held.is_warned) = (Rc::clone(&grant), false);
        self.set_deadline(io, session, now_ms);

        let before = self.gauges();
        for room in &change.left {
            self.leave_room(io, session.index, namespace, room);
        }
        self.update_gauges(io, before);
        let rooms = self.hold_rooms(io, session, namespace, &change.joined);
        let before = self.gauges();
        for room in &rooms {
            let joined = self.directory.join(session.index, namespace, room);
            self.observe_join(io, joined);
        }
        self.update_gauges(io, before);
        let (number, deadline_ms) = (self.next_number(), now_ms + self.spec.subscribe_timeout_ms);
        let stage = Stage::Rooms { grant, rooms, place: None };
        self.await_rooms(io, session, Pending { namespace, number, purpose, stage, deadline_ms }, now_ms);
    }

    /// What another token makes of the rooms that the one before put the client into.
    fn check_renewal(
        &self,
        session: SessionId,
        namespace: NamespaceId,
        grant: &Grant,
    ) -> Result<RoomChange, Refused> {
        let client = self.directory.client(session.index);
        let held = client.and_then(|client| client.grant(namespace)).ok_or(Refused::OtherUser)?;
        if held.user != grant.user {
            return Err(Refused::OtherUser);
        }
        self.check_grant(grant)?;
        let (before, after) = (claimed_rooms(held), claimed_rooms(grant));
        let (was, will): (HashSet<_>, HashSet<_>) = (before.iter().collect(), after.iter().collect());
        let left: Vec<_> = before.iter().filter(|room| !will.contains(room)).cloned().collect();
        let joined: Vec<_> = after.iter().filter(|room| !was.contains(room)).cloned().collect();
        let is_in = |room: &str| self.is_member(session.index, namespace, room);
        let rooms = self.room_count_of(session.index, namespace);
        let rooms = rooms - left.iter().filter(|room| is_in(room)).count()
            + joined.iter().filter(|room| !is_in(room)).count();
        match rooms <= self.spec.limits.max_rooms_per_socket {
            true => Ok(RoomChange { left, joined }),
            false => Err(Refused::TooManyRooms),
        }
    }

    pub(super) fn answer_renewed(
        &self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: &Grant,
        ack_id: Option<&str>,
    ) {
        io.counters().refreshes_ok.add(1);
        let answer = Answer { ok: true, expires_at_s: grant.expires_at_s, ..Answer::default() };
        self.answer(io, session, namespace, ack_id, &answer);
    }

    pub(super) fn refuse_renewal(
        &self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        ack_id: Option<&str>,
        (code, message): (&'static str, &str),
    ) {
        let answer = Answer { error: Some(code), message: Some(message), ..Answer::default() };
        self.answer(io, session, namespace, ack_id, &answer);
    }
}

struct RoomChange {
    left: Vec<Box<str>>,
    joined: Vec<Box<str>>,
}
