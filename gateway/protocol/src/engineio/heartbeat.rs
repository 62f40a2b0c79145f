//! The heartbeat of one session (wire.md 1.9): the server pings, the client answers in time or is gone.
//!
//! The session owns its [`Heartbeat`]; time comes from the caller, in milliseconds of a clock that never goes back.

/// The two times of all sessions' heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatTiming {
    /// From a pong to the next ping, in milliseconds.
    pub ping_interval_ms: u64,
    /// From a ping to the latest pong, in milliseconds.
    pub ping_timeout_ms: u64,
}

/// Where one session stands between pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    deadline_ms: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next ping is due at the deadline.
    Idle,
    /// A pong is due by the deadline.
    AwaitingPong {
        /// Another packet has put the deadline off already.
        put_off: bool,
    },
}

/// A heartbeat between two servers, see [`Heartbeat::rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatRest {
    /// Until the next ping, or until the pong is overdue.
    pub left_ms: u64,
    /// Was a ping sent that has no pong yet?
    pub awaits_pong: bool,
    /// Has another packet put the pong's time off already?
    pub is_put_off: bool,
}

/// What [`Heartbeat::poll`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// Nothing yet.
    None,
    /// Send a ping now.
    SendPing,
    /// No pong came: close the session with `ping timeout`.
    Expired,
}

impl Heartbeat {
    /// The heartbeat of a session that opens now: the first ping is due after the interval.
    pub const fn new(now_ms: u64, timing: &HeartbeatTiming) -> Self {
        Self { deadline_ms: now_ms.saturating_add(timing.ping_interval_ms), phase: Phase::Idle }
    }

    /// A pong came: the next ping is due after the interval. A pong that nobody waits for changes nothing.
    ///
    /// Gives the round trip in milliseconds, where it is known: not after another packet has put the pong's time off.
    pub const fn on_pong(&mut self, now_ms: u64, timing: &HeartbeatTiming) -> Option<u64> {
        let Phase::AwaitingPong { put_off } = self.phase else { return None };
        let sent_ms = self.deadline_ms.saturating_sub(timing.ping_timeout_ms);
        *self = Self::new(now_ms, timing);
        if put_off { None } else { Some(now_ms.saturating_sub(sent_ms)) }
    }

    /// Another packet came. The first one while a pong is due restarts the timeout (wire.md, "Newer than the
    /// snapshot", b): the client is alive, its pong may sit behind a large message.
    pub const fn on_other_packet(&mut self, now_ms: u64, timing: &HeartbeatTiming) {
        if let Phase::AwaitingPong { put_off: false } = self.phase {
            self.deadline_ms = now_ms.saturating_add(timing.ping_timeout_ms);
            self.phase = Phase::AwaitingPong { put_off: true };
        }
    }

    /// What is due now. Early calls do no harm.
    pub const fn poll(&mut self, now_ms: u64, timing: &HeartbeatTiming) -> HeartbeatAction {
        if now_ms < self.deadline_ms {
            return HeartbeatAction::None;
        }
        match self.phase {
            Phase::Idle => {
                self.deadline_ms = now_ms.saturating_add(timing.ping_timeout_ms);
                self.phase = Phase::AwaitingPong { put_off: false };
                HeartbeatAction::SendPing
            }
            Phase::AwaitingPong { .. } => HeartbeatAction::Expired,
        }
    }

    /// Where the heartbeat stands, without the clock: for a server with another one that takes the session over.
    pub const fn rest(&self, now_ms: u64) -> HeartbeatRest {
        let (awaits_pong, is_put_off) = match self.phase {
            Phase::Idle => (false, false),
            Phase::AwaitingPong { put_off } => (true, put_off),
        };
        HeartbeatRest { left_ms: self.deadline_ms.saturating_sub(now_ms), awaits_pong, is_put_off }
    }

    /// Goes on with the heartbeat of another server. A time left that this server would not give is cut to its own.
    pub fn resume(rest: &HeartbeatRest, now_ms: u64, timing: &HeartbeatTiming) -> Self {
        let phase = match rest.awaits_pong {
            true => Phase::AwaitingPong { put_off: rest.is_put_off },
            false => Phase::Idle,
        };
        let most_ms = if rest.awaits_pong { timing.ping_timeout_ms } else { timing.ping_interval_ms };
        Self { deadline_ms: now_ms.saturating_add(rest.left_ms.min(most_ms)), phase }
    }

    /// When [`poll`](Self::poll) is to be called next.
    pub const fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }
}
