//! A user's place among the connections that he may have (`limits.max_connections_per_user`): the step of a CONNECT between
//! its grant and its rooms. A session has one place for each of its users, shared by the sockets of that user; it is given
//! back with the last of them.

use std::rc::Rc;

use futures_util::FutureExt;

use super::{
    HubMessage,
    client::NamespaceId,
    identity::{Pending, Purpose, Stage},
    refused::Refused,
    shard_hub::Hub,
};
use crate::{
    auth::{Grant, TooManyConnections, UserPlace},
    engineio::{EngineIo, EngineMessage, SessionId},
};

/// The end of waiting for a place.
pub struct PlaceDone {
    session: SessionId,
    number: u32,
    admitted: Result<Option<UserPlace>, TooManyConnections>,
}

impl Hub {
    /// Goes on at once where nobody else has to be asked.
    pub(super) fn take_place(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        now_ms: u64,
    ) {
        if let Some(place) = self.place_of(session, &grant.user) {
            return self.has_place(io, session, namespace, grant, Some(place), now_ms);
        }
        // One connection takes one place: its other socket has asked for it already.
        if self.waits_for_place(session, &grant.user) {
            self.let_wait_for_place(io, session, namespace, grant, now_ms);
            return;
        }
        let mut admission = self.spec.users.admit(&grant.user);
        if let Some(admitted) = (&mut admission).now_or_never() {
            return self.placed(io, session, namespace, grant, admitted, now_ms);
        }
        let number = self.let_wait_for_place(io, session, namespace, grant, now_ms);
        let inbox = self.inbox();
        tokio::task::spawn_local(async move {
            let admitted = admission.await;
            // A place that nobody takes any more is given back where it is dropped.
            let done = PlaceDone { session, number, admitted };
            inbox.send(EngineMessage::Application(HubMessage::PlaceDone(done)));
        });
    }

    fn let_wait_for_place(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        now_ms: u64,
    ) -> u32 {
        let (number, deadline_ms) = (self.next_number(), now_ms + self.spec.subscribe_timeout_ms);
        let (purpose, stage) = (Purpose::Connect, Stage::Place { grant });
        self.let_wait(io, session, Pending { namespace, number, purpose, stage, deadline_ms }, now_ms);
        number
    }

    fn waits_for_place(&self, session: SessionId, user: &str) -> bool {
        let client = self.directory.client(session.index);
        client.is_some_and(|client| client.pending().iter().any(|pending| pending.is_for_place(user)))
    }

    pub(super) fn on_place_done(&mut self, io: &mut EngineIo, done: PlaceDone, now_ms: u64) {
        let is_waiting =
            |pending: &Pending| pending.number == done.number && matches!(pending.stage, Stage::Place { .. });
        let Some(pending) = self.take_pending(done.session, is_waiting) else { return };
        let Pending { namespace, stage: Stage::Place { grant }, .. } = pending else { return };
        let user = grant.user.clone();
        self.placed(io, done.session, namespace, grant, done.admitted, now_ms);
        // Out of the list before the first of them goes on: it may have to wait again.
        let mut sharing = Vec::new();
        while let Some(pending) = self.take_pending(done.session, |pending| pending.is_for_place(&user)) {
            sharing.push(pending);
        }
        for pending in sharing {
            if let Pending { namespace, stage: Stage::Place { grant }, .. } = pending {
                self.take_place(io, done.session, namespace, grant, now_ms);
            }
        }
        self.set_deadline(io, done.session, now_ms);
    }

    /// Without the others' numbers in time, this node's decide, as they do while Redis is away. What comes late is given
    /// back.
    pub(super) fn place_is_late(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        now_ms: u64,
    ) {
        let place = self.spec.users.take(&grant.user);
        self.placed(io, session, namespace, grant, Ok(place), now_ms);
    }

    fn placed(
        &mut self,
        io: &mut EngineIo,
        session: SessionId,
        namespace: NamespaceId,
        grant: Rc<Grant>,
        admitted: Result<Option<UserPlace>, TooManyConnections>,
        now_ms: u64,
    ) {
        match admitted {
            Ok(place) => {
                // Another socket of the session may have waited as well.
                let place = self.place_of(session, &grant.user).or(place.map(Rc::new));
                self.has_place(io, session, namespace, grant, place, now_ms);
            }
            Err(TooManyConnections) => {
                self.refuse_connect(io, session, namespace, Refused::TooManyConnections);
            }
        }
    }

    /// The place that the session has for a user.
    pub(super) fn place_of(&self, session: SessionId, user: &str) -> Option<Rc<UserPlace>> {
        let identity = self.directory.client(session.index)?.identity.as_ref()?;
        let held = identity.grants.iter().filter_map(|one| one.place.as_ref());
        let waiting = identity.pending.iter().filter_map(|pending| match &pending.stage {
            Stage::Rooms { place, .. } => place.as_ref(),
            Stage::Keys { .. } | Stage::Place { .. } => None,
        });
        held.chain(waiting).find(|place| place.user() == user).cloned()
    }
}
