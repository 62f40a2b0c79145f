//! The sessions of a shard and the ways to them: what the [`super::Server`] drives and the application sends through.

use std::{rc::Rc, sync::Arc};

use broadgate_protocol::{
    engineio::{Heartbeat, HeartbeatTiming, OpenPacket, Transport},
    websocket::Event,
};
use slab::Slab;

use super::{
    Id, IdKey, NodeId, Outgoing,
    polling::{PollBody, Polling},
    session::{Carrier, CloseReason, Session, SessionId},
    wheel::Wheel,
};
use crate::{
    config::EngineSettings,
    limits::{AddressGuard, AddressKey, Admission, Rate, Spent},
    net::{ConnectionId, DeliveryPath, Enqueued, PeerStream, SocketSet},
    telemetry::ShardCounters,
};

/// What an Engine.IO server is made from.
#[derive(Clone)]
pub struct EngineSpec {
    /// `[engine]`
    pub settings: Arc<EngineSettings>,
    /// The node that ids name.
    pub node: NodeId,
    /// What the ids of sessions are sealed with.
    pub id_key: IdKey,
    /// The shard that ids name.
    pub shard: u8,
    /// Sessions that this shard may have.
    pub max_sessions: usize,
    /// Sessions of this shard that may be pending at one time.
    pub max_pending: usize,
    /// What each client may send.
    pub rate: Rate,
    /// Where the sessions of each address are counted.
    pub admission: Arc<Admission>,
    /// Bytes that may wait for one session.
    pub max_queued_bytes: usize,
    /// Bytes of incomplete messages that all clients of the shard together may leave here.
    pub max_inbound_buffer_bytes: usize,
    /// Counts what happens.
    pub counters: Arc<ShardCounters>,
}

/// What became of a message to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Queued,
    /// It was volatile, and the session can't take it now.
    Dropped,
    /// There is no such session any more, or it was cut just now because its queue is full.
    Gone,
}

/// See the module.
pub struct EngineIo {
    pub(super) sockets: SocketSet,
    pub(super) sessions: Slab<Session>,
    pub(super) wheel: Wheel<(SessionId, u64)>,
    pub(super) spec: EngineSpec,
    pub(super) timing: HeartbeatTiming,
    /// Sessions to be closed before the turn ends: closing one changes the tables that its caller may be walking over.
    pub(super) doomed: Vec<(SessionId, CloseReason)>,
    /// Polling sessions with messages and perhaps a poll that can take them.
    pub(super) dirty_polls: Vec<SessionId>,
    /// No session begins here any more: the node goes away.
    pub(super) draining: bool,
    /// Nothing is to stay open.
    pub(super) shutting_down: bool,
    ping: Rc<Outgoing>,
    next_generation: u32,
}

impl EngineIo {
    pub(super) fn new(sockets: SocketSet, spec: EngineSpec) -> Self {
        let timing = HeartbeatTiming {
            ping_interval_ms: millis(spec.settings.ping_interval),
            ping_timeout_ms: millis(spec.settings.ping_timeout),
        };
        Self {
            sockets,
            sessions: Slab::new(),
            wheel: Wheel::new(),
            spec,
            timing,
            doomed: Vec::new(),
            dirty_polls: Vec::new(),
            draining: false,
            shutting_down: false,
            ping: Outgoing::control("2"),
            next_generation: 0,
        }
    }

    /// Sends to a session, or queues for it. One whose queue is full is cut; its end is told to the application later.
    pub fn send(&mut self, session: SessionId, outgoing: &Rc<Outgoing>, volatile: bool) -> Sent {
        match self.sessions.get(session.index as usize) {
            Some(state) if state.generation == session.generation => {
                self.send_at(session.index, outgoing, volatile)
            }
            _ => Sent::Gone,
        }
    }

    /// [`Self::send`] for a caller who knows that the place is taken: the members of a room.
    pub(crate) fn send_at(&mut self, index: u32, outgoing: &Rc<Outgoing>, volatile: bool) -> Sent {
        let Some(state) = self.sessions.get_mut(index as usize) else { return Sent::Gone };
        if state.doomed {
            return Sent::Gone;
        }
        let session = SessionId { index, generation: state.generation };
        let enqueued = match &mut state.carrier {
            Carrier::WebSocket(connection) => self.sockets.enqueue(*connection, outgoing.frame(), volatile),
            Carrier::Visiting(visit) => {
                enqueue(&mut visit.queue, outgoing, volatile, self.spec.max_queued_bytes)
            }
            Carrier::Polling(polling) => {
                let enqueued = enqueue(polling, outgoing, volatile, self.spec.max_queued_bytes);
                if enqueued == Enqueued::Queued && polling.poll.is_some() {
                    self.dirty_polls.push(session);
                }
                enqueued
            }
        };
        match enqueued {
            Enqueued::Queued => Sent::Queued,
            Enqueued::Dropped => {
                self.spec.counters.dropped_volatile.add(u64::from(outgoing.messages()));
                Sent::Dropped
            }
            Enqueued::Full => {
                self.spec.counters.slow_consumers.add(1);
                self.doom(session, CloseReason::SlowConsumer);
                Sent::Gone
            }
            Enqueued::Gone => Sent::Gone,
        }
    }

    /// What was queued just now was published at this time, in microseconds since 1970: its latency is measured once it is
    /// written. Members that poll and have no poll waiting, and those that are behind, hold that up for nobody.
    pub(crate) fn published(&mut self, at_us: u64, path: DeliveryPath) {
        self.sockets.published(at_us, path);
    }

    /// Closes a session before this turn ends; until then it takes and gives nothing.
    pub fn doom(&mut self, session: SessionId, reason: CloseReason) {
        if let Some(state) = self.session_mut(session)
            && !state.doomed
        {
            state.doomed = true;
            self.doomed.push((session, reason));
        }
    }

    /// Does the session still take messages?
    pub fn is_open(&self, session: SessionId) -> bool {
        self.session(session).is_some_and(|state| !state.doomed)
    }

    /// Is a WebSocket about to take the session over, here or at another node?
    pub(super) fn is_upgrading(&self, session: SessionId) -> bool {
        match self.session(session).map(|state| &state.carrier) {
            Some(Carrier::Polling(polling)) => polling.probe.is_some(),
            Some(Carrier::Visiting(_)) => true,
            Some(Carrier::WebSocket(_)) | None => false,
        }
    }

    /// Asks for [`super::Application::on_deadline`] at a time; `None` takes that back.
    pub fn set_deadline(&mut self, session: SessionId, at_ms: Option<u64>) {
        if let Some(state) = self.session_mut(session) {
            state.application_deadline_ms = at_ms.unwrap_or(u64::MAX);
            self.arm(session);
        }
    }

    /// Takes from what the client of a session may send. False: it has sent too much, and is closed for it.
    pub(super) fn admit(&mut self, session: SessionId, messages: u64, bytes: usize, now_ms: u64) -> bool {
        let rate = self.spec.rate;
        let Some(state) = self.session_mut(session).filter(|state| !state.doomed) else { return false };
        if rate.admits(&mut state.spent, now_ms, messages, bytes) {
            return true;
        }
        let counters = &self.spec.counters;
        match rate.costs_by_number(messages, bytes) {
            true => counters.limit_messages.add(1),
            false => counters.limit_received_bytes.add(1),
        }
        self.doom(session, CloseReason::RateLimited);
        false
    }

    /// The same, for a message or control frame on a WebSocket.
    pub(super) fn admit_event(&mut self, session: SessionId, event: &Event<'_>, now_ms: u64) -> bool {
        let bytes = match event {
            Event::Text(text) => text.len(),
            Event::Binary(data) | Event::Ping(data) | Event::Pong(data) => data.len(),
            Event::Close(_) => 0,
        };
        self.admit(session, 1, bytes, now_ms)
    }

    /// A pending session has not done yet what it came for. There is a bound on their number. True: that has changed.
    pub fn set_pending(&mut self, session: SessionId, pending: bool) -> bool {
        let counters = Arc::clone(&self.spec.counters);
        let Some(state) = self.session_mut(session) else { return false };
        match (state.pending, pending) {
            (false, true) => counters.sessions_pending.add(1),
            (true, false) => counters.sessions_pending.sub(1),
            _ => return false,
        }
        state.pending = pending;
        true
    }

    /// The time that [`Self::set_deadline`] was told.
    pub fn deadline_ms(&self, session: SessionId) -> Option<u64> {
        let state = self.session(session)?;
        Some(state.application_deadline_ms).filter(|&at_ms| at_ms != u64::MAX)
    }

    /// Is there room for this much more of messages that are not complete? What is taken is added to the counter by the
    /// caller, and given back; a refusal is counted.
    pub fn has_inbound_room(&self, bytes: usize) -> bool {
        let counters = &self.spec.counters;
        let fits =
            counters.inbound_buffer_bytes.get() + bytes as u64 <= self.spec.max_inbound_buffer_bytes as u64;
        if !fits {
            counters.inbound_buffer_refused.add(1);
        }
        fits
    }

    /// Whose session it is; `None` for addresses that are not counted.
    pub(crate) fn client(&self, session: SessionId) -> Option<AddressKey> {
        self.session(session)?.address
    }

    /// The counters of the shard.
    pub fn counters(&self) -> &Arc<ShardCounters> {
        &self.spec.counters
    }

    /// The session that now has a place in the table.
    pub(crate) fn session_at(&self, index: u32) -> Option<SessionId> {
        self.sessions.get(index as usize).map(|state| SessionId { index, generation: state.generation })
    }

    pub(super) fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.index as usize).filter(|state| state.generation == id.generation)
    }

    pub(super) fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.index as usize).filter(|state| state.generation == id.generation)
    }

    /// The session that an Engine.IO id of this shard names.
    pub(super) fn find(&self, id: Id) -> Option<SessionId> {
        let state = self.sessions.get(id.index as usize)?;
        (state.secret == id.secret).then_some(SessionId { index: id.index, generation: state.generation })
    }

    pub(super) fn has_room(&self) -> bool {
        self.sessions.len() < self.spec.max_sessions && Id::fits(self.sessions.vacant_key()) && !self.draining
    }

    /// Does the shard take another session that begins?
    pub(super) fn has_room_for_pending(&self) -> bool {
        self.spec.counters.sessions_pending.get() < self.spec.max_pending as u64
    }

    /// Takes a session out of the table; every end of one comes by here.
    pub(super) fn remove(&mut self, session: SessionId) {
        self.set_pending(session, false);
        if self.session(session).is_none() {
            return;
        }
        let state = self.sessions.remove(session.index as usize);
        if let Some(address) = state.address {
            self.spec.admission.session_closed(address);
        }
    }

    /// Makes a session; returns it with its open packet (wire.md 1.4). `None`: the system has no random source.
    pub(super) fn open(
        &mut self,
        transport: Transport,
        address: AddressGuard,
        now_ms: u64,
    ) -> Option<(SessionId, String)> {
        let (session, id) = self.insert(address, now_ms)?;
        self.arm(session);
        let settings = &self.spec.settings;
        let upgrades: &[Transport] = match transport {
            Transport::Polling if settings.websocket => &[Transport::WebSocket],
            _ => &[],
        };
        let sid = id.encode(self.spec.node);
        let packet = OpenPacket {
            sid: sid.as_str(),
            upgrades,
            ping_interval_ms: self.timing.ping_interval_ms,
            ping_timeout_ms: self.timing.ping_timeout_ms,
            max_payload_bytes: settings.max_payload_bytes as u64,
        };
        Some((session, packet.encode()))
    }

    /// Puts the WebSocket of a fresh session into the set; without it, there is no such session.
    pub(super) fn watch(&mut self, session: SessionId, socket: PeerStream) -> Option<ConnectionId> {
        match self.sockets.insert(socket, session.index) {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::error!(%error, "cannot watch a connection; it is closed");
                self.remove(session);
                None
            }
        }
    }

    /// Puts a session into the table that is on nothing yet.
    pub(super) fn insert(&mut self, address: AddressGuard, now_ms: u64) -> Option<(SessionId, Id)> {
        self.next_generation = self.next_generation.wrapping_add(1);
        let index = u32::try_from(self.sessions.vacant_key()).ok()?;
        let id = self.spec.id_key.mint(self.spec.node, self.spec.shard, index).ok()?;
        let session = SessionId { index, generation: self.next_generation };
        self.sessions.insert(Session {
            secret: id.secret,
            generation: session.generation,
            doomed: false,
            pending: false,
            heartbeat: Heartbeat::new(now_ms, &self.timing),
            carrier: Carrier::Polling(Box::default()),
            application_deadline_ms: u64::MAX,
            armed_ms: u64::MAX,
            spent: Spent::default(),
            address: address.into_key(),
        });
        Some((session, id))
    }

    /// Puts the session's next deadline into the wheel, unless an entry that comes up earlier is there already.
    pub(super) fn arm(&mut self, session: SessionId) {
        let Some(state) = self.session_mut(session) else { return };
        let deadline_ms = state.deadline_ms();
        if deadline_ms < state.armed_ms {
            state.armed_ms = deadline_ms;
            self.wheel.insert(deadline_ms, (session, deadline_ms));
        }
    }

    pub(super) fn send_ping(&mut self, session: SessionId) {
        let ping = Rc::clone(&self.ping);
        // A full queue cuts the session: it did not even take the last ping.
        let _sent = self.send(session, &ping, false);
    }

    /// Answers the polls for which something waits.
    pub(super) fn flush_polls(&mut self) {
        while let Some(session) = self.dirty_polls.pop() {
            let counters = Arc::clone(&self.spec.counters);
            let Some(state) = self.session_mut(session) else { continue };
            let Carrier::Polling(polling) = &mut state.carrier else { continue };
            if polling.has_waiting()
                && let Some(reply) = polling.poll.take()
            {
                answer(polling, reply, None, &counters);
            }
        }
    }

    /// Sends a control packet on a WebSocket that is probing.
    pub(super) fn send_control(&mut self, connection: ConnectionId, packet: &str) {
        // A full queue can't be: nothing was sent on it before.
        let _queued = self.sockets.enqueue(connection, Outgoing::control(packet.to_owned()).frame(), false);
    }
}

/// Answers a poll with all that waits, and `last` behind it.
pub(super) fn answer(
    polling: &mut Polling,
    reply: super::polling::PollReply,
    last: Option<&'static str>,
    counters: &ShardCounters,
) {
    let (body, messages): (PollBody, u64) = polling.take_body(last);
    counters.messages_sent.add(messages);
    counters.bytes_sent.add(body.bytes.len() as u64);
    reply.send(Ok(body));
}

fn enqueue(
    polling: &mut Polling,
    outgoing: &Rc<Outgoing>,
    volatile: bool,
    max_queued_bytes: usize,
) -> Enqueued {
    if polling.closing_until_ms.is_some() {
        return Enqueued::Gone;
    }
    // Not writable means that no poll waits (wire.md 2.9).
    if volatile && polling.poll.is_none() {
        return Enqueued::Dropped;
    }
    if !polling.has_place_for(outgoing.chunk().len(), max_queued_bytes) {
        return Enqueued::Full;
    }
    polling.push(outgoing);
    Enqueued::Queued
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
