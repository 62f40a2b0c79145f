//! What clients ask for: `join`, `leave`, `publish`, each answered with one object where an ack is asked for.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use broadgate_adapter::{Broadcast, EngineFuture, EventPacket, Flags, PublishError, Stamp};
use broadgate_protocol::socketio::{Event, EventName, Packet, is_reserved_event};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    HubMessage,
    client::NamespaceId,
    directory::{Joined, Waiter},
    fanout::Received,
    message::PublishDone,
    packets::Answer,
    send_broadcast, send_counted,
    shard_hub::Hub,
};
use crate::{
    engineio::{EngineIo, EngineMessage, SessionId, Source},
    publish_course::Course,
    telemetry::{Counter, ShardCounters, Span, SpanKind},
};

/// Why a request was refused. The code is stable; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    error: &'static str,
    message: &'static str,
}

pub(super) const fn forbidden(message: &'static str) -> Refusal {
    Refusal { error: "forbidden", message }
}

pub(super) const fn invalid(message: &'static str) -> Refusal {
    Refusal { error: "invalid_argument", message }
}

pub(super) const fn limit(message: &'static str) -> Refusal {
    Refusal { error: "limit_reached", message }
}

const TOO_MANY_ROOMS: Refusal = limit("this socket is in as many rooms as it may be");
const TOO_MANY_PENDING: Refusal = limit("too many requests of this connection wait for their answer");
const LONG_ROOM_NAME: Refusal = invalid("the room's name is too long");
const LONG_EVENT_NAME: Refusal = invalid("the event's name is too long");

/// What counts the bound of `[limits]` that a refusal stands for.
fn limit_counter(counters: &ShardCounters, refusal: Refusal) -> Option<&Counter> {
    [
        (TOO_MANY_ROOMS, &counters.limit_rooms_per_socket),
        (TOO_MANY_PENDING, &counters.limit_pending_acks),
        (LONG_ROOM_NAME, &counters.limit_room_name),
        (LONG_EVENT_NAME, &counters.limit_event_name),
    ]
    .into_iter()
    .find_map(|(reached, counter)| (reached == refusal).then_some(counter))
}

pub(super) const UNAVAILABLE: Refusal =
    Refusal { error: "adapter_unavailable", message: "the link to the other nodes is down; try again" };

/// Why a publish went nowhere.
const fn refused_at_once(error: &PublishError) -> Refusal {
    let message = match error {
        PublishError::Invalid(_) => {
            return invalid(
                "the message is larger or nested more deeply than the other nodes take; nobody got it",
            );
        }
        PublishError::QueueFull => "too much waits for the other nodes; nobody got it",
        PublishError::LinkDown | PublishError::Refused(_) => {
            "the link to the other nodes is down; nobody got it"
        }
    };
    Refusal { error: "adapter_unavailable", message }
}

/// What failed on its way: members on this node have it.
const FAILED_ON_ITS_WAY: Refusal = Refusal {
    error: "adapter_unavailable",
    message: "the link to the other nodes failed; members on this node got it, others may not have",
};

/// Who asks, and how to answer.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) session: SessionId,
    pub(super) namespace: NamespaceId,
    pub(super) ack_id: Option<&'a str>,
}

impl Hub {
    /// An event of a client.
    pub(super) fn on_event(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        packet: &Packet<'_>,
        attachments: Vec<Bytes>,
        now_ms: u64,
    ) {
        // Without a payload there is nothing to do (wire.md 2.1).
        let Some(event) = packet.payload.and_then(|payload| Event::parse(payload).ok()) else { return };
        let caller = Caller { session, namespace, ack_id: packet.ack_id };
        match &event.name {
            EventName::Text(name) if name == "join" => self.on_join(io, caller, &event.args, now_ms),
            EventName::Text(name) if name == "leave" => self.on_leave(io, caller, &event.args),
            EventName::Text(name) if name == "publish" => {
                self.on_publish(io, caller, &event.args, attachments);
            }
            EventName::Text(name) if name == "auth" => self.on_auth(io, caller, &event.args, now_ms),
            _ => {
                io.counters().events_unknown.add(1);
                let message = "this node knows the events join, leave, publish and auth";
                self.refuse(io, caller, Refusal { error: "unknown_event", message });
            }
        }
    }

    fn on_join(&mut self, io: &mut EngineIo, caller: Caller<'_>, args: &[&RawValue], now_ms: u64) {
        let before = self.gauges();
        match self.join(caller, args) {
            Err(refusal) => {
                join_counter(io.counters(), refusal).add(1);
                self.refuse(io, caller, refusal);
            }
            Ok((name, joined)) => self.joined(io, caller, &name, joined, now_ms),
        }
        self.update_gauges(io, before);
    }

    fn join(&mut self, caller: Caller<'_>, args: &[&RawValue]) -> Result<(String, Joined), Refusal> {
        let [room] = args else { return Err(invalid("join takes one room")) };
        let room = self.room_name(room)?;
        self.check_join(caller, &room)?;
        if !self.has_place_for(caller.session.index, caller.namespace, &room) {
            return Err(TOO_MANY_ROOMS);
        }
        self.check_pending(caller)?;
        match self.directory.join(caller.session.index, caller.namespace, &room) {
            Some(joined) => Ok((room, joined)),
            None => Err(forbidden("the socket is not connected")),
        }
    }

    /// Is the socket in the room, or in fewer rooms than it may be?
    pub(super) fn has_place_for(&self, index: u32, namespace: NamespaceId, room: &str) -> bool {
        self.room_count_of(index, namespace) < self.spec.limits.max_rooms_per_socket
            || self.is_member(index, namespace, room)
    }

    /// Rooms that a socket is in, beside that of its id.
    pub(super) fn room_count_of(&self, index: u32, namespace: NamespaceId) -> usize {
        let Some(client) = self.directory.client(index) else { return 0 };
        let Some(socket) = client.socket(namespace) else { return 0 };
        // The first membership is that of everyone in the namespace; an id of another node is a room, too.
        let id_rooms =
            usize::from(client.foreign.as_ref().is_some_and(|foreign| foreign.id(namespace).is_some()));
        socket.memberships.len().saturating_sub(1 + id_rooms)
    }

    pub(super) fn is_member(&self, index: u32, namespace: NamespaceId, room: &str) -> bool {
        let socket = self.directory.client(index).and_then(|client| client.socket(namespace));
        let room = self.directory.find(namespace, room);
        let mut memberships = socket.into_iter().flat_map(|socket| &socket.memberships);
        room.is_some_and(|room| memberships.any(|one| one.room == room))
    }

    /// Measures the room that a socket has joined just now.
    pub(super) fn observe_join(&self, io: &EngineIo, joined: Option<Joined>) {
        if let Some(Joined::Room(room) | Joined::NewRoom(room)) = joined {
            io.counters().histograms.room_size.observe(self.directory.room(room).members.len() as u64);
        }
    }

    /// The ack of a join comes when the node is subscribed: what is published after it arrives.
    fn joined(&mut self, io: &mut EngineIo, caller: Caller<'_>, name: &str, joined: Joined, now_ms: u64) {
        let (Joined::Room(id) | Joined::NewRoom(id) | Joined::Already(id)) = joined;
        self.observe_join(io, Some(joined));
        let room = self.directory.room(id);
        if room.subscribed {
            io.counters().joins_ok.add(1);
            let is_new = !matches!(joined, Joined::Already(_));
            let answer = Answer { ok: true, room: Some(name), joined: Some(is_new), ..Answer::default() };
            return self.answer(io, caller.session, caller.namespace, caller.ack_id, &answer);
        }
        let room_name = Arc::clone(&room.name);
        match caller.ack_id {
            Some(ack_id) => {
                let (session, deadline_ms) = (caller.session, now_ms + self.spec.subscribe_timeout_ms);
                let is_new = !matches!(joined, Joined::Already(_));
                let waiter = Waiter { session, ack_id: ack_id.into(), deadline_ms, is_new };
                self.wait_for_subscription(io, caller.namespace, id, waiter);
            }
            None => io.counters().joins_ok.add(1),
        }
        if matches!(joined, Joined::NewRoom(_)) {
            self.spec.engine.subscribe(self.subscriber, &self.namespace_name(caller.namespace), &room_name);
        }
    }

    fn on_leave(&mut self, io: &mut EngineIo, caller: Caller<'_>, args: &[&RawValue]) {
        io.counters().leaves.add(1);
        let room = match args {
            [room] => self.room_name(room),
            _ => Err(invalid("leave takes one room")),
        };
        let room = match room {
            Ok(room) => room,
            Err(refusal) => return self.refuse(io, caller, refusal),
        };
        let before = self.gauges();
        let index = caller.session.index;
        let is_kept = self.is_own_room(index, caller.namespace, &room) || self.is_users_room(caller, &room);
        let was_in = !is_kept && self.leave_room(io, index, caller.namespace, &room);
        self.update_gauges(io, before);
        let answer = Answer { ok: true, room: Some(&room), left: Some(was_in), ..Answer::default() };
        self.answer(io, caller.session, caller.namespace, caller.ack_id, &answer);
    }

    /// False: the socket was not in.
    pub(super) fn leave_room(
        &mut self,
        io: &mut EngineIo,
        index: u32,
        namespace: NamespaceId,
        room: &str,
    ) -> bool {
        let Some(left) = self.directory.leave(index, namespace, room) else { return false };
        // Joins that still waited took effect, and are undone by this.
        self.answer_waiters(io, namespace, room, &left.waiters);
        self.room_is_gone(left.gone.as_ref());
        true
    }

    fn on_publish(
        &mut self,
        io: &mut EngineIo,
        caller: Caller<'_>,
        args: &[&RawValue],
        attachments: Vec<Bytes>,
    ) {
        let mut broadcast = match self.broadcast_of(caller, args, attachments) {
            Ok(broadcast) => broadcast,
            Err(refusal) => {
                publish_counter(io.counters(), refusal).add(1);
                return self.refuse(io, caller, refusal);
            }
        };
        let mut span = self.spec.traces.root("publish", SpanKind::Producer);
        broadcast.stamp.trace = span.as_ref().map(Span::context);
        let broadcast = Arc::new(broadcast);
        let order = Arc::clone(&self.spec.publish_order);
        let order = order.publish();
        let mut published = self.spec.engine.publish(Arc::clone(&broadcast));
        // Before anybody has it: what the engine says at once decides whether anybody gets it.
        let answered = (&mut published).now_or_never();
        let course = Course::of(answered.as_ref(), self.spec.when_down);
        if let Course::Nowhere(error) = course {
            let refusal = refused_at_once(&error);
            if let Some(span) = &mut span {
                span.fail(refusal.error);
            }
            publish_counter(io.counters(), refusal).add(1);
            return self.refuse(io, caller, refusal);
        }
        let local_only = course == Course::HereOnly;
        let answered = if local_only { Some(Ok(())) } else { answered };
        let mut elsewhere = Vec::new();
        for inbox in self.other_shards() {
            match caller.ack_id {
                Some(_) => elsewhere.push(send_counted(inbox, &broadcast)),
                None => {
                    // One that does not fit is counted by the inbox.
                    let _taken = send_broadcast(inbox, &broadcast, Source::OwnNode);
                }
            }
        }
        drop(order);
        let received = Received { broadcast: Arc::clone(&broadcast), source: Source::OwnShard };
        let delivered = self.deliver(io, &[received], Some(caller.session.index));
        let Some(ack_id) = caller.ack_id else {
            // Nobody waits for the answer; that it failed later is counted by the engine.
            return published_counter(io.counters(), local_only).add(1);
        };
        let (session, namespace) = (caller.session, caller.namespace);
        let room = broadcast.rooms.first().cloned().unwrap_or_default();
        let ack_id = ack_id.into();
        let done = PublishDone {
            session,
            namespace,
            ack_id,
            room,
            delivered,
            local_only,
            result: Ok(()),
            asked: Instant::now(),
        };
        self.await_publish(io, done, elsewhere, published, answered, span);
    }

    /// The event that a client wants to be published: `[room, event, ...args]`.
    fn broadcast_of(
        &self,
        caller: Caller<'_>,
        args: &[&RawValue],
        attachments: Vec<Bytes>,
    ) -> Result<Broadcast, Refusal> {
        let [room, event, args @ ..] = args else { return Err(invalid("publish takes a room and an event")) };
        let room = self.room_name(room)?;
        let name: String =
            serde_json::from_str(event.get()).map_err(|_| invalid("the event's name is a string"))?;
        if is_reserved_event(&name) {
            return Err(invalid("the event's name is reserved by Socket.IO"));
        }
        if name.len() > self.spec.limits.max_event_name_bytes {
            return Err(LONG_EVENT_NAME);
        }
        self.check_publish(caller, &room)?;
        self.check_pending(caller)?;
        let own_id = self.id_at(caller.session.index, caller.namespace);
        Ok(Broadcast {
            namespace: (*self.namespace_name(caller.namespace)).into(),
            rooms: vec![room.into()],
            except: own_id.iter().map(|id| id.as_str().into()).collect(),
            flags: Flags::default(),
            stamp: Stamp::at(SystemTime::now()),
            packet: EventPacket { json: event_json(event, args), attachments },
        })
    }

    /// Answers a publish once the other shards and the engine have it.
    fn await_publish(
        &mut self,
        io: &mut EngineIo,
        mut done: PublishDone,
        elsewhere: Vec<oneshot::Receiver<usize>>,
        published: EngineFuture<Result<(), PublishError>>,
        answered: Option<Result<(), PublishError>>,
        span: Option<Span>,
    ) {
        if let Some(client) = self.directory.client_mut(done.session.index) {
            client.pending_acks += 1;
        }
        io.counters().acks_pending.add(1);
        // The in-memory engine has its answer ready, and a node with one shard asks no other.
        let answered = match answered {
            Some(result) if elsewhere.is_empty() => {
                done.result = result;
                return self.on_published(io, &done);
            }
            answered => answered,
        };
        let inbox = self.inbox();
        tokio::task::spawn_local(async move {
            for reached in elsewhere {
                // A shard that is full or gone delivers nothing.
                done.delivered += reached.await.unwrap_or(0);
            }
            done.result = match answered {
                Some(result) => result,
                None => published.await,
            };
            if let (Some(mut span), Err(error)) = (span, &done.result) {
                span.fail(error.to_string());
            }
            inbox.send(EngineMessage::Application(HubMessage::Published(done)));
        });
    }

    pub(super) fn on_published(&mut self, io: &mut EngineIo, done: &PublishDone) {
        io.counters().acks_pending.sub(1);
        let waited_us = u64::try_from(done.asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        io.counters().histograms.ack_publish.observe(waited_us);
        self.ack_is_done(done.session);
        let caller = Caller { session: done.session, namespace: done.namespace, ack_id: Some(&done.ack_id) };
        match &done.result {
            Ok(()) => {
                published_counter(io.counters(), done.local_only).add(1);
                let answer = Answer {
                    ok: true,
                    room: Some(&done.room),
                    delivered: Some(done.delivered),
                    local_only: done.local_only,
                    ..Answer::default()
                };
                self.answer(io, caller.session, caller.namespace, caller.ack_id, &answer);
            }
            Err(_) => {
                publish_counter(io.counters(), FAILED_ON_ITS_WAY).add(1);
                self.refuse(io, caller, FAILED_ON_ITS_WAY);
            }
        }
    }

    fn check_pending(&self, caller: Caller<'_>) -> Result<(), Refusal> {
        let pending = self.directory.client(caller.session.index).map_or(0, |client| client.pending_acks);
        if caller.ack_id.is_some() && pending as usize >= self.spec.limits.max_pending_acks {
            return Err(TOO_MANY_PENDING);
        }
        Ok(())
    }

    fn room_name(&self, room: &RawValue) -> Result<String, Refusal> {
        let room: String =
            serde_json::from_str(room.get()).map_err(|_| invalid("the room's name is a string"))?;
        if room.is_empty() {
            return Err(invalid("the room's name is empty"));
        }
        if room.len() > self.spec.limits.max_room_name_bytes {
            return Err(LONG_ROOM_NAME);
        }
        Ok(room)
    }

    pub(super) fn refuse(&self, io: &mut EngineIo, caller: Caller<'_>, refusal: Refusal) {
        if let Some(counter) = limit_counter(io.counters(), refusal) {
            counter.add(1);
        }
        let answer =
            Answer { error: Some(refusal.error), message: Some(refusal.message), ..Answer::default() };
        self.answer(io, caller.session, caller.namespace, caller.ack_id, &answer);
    }
}

/// `["event",arg,...]` out of the client's own JSON: placeholders keep their numbers, since the room and the name that
/// are left out hold none.
fn event_json(event: &RawValue, args: &[&RawValue]) -> Box<str> {
    let length = args.iter().map(|arg| arg.get().len() + 1).sum::<usize>() + event.get().len() + 2;
    let mut json = String::with_capacity(length);
    json.push('[');
    json.push_str(event.get());
    for arg in args {
        json.push(',');
        json.push_str(arg.get());
    }
    json.push(']');
    json.into()
}

fn join_counter(counters: &ShardCounters, refusal: Refusal) -> &Counter {
    match refusal.error {
        "forbidden" => &counters.joins_forbidden,
        "limit_reached" => &counters.joins_limited,
        "adapter_unavailable" => &counters.joins_unavailable,
        _ => &counters.joins_invalid,
    }
}

fn published_counter(counters: &ShardCounters, local_only: bool) -> &Counter {
    if local_only { &counters.publishes_local_only } else { &counters.publishes_ok }
}

fn publish_counter(counters: &ShardCounters, refusal: Refusal) -> &Counter {
    match refusal.error {
        "forbidden" => &counters.publishes_forbidden,
        "limit_reached" => &counters.publishes_limited,
        "adapter_unavailable" => &counters.publishes_unavailable,
        _ => &counters.publishes_invalid,
    }
}
