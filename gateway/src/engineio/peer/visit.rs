//! A session of another node that is coming here: its WebSocket is at this node already. Owned by the shard's table of
//! sessions as a [`Carrier`] of its own.
//!
//! | stage | begins with | waits for |
//! |---|---|---|
//! | probing | the WebSocket | the client's `2probe` and `5` |
//! | asking | `5` | the owner's plan |
//! | subscribing | the plan | all of its rooms |
//! | cutting | `Ready` | the cut, then the session |

use std::sync::Arc;

use broadgate_protocol::{
    engineio::{Heartbeat, HeartbeatRest, Packet, Transport},
    websocket::Event,
};

use super::{
    PeerMessage, VisitId,
    gate::{FromCluster, Gate},
    message::{MoveStep, MovedPacket, MovedSession, VisitStep},
    watch,
};
use crate::{
    engineio::{
        Application, EngineMessage, IdText, NodeId, Outgoing, Part, Server, SessionId,
        io::millis,
        polling::Polling,
        session::{Carrier, CloseReason},
    },
    limits::AddressGuard,
    net::{ConnectionId, Enqueued, PeerStream},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Probing,
    Asking,
    Subscribing,
    Cutting,
}

/// See the module.
pub(in crate::engineio) struct Visit {
    pub(in crate::engineio) connection: ConnectionId,
    session: IdText,
    stage: Stage,
    gate: Gate,
    pub(in crate::engineio) deadline_ms: u64,
    /// What is for the session behind the cut, and goes out after what the owner has for it.
    pub(in crate::engineio) queue: Polling,
    /// What the client has sent behind its `5`; as much as one message may have.
    inbound: Vec<Inbound>,
    inbound_bytes: usize,
}

enum Inbound {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Visit {
    pub(in crate::engineio) fn owner(&self) -> NodeId {
        self.session.parts().0
    }
}

impl<A: Application> Server<A> {
    /// A WebSocket for a session of another node starts to probe.
    pub(in crate::engineio) fn begin_visit(
        &mut self,
        owned_as: IdText,
        socket: PeerStream,
        early: Vec<u8>,
        address: AddressGuard,
        now_ms: u64,
    ) {
        let deadline_ms = now_ms + millis(self.io.spec.settings.upgrade_timeout);
        // Others came, or the node began to stop, while the owner was asked.
        if !self.io.has_room() {
            self.io.spec.counters.rejected_capacity.add(1);
            return;
        }
        // The connection has to know its session, and the other way round.
        let Some((session, _)) = self.io.insert(address, now_ms) else { return };
        let Some(connection) = self.io.watch(session, socket) else { return };
        if let Some(state) = self.io.session_mut(session) {
            state.carrier = Carrier::Visiting(Box::new(Visit {
                connection,
                session: owned_as,
                stage: Stage::Probing,
                gate: Gate::ARRIVING,
                deadline_ms,
                queue: Polling::default(),
                inbound: Vec::new(),
                inbound_bytes: 0,
            }));
        }
        self.io.arm(session);
        self.tell_owner(session, VisitStep::Begin);
        self.settle(now_ms);
        crate::runtime::feed(self, connection, early, now_ms);
    }

    fn visit_mut(&mut self, session: SessionId) -> Option<&mut Visit> {
        match &mut self.io.session_mut(session)?.carrier {
            Carrier::Visiting(visit) => Some(visit),
            _ => None,
        }
    }

    fn tell_owner(&mut self, session: SessionId, step: VisitStep) {
        let Some(peers) = self.http.peers.clone() else { return };
        let Some(owned_as) = self.visit_mut(session).map(|visit| visit.session) else { return };
        let visit = VisitId { index: session.index, generation: session.generation };
        let message = PeerMessage::Visit { session: owned_as, visit, step };
        let sent = peers.to_owner(owned_as, self.http.shard, &message);
        // Without an owner there is nobody to abandon.
        if step != VisitStep::Abandon {
            watch(sent, &self.inbox(), session);
        }
    }

    /// A message on the WebSocket of a visit (wire.md 1.8).
    pub(in crate::engineio) fn on_visit_event(&mut self, session: SessionId, event: &Event<'_>, now_ms: u64) {
        let move_deadline_ms = now_ms + self.move_timeout_ms();
        let Some(visit) = self.visit_mut(session) else { return };
        let connection = visit.connection;
        if visit.stage != Stage::Probing {
            let (inbound, bytes) = match event {
                Event::Text(text) => (Inbound::Text((*text).into()), text.len()),
                Event::Binary(data) => (Inbound::Binary((*data).into()), data.len()),
                _ => return,
            };
            return self.keep_for_later(session, inbound, bytes);
        }
        let packet = match event {
            Event::Text(text) => Packet::decode(text).ok(),
            _ => None,
        };
        match packet {
            Some(Packet::Ping("probe")) => {
                self.io.send_control(connection, "3probe");
                self.tell_owner(session, VisitStep::Probed);
            }
            Some(Packet::Upgrade) => {
                visit.stage = Stage::Asking;
                visit.deadline_ms = move_deadline_ms;
                self.io.arm(session);
                self.tell_owner(session, VisitStep::Take);
            }
            _ => self.io.doom(session, CloseReason::TransportError),
        }
    }

    /// Keeps what a client has sent behind its `5` until its session is here.
    fn keep_for_later(&mut self, session: SessionId, inbound: Inbound, bytes: usize) {
        /// A message takes that at least, so that many small ones are bounded, too.
        const OVERHEAD_BYTES: usize = 32;
        let (bytes, max_bytes) = (bytes + OVERHEAD_BYTES, self.io.spec.settings.max_payload_bytes);
        let Some(kept) = self.visit_mut(session).map(|visit| visit.inbound_bytes) else { return };
        if kept + bytes > max_bytes.saturating_add(OVERHEAD_BYTES) || !self.io.has_inbound_room(bytes) {
            return self.io.doom(session, CloseReason::TransportError);
        }
        self.io.spec.counters.inbound_buffer_bytes.add(bytes as u64);
        if let Some(visit) = self.visit_mut(session) {
            visit.inbound_bytes += bytes;
            visit.inbound.push(inbound);
        }
    }

    /// How long each side waits for the other while a session moves: its rooms may have to be subscribed first.
    pub(super) fn move_timeout_ms(&self) -> u64 {
        self.http.peers.as_ref().map_or(0, |peers| 2 * millis(peers.answer_timeout))
    }

    /// The owner's part in a visit.
    pub(super) fn on_move(&mut self, from: NodeId, visit: VisitId, step: MoveStep, now_ms: u64) {
        let session = SessionId { index: visit.index, generation: visit.generation };
        let Some(visit) = self.visit_mut(session).filter(|visit| visit.owner() == from) else {
            return self.on_move_in_vain(&step);
        };
        match (step, visit.stage) {
            // A second plan follows where the rooms have changed since the first. Until the cut, the owner delivers
            // everything, also what was queued here.
            (MoveStep::Plan { plan }, Stage::Asking | Stage::Cutting) if !visit.gate.is_past_cut() => {
                visit.stage = Stage::Subscribing;
                visit.gate = Gate::ARRIVING;
                visit.queue.take_waiting();
                if self.application.on_arrival(&mut self.io, session, &plan, now_ms).is_err() {
                    return self.io.doom(session, CloseReason::TransportError);
                }
                self.application.set_gate(session, Some(Gate::ARRIVING));
                self.moving.push(session);
            }
            (MoveStep::State(state), Stage::Cutting) if visit.gate.is_past_cut() => {
                self.finish_visit(session, *state, now_ms);
            }
            (MoveStep::Over { waiting }, Stage::Asking | Stage::Subscribing | Stage::Cutting) => {
                let connection = visit.connection;
                let last_words = Outgoing::new(waiting.into_iter().map(part).collect(), 0, false);
                // A full queue: it is closed either way.
                let _full = self.io.sockets.enqueue(connection, last_words.frame(), false);
                self.drop_visit(session, now_ms);
            }
            (MoveStep::Gone, _) => self.drop_visit(session, now_ms),
            _ => self.io.doom(session, CloseReason::TransportError),
        }
    }

    /// The visit has ended before the owner's word came.
    fn on_move_in_vain(&self, step: &MoveStep) {
        if let MoveStep::State(moved) = step {
            let counters = &self.io.spec.counters;
            counters.sessions_moved_lost.add(1);
            counters.messages_lost_on_close.add(u64::from(moved.messages));
        }
    }

    /// The owner has the session no more: it needs no word.
    pub(super) fn drop_visit(&mut self, session: SessionId, now_ms: u64) {
        let Some(visit) = self.visit_mut(session) else { return };
        let (connection, inbound_bytes) = (visit.connection, visit.inbound_bytes);
        self.io.spec.counters.inbound_buffer_bytes.sub(inbound_bytes as u64);
        self.io.sockets.close(connection, None, now_ms);
        self.io.spec.counters.upgrades_failed.add(1);
        self.application.on_close(&mut self.io, session, CloseReason::TransportError, now_ms);
        self.io.remove(session);
    }

    /// Is everything subscribed that a visit waits for? Then the owner is told. False: it still waits.
    pub(super) fn check_visit(&mut self, session: SessionId) -> bool {
        if self.visit_mut(session).is_none_or(|visit| visit.stage != Stage::Subscribing) {
            return true;
        }
        if !self.application.is_ready(session) {
            return false;
        }
        let Some(peers) = self.http.peers.clone() else { return true };
        {
            let _alone = peers.order.cut();
            self.tell_owner(session, VisitStep::Ready);
            self.inbox().send(EngineMessage::CutHere(session));
        }
        if let Some(visit) = self.visit_mut(session) {
            visit.stage = Stage::Cutting;
        }
        self.change_gate(session, |gate| gate.own_shard = true);
        true
    }

    fn change_gate(&mut self, session: SessionId, change: impl FnOnce(&mut Gate)) {
        let Some(visit) = self.visit_mut(session) else { return };
        change(&mut visit.gate);
        let gate = visit.gate;
        self.application.set_gate(session, Some(gate));
    }

    /// What this node published before its `Ready` was in the inbox before this.
    pub(in crate::engineio) fn on_visit_cut_here(&mut self, session: SessionId) {
        self.change_gate(session, |gate| gate.own_node = true);
    }

    /// From here on, what comes from Redis is this node's to deliver.
    pub(super) fn on_cut(&mut self, from: NodeId, visit: VisitId) {
        let session = SessionId { index: visit.index, generation: visit.generation };
        if self.visit_mut(session).is_some_and(|visit| visit.owner() == from && visit.stage == Stage::Cutting)
        {
            self.change_gate(session, |gate| gate.cluster = FromCluster::All);
        }
    }

    /// The session is here. What the owner had for it goes out first, then what was published since the cut; then what
    /// the client has sent meanwhile is taken in.
    fn finish_visit(&mut self, session: SessionId, moved: MovedSession, now_ms: u64) {
        let (timing, counters) = (self.io.timing, Arc::clone(&self.io.spec.counters));
        let Some(state) = self.io.session_mut(session) else { return };
        let Carrier::Visiting(visit) = &mut state.carrier else { return };
        let (connection, inbound) = (visit.connection, std::mem::take(&mut visit.inbound));
        counters.inbound_buffer_bytes.sub(visit.inbound_bytes as u64);
        let waiting = visit.queue.take_waiting();
        state.carrier = Carrier::WebSocket(connection);
        let rest = HeartbeatRest {
            left_ms: moved.heartbeat_left_ms,
            awaits_pong: moved.awaits_pong,
            is_put_off: moved.pong_put_off,
        };
        state.heartbeat = Heartbeat::resume(&rest, now_ms, &timing);
        self.io.arm(session);
        counters.sessions_websocket.add(1);
        counters.upgrades_done.add(1);
        counters.sessions_moved_in.add(1);
        self.application.set_gate(session, None);
        let parts: Vec<_> = moved.waiting.into_iter().map(part).collect();
        let owners = (!parts.is_empty()).then(|| Outgoing::new(parts, moved.messages, true));
        for outgoing in owners.into_iter().chain(waiting) {
            if self.io.sockets.enqueue(connection, outgoing.frame(), false) == Enqueued::Full {
                counters.slow_consumers.add(1);
                return self.io.doom(session, CloseReason::SlowConsumer);
            }
        }
        if self.application.import(&mut self.io, session, &moved.application, now_ms).is_err() {
            return self.io.doom(session, CloseReason::TransportError);
        }
        for message in inbound {
            let packet = match &message {
                Inbound::Text(text) => Packet::decode(text).ok(),
                Inbound::Binary(data) => Some(Packet::Binary((&**data).into())),
            };
            match packet {
                Some(packet) => self.on_packet(session, packet, Transport::WebSocket, now_ms),
                None => return self.on_parse_error(session),
            }
        }
    }

    /// A visit ends before it has the session: its WebSocket is gone, or it is to go.
    pub(in crate::engineio) fn abandon_visit(
        &mut self,
        session: SessionId,
        reason: CloseReason,
        now_ms: u64,
    ) {
        if reason.follows_disconnect()
            && let Some(visit) = self.visit_mut(session)
        {
            // Disconnected behind the cut. Without its DISCONNECT the client would come back (wire.md 1.11).
            let (connection, waiting) = (visit.connection, visit.queue.take_waiting());
            for outgoing in waiting {
                let _full = self.io.sockets.enqueue(connection, outgoing.frame(), false);
            }
        }
        self.tell_owner(session, VisitStep::Abandon);
        self.drop_visit(session, now_ms);
    }
}

fn part(packet: MovedPacket) -> Part {
    match packet {
        MovedPacket::Text(text) => Part::Text(text),
        MovedPacket::Binary(data) => Part::Binary(data),
        MovedPacket::Control(packet) => Part::Control(packet),
    }
}
