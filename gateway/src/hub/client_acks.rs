//! Broadcasts whose receivers answer: who of this shard still has to (wire.md 2.3 and 3.1, types 7 to 9). Pure; owned by
//! the shard's hub.

use std::collections::{BTreeSet, HashMap, HashSet};

use broadgate_adapter::Responder;

use super::client::NamespaceId;
use crate::engineio::SessionId;

/// Clients of this shard that may be asked for an answer at one time.
const MAX_WAITING: usize = 100_000;

struct Pending {
    namespace: NamespaceId,
    waiting: HashSet<SessionId>,
    responder: Responder,
    deadline_ms: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct ClientAcks {
    next_id: u64,
    pending: HashMap<u64, Pending>,
    deadlines: BTreeSet<(u64, u64)>,
    waiting: usize,
}

impl ClientAcks {
    /// May so many more clients be asked?
    pub(super) fn has_room(&self, clients: usize) -> bool {
        self.waiting + clients <= MAX_WAITING
    }

    /// The ack id of the next broadcast: one counter for the whole shard.
    pub(super) fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// Numbers below this one are not given out any more.
    pub(super) fn skip_to(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    /// The acks that a session owes.
    pub(super) fn owed_by(&self, session: SessionId) -> impl Iterator<Item = (u64, NamespaceId)> {
        let owed = self.pending.iter().filter(move |(_, pending)| pending.waiting.contains(&session));
        owed.map(|(&id, pending)| (id, pending.namespace))
    }

    /// Waits for the answers of the sessions that got the broadcast.
    pub(super) fn wait(
        &mut self,
        id: u64,
        namespace: NamespaceId,
        sessions: HashSet<SessionId>,
        responder: Responder,
        deadline_ms: u64,
    ) {
        if sessions.is_empty() {
            return;
        }
        self.waiting += sessions.len();
        self.deadlines.insert((deadline_ms, id));
        self.pending.insert(id, Pending { namespace, waiting: sessions, responder, deadline_ms });
    }

    /// A client's ack: the way to the one who asked, or `None` where nobody waits for it (any more).
    pub(super) fn take(&mut self, id: u64, namespace: NamespaceId, session: SessionId) -> Option<Responder> {
        let pending = self.pending.get_mut(&id).filter(|pending| pending.namespace == namespace)?;
        if !pending.waiting.remove(&session) {
            return None;
        }
        self.waiting -= 1;
        if !pending.waiting.is_empty() {
            return Some(pending.responder.clone());
        }
        let pending = self.pending.remove(&id)?;
        self.deadlines.remove(&(pending.deadline_ms, id));
        Some(pending.responder)
    }

    /// Gives up on clients that have not answered in time; returns how many.
    pub(super) fn expire(&mut self, now_ms: u64) -> usize {
        let mut expired = 0;
        while let Some(&(deadline_ms, id)) = self.deadlines.first()
            && deadline_ms <= now_ms
        {
            self.deadlines.pop_first();
            expired += self.pending.remove(&id).map_or(0, |pending| pending.waiting.len());
        }
        self.waiting -= expired;
        expired
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline_ms, _)| deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: NamespaceId = NamespaceId(0);
    const OTHER: NamespaceId = NamespaceId(1);

    fn waiting_for(sessions: &[u32], deadline_ms: u64) -> (ClientAcks, u64) {
        let mut acks = ClientAcks::default();
        let id = acks.next_id();
        let sessions = sessions.iter().map(|&index| SessionId::for_tests(index)).collect();
        acks.wait(id, MAIN, sessions, Responder::new(|_| {}), deadline_ms);
        (acks, id)
    }

    #[test]
    fn each_client_that_was_asked_answers_once() {
        let (mut acks, id) = waiting_for(&[1, 2], 10);
        for (id, namespace, session, expected) in [
            (id, MAIN, 1, true),
            (id, MAIN, 1, false),
            (id, MAIN, 3, false),
            (id, OTHER, 2, false),
            (id + 1, MAIN, 2, false),
            (id, MAIN, 2, true),
            (id, MAIN, 2, false),
        ] {
            let taken = acks.take(id, namespace, SessionId::for_tests(session)).is_some();
            assert_eq!(taken, expected, "{id} {session}");
        }
        assert_eq!((acks.waiting, acks.next_deadline_ms()), (0, None));
    }

    #[test]
    fn who_does_not_answer_in_time_is_given_up() {
        let (mut acks, id) = waiting_for(&[1, 2, 3], 10);
        assert!(acks.take(id, MAIN, SessionId::for_tests(1)).is_some());
        assert_eq!((acks.next_deadline_ms(), acks.expire(9), acks.expire(10)), (Some(10), 0, 2));
        assert!(acks.take(id, MAIN, SessionId::for_tests(2)).is_none());
        assert_eq!((acks.waiting, acks.next_deadline_ms()), (0, None));
    }

    #[test]
    fn the_number_of_clients_is_bounded_and_ids_differ() {
        let (mut acks, id) = waiting_for(&[1], 10);
        assert!(acks.has_room(MAX_WAITING - 1));
        assert!(!acks.has_room(MAX_WAITING));
        assert_ne!(acks.next_id(), id);
    }
}
