//! A shard whose node goes away: no session begins any more, those that are there are served and closed one after the
//! other, in the way that clients come back by themselves (wire.md 1.11). [`schedule`] says when.

mod schedule;

use tokio::sync::oneshot;

use super::{Application, Server, SessionId, session::CloseReason};
use schedule::DrainSchedule;

/// How often a draining shard looks whether its last sessions are gone: requests, which end some of them, are no turns.
const LOOK_EVERY_MS: u64 = 50;

/// See the module. Owned by the shard's server.
pub(super) struct Drain {
    schedule: DrainSchedule<SessionId>,
    /// Their time has come in the middle of an upgrade.
    postponed: Vec<SessionId>,
    /// Who waits until no session is left.
    drained: Option<oneshot::Sender<()>>,
    next_look_ms: u64,
}

impl Drain {
    /// When [`Server::go_on_draining`] is to be called.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let look_ms = self.drained.is_some().then_some(self.next_look_ms);
        [look_ms, self.schedule.next_ms()].into_iter().flatten().min()
    }
}

impl<A: Application> Server<A> {
    pub(super) fn begin_drain(&mut self, window_ms: u64, drained: oneshot::Sender<()>, now_ms: u64) {
        self.io.draining = true;
        // Without a random source the clock decides over the order; the pace is the same.
        let seed = getrandom::u64().unwrap_or(now_ms);
        let schedule = DrainSchedule::new(self.all_sessions(), now_ms, window_ms, seed);
        let (postponed, drained) = (Vec::new(), Some(drained));
        self.drain = Some(Drain { schedule, postponed, drained, next_look_ms: now_ms });
        self.go_on_draining(now_ms);
    }

    /// Closes what is due, and tells when nothing is left.
    pub(super) fn go_on_draining(&mut self, now_ms: u64) {
        let Some(drain) = &mut self.drain else { return };
        drain.next_look_ms = now_ms + LOOK_EVERY_MS;
        let mut due = std::mem::take(&mut drain.postponed);
        while let Some(session) = drain.schedule.take_due(now_ms) {
            due.push(session);
        }
        // Engine.IO's client has paused its polling when it switches: one whose WebSocket is closed then hangs until a ping
        // is overdue. Upgrades have a deadline, and the node does not wait beyond its own.
        let (upgrading, due): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|session| self.io.is_upgrading(*session));
        for session in due {
            self.io.doom(session, CloseReason::Shutdown);
        }
        if let Some(drain) = &mut self.drain {
            drain.postponed = upgrading;
        }
        self.settle(now_ms);
        let left = self.io.sessions.len() as u64;
        self.io.spec.counters.drain_sessions_left.set(left);
        if left == 0
            && let Some(drained) = self.drain.as_mut().and_then(|drain| drain.drained.take())
        {
            // Who does not wait any more has given up on it.
            let _told = drained.send(());
        }
    }

    /// The end: what is still open is closed at once.
    pub(super) fn shut_down(&mut self, now_ms: u64) {
        self.io.draining = true;
        self.io.shutting_down = true;
        self.release_polls_of_others();
        for session in self.all_sessions() {
            self.io.doom(session, CloseReason::Shutdown);
        }
        self.settle(now_ms);
    }

    /// Every session of the table, also those that are only coming here.
    fn all_sessions(&self) -> Vec<SessionId> {
        (self.io.sessions.iter())
            .map(|(index, state)| SessionId { index: index as u32, generation: state.generation })
            .collect()
    }
}
