//! CONNECTs and fresh tokens that wait: for keys, for a place, or for rooms to be subscribed. The rooms are held in the directory as
//! long. Each has a deadline; those of a socket or a session end with it.

use std::{rc::Rc, sync::Arc};

use super::{
    client::NamespaceId,
    connecting::identity_of,
    identity::{Pending, Purpose, Stage},
    shard_hub::Hub,
};
use crate::engineio::{EngineIo, SessionId};

impl Hub {
    pub(super) fn next_number(&mut self) -> u32 {
        self.last_pending = self.last_pending.wrapping_add(1);
        self.last_pending
    }

    pub(super) fn let_wait(&mut self, io: &mut EngineIo, session: SessionId, pending: Pending, now_ms: u64) {
        let Some(client) = self.directory.client_mut(session.index) else { return };
        identity_of(client, io).pending.push(pending);
        self.set_deadline(io, session, now_ms);
    }

    pub(super) fn take_pending(
        &mut self,
        session: SessionId,
        matches: impl Fn(&Pending) -> bool,
    ) -> Option<Pending> {
        let client = self.directory.client_mut(session.index).filter(|client| client.session == session)?;
        client.identity.as_mut()?.take_pending(matches)
    }

    /// Something waited for too long.
    pub(super) fn expire_pending(&mut self, io: &mut EngineIo, session: SessionId, now_ms: u64) {
        while let Some(pending) = self.take_pending(session, |pending| pending.deadline_ms <= now_ms) {
            match &pending.stage {
                Stage::Rooms { .. } => self.rooms_are_ready(io, session, pending, now_ms),
                Stage::Place { grant } => {
                    let grant = Rc::clone(grant);
                    self.place_is_late(io, session, pending.namespace, grant, now_ms);
                }
                Stage::Keys { .. } => {
                    io.counters().inbound_buffer_bytes.sub(pending.waiting_bytes() as u64);
                    self.keys_are_unavailable(io, session, pending.namespace, &pending.purpose);
                }
            }
        }
    }

    /// What waits for a socket that is gone, or, without a namespace, for any of the session, ends.
    pub(super) fn forget_pending(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        namespace: Option<NamespaceId>,
    ) {
        let is_of = |pending: &Pending| namespace.is_none_or(|namespace| pending.namespace == namespace);
        while let Some(pending) = self.take_pending(session, is_of) {
            io.counters().inbound_buffer_bytes.sub(pending.waiting_bytes() as u64);
            if let Stage::Rooms { rooms, .. } = &pending.stage {
                self.release_rooms(session, pending.namespace, rooms);
            }
        }
    }

    /// A session is over.
    pub(super) fn forget_identity(&mut self, io: &EngineIo, session: SessionId) {
        self.handshakes.end(session, Err("closed"));
        let before = self.gauges();
        self.forget_pending(io, session, None);
        self.update_gauges(io, before);
        let identity = self.directory.client_mut(session.index).and_then(|client| client.identity.as_mut());
        let handshake = identity.and_then(|identity| identity.handshake.take());
        let bytes = handshake.map_or(0, |credential| credential.waiting_bytes());
        io.counters().inbound_buffer_bytes.sub(bytes as u64);
    }

    /// Has the rooms subscribed, and keeps them so until they are joined.
    pub(super) fn hold_rooms(
        &mut self,
        io: &EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        names: &[Box<str>],
    ) -> Box<[Arc<str>]> {
        let before = self.gauges();
        let mut rooms = Vec::with_capacity(names.len());
        for name in names {
            let (id, is_new) = self.directory.hold(namespace, name, session);
            let name = Arc::clone(&self.directory.room(id).name);
            if is_new {
                self.spec.engine.subscribe(self.subscriber, &self.namespace_name(namespace), &name);
            }
            rooms.push(name);
        }
        self.update_gauges(io, before);
        rooms.into()
    }

    fn release_rooms(&mut self, session: SessionId, namespace: NamespaceId, rooms: &[Arc<str>]) {
        for name in rooms {
            let gone = self.directory.release(namespace, name, session);
            self.room_is_gone(gone.as_ref());
        }
    }

    /// Goes on at once where all rooms are subscribed.
    pub(super) fn await_rooms(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        pending: Pending,
        now_ms: u64,
    ) {
        match self.has_its_rooms(&pending) {
            true => self.rooms_are_ready(io, session, pending, now_ms),
            false => self.let_wait(io, session, pending, now_ms),
        }
    }

    fn has_its_rooms(&self, pending: &Pending) -> bool {
        let Stage::Rooms { rooms, .. } = &pending.stage else { return false };
        let mut found = rooms.iter().filter_map(|name| self.directory.find(pending.namespace, name));
        found.all(|room| self.directory.room(room).subscribed)
    }

    /// A room is subscribed that this session waits for.
    pub(super) fn room_is_ready(&mut self, io: &mut EngineIo, session: SessionId, now_ms: u64) {
        let Some(client) = self.directory.client(session.index).filter(|client| client.session == session)
        else {
            return;
        };
        let ready = client.pending().iter().find(|pending| self.has_its_rooms(pending));
        let Some(number) = ready.map(|pending| pending.number) else { return };
        if let Some(pending) = self.take_pending(session, |pending| pending.number == number) {
            self.rooms_are_ready(io, session, pending, now_ms);
        }
    }

    /// Also where they are not, but the time is up: what is published elsewhere arrives later than it could.
    pub(super) fn rooms_are_ready(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        pending: Pending,
        now_ms: u64,
    ) {
        let Pending { namespace, purpose, stage: Stage::Rooms { grant, rooms, place }, .. } = pending else {
            return;
        };
        let before = self.gauges();
        match purpose {
            // It may have been revoked while it waited.
            Purpose::Connect => match self.check_grant(&grant) {
                Ok(()) => self.enter(io, session, namespace, Some((grant, place)), &rooms, now_ms),
                Err(refused) => self.refuse_connect(io, session, namespace, refused),
            },
            Purpose::Refresh { ack_id } => {
                self.answer_renewed(io, session, namespace, &grant, ack_id.as_deref());
            }
        }
        self.release_rooms(session, namespace, &rooms);
        self.update_gauges(io, before);
    }
}
