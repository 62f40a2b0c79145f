//! Joins that wait until their room is subscribed, and are acked then; or refused and undone when that takes too long.

use std::{cmp::Reverse, collections::binary_heap::PeekMut, sync::Arc};

use super::{
    client::{NamespaceId, RoomId},
    commands::{Caller, UNAVAILABLE},
    directory::Waiter,
    packets::Answer,
    shard_hub::Hub,
};
use crate::engineio::EngineIo;

impl Hub {
    /// Lets a join wait for its room.
    pub(super) fn wait_for_subscription(
        &mut self,
        io: &EngineIo,
        namespace: NamespaceId,
        room: RoomId,
        waiter: Waiter,
    ) {
        let (session, deadline_ms) = (waiter.session, waiter.deadline_ms);
        let room = self.directory.room_mut(room);
        room.waiters.push(waiter);
        if room.deadline_ms.is_none() {
            room.deadline_ms = Some(deadline_ms);
            let name = Arc::clone(&room.name);
            self.join_deadlines.push(Reverse((deadline_ms, namespace, name)));
            self.forget_rooms_gone();
        }
        if let Some(client) = self.directory.client_mut(session.index) {
            client.pending_acks += 1;
        }
        io.counters().acks_pending.add(1);
    }

    /// A room that is gone leaves its deadline behind; a client that joins and leaves all the time must not pile them up.
    fn forget_rooms_gone(&mut self) {
        const KEPT: usize = 1024;
        if self.join_deadlines.len() > self.directory.room_count().saturating_mul(2).saturating_add(KEPT) {
            let directory = &self.directory;
            self.join_deadlines
                .retain(|Reverse((_, namespace, name))| directory.find(*namespace, name).is_some());
        }
    }

    /// Joins that waited too long are undone and refused.
    pub(super) fn expire_joins(&mut self, io: &mut EngineIo, now_ms: u64) {
        let before = self.gauges();
        while let Some((deadline_ms, namespace, name)) = self.next_due(now_ms) {
            let Some(id) = self.directory.find(namespace, &name) else { continue };
            if self.directory.room(id).deadline_ms != Some(deadline_ms) {
                // Of an earlier room with that name.
                continue;
            }
            let waiters = &mut self.directory.room_mut(id).waiters;
            let late: Vec<_> = waiters.extract_if(.., |waiter| waiter.deadline_ms <= now_ms).collect();
            self.observe_waits(io, &late, now_ms);
            for waiter in late {
                self.undo_join(io, namespace, &name, waiter);
            }
            self.set_next_deadline(namespace, name);
        }
        self.update_gauges(io, before);
    }

    /// Refuses a join, and takes the socket out of the room if it was not a member before. Joins of that socket that
    /// could have waited longer are refused with it.
    fn undo_join(&mut self, io: &mut EngineIo, namespace: NamespaceId, name: &str, waiter: Waiter) {
        let index = waiter.session.index;
        let left = if waiter.is_new { self.directory.leave(index, namespace, name) } else { None };
        let left = left.unwrap_or_default();
        let refused: Vec<_> = std::iter::once(waiter).chain(left.waiters).collect();
        self.waiters_are_done(io, &refused);
        io.counters().joins_unavailable.add(refused.len() as u64);
        for waiter in &refused {
            let caller = Caller { session: waiter.session, namespace, ack_id: Some(&waiter.ack_id) };
            self.refuse(io, caller, UNAVAILABLE);
        }
        self.room_is_gone(left.gone.as_ref());
    }

    fn next_due(&mut self, now_ms: u64) -> Option<(u64, NamespaceId, Arc<str>)> {
        let due = self.join_deadlines.peek_mut().filter(|due| due.0.0 <= now_ms)?;
        Some(PeekMut::pop(due).0)
    }

    fn set_next_deadline(&mut self, namespace: NamespaceId, name: Arc<str>) {
        let Some(id) = self.directory.find(namespace, &name) else { return };
        let room = self.directory.room_mut(id);
        room.deadline_ms = room.waiters.first().map(|waiter| waiter.deadline_ms);
        if let Some(deadline_ms) = room.deadline_ms {
            self.join_deadlines.push(Reverse((deadline_ms, namespace, name)));
        }
    }

    /// Joins and CONNECTs that waited for this room are answered.
    pub(super) fn on_subscribed(&mut self, io: &mut EngineIo, namespace: &str, name: &str, now_ms: u64) {
        let Some(namespace) = self.namespace(namespace) else { return };
        let Some(room) = self.directory.find(namespace, name) else { return };
        let room = self.directory.room_mut(room);
        room.subscribed = true;
        let (waiters, holders) = (std::mem::take(&mut room.waiters), std::mem::take(&mut room.holders));
        self.observe_waits(io, &waiters, now_ms);
        self.answer_waiters(io, namespace, name, &waiters);
        for session in holders {
            self.room_is_ready(io, session, now_ms);
        }
    }

    /// Measures how long joins have waited that are answered now.
    fn observe_waits(&self, io: &EngineIo, waiters: &[Waiter], now_ms: u64) {
        for waiter in waiters {
            let began_ms = waiter.deadline_ms.saturating_sub(self.spec.subscribe_timeout_ms);
            let waited_us = now_ms.saturating_sub(began_ms).saturating_mul(1000);
            io.counters().histograms.ack_join.observe(waited_us);
        }
    }

    /// Answers joins that took effect.
    pub(super) fn answer_waiters(
        &mut self,
        io: &mut EngineIo,
        namespace: NamespaceId,
        room: &str,
        waiters: &[Waiter],
    ) {
        self.waiters_are_done(io, waiters);
        io.counters().joins_ok.add(waiters.len() as u64);
        let answer = Answer { ok: true, room: Some(room), joined: Some(true), ..Answer::default() };
        for waiter in waiters {
            self.answer(io, waiter.session, namespace, Some(&waiter.ack_id), &answer);
        }
    }

    pub(super) fn waiters_are_done(&mut self, io: &EngineIo, waiters: &[Waiter]) {
        io.counters().acks_pending.sub(waiters.len() as u64);
        for waiter in waiters {
            self.ack_is_done(waiter.session);
        }
    }
}
