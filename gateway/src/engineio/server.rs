//! The rules of Engine.IO between sockets, requests and the application (wire.md 1). Owns the shard's sessions through
//! [`EngineIo`]; runs as the shard's [`Service`].

use std::{io, net::SocketAddr, sync::Arc};

use axum::body::Body;
use broadgate_protocol::{
    engineio::{HeartbeatAction, Packet, Transport},
    websocket::{Event, OpCode, push_frame},
};
use hyper::{Request as HttpRequest, Response, body::Incoming};

use super::{
    Application, EngineIo, EngineMessage, EngineSpec, Handshake, Outgoing, SessionId,
    drain::Drain,
    io::answer,
    peer::Asks,
    polling::{CLOSE_GRACE_MS, ProbeAt},
    respond::{self, Dropped, HttpContext},
    session::{Carrier, CloseReason},
};
use crate::{
    limits::AddressGuard,
    net::{CloseCause, ConnectionId, Frame, PeerStream, SocketLimits, SocketSet},
    runtime::{Service, Shard},
};

/// See the module.
pub struct Server<A: Application> {
    pub(super) io: EngineIo,
    pub(super) application: A,
    pub(super) http: Arc<HttpContext<A::Message>>,
    /// Requests for sessions of other nodes that wait for an answer.
    pub(super) asks: Asks,
    /// Sessions on their way to other nodes or from there, to be looked at again in each turn.
    pub(super) moving: Vec<SessionId>,
    messages: Vec<A::Message>,
    /// Where the node is going away.
    pub(super) drain: Option<Drain>,
}

impl<A: Application> Server<A> {
    /// Makes a server without sessions.
    ///
    /// # Errors
    /// The kernel refused an epoll set.
    pub fn new(spec: EngineSpec, http: Arc<HttpContext<A::Message>>, application: A) -> io::Result<Self> {
        let limits = SocketLimits {
            max_message_bytes: spec.settings.max_payload_bytes,
            max_queued_bytes: spec.max_queued_bytes,
            max_inbound_buffer_bytes: spec.max_inbound_buffer_bytes,
        };
        let sockets = SocketSet::new(limits, Arc::clone(&spec.counters))?;
        let (asks, moving) = (Asks::default(), Vec::new());
        Ok(Self {
            io: EngineIo::new(sockets, spec),
            application,
            http,
            asks,
            moving,
            messages: Vec::new(),
            drain: None,
        })
    }

    /// Opens a session that begins on polling; its open packet waits for the poll. `None`: no room.
    pub(super) fn open_polling(
        &mut self,
        address: AddressGuard,
        handshake: Handshake,
        now_ms: u64,
    ) -> Option<SessionId> {
        if !self.io.has_room() {
            return None;
        }
        let (session, open) = self.io.open(Transport::Polling, address, now_ms)?;
        if let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
        {
            polling.push(&Outgoing::control(open));
        }
        self.io.spec.counters.opened_polling.add(1);
        self.io.spec.counters.sessions_polling.add(1);
        self.application.on_open(&mut self.io, session, handshake, now_ms);
        Some(session)
    }

    /// Opens a session on a fresh WebSocket, and reads what came along with its request.
    pub(super) fn open_websocket(
        &mut self,
        socket: PeerStream,
        early: Vec<u8>,
        address: AddressGuard,
        handshake: Handshake,
        now_ms: u64,
    ) {
        if !self.io.has_room() {
            self.io.spec.counters.rejected_capacity.add(1);
            return;
        }
        let Some((session, open)) = self.io.open(Transport::WebSocket, address, now_ms) else { return };
        let Some(connection) = self.io.watch(session, socket) else { return };
        if let Some(state) = self.io.session_mut(session) {
            state.carrier = Carrier::WebSocket(connection);
        }
        self.io.send_control(connection, &open);
        self.io.spec.counters.opened_websocket.add(1);
        self.io.spec.counters.sessions_websocket.add(1);
        self.application.on_open(&mut self.io, session, handshake, now_ms);
        self.settle(now_ms);
        crate::runtime::feed(self, connection, early, now_ms);
    }

    /// A packet of a client on the transport that the session is on (wire.md 1.9, 1.10).
    pub(super) fn on_packet(
        &mut self,
        session: SessionId,
        packet: Packet<'_>,
        transport: Transport,
        now_ms: u64,
    ) {
        let timing = self.io.timing;
        let Some(state) = self.io.session_mut(session) else { return };
        if state.doomed {
            return;
        }
        if matches!(packet, Packet::Pong(_)) {
            if let Some(round_trip_ms) = state.heartbeat.on_pong(now_ms, &timing) {
                let histograms = &self.io.spec.counters.histograms;
                match transport {
                    Transport::Polling => histograms.ping_rtt_polling.observe(round_trip_ms),
                    Transport::WebSocket => histograms.ping_rtt_websocket.observe(round_trip_ms),
                }
            }
            return;
        }
        state.heartbeat.on_other_packet(now_ms, &timing);
        match packet {
            Packet::Message(text) => {
                self.io.spec.counters.messages_received.add(1);
                self.io.spec.counters.histograms.message_size_received.observe(text.len() as u64);
                self.application.on_text(&mut self.io, session, text, now_ms);
            }
            Packet::Binary(data) => {
                self.io.spec.counters.messages_received.add(1);
                self.io.spec.counters.histograms.message_size_received.observe(data.len() as u64);
                self.application.on_binary(&mut self.io, session, &data, now_ms);
            }
            Packet::Ping(_) => self.io.doom(session, CloseReason::TransportError),
            // On a WebSocket the close frame closes, not the packet (wire.md 1.10).
            Packet::Close if transport == Transport::Polling => self.close_by_client(session),
            Packet::Close | Packet::Open(_) | Packet::Upgrade | Packet::Noop | Packet::Pong(_) => {}
        }
    }

    fn close_by_client(&mut self, session: SessionId) {
        let counters = Arc::clone(&self.io.spec.counters);
        if let Some(Carrier::Polling(polling)) = self.io.session_mut(session).map(|state| &mut state.carrier)
            && let Some(reply) = polling.poll.take()
        {
            answer(polling, reply, Some("6"), &counters);
        }
        self.io.doom(session, CloseReason::TransportClose);
    }

    pub(super) fn on_parse_error(&mut self, session: SessionId) {
        self.io.spec.counters.errors_engineio.add(1);
        self.io.doom(session, CloseReason::ParseError);
    }

    /// Closes what was doomed in this turn, and answers the polls that something waits for.
    pub(super) fn settle(&mut self, now_ms: u64) {
        while let Some((session, reason)) = self.io.doomed.pop() {
            self.close(session, reason, now_ms);
        }
        self.io.flush_polls();
    }

    fn close(&mut self, session: SessionId, reason: CloseReason, now_ms: u64) {
        let counters = Arc::clone(&self.io.spec.counters);
        let drains = reason == CloseReason::Shutdown && !self.io.shutting_down;
        let Some(state) = self.io.session_mut(session) else { return };
        let mut lingers = false;
        match &mut state.carrier {
            Carrier::WebSocket(connection) => {
                let connection = *connection;
                counters.sessions_websocket.sub(1);
                match reason {
                    // It reads too slowly for a close frame as well.
                    CloseReason::SlowConsumer => self.io.sockets.abort(connection),
                    _ => self.io.sockets.close(connection, reason.close_code(), now_ms),
                }
            }
            Carrier::Polling(polling) => {
                counters.sessions_polling.sub(1);
                polling.push = None;
                let probe = polling.probe.take();
                // The client of a session that leaves polls no more; another node's WebSocket tells it that it was
                // disconnected, or it would come back.
                let last_words =
                    (reason.follows_disconnect() && polling.leave.is_some()).then(|| polling.take_waiting());
                let has_last_words = polling.has_waiting();
                if reason.follows_disconnect() && has_last_words {
                    // Alone: the client would take a close packet in the same body before its DISCONNECT, and come
                    // back (wire.md 1.11).
                    if let Some(reply) = polling.poll.take() {
                        answer(polling, reply, None, &counters);
                    }
                    polling.closing_until_ms = Some(now_ms + CLOSE_GRACE_MS);
                    lingers = true;
                } else if let Some(reply) = polling.poll.take() {
                    answer(polling, reply, Some("1"), &counters);
                } else if drains && polling.leave.is_none()
                    || matches!(reason, CloseReason::Shutdown | CloseReason::Forced) && has_last_words
                {
                    // Between two polls: the next one is told the end. While a node drains it waits for that.
                    polling.closing_until_ms = Some(now_ms + CLOSE_GRACE_MS);
                    lingers = true;
                } else {
                    counters.messages_lost_on_close.add(polling.waiting_messages());
                }
                match probe.map(|probe| probe.at) {
                    Some(ProbeAt::Here(connection)) => self.io.sockets.close(connection, None, now_ms),
                    Some(ProbeAt::Elsewhere(visitor)) => self.on_leaver_closed(visitor, last_words),
                    None => {}
                }
            }
            Carrier::Visiting(_) => return self.abandon_visit(session, reason, now_ms),
        }
        reason.counter(&counters).add(1);
        self.application.on_close(&mut self.io, session, reason, now_ms);
        if lingers {
            self.io.arm(session);
        } else {
            self.io.remove(session);
        }
    }

    fn on_session_timer(&mut self, session: SessionId, now_ms: u64) {
        let timing = self.io.timing;
        let Some(state) = self.io.session_mut(session) else { return };
        if let Carrier::Polling(polling) = &mut state.carrier
            && polling.closing_until_ms.is_some_and(|until_ms| until_ms <= now_ms)
        {
            return self.io.remove(session);
        }
        if state.doomed {
            return self.io.arm(session);
        }
        if let Carrier::Visiting(visit) = &state.carrier {
            if visit.deadline_ms <= now_ms {
                self.io.doom(session, CloseReason::TransportError);
            }
            return self.io.arm(session);
        }
        match state.heartbeat.poll(now_ms, &timing) {
            HeartbeatAction::None => {}
            HeartbeatAction::SendPing => self.io.send_ping(session),
            HeartbeatAction::Expired => {
                let transport = state.transport();
                let counters = &self.io.spec.counters;
                match transport {
                    Transport::Polling => counters.ping_timeouts_polling.add(1),
                    Transport::WebSocket => counters.ping_timeouts_websocket.add(1),
                }
                return self.io.doom(session, CloseReason::PingTimeout);
            }
        }
        self.on_probe_timer(session, now_ms);
        let Some(state) = self.io.session_mut(session) else { return };
        if state.application_deadline_ms <= now_ms {
            state.application_deadline_ms = u64::MAX;
            self.application.on_deadline(&mut self.io, session, now_ms);
        }
        self.io.arm(session);
    }

    /// What a connection is to its session; `None`: nothing any more.
    fn role(&self, connection: ConnectionId, tag: u32) -> Option<(SessionId, Role)> {
        let session = self.io.session_at(tag)?;
        let (expected, role) = match &self.io.session(session)?.carrier {
            Carrier::WebSocket(current) => (*current, Role::Carries),
            Carrier::Visiting(visit) => (visit.connection, Role::Visits),
            Carrier::Polling(polling) => match polling.probe.as_ref()?.at {
                ProbeAt::Here(probing) => (probing, Role::Probes),
                ProbeAt::Elsewhere(_) => return None,
            },
        };
        (expected == connection).then_some((session, role))
    }
}

/// What a connection is to the session that it is tagged with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The session is on it.
    Carries,
    /// It asks to take the session over from polling.
    Probes,
    /// The same, for a session of another node.
    Visits,
}

impl<A: Application> Service for Server<A> {
    type Message = EngineMessage<A::Message>;
    type Refusal = Dropped;

    fn sockets(&mut self) -> &mut SocketSet {
        &mut self.io.sockets
    }

    fn on_messages(&mut self, messages: &mut Vec<Self::Message>, now_ms: u64) {
        for message in messages.drain(..) {
            match message {
                EngineMessage::Application(message) => self.messages.push(message),
                EngineMessage::Request(request) => self.on_request(request, now_ms),
                EngineMessage::Peer(delivery) => self.on_peer(&delivery, now_ms),
                EngineMessage::CutHere(session) => {
                    self.hand_over_messages(now_ms);
                    self.on_cut_here(session);
                }
                EngineMessage::PeerUnreachable(session) => self.on_unreachable(session, now_ms),
                EngineMessage::PeerLost(node) => self.on_peer_lost(node, now_ms),
                EngineMessage::Drain { window_ms, drained } => {
                    self.hand_over_messages(now_ms);
                    self.begin_drain(window_ms, drained, now_ms);
                }
                EngineMessage::Shutdown => {
                    // What came before it is still to be delivered.
                    self.hand_over_messages(now_ms);
                    self.shut_down(now_ms);
                }
            }
        }
        self.hand_over_messages(now_ms);
    }

    fn on_event(&mut self, connection: ConnectionId, tag: u32, event: Event<'_>, now_ms: u64) {
        let Some((session, role)) = self.role(connection, tag) else { return };
        if !self.io.admit_event(session, &event, now_ms) {
            return self.settle(now_ms);
        }
        let packet = match event {
            Event::Text(_) | Event::Binary(_) if role == Role::Visits => {
                self.on_visit_event(session, &event, now_ms);
                return self.settle(now_ms);
            }
            Event::Text(text) => Packet::decode(text).ok(),
            Event::Binary(data) => Some(Packet::Binary(data.into())),
            Event::Ping(data) => {
                let mut pong = Vec::with_capacity(data.len() + 2);
                push_frame(&mut pong, OpCode::Pong, data);
                // A full queue: the client reads too slowly and will be cut for it.
                let _full = self.io.sockets.enqueue(connection, &Frame::new(pong, 0), true);
                return;
            }
            Event::Pong(_) => return,
            Event::Close(code) => {
                self.io.sockets.close(connection, code.map(|(code, _)| code), now_ms);
                return self.on_closed(connection, tag, CloseCause::Peer, now_ms);
            }
        };
        match packet {
            _ if role == Role::Probes => self.on_probe_packet(session, connection, packet, now_ms),
            Some(packet) => self.on_packet(session, packet, Transport::WebSocket, now_ms),
            None => self.on_parse_error(session),
        }
        self.settle(now_ms);
    }

    fn on_fragments(&mut self, connection: ConnectionId, tag: u32, fragments: u32, now_ms: u64) {
        let Some((session, _)) = self.role(connection, tag) else { return };
        if !self.io.admit(session, u64::from(fragments), 0, now_ms) {
            self.settle(now_ms);
        }
    }

    fn on_closed(&mut self, connection: ConnectionId, tag: u32, cause: CloseCause, now_ms: u64) {
        let Some((session, role)) = self.role(connection, tag) else { return };
        if let CloseCause::Violation(code) = cause {
            self.io.spec.counters.errors_websocket.add(1);
            if code == 1009 {
                self.io.spec.counters.payload_too_large.add(1);
            }
        }
        if role == Role::Probes {
            return self.abandon_upgrade(session, None, now_ms);
        }
        let reason = match cause {
            CloseCause::Peer => CloseReason::TransportClose,
            CloseCause::Error | CloseCause::NoRoom | CloseCause::Violation(_) => CloseReason::TransportError,
        };
        self.io.doom(session, reason);
        self.settle(now_ms);
    }

    fn on_timers(&mut self, now_ms: u64) {
        while let Some(due) = self.io.wheel.take_due(now_ms) {
            for (session, armed_ms) in due {
                let Some(state) = self.io.session_mut(session) else { continue };
                // An entry of a deadline that was since replaced by an earlier one.
                if state.armed_ms != armed_ms {
                    continue;
                }
                state.armed_ms = u64::MAX;
                self.on_session_timer(session, now_ms);
            }
        }
        if self.application.next_timer_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.application.on_timers(&mut self.io, now_ms);
        }
        self.go_on_draining(now_ms);
    }

    fn next_timer_ms(&self) -> Option<u64> {
        let drain_ms = self.drain.as_ref().and_then(Drain::next_ms);
        [self.io.wheel.next_ms(), self.application.next_timer_ms(), drain_ms].into_iter().flatten().min()
    }

    fn on_turn_end(&mut self, now_ms: u64) {
        if !self.moving.is_empty() {
            self.check_moves();
        }
        self.settle(now_ms);
    }

    fn is_drained(&mut self) -> bool {
        self.io.shutting_down && self.io.sockets.is_empty()
    }

    async fn respond(
        shard: Shard<Self>,
        request: HttpRequest<Incoming>,
        _peer: SocketAddr,
    ) -> Result<Response<Body>, Dropped> {
        respond::respond(&shard, request).await
    }
}

impl<A: Application> Server<A> {
    /// Gives the application all of its messages that were collected, so that it can put like ones together.
    pub(super) fn hand_over_messages(&mut self, now_ms: u64) {
        if !self.messages.is_empty() {
            self.application.on_messages(&mut self.io, &mut self.messages, now_ms);
            self.messages.clear();
        }
    }
}
