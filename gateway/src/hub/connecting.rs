//! CONNECT (wire.md 2.2): from the packet to the answer.
//!
//! | stage | ends with |
//! |---|---|
//! | the token: of the packet, else of the handshake | a grant, or a refusal |
//! | its keys, where they are not known | a second look at the token; or the session ends, and the client comes back |
//! | a place among the user's connections | the place, or a refusal |
//! | the rooms of the grant | all of them are subscribed, or the time for that is up |
//!
//! Only then the socket exists, joins its rooms and is answered: what is published to them afterwards arrives. Until then
//! the rooms are held in the directory. What waits belongs to the client's [`Identity`], ends with the session, and its
//! tokens count as messages that are not complete.

use std::{rc::Rc, sync::Arc};

use broadgate_protocol::socketio::Packet;
use serde::Deserialize;

use super::{
    HubMessage,
    client::{Client, NamespaceId},
    identity::{Credential, Identity, Pending, Purpose, SocketGrant, Stage},
    packets,
    refused::{Refused, count_limit},
    shard_hub::{Hub, unix_time_ms},
};
use crate::{
    auth::{Grant, KeyWait, TokenError, UserPlace, Verdict},
    config::Authentication,
    engineio::{CloseReason, EngineIo, EngineMessage, Handshake, Id, SessionId},
};

/// The room that every socket of a user is in has this before the user.
pub(super) const USER_ROOM: &str = "user:";

/// The end of waiting for the keys of a token.
pub struct KeysDone {
    session: SessionId,
    number: u32,
    is_refreshed: bool,
}

/// What a CONNECT brings along.
enum Presented {
    Nothing,
    Token(Box<str>),
    /// That of the handshake, which is still to be looked at.
    Handshake,
    /// What that of the handshake gave.
    Granted(Rc<Grant>),
}

impl Hub {
    /// A session is open.
    pub(super) fn begin(&mut self, io: &mut EngineIo, session: SessionId, handshake: Handshake, now_ms: u64) {
        self.directory.add_client(session, now_ms);
        self.handshakes.begin(&self.spec.traces, session);
        let deadline_ms = now_ms + self.spec.connect_timeout_ms;
        io.set_pending(session, true);
        io.set_deadline(session, Some(deadline_ms));
        let Some(token) = handshake.token.filter(|_| self.spec.tokens.is_on) else { return };
        if !io.has_inbound_room(token.len()) {
            return io.doom(session, CloseReason::Forced);
        }
        io.counters().inbound_buffer_bytes.add(token.len() as u64);
        if let Some(client) = self.directory.client_mut(session.index) {
            identity_of(client, io).handshake = Some(Credential::Token(token));
        }
    }

    pub(super) fn on_connect(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        packet: &Packet<'_>,
        now_ms: u64,
    ) {
        let Some(namespace) = self.namespace(packet.namespace) else {
            io.counters().connects_refused.add(1);
            io.send(session, &packets::connect_error(packet.namespace, "Invalid namespace"), false);
            return;
        };
        let Some(client) = self.directory.client(session.index) else { return };
        if client.socket(namespace).is_some() || client.is_pending(namespace) {
            return self.fault(io, session, &"a second CONNECT for a namespace", now_ms);
        }
        let connecting =
            client.pending().iter().filter(|pending| matches!(pending.purpose, Purpose::Connect));
        if client.sockets.len() + connecting.count() >= self.spec.limits.max_namespaces_per_connection {
            return self.refuse_connect(io, session, namespace, Refused::TooManyNamespaces);
        }
        let presented = match self.presented(client, packet) {
            Ok(presented) => presented,
            Err(error) => return self.refuse_connect(io, session, namespace, Refused::Token(error)),
        };
        let authentication = self.spec.namespaces[usize::from(namespace.0)].authentication;
        match presented {
            Presented::Nothing if authentication == Authentication::Required => {
                self.refuse_connect(io, session, namespace, Refused::NoToken);
            }
            Presented::Nothing => self.enter(io, session, namespace, None, &[], now_ms),
            Presented::Granted(grant) => self.admit(io, session, namespace, grant, now_ms),
            Presented::Token(token) => {
                self.look_at_token(io, session, (namespace, Purpose::Connect), Some(token), true, now_ms);
            }
            Presented::Handshake => {
                self.look_at_token(io, session, (namespace, Purpose::Connect), None, true, now_ms);
            }
        }
    }

    fn presented(&self, client: &Client, packet: &Packet<'_>) -> Result<Presented, TokenError> {
        if !self.spec.tokens.is_on {
            return Ok(Presented::Nothing);
        }
        if let Some(token) = token_of(packet)? {
            return Ok(Presented::Token(token));
        }
        Ok(match client.identity.as_ref().and_then(|identity| identity.handshake.as_ref()) {
            None => Presented::Nothing,
            Some(Credential::Token(_)) => Presented::Handshake,
            Some(Credential::Granted(grant)) => Presented::Granted(Rc::clone(grant)),
        })
    }

    /// Verifies a token; without one that of the handshake. `may_wait`: for keys that are not known.
    pub(super) fn look_at_token(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        (namespace, purpose): (NamespaceId, Purpose),
        token: Option<Box<str>>,
        may_wait: bool,
        now_ms: u64,
    ) {
        let Some(client) = self.directory.client_mut(session.index) else { return };
        let identity = identity_of(client, io);
        let text = match (&token, &identity.handshake) {
            (Some(text), _) | (None, Some(Credential::Token(text))) => text,
            // The CONNECT of another namespace waited for the same keys, and its look at the token was the first.
            (None, Some(Credential::Granted(grant))) => {
                let grant = Rc::clone(grant);
                return self.admit(io, session, namespace, grant, now_ms);
            }
            (None, None) => return,
        };
        match self.spec.authenticator.verify(text, unix_time_ms() / 1000) {
            Verdict::Granted(grant) => {
                let grant = Rc::new(grant);
                if token.is_none() {
                    let credential = identity.handshake.replace(Credential::Granted(Rc::clone(&grant)));
                    let bytes = credential.map_or(0, |credential| credential.waiting_bytes());
                    io.counters().inbound_buffer_bytes.sub(bytes as u64);
                }
                match purpose {
                    Purpose::Connect => self.admit(io, session, namespace, grant, now_ms),
                    Purpose::Refresh { ack_id } => {
                        self.renew(io, session, namespace, grant, ack_id, now_ms);
                    }
                }
            }
            Verdict::Refused(error) => {
                self.refuse_token(io, session, namespace, &purpose, Refused::Token(error));
            }
            Verdict::NeedsKeys(wait) if may_wait => {
                self.wait_for_keys(io, session, (namespace, purpose), token, wait, now_ms);
            }
            Verdict::NeedsKeys(_) => self.keys_are_unavailable(io, session, namespace, &purpose),
        }
    }

    fn wait_for_keys(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        (namespace, purpose): (NamespaceId, Purpose),
        token: Option<Box<str>>,
        wait: KeyWait,
        now_ms: u64,
    ) {
        let number = self.next_number();
        let deadline_ms = now_ms + self.spec.connect_timeout_ms;
        let pending = Pending { namespace, number, purpose, stage: Stage::Keys { token }, deadline_ms };
        if !io.has_inbound_room(pending.waiting_bytes()) {
            return self.keys_are_unavailable(io, session, namespace, &pending.purpose);
        }
        io.counters().inbound_buffer_bytes.add(pending.waiting_bytes() as u64);
        self.let_wait(io, session, pending, now_ms);
        let (authenticator, inbox) = (Arc::clone(&self.spec.authenticator), self.inbox());
        tokio::task::spawn_local(async move {
            let is_refreshed = authenticator.refreshed(wait).await.is_ok();
            let done = KeysDone { session, number, is_refreshed };
            inbox.send(EngineMessage::Application(HubMessage::KeysDone(done)));
        });
    }

    pub(super) fn on_keys_done(&mut self, io: &mut EngineIo, done: &KeysDone, now_ms: u64) {
        let is_waiting =
            |pending: &Pending| pending.number == done.number && matches!(pending.stage, Stage::Keys { .. });
        let Some(pending) = self.take_pending(done.session, is_waiting) else { return };
        io.counters().inbound_buffer_bytes.sub(pending.waiting_bytes() as u64);
        let Pending { namespace, purpose, stage, .. } = pending;
        match stage {
            Stage::Keys { token } if done.is_refreshed => {
                self.look_at_token(io, done.session, (namespace, purpose), token, false, now_ms);
            }
            _ => self.keys_are_unavailable(io, done.session, namespace, &purpose),
        }
        self.set_deadline(io, done.session, now_ms);
    }

    /// A grant is good; the rooms that it names are subscribed before the socket is there.
    fn admit(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        now_ms: u64,
    ) {
        if let Err(refused) = self.check_grant(&grant) {
            return self.refuse_connect(io, session, namespace, refused);
        }
        let names = claimed_rooms(&grant);
        if names.len() > self.spec.limits.max_rooms_per_socket {
            return self.refuse_connect(io, session, namespace, Refused::TooManyRooms);
        }
        self.take_place(io, session, namespace, grant, now_ms);
    }

    /// The user may have this connection.
    pub(super) fn has_place(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        place: Option<Rc<UserPlace>>,
        now_ms: u64,
    ) {
        let rooms = self.hold_rooms(io, session, namespace, &claimed_rooms(&grant));
        let (number, purpose) = (self.next_number(), Purpose::Connect);
        let deadline_ms = now_ms + self.spec.subscribe_timeout_ms;
        let stage = Stage::Rooms { grant, rooms, place };
        self.await_rooms(io, session, Pending { namespace, number, purpose, stage, deadline_ms }, now_ms);
    }

    /// What a token must be beside valid. One of a handshake may have been looked at long ago.
    pub(super) fn check_grant(&self, grant: &Grant) -> Result<(), Refused> {
        let (now_ms, grace_ms) = (unix_time_ms(), self.spec.tokens.expiry_grace_ms);
        let is_over = |at_s: u64| at_s.saturating_mul(1000).saturating_add(grace_ms) <= now_ms;
        if grant.expires_at_s.is_some_and(is_over) {
            return Err(Refused::Token(TokenError::Expired));
        }
        if self.spec.revocations.is_revoked(grant, now_ms / 1000) {
            return Err(Refused::Revoked);
        }
        let max_bytes = self.spec.limits.max_room_name_bytes;
        let is_name = |room: &str| !room.is_empty() && room.len() <= max_bytes;
        let fits = is_name(&user_room(&grant.user)) && grant.rooms.iter().all(|room| is_name(room));
        fits.then_some(()).ok_or(Refused::Token(TokenError::Claims))
    }

    /// The socket is there, and its client is told.
    pub(super) fn enter(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Option<(Rc<Grant>, Option<Rc<UserPlace>>)>,
        rooms: &[Arc<str>],
        now_ms: u64,
    ) {
        let Ok(id) = Id::random(self.spec.shard, session.index) else {
            return io.doom(session, CloseReason::Forced);
        };
        let connected_at_s = u32::try_from(unix_time_ms() / 1000).unwrap_or(u32::MAX);
        self.directory.connect(session.index, namespace, id.secret, connected_at_s);
        for room in rooms {
            let joined = self.directory.join(session.index, namespace, room);
            self.observe_join(io, joined);
        }
        let Some(client) = self.directory.client_mut(session.index) else { return };
        if let Some((grant, place)) = grant {
            let grants = &mut identity_of(client, io).grants;
            grants.push(SocketGrant { namespace, grant, is_warned: false, place });
        }
        if let Some(identity) = &mut client.identity {
            identity.connect_deadline_ms = None;
            // The CONNECT brought a token of its own, and nobody waits for this one: it would count for ever.
            if identity.pending.is_empty()
                && let Some(unused) =
                    identity.handshake.take_if(|token| matches!(token, Credential::Token(_)))
            {
                io.counters().inbound_buffer_bytes.sub(unused.waiting_bytes() as u64);
            }
        }
        self.set_deadline(io, session, now_ms);
        if io.set_pending(session, false)
            && let Some(client) = self.directory.client(session.index)
        {
            io.counters().histograms.connect_duration.observe(client.age_ms(now_ms));
        }
        io.counters().connects_ok.add(1);
        self.count_socket(io, namespace, true);
        let name = self.namespace_name(namespace);
        io.send(session, &packets::connected(&name, id.encode(self.spec.node).as_str()), false);
        self.handshakes.end(session, Ok(&name));
    }

    pub(super) fn refuse_connect(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        refused: Refused,
    ) {
        refused.counter(io.counters()).add(1);
        count_limit(io.counters(), refused);
        let name = self.namespace_name(namespace);
        io.send(session, &packets::connect_refused(&name, &refused.message(), refused.code()), false);
        self.handshakes.end(session, Err(refused.code()));
    }

    pub(super) fn refuse_token(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        purpose: &Purpose,
        refused: Refused,
    ) {
        match purpose {
            Purpose::Connect => self.refuse_connect(io, session, namespace, refused),
            Purpose::Refresh { ack_id } => {
                io.counters().refreshes_refused.add(1);
                count_limit(io.counters(), refused);
                let (code, message) = (refused.code(), refused.message());
                self.refuse_renewal(io, session, namespace, ack_id.as_deref(), (code, &message));
            }
        }
    }

    /// Nothing is known of the token. A refusal would keep the client away; an end of the transport makes it come back.
    pub(super) fn keys_are_unavailable(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        purpose: &Purpose,
    ) {
        match purpose {
            Purpose::Connect => {
                io.counters().connects_keys_unavailable.add(1);
                io.doom(session, CloseReason::KeysUnavailable);
            }
            Purpose::Refresh { ack_id } => {
                io.counters().refreshes_unavailable.add(1);
                let message = "the keys of the token's issuer can't be fetched now; try again";
                let refusal = ("keys_unavailable", message);
                self.refuse_renewal(io, session, namespace, ack_id.as_deref(), refusal);
            }
        }
    }
}

/// The identity of a client, from now on. Until a namespace was joined, the deadline that the session has is that for
/// joining one.
pub(super) fn identity_of<'c>(client: &'c mut Client, io: &EngineIo) -> &'c mut Identity {
    let session = client.session;
    client.identity.get_or_insert_with(|| {
        Box::new(Identity { connect_deadline_ms: io.deadline_ms(session), ..Identity::default() })
    })
}

pub(super) fn user_room(user: &str) -> String {
    format!("{USER_ROOM}{user}")
}

/// The rooms that a grant puts its client into, each once.
pub(super) fn claimed_rooms(grant: &Grant) -> Vec<Box<str>> {
    let mut rooms: Vec<Box<str>> = vec![user_room(&grant.user).into()];
    let mut known: std::collections::HashSet<&str> = std::collections::HashSet::new();
    let own = rooms[0].clone();
    rooms.extend(grant.rooms.iter().filter(|room| ***room != *own && known.insert(room)).cloned());
    rooms
}

/// `token` of the object that a CONNECT carries; clients without one send nothing, null or an empty text.
fn token_of(packet: &Packet<'_>) -> Result<Option<Box<str>>, TokenError> {
    #[derive(Deserialize)]
    struct Auth {
        #[serde(default)]
        token: Option<Box<str>>,
    }
    let Some(payload) = packet.payload else { return Ok(None) };
    let auth: Auth = serde_json::from_str(payload).map_err(|_| TokenError::Malformed)?;
    Ok(auth.token.filter(|token| !token.is_empty()))
}
