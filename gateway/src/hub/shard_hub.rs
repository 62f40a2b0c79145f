//! The hub of one shard. Owns the shard's [`Directory`]; every change to it goes through here.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::body::Body;
use broadgate_adapter::{Engine, SubscriberId};
use broadgate_protocol::socketio::{Assembler, DecodeError, DecodeLimits, Packet, PacketType, decode};
use bytes::Bytes;
use hyper::{Request, body::Incoming};

use super::{
    HubMessage, Policy, TokenRules,
    client::NamespaceId,
    client_acks::ClientAcks,
    directory::{Directory, Room},
    fanout::{self, Place, Received},
    moving::{Moving, Sought},
    packets::{self, Answer},
    traced::{self, HandshakeSpans},
};
use crate::{
    auth::{Authenticator, RevocationStore, UserConnections},
    config::{Limits, NamespaceSettings, WhenDown},
    engineio::{
        Application, BadState, CloseReason, Elsewhere, EngineIo, EngineMessage, Gate, Handshake, NodeId,
        Peers, PublishOrder, SessionId, Source,
    },
    runtime::Inbox,
    telemetry::{ClientLog, Traces},
};

/// What a hub is made from.
pub struct HubSpec {
    /// Verifies tokens; the node has one.
    pub authenticator: Arc<Authenticator>,
    /// What holds for tokens.
    pub tokens: TokenRules,
    /// The node's name in ids.
    pub node: NodeId,
    /// The shard's number.
    pub shard: u8,
    /// The namespaces that exist.
    pub namespaces: Arc<[NamespaceSettings]>,
    /// Tokens that count no more; the node has one list.
    pub revocations: Arc<RevocationStore>,
    /// Connections of each user; the node has one list.
    pub users: Arc<UserConnections>,
    /// Who may join and publish.
    pub policy: Arc<Policy>,
    /// The bounds.
    pub limits: Limits,
    /// How long a session may be without a namespace.
    pub connect_timeout_ms: u64,
    /// How long a join may wait for its subscription.
    pub subscribe_timeout_ms: u64,
    /// What is published goes through it.
    pub engine: Arc<dyn Engine>,
    /// What becomes of it while the other nodes can't be reached.
    pub when_down: WhenDown,
    /// Held while it does.
    pub publish_order: Arc<PublishOrder>,
    /// The way to the other nodes, where there are any.
    pub peers: Option<Arc<Peers>>,
    /// The ways to all shards of the node, by number.
    pub shards: Arc<[Inbox<EngineMessage<HubMessage>>]>,
    /// Begins spans; the node has one.
    pub traces: Traces,
    /// Answers requests that are not for Engine.IO.
    pub site: axum::Router,
}

/// See the module.
pub struct Hub {
    pub(super) spec: HubSpec,
    pub(super) subscriber: SubscriberId,
    pub(super) namespace_names: Vec<Arc<str>>,
    pub(super) directory: Directory,
    /// When rooms with joins that wait are to be looked at; one entry for each.
    pub(super) join_deadlines: BinaryHeap<Reverse<(u64, NamespaceId, Arc<str>)>>,
    /// Broadcasts whose receivers are to answer.
    pub(super) client_acks: ClientAcks,
    pub(super) log: ClientLog,
    /// Sessions on their way to other nodes or from there; nearly always none.
    pub(super) moving: Vec<Moving>,
    /// The number of the last CONNECT or fresh token that had to wait.
    pub(super) last_pending: u32,
    /// Of handshakes that are recorded.
    pub(super) handshakes: HandshakeSpans,
    broadcasts: Vec<Received>,
}

impl Hub {
    /// Makes a hub without sockets.
    pub fn new(spec: HubSpec) -> Self {
        let lines = spec.limits.max_client_log_lines_per_second;
        Self {
            subscriber: SubscriberId(spec.shard),
            namespace_names: spec.namespaces.iter().map(|namespace| namespace.name.as_str().into()).collect(),
            directory: Directory::new(spec.namespaces.len()),
            join_deadlines: BinaryHeap::new(),
            client_acks: ClientAcks::default(),
            log: ClientLog::new(lines),
            moving: Vec::new(),
            last_pending: 0,
            handshakes: HandshakeSpans::default(),
            broadcasts: Vec::new(),
            spec,
        }
    }

    pub(super) fn namespace(&self, name: &str) -> Option<NamespaceId> {
        let place = self.namespace_names.iter().position(|known| &**known == name)?;
        Some(NamespaceId(u16::try_from(place).expect("bounded by the configuration")))
    }

    pub(super) fn namespace_name(&self, namespace: NamespaceId) -> Arc<str> {
        Arc::clone(&self.namespace_names[usize::from(namespace.0)])
    }

    /// Ends a session that broke the protocol (wire.md 2.4).
    pub(super) fn fault(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        fault: &dyn std::fmt::Display,
        now_ms: u64,
    ) {
        io.counters().errors_socketio.add(1);
        if self.log.admit(now_ms, io.counters()) {
            let client = io.client(session).map(tracing::field::display);
            tracing::info!(client, %fault, session = session.index, "a client broke the Socket.IO protocol and is closed");
        }
        io.doom(session, CloseReason::Forced);
    }

    fn on_packet(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        packet: &Packet<'_>,
        attachments: Vec<Bytes>,
        now_ms: u64,
    ) {
        if packet.kind == PacketType::Connect {
            return self.on_connect(io, session, packet, now_ms);
        }
        let namespace = self.namespace(packet.namespace).filter(|&namespace| {
            self.directory.client(session.index).is_some_and(|client| client.socket(namespace).is_some())
        });
        let Some(namespace) = namespace else {
            return self.fault(io, session, &"a packet for a namespace that was not joined", now_ms);
        };
        match packet.kind {
            PacketType::Disconnect => self.disconnect(io, session, namespace),
            PacketType::Event | PacketType::BinaryEvent => {
                self.on_event(io, session, namespace, packet, attachments, now_ms);
            }
            PacketType::Ack | PacketType::BinaryAck => {
                self.on_ack(io, session, namespace, packet, attachments);
            }
            PacketType::Connect | PacketType::ConnectError => {
                self.fault(io, session, &"a CONNECT_ERROR from a client", now_ms);
            }
        }
    }

    /// Begins to wait for the attachments of a packet, where its namespace was joined.
    fn assemble(&mut self, io: &mut EngineIo, session: SessionId, packet: &Packet<'_>, now_ms: u64) {
        let namespace = self.namespace(packet.namespace);
        let Some(client) = self.directory.client_mut(session.index) else { return };
        if namespace.is_none_or(|namespace| client.socket(namespace).is_none()) {
            return self.fault(io, session, &"a packet for a namespace that was not joined", now_ms);
        }
        let assembler = Box::new(Assembler::new(packet));
        if !io.has_inbound_room(assembler.buffered_bytes()) {
            return self.fault(io, session, &"no room for its attachments", now_ms);
        }
        io.counters().inbound_buffer_bytes.add(assembler.buffered_bytes() as u64);
        client.assembler = Some(assembler);
    }

    pub(super) fn disconnect(&mut self, io: &EngineIo, session: SessionId, namespace: NamespaceId) {
        let before = self.gauges();
        self.disconnect_quietly(io, session, namespace);
        self.update_gauges(io, before);
    }

    /// The same, for a caller who sees to the gauges of rooms.
    pub(super) fn disconnect_quietly(&mut self, io: &EngineIo, session: SessionId, namespace: NamespaceId) {
        if let Some(foreign) =
            self.directory.client_mut(session.index).and_then(|client| client.foreign.as_mut())
        {
            foreign.forget(namespace);
        }
        self.forget_pending(io, session, Some(namespace));
        if let Some(identity) =
            self.directory.client_mut(session.index).and_then(|client| client.identity.as_mut())
        {
            identity.grants.retain(|one| one.namespace != namespace);
        }
        for left in self.directory.disconnect(session.index, namespace) {
            // The socket that these joins were for is gone; there is nobody to answer.
            self.waiters_are_done(io, &left.waiters);
            self.room_is_gone(left.gone.as_ref());
        }
        self.count_socket(io, namespace, false);
    }

    /// A socket is there, or is no more.
    pub(super) fn count_socket(&self, io: &EngineIo, namespace: NamespaceId, is_there: bool) {
        let counters = io.counters();
        let of_namespace = counters.namespace_sockets.get(usize::from(namespace.0));
        for counter in std::iter::once(&counters.sockets).chain(of_namespace) {
            if is_there { counter.add(1) } else { counter.sub(1) }
        }
    }

    /// Takes a client out with all of its sockets.
    pub(super) fn remove_client(&mut self, io: &EngineIo, session: SessionId) {
        self.forget_identity(io, session);
        let assembler = self.directory.client_mut(session.index).and_then(|client| client.assembler.take());
        let buffered_bytes = assembler.map_or(0, |assembler| assembler.buffered_bytes());
        io.counters().inbound_buffer_bytes.sub(buffered_bytes as u64);
        while let Some(socket) =
            self.directory.client(session.index).and_then(|client| client.sockets.first())
        {
            let namespace = socket.namespace;
            self.disconnect(io, session, namespace);
        }
        self.directory.remove_client(session.index);
        self.moves_no_more(session);
    }

    /// Ends the interest in a room that lost its last member.
    pub(super) fn room_is_gone(&self, gone: Option<&Room>) {
        if let Some(room) = gone {
            self.spec.engine.unsubscribe(self.subscriber, &self.namespace_name(room.namespace), &room.name);
        }
    }

    pub(super) fn ack_is_done(&mut self, session: SessionId) {
        if let Some(client) = self.directory.client_mut(session.index)
            && client.session == session
        {
            client.pending_acks = client.pending_acks.saturating_sub(1);
        }
    }

    pub(super) fn gauges(&self) -> (usize, usize) {
        (self.directory.room_count(), self.directory.membership_count())
    }

    pub(super) fn update_gauges(&self, io: &EngineIo, before: (usize, usize)) {
        let (rooms, memberships) = self.gauges();
        io.counters().rooms.add((rooms as u64).wrapping_sub(before.0 as u64));
        io.counters().memberships.add((memberships as u64).wrapping_sub(before.1 as u64));
    }

    pub(super) fn place(&self) -> Place {
        Place { node: self.spec.node, shard: self.spec.shard }
    }

    fn deliver_all(&mut self, io: &mut EngineIo) {
        let broadcasts = std::mem::take(&mut self.broadcasts);
        for run in fanout::runs(&broadcasts, !self.moving.is_empty()) {
            self.deliver(io, run, None);
        }
        self.broadcasts = broadcasts;
        self.broadcasts.clear();
    }

    /// Queues broadcasts with one target for their members on this shard.
    pub(super) fn deliver(&mut self, io: &mut EngineIo, run: &[Received], skip: Option<u32>) -> usize {
        let Some(first) = run.first() else { return 0 };
        let Some(namespace) = self.namespace(&first.broadcast.namespace) else { return 0 };
        let mut skipped = self.hidden(Sought::Receivers(first.source));
        skipped.extend(skip);
        let place = self.place();
        let begun = traced::begun(&self.spec.traces, run);
        let reached = fanout::deliver(&mut self.directory, io, place, namespace, run, &skipped);
        if let Some(begun) = begun {
            traced::delivered(&self.spec.traces, run, self.spec.shard, reached, begun);
        }
        reached
    }

    /// Sends an ack, where one was asked for and the socket is still there.
    pub(super) fn answer(
        &self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        ack_id: Option<&str>,
        answer: &Answer<'_>,
    ) {
        let Some(ack_id) = ack_id else { return };
        let is_there =
            self.directory.client(session.index).is_some_and(|client| client.socket(namespace).is_some());
        if is_there {
            io.send(
                session,
                &packets::ack(&self.namespace_names[usize::from(namespace.0)], ack_id, answer),
                false,
            );
        }
    }
}

impl Application for Hub {
    type Message = HubMessage;

    fn on_open(&mut self, io: &mut EngineIo, session: SessionId, handshake: Handshake, now_ms: u64) {
        self.begin(io, session, handshake, now_ms);
    }

    fn on_text(&mut self, io: &mut EngineIo, session: SessionId, text: &str, now_ms: u64) {
        let Some(client) = self.directory.client(session.index) else { return };
        if client.assembler.is_some() {
            return self.fault(io, session, &"text in the middle of attachments", now_ms);
        }
        let limits = DecodeLimits {
            max_attachments: self.spec.limits.max_attachments,
            max_namespace_bytes: self.spec.limits.max_room_name_bytes,
        };
        match decode(text, &limits) {
            Err(error) => {
                if error == DecodeError::TooManyAttachments {
                    io.counters().limit_attachments.add(1);
                }
                self.fault(io, session, &error, now_ms);
            }
            Ok(packet) if packet.attachments > 0 => self.assemble(io, session, &packet, now_ms),
            Ok(packet) => self.on_packet(io, session, &packet, Vec::new(), now_ms),
        }
    }

    fn on_binary(&mut self, io: &mut EngineIo, session: SessionId, data: &[u8], now_ms: u64) {
        let Some(client) = self.directory.client_mut(session.index) else { return };
        let Some(mut assembler) = client.assembler.take() else {
            return self.fault(io, session, &"an attachment without its packet", now_ms);
        };
        let buffered = &io.counters().inbound_buffer_bytes;
        buffered.sub(assembler.buffered_bytes() as u64);
        if !assembler.add(data) {
            if !io.has_inbound_room(assembler.buffered_bytes()) {
                return self.fault(io, session, &"no room for its attachments", now_ms);
            }
            buffered.add(assembler.buffered_bytes() as u64);
            client.assembler = Some(assembler);
            return;
        }
        let attachments = assembler.take_attachments().into_iter().map(Bytes::from).collect();
        self.on_packet(io, session, &assembler.packet(), attachments, now_ms);
    }

    fn on_close(&mut self, io: &mut EngineIo, session: SessionId, reason: CloseReason, now_ms: u64) {
        if reason == CloseReason::RateLimited && self.log.admit(now_ms, io.counters()) {
            tracing::info!(
                session = session.index,
                "a client sent more than limits.max_messages_per_second or max_received_bytes_per_second and is closed"
            );
        }
        // A session on its way here that was not announced yet is no client.
        if let Some(client) = self.directory.client(session.index).filter(|client| client.session == session)
        {
            io.counters().histograms.connection_duration.observe(client.age_ms(now_ms));
            self.remove_client(io, session);
        }
    }

    fn plan(&self, session: SessionId) -> Option<Vec<u8>> {
        self.plan_of(session)
    }

    fn on_arrival(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        plan: &[u8],
        now_ms: u64,
    ) -> Result<(), BadState> {
        self.arrive(io, session, plan, now_ms)
    }

    fn is_ready(&self, session: SessionId) -> bool {
        self.has_all_rooms(session)
    }

    fn set_gate(&mut self, session: SessionId, gate: Option<Gate>) {
        self.set_gate_of(session, gate);
    }

    fn export(&mut self, io: &mut EngineIo, session: SessionId) -> Vec<u8> {
        self.export_client(io, session)
    }

    fn import(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        state: &[u8],
        now_ms: u64,
    ) -> Result<(), BadState> {
        self.import_client(io, session, state, now_ms)
    }

    fn on_peer_message(&mut self, io: &mut EngineIo, message: &[u8]) {
        self.on_foreign_ack(io, message);
    }

    fn on_deadline(&mut self, io: &mut EngineIo, session: SessionId, now_ms: u64) {
        self.on_time(io, session, now_ms);
    }

    fn on_messages(&mut self, io: &mut EngineIo, messages: &mut Vec<HubMessage>, now_ms: u64) {
        let mut are_revoked = false;
        for message in messages.drain(..) {
            // Broadcasts are collected, so that those to the same room can go together; anything else waits for them.
            if let HubMessage::Broadcast(broadcast, source) = message {
                self.broadcasts.push(Received { broadcast, source });
                continue;
            }
            self.deliver_all(io);
            match message {
                HubMessage::Broadcast(..) => {}
                // Many may come at one time, as on each new link.
                HubMessage::Revoked => are_revoked = true,
                HubMessage::PlaceDone(done) => self.on_place_done(io, done, now_ms),
                HubMessage::CountedBroadcast(broadcast, reply) => {
                    let received = Received { broadcast, source: Source::OwnNode };
                    let reached = self.deliver(io, &[received], None);
                    // The caller went away; the message was delivered all the same.
                    let _gone = reply.send(reached);
                }
                HubMessage::Subscribed { namespace, room } => {
                    self.on_subscribed(io, &namespace, &room, now_ms);
                }
                HubMessage::LinkLost => self.directory.all_unsubscribed(),
                HubMessage::Request(request) => self.on_request(io, request, now_ms),
                HubMessage::Published(done) => self.on_published(io, &done),
                HubMessage::KeysDone(done) => self.on_keys_done(io, &done, now_ms),
            }
        }
        self.deliver_all(io);
        if are_revoked {
            self.disconnect_revoked(io);
        }
    }

    fn on_timers(&mut self, io: &mut EngineIo, now_ms: u64) {
        self.expire_joins(io, now_ms);
        self.expire_client_acks(io, now_ms);
    }

    fn next_timer_ms(&self) -> Option<u64> {
        let joins_ms = self.join_deadlines.peek().map(|Reverse((deadline_ms, ..))| *deadline_ms);
        joins_ms.into_iter().chain(self.client_acks.next_deadline_ms()).min()
    }

    fn respond(&self, request: Request<Incoming>) -> Elsewhere {
        let site = self.spec.site.clone();
        Box::pin(async move {
            let answer = tower::ServiceExt::oneshot(site, request.map(Body::new)).await;
            match answer {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}

impl Hub {
    pub(super) fn inbox(&self) -> Inbox<EngineMessage<HubMessage>> {
        self.spec.shards[usize::from(self.spec.shard)].clone()
    }

    /// The shards of this node but this one.
    pub(super) fn other_shards(&self) -> impl Iterator<Item = &Inbox<EngineMessage<HubMessage>>> {
        let own = usize::from(self.spec.shard);
        self.spec.shards.iter().enumerate().filter(move |&(number, _)| number != own).map(|(_, inbox)| inbox)
    }
}

/// The wall clock, in milliseconds since 1970; one before that gives 0.
pub(super) fn unix_time_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
