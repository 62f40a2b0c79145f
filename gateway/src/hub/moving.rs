//! Sessions on their way between nodes, as the hub sees them: what the other node must have ready, what goes along, and
//! which broadcasts are still or already this node's to deliver (ARCHITECTURE.md, "Moving a session").

use std::{collections::HashSet, sync::Arc};

use broadgate_adapter::Response;
use broadgate_protocol::socketio::{Assembler, DecodeLimits, Packet, decode, push_packet};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    client::{Foreign, NamespaceId},
    directory::Joined,
    moved_identity::{MovedCredential, MovedGrant},
    packets, selection,
    shard_hub::Hub,
};
use crate::engineio::{BadState, EngineIo, Gate, IdText, SessionId, Source};

/// Ack numbers are JSON numbers to clients, which know no larger ones exactly.
const MAX_ACK_ID: u64 = (1 << 53) - 1;
/// Acks that a client may still owe to the node that it came from.
const MAX_FOREIGN_ACKS: usize = 1024;

/// A session on its way.
pub(super) struct Moving {
    session: SessionId,
    gate: Gate,
    /// Of one that comes here.
    arrival: Option<Arrival>,
}

/// A session of another node that is announced, and not here yet.
struct Arrival {
    planned: Vec<MovedSocket>,
    /// Rooms that servers had it join or leave since the cut; for them, the other node's word is not the last one.
    changed: Vec<(NamespaceId, Box<str>)>,
}

/// What is looked for among the sockets of this shard.
#[derive(Clone, Copy)]
pub(super) enum Sought {
    /// Receivers of a broadcast.
    Receivers(Source),
    /// Those whom a command or a query of a server meets. Commands take effect when they come back from Redis, also
    /// those of this node, and queries of other nodes come from there; so the cut alone says who takes them.
    Named,
}

/// A socket as it goes along. What a plan names is subscribed before the session comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MovedSocket {
    pub(super) namespace: String,
    id: IdText,
    connected_at_s: u32,
    /// Without that of its own id.
    rooms: Vec<String>,
    /// Not part of a plan. Nodes of versions without tokens know no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<MovedGrant>,
}

/// What goes with a session.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MovedClient {
    /// The session at the node that it leaves.
    session: u64,
    sockets: Vec<MovedSocket>,
    /// Acks that the client owes that node, by number and namespace.
    acks: Vec<(u64, String)>,
    /// A packet that waits for its attachments: its text, and those that have come.
    assembling: Option<(String, Vec<Bytes>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handshake: Option<MovedCredential>,
}

/// An ack of a client that is here, to a broadcast of the node that it came from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ForeignAck {
    session: u64,
    ack: u64,
    namespace: String,
    json: Option<String>,
    attachments: Vec<Bytes>,
}

impl Hub {
    /// The sessions that are not to be found, though they are members.
    pub(super) fn hidden(&self, sought: Sought) -> SmallVec<[u32; 2]> {
        let is_hidden = |moving: &&Moving| match sought {
            Sought::Receivers(source) => !moving.gate.lets_through(source),
            Sought::Named => moving.arrival.is_some() && !moving.gate.is_past_cut(),
        };
        self.moving.iter().filter(is_hidden).map(|moving| moving.session.index).collect()
    }

    pub(super) fn set_gate_of(&mut self, session: SessionId, gate: Option<Gate>) {
        let place = self.moving.iter().position(|moving| moving.session == session);
        match (place, gate) {
            (Some(place), Some(gate)) => self.moving[place].gate = gate,
            (None, Some(gate)) => self.moving.push(Moving { session, gate, arrival: None }),
            // The arrival is still needed to take the session in.
            (Some(place), None) if self.moving[place].arrival.is_none() => {
                self.moving.swap_remove(place);
            }
            (_, None) => {}
        }
    }

    /// A session is gone that may have been on its way.
    pub(super) fn moves_no_more(&mut self, session: SessionId) {
        self.moving.retain(|moving| moving.session != session);
    }

    /// A server had a socket join or leave a room.
    pub(super) fn note_change(&mut self, index: u32, namespace: NamespaceId, room: &str) {
        if let Some(arrival) = self.arrival_mut(index) {
            arrival.changed.push((namespace, room.into()));
        }
    }

    fn arrival_mut(&mut self, index: u32) -> Option<&mut Arrival> {
        self.moving.iter_mut().find(|moving| moving.session.index == index)?.arrival.as_mut()
    }

    pub(super) fn plan_of(&self, session: SessionId) -> Option<Vec<u8>> {
        let client = self.directory.client(session.index)?;
        let is_quiet = client.pending_acks == 0 && client.pending().is_empty();
        is_quiet.then(|| encode(&self.moved_sockets(session)))
    }

    /// Without what their tokens allow.
    fn moved_sockets(&self, session: SessionId) -> Vec<MovedSocket> {
        let Some(client) = self.directory.client(session.index) else { return Vec::new() };
        let moved = client.sockets.iter().filter_map(|socket| {
            let rooms = socket.memberships.iter().skip(1).map(|one| &self.directory.room(one.room).name);
            Some(MovedSocket {
                namespace: (*self.namespace_name(socket.namespace)).to_owned(),
                id: self.id_at(session.index, socket.namespace)?,
                connected_at_s: socket.connected_at_s,
                rooms: rooms.map(|name| (**name).to_owned()).collect(),
                grant: None,
            })
        });
        moved.collect()
    }

    /// Makes the sockets of a session that is coming, in all of their rooms; again where these have changed.
    pub(super) fn arrive(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        plan: &[u8],
        now_ms: u64,
    ) -> Result<(), BadState> {
        let planned: Vec<MovedSocket> = decode_state(plan)?;
        self.check_bounds(&planned)?;
        let before = self.gauges();
        if let Some(arrival) = self.arrival_mut(session.index) {
            let known = std::mem::take(&mut arrival.planned);
            for socket in &known {
                let now = planned.iter().find(|now| now.namespace == socket.namespace);
                self.settle_rooms(io, session, socket, now, &[]);
            }
            if let Some(arrival) = self.arrival_mut(session.index) {
                arrival.planned = planned;
            }
            self.update_gauges(io, before);
            return Ok(());
        }
        self.directory.add_client(session, now_ms);
        self.moving.push(Moving { session, gate: Gate::ARRIVING, arrival: None });
        let arrived = planned.iter().try_for_each(|socket| self.arrive_socket(io, session, socket));
        // Also where one could not: what is there so far is taken out with the session.
        self.update_gauges(io, before);
        arrived?;
        let arrival = Arrival { planned, changed: Vec::new() };
        let moving = self.moving.iter_mut().find(|moving| moving.session == session);
        moving.expect("put in above").arrival = Some(arrival);
        Ok(())
    }

    /// What another node sends of a session keeps this node's limits, too.
    fn check_bounds(&self, sockets: &[MovedSocket]) -> Result<(), BadState> {
        let limits = &self.spec.limits;
        let is_bounded = |socket: &MovedSocket| {
            socket.rooms.len() <= limits.max_rooms_per_socket
                && socket.rooms.iter().all(|room| room.len() <= limits.max_room_name_bytes)
        };
        let fits = sockets.len() <= limits.max_namespaces_per_connection && sockets.iter().all(is_bounded);
        fits.then_some(()).ok_or(BadState)
    }

    fn arrive_socket(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        socket: &MovedSocket,
    ) -> Result<(), BadState> {
        let namespace = self.namespace(&socket.namespace).ok_or(BadState)?;
        let client = self.directory.client_mut(session.index).ok_or(BadState)?;
        if client.socket(namespace).is_some() {
            return Err(BadState);
        }
        let foreign = client.foreign.get_or_insert_default();
        foreign.ids.push((namespace, socket.id));
        let secret = socket.id.parts().1.secret;
        self.directory.connect(session.index, namespace, secret, socket.connected_at_s);
        self.count_socket(io, namespace, true);
        // Its id names another node, so it takes a room of its own to reach it here.
        for room in std::iter::once(socket.id.as_str()).chain(socket.rooms.iter().map(String::as_str)) {
            self.join_quietly(session.index, namespace, room);
        }
        Ok(())
    }

    /// Puts a socket into a room without a word to anybody.
    pub(super) fn join_quietly(&mut self, index: u32, namespace: NamespaceId, room: &str) -> Option<Joined> {
        let joined = self.directory.join(index, namespace, room);
        if let Some(Joined::NewRoom(id)) = joined {
            let name = Arc::clone(&self.directory.room(id).name);
            self.spec.engine.subscribe(self.subscriber, &self.namespace_name(namespace), &name);
        }
        joined
    }

    pub(super) fn has_all_rooms(&self, session: SessionId) -> bool {
        let Some(client) = self.directory.client(session.index) else { return true };
        let mut rooms = client.sockets.iter().flat_map(|socket| socket.memberships.iter().skip(1));
        rooms.all(|one| self.directory.room(one.room).subscribed)
    }

    /// Takes a session out, for another node.
    pub(super) fn export_client(&mut self, io: &EngineIo, session: SessionId) -> Vec<u8> {
        let mut sockets = self.moved_sockets(session);
        let handshake = self.export_identity(session, &mut sockets);
        let acks = self.client_acks.owed_by(session).take(MAX_FOREIGN_ACKS);
        let acks = acks.map(|(id, namespace)| (id, (*self.namespace_name(namespace)).to_owned())).collect();
        let assembler = self.directory.client_mut(session.index).and_then(|client| client.assembler.take());
        let assembling = assembler.map(|mut assembler| {
            io.counters().inbound_buffer_bytes.sub(assembler.buffered_bytes() as u64);
            let mut text = Vec::new();
            push_packet(&mut text, &assembler.packet());
            let attachments = assembler.take_attachments().into_iter();
            let text = String::from_utf8(text).expect("made of text");
            (text, attachments.map(Bytes::from).collect())
        });
        let client = MovedClient { session: session.to_bits(), sockets, acks, assembling, handshake };
        self.remove_client(io, session);
        encode(&client)
    }

    /// Takes a session in that was announced. Between plan and cut, the other node may have changed its rooms.
    pub(super) fn import_client(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        state: &[u8],
        now_ms: u64,
    ) -> Result<(), BadState> {
        let MovedClient { session: was, sockets, acks, assembling, handshake } = decode_state(state)?;
        self.check_bounds(&sockets)?;
        self.check_tokens(&sockets)?;
        let place = self.moving.iter().position(|moving| moving.session == session).ok_or(BadState)?;
        let Arrival { planned, changed } = self.moving.swap_remove(place).arrival.ok_or(BadState)?;
        let before = self.gauges();
        for planned in &planned {
            let now = sockets.iter().find(|socket| socket.namespace == planned.namespace);
            self.settle_rooms(io, session, planned, now, &changed);
        }
        self.update_gauges(io, before);
        for (id, name) in acks.into_iter().filter(|(id, _)| *id < MAX_ACK_ID).take(MAX_FOREIGN_ACKS) {
            let Some(namespace) = self.namespace(&name) else { continue };
            let Some(client) = self.directory.client_mut(session.index) else { break };
            let foreign = client.foreign.get_or_insert_default();
            foreign.session = was;
            foreign.acks.push((id, namespace));
            // What this node asks the client from now on must not have the number of an ack that it owes.
            self.client_acks.skip_to(id + 1);
        }
        if let Some((text, attachments)) = assembling {
            self.go_on_assembling(io, session, &text, &attachments)?;
        }
        self.import_identity(io, session, sockets, handshake)?;
        let Some(client) = self.directory.client_mut(session.index) else { return Ok(()) };
        let is_pending = client.sockets.is_empty();
        let deadline_ms = is_pending.then(|| now_ms + self.spec.connect_timeout_ms);
        io.set_pending(session, is_pending);
        match &mut client.identity {
            None => io.set_deadline(session, deadline_ms),
            Some(identity) => {
                identity.connect_deadline_ms = deadline_ms;
                self.set_deadline(io, session, now_ms);
            }
        }
        Ok(())
    }

    /// Makes the rooms of a socket those that it had at the cut, but for what servers have changed since.
    fn settle_rooms(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        planned: &MovedSocket,
        now: Option<&MovedSocket>,
        changed: &[(NamespaceId, Box<str>)],
    ) {
        let Some(namespace) = self.namespace(&planned.namespace) else { return };
        let Some(now) = now else { return self.disconnect_quietly(io, session, namespace) };
        let is_changed =
            |room: &str| changed.iter().any(|(changed_in, name)| *changed_in == namespace && **name == *room);
        // Nearly always.
        if now.rooms == planned.rooms {
            return;
        }
        let (before, after): (HashSet<_>, HashSet<_>) =
            (planned.rooms.iter().collect(), now.rooms.iter().collect());
        for &room in after.difference(&before).filter(|room| !is_changed(room)) {
            self.join_quietly(session.index, namespace, room);
        }
        for &room in before.difference(&after).filter(|room| !is_changed(room)) {
            let left = self.directory.leave(session.index, namespace, room);
            self.room_is_gone(left.and_then(|left| left.gone).as_ref());
        }
    }

    fn go_on_assembling(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        text: &str,
        attachments: &[Bytes],
    ) -> Result<(), BadState> {
        let limits = DecodeLimits {
            max_attachments: self.spec.limits.max_attachments,
            max_namespace_bytes: self.spec.limits.max_room_name_bytes,
        };
        let packet = decode(text, &limits).map_err(|_| BadState)?;
        let mut assembler = Box::new(Assembler::new(&packet));
        if attachments.len() >= packet.attachments {
            return Err(BadState);
        }
        for attachment in attachments {
            assembler.add(attachment);
        }
        if !io.has_inbound_room(assembler.buffered_bytes()) {
            return Err(BadState);
        }
        io.counters().inbound_buffer_bytes.add(assembler.buffered_bytes() as u64);
        self.directory.client_mut(session.index).ok_or(BadState)?.assembler = Some(assembler);
        Ok(())
    }

    /// An ack that a client owes the node that it came from goes there. False: it is none of these.
    pub(super) fn forward_ack(
        &mut self,
        session: SessionId,
        namespace: NamespaceId,
        packet: &Packet<'_>,
        attachments: &[Bytes],
    ) -> bool {
        let Some(ack) = packet.ack_id.and_then(|id| id.parse::<u64>().ok()) else { return false };
        let name = self.namespace_name(namespace);
        let Some(foreign) =
            self.directory.client_mut(session.index).and_then(|client| client.foreign.as_mut())
        else {
            return false;
        };
        let Some(place) = foreign.acks.iter().position(|owed| *owed == (ack, namespace)) else {
            return false;
        };
        foreign.acks.swap_remove(place);
        let Some(owner) = foreign.id(namespace) else { return false };
        let message = ForeignAck {
            session: foreign.session,
            ack,
            namespace: (*name).to_owned(),
            json: packets::first_argument(packet).map(|json| json.get().to_owned()),
            attachments: attachments.to_vec(),
        };
        if let Some(peers) = &self.spec.peers {
            // Where it does not arrive, the one who asked waits until the time is up.
            peers.tell_application(owner, self.spec.shard, encode(&message));
        }
        true
    }

    /// An ack of a client that was here.
    pub(super) fn on_foreign_ack(&mut self, io: &EngineIo, message: &[u8]) {
        let Ok(ack) = decode_state::<ForeignAck>(message) else { return };
        let Some(namespace) = self.namespace(&ack.namespace) else { return };
        let session = SessionId::from_bits(ack.session);
        let json = ack.json.map(String::into_boxed_str);
        match self.client_acks.take(ack.ack, namespace, session) {
            None => io.counters().client_acks_unknown.add(1),
            Some(responder) => {
                io.counters().client_acks_pending.sub(1);
                io.counters().client_acks_matched.add(1);
                responder.respond(Response::ClientAck { json, attachments: ack.attachments });
            }
        }
    }

    /// Is this room a socket's own, which it can't leave?
    pub(super) fn is_own_room(&self, index: u32, namespace: NamespaceId, room: &str) -> bool {
        let foreign = self.directory.client(index).and_then(|client| client.foreign.as_deref());
        foreign.and_then(|foreign| foreign.id(namespace)).is_some_and(|id| id.as_str() == room)
            || selection::own_room(&self.directory, self.place(), namespace, room) == Some(index)
    }
}

impl Foreign {
    /// The id that a socket got at another node.
    pub(super) fn id(&self, namespace: NamespaceId) -> Option<IdText> {
        self.ids.iter().find(|(of, _)| *of == namespace).map(|(_, id)| *id)
    }

    /// A socket is gone; one that comes after it in the namespace is this node's own.
    pub(super) fn forget(&mut self, namespace: NamespaceId) {
        self.ids.retain(|(of, _)| *of != namespace);
        self.acks.retain(|(_, of)| *of != namespace);
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(value).expect("a vector takes everything")
}

fn decode_state<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, BadState> {
    rmp_serde::from_slice(bytes).map_err(|_| BadState)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Grant, Pattern};

    fn grant() -> Grant {
        Grant {
            user: "ada".into(),
            token_id: Some("t1".into()),
            issued_at_s: Some(1),
            expires_at_s: Some(u64::MAX),
            rooms: Box::new(["a".into()]),
            join: Box::new([Pattern::parse("{a,b}-{sub}").unwrap()]),
            publish: Box::default(),
        }
    }

    /// Of a node that knows no tokens, and for one.
    #[test]
    fn a_client_without_a_token_goes_as_it_always_did() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct OldSocket(String, IdText, u32, Vec<String>);
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct OldClient(u64, Vec<OldSocket>, Vec<(u64, String)>, Option<(String, Vec<Bytes>)>);
        let id = IdText::parse("abcdefghijklmnopqrst").unwrap();
        let old = || OldClient(7, vec![OldSocket("/".into(), id, 1, vec!["a".into()])], vec![], None);
        let socket = MovedSocket {
            namespace: "/".into(),
            id,
            connected_at_s: 1,
            rooms: vec!["a".into()],
            grant: None,
        };
        let new = MovedClient {
            session: 7,
            sockets: vec![socket],
            acks: vec![],
            assembling: None,
            handshake: None,
        };
        assert_eq!(decode_state::<OldClient>(&encode(&new)), Ok(old()));
        assert_eq!(decode_state::<MovedClient>(&encode(&old())), Ok(new));
    }

    #[test]
    fn what_goes_along_comes_back_as_it_went() {
        let id = IdText::parse("abcdefghijklmnopqrst").unwrap();
        let socket = MovedSocket {
            namespace: "/".into(),
            id,
            connected_at_s: 7,
            rooms: vec!["a".into(), "ü".into()],
            grant: Some(MovedGrant { grant: grant(), is_warned: true }),
        };
        let client = MovedClient {
            session: u64::MAX,
            sockets: vec![socket.clone()],
            acks: vec![(3, "/".into())],
            assembling: Some(("51-[\"x\"]".into(), vec![Bytes::from_static(&[0, 255])])),
            handshake: Some(MovedCredential::Granted(Box::new(grant()))),
        };
        assert_eq!(decode_state::<Vec<MovedSocket>>(&encode(&vec![socket.clone()])), Ok(vec![socket]));
        let encoded = encode(&client);
        assert_eq!(decode_state::<MovedClient>(&encoded), Ok(client));
        for length in 0..encoded.len() {
            assert_eq!(decode_state::<MovedClient>(&encoded[..length]), Err(BadState), "{length}");
        }
    }
}
