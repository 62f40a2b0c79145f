//! What other nodes and emitters ask of this shard's sockets (wire.md 3.1). Joins by servers are not a matter of the
//! clients' policy; the limits hold for them, too.

use std::{collections::HashSet, sync::Arc};

use broadgate_adapter::{
    Broadcast, Origin, Request, RequestKind, Responder, Response, SocketDetails, Targets,
};
use broadgate_protocol::socketio::Packet;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{client::NamespaceId, directory::Joined, moving::Sought, packets, selection, shard_hub::Hub};
use crate::engineio::{CloseReason, EngineIo, Id, IdText, Sent, SessionId, Source};

/// How long clients may take to answer a broadcast that does not say so itself, and at most.
const CLIENT_ACK_TIMEOUT_MS: u64 = 10_000;
const MAX_CLIENT_ACK_TIMEOUT_MS: u64 = 300_000;

/// A request, as each shard of the node gets it.
pub struct ShardRequest {
    /// What is asked.
    pub(crate) request: Arc<Request>,
    /// For what clients answer themselves.
    pub(crate) responder: Responder,
    /// Who asks.
    pub origin: Origin,
    /// For what this shard has to say.
    pub(crate) reply: oneshot::Sender<ShardAnswer>,
}

/// Who waits for clients' answers, and until when.
struct Asker {
    responder: Responder,
    source: Source,
    deadline_ms: u64,
}

/// What one shard answers.
#[derive(Debug)]
pub(crate) enum ShardAnswer {
    /// To a fetch.
    Sockets(Vec<SocketDetails>),
    /// To requests for ids or rooms.
    Names(Vec<Box<str>>),
    /// How many sockets a command met, or a broadcast reached.
    Count(usize),
}

impl Hub {
    /// Carries a request out.
    pub(super) fn on_request(&mut self, io: &mut EngineIo, request: ShardRequest, now_ms: u64) {
        let ShardRequest { request, responder, origin, reply } = request;
        let Some(namespace) = self.namespace(&request.namespace) else { return };
        let answer = match &request.kind {
            RequestKind::Sockets { rooms } => {
                let sockets = self.selected(namespace, rooms, &[], Sought::Named);
                let ids = sockets.iter().filter_map(|&index| self.id_at(index, namespace));
                ShardAnswer::Names(ids.map(|id| id.as_str().into()).collect())
            }
            RequestKind::AllRooms => ShardAnswer::Names(self.all_rooms(namespace)),
            RequestKind::Fetch { targets } => {
                let sockets = self.selected(namespace, &targets.rooms, &targets.except, Sought::Named);
                let details = sockets.iter().filter_map(|&index| self.details(index, namespace));
                ShardAnswer::Sockets(details.collect())
            }
            RequestKind::Join { targets, rooms } => {
                ShardAnswer::Count(self.join_all(io, namespace, targets, rooms))
            }
            RequestKind::Leave { targets, rooms } => {
                ShardAnswer::Count(self.leave_all(io, namespace, targets, rooms))
            }
            RequestKind::Disconnect { targets, close } => {
                ShardAnswer::Count(self.disconnect_all(io, namespace, targets, *close))
            }
            RequestKind::Broadcast { broadcast, timeout_ms } => {
                let timeout_ms = timeout_ms.unwrap_or(CLIENT_ACK_TIMEOUT_MS).min(MAX_CLIENT_ACK_TIMEOUT_MS);
                let deadline_ms = now_ms + timeout_ms;
                let asker = Asker { responder, source: Source::Cluster(origin), deadline_ms };
                ShardAnswer::Count(self.broadcast_with_ack(io, namespace, broadcast, asker))
            }
            // Events between servers have no listener on a node.
            RequestKind::ServerSideEmit { .. } => ShardAnswer::Count(0),
        };
        // The one who gathers the answers may have given up.
        let _gone = reply.send(answer);
    }

    fn selected(
        &mut self,
        namespace: NamespaceId,
        rooms: &[Box<str>],
        except: &[Box<str>],
        sought: Sought,
    ) -> Vec<u32> {
        let (place, hidden, mut sessions) = (self.place(), self.hidden(sought), Vec::new());
        selection::for_each(&mut self.directory, place, namespace, (rooms, except), &hidden, |index| {
            sessions.push(index);
        });
        sessions
    }

    /// The id of a session's socket in a namespace.
    pub(super) fn id_at(&self, index: u32, namespace: NamespaceId) -> Option<IdText> {
        let client = self.directory.client(index)?;
        let secret = client.socket(namespace)?.secret;
        let foreign = client.foreign.as_ref().and_then(|foreign| foreign.id(namespace));
        Some(foreign.unwrap_or_else(|| Id { shard: self.spec.shard, index, secret }.encode(self.spec.node)))
    }

    fn details(&self, index: u32, namespace: NamespaceId) -> Option<SocketDetails> {
        let socket = self.directory.client(index)?.socket(namespace)?;
        let id: Box<str> = self.id_at(index, namespace)?.as_str().into();
        // The first membership is that of everyone in the namespace; to Node, the first room is the id.
        let rooms = socket.memberships.iter().skip(1).map(|one| &self.directory.room(one.room).name);
        let rooms = rooms.filter(|name| ***name != *id).map(|name| (**name).into());
        Some(SocketDetails {
            rooms: std::iter::once(id.clone()).chain(rooms).collect(),
            id,
            connected_at_ms: Some(u64::from(socket.connected_at_s) * 1000),
            data: None,
        })
    }

    /// To Node, each socket's id is a room as well.
    fn all_rooms(&self, namespace: NamespaceId) -> Vec<Box<str>> {
        let everyone = &self.directory.room(self.directory.everyone(namespace)).members;
        let ids = everyone.iter().filter_map(|&index| self.id_at(index, namespace));
        let ids = ids.map(|id| id.as_str().into());
        self.directory.room_names(namespace).map(Into::into).chain(ids).collect()
    }

    fn join_all(
        &mut self,
        io: &EngineIo,
        namespace: NamespaceId,
        targets: &Targets,
        rooms: &[Box<str>],
    ) -> usize {
        let sockets = self.selected(namespace, &targets.rooms, &targets.except, Sought::Named);
        let before = self.gauges();
        for room in rooms {
            if room.is_empty() || room.len() > self.spec.limits.max_room_name_bytes {
                io.counters().server_joins_refused.add(sockets.len() as u64);
                continue;
            }
            for &index in &sockets {
                self.join_by_server(io, index, namespace, room);
            }
        }
        self.update_gauges(io, before);
        sockets.len()
    }

    fn join_by_server(&mut self, io: &EngineIo, index: u32, namespace: NamespaceId, room: &str) {
        // Each socket is in the room of its own id already.
        if self.is_own_room(index, namespace, room) {
            return;
        }
        self.note_change(index, namespace, room);
        if !self.has_place_for(index, namespace, room) {
            return io.counters().server_joins_refused.add(1);
        }
        let joined = self.join_quietly(index, namespace, room);
        self.observe_join(io, joined);
        match joined {
            Some(Joined::NewRoom(_) | Joined::Room(_)) => io.counters().server_joins.add(1),
            Some(Joined::Already(_)) | None => {}
        }
    }

    fn leave_all(
        &mut self,
        io: &mut EngineIo,
        namespace: NamespaceId,
        targets: &Targets,
        rooms: &[Box<str>],
    ) -> usize {
        let sockets = self.selected(namespace, &targets.rooms, &targets.except, Sought::Named);
        let before = self.gauges();
        for room in rooms {
            for &index in &sockets {
                if self.is_own_room(index, namespace, room) {
                    continue;
                }
                self.note_change(index, namespace, room);
                if self.leave_room(io, index, namespace, room) {
                    io.counters().server_leaves.add(1);
                }
            }
        }
        self.update_gauges(io, before);
        sockets.len()
    }

    /// The client is told by a DISCONNECT, so it does not come back by itself (wire.md 1.11).
    fn disconnect_all(
        &mut self,
        io: &mut EngineIo,
        namespace: NamespaceId,
        targets: &Targets,
        close: bool,
    ) -> usize {
        let sockets = self.selected(namespace, &targets.rooms, &targets.except, Sought::Named);
        for &index in &sockets {
            let Some(client) = self.directory.client(index) else { continue };
            let session = client.session;
            let namespaces: Vec<_> = match close {
                true => client.sockets.iter().map(|socket| socket.namespace).collect(),
                false => vec![namespace],
            };
            for namespace in namespaces {
                let packet = packets::disconnect(&self.namespace_name(namespace));
                io.send(session, &packet, false);
                self.disconnect(io, session, namespace);
                io.counters().server_disconnects.add(1);
            }
            if close {
                io.doom(session, CloseReason::ServerDisconnect);
            }
        }
        sockets.len()
    }

    /// Returns how many clients got it and are to answer.
    fn broadcast_with_ack(
        &mut self,
        io: &mut EngineIo,
        namespace: NamespaceId,
        broadcast: &Broadcast,
        Asker { responder, source, deadline_ms }: Asker,
    ) -> usize {
        let sought = Sought::Receivers(source);
        let members = self.selected(namespace, &broadcast.rooms, &broadcast.except, sought);
        // Who can't be waited for is not counted: the asker would wait in vain.
        let waits = self.client_acks.has_room(members.len());
        let id = self.client_acks.next_id();
        let Broadcast { packet, flags, .. } = broadcast;
        let name = self.namespace_name(namespace);
        let outgoing = packets::event_with_ack(&name, packet, &id.to_string(), !flags.no_compress);
        let mut sessions = HashSet::with_capacity(if waits { members.len() } else { 0 });
        let mut reached = 0;
        for index in members {
            if io.send_at(index, &outgoing, flags.volatile) == Sent::Queued {
                reached += 1;
                if waits {
                    sessions.extend(io.session_at(index));
                }
            }
        }
        io.counters().broadcasts.add(1);
        io.counters().deliveries.add(reached);
        if !waits {
            io.counters().client_acks_refused.add(reached);
            return 0;
        }
        io.counters().client_acks_pending.add(reached);
        let count = sessions.len();
        self.client_acks.wait(id, namespace, sessions, responder, deadline_ms);
        count
    }

    /// An ack of a client. One that nobody waits for is ignored (wire.md 2.3).
    pub(super) fn on_ack(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        packet: &Packet<'_>,
        attachments: Vec<Bytes>,
    ) {
        if self.forward_ack(session, namespace, packet, &attachments) {
            return io.counters().client_acks_matched.add(1);
        }
        let id = packet.ack_id.and_then(|id| id.parse().ok());
        let responder = id.and_then(|id| self.client_acks.take(id, namespace, session));
        let Some(responder) = responder else { return io.counters().client_acks_unknown.add(1) };
        io.counters().client_acks_pending.sub(1);
        io.counters().client_acks_matched.add(1);
        let json = packets::first_argument(packet).map(|argument| argument.get().into());
        responder.respond(Response::ClientAck { json, attachments });
    }

    /// Gives up on clients that have not answered in time.
    pub(super) fn expire_client_acks(&mut self, io: &EngineIo, now_ms: u64) {
        let expired = self.client_acks.expire(now_ms) as u64;
        io.counters().client_acks_pending.sub(expired);
        io.counters().client_acks_expired.add(expired);
    }
}
