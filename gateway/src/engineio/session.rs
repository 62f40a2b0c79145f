//! The state of one Engine.IO session. Owned by its shard's table in [`super::io::EngineIo`].

use broadgate_protocol::engineio::{Heartbeat, Transport};

use super::{peer::Visit, polling::Polling};
use crate::{
    limits::{AddressKey, Spent},
    net::ConnectionId,
    telemetry::{Counter, ShardCounters},
};

/// Names a session of one shard; a later session in the same place has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// The place in the shard's table; the application keeps its own state under it.
    pub index: u32,
    pub(super) generation: u32,
}

impl SessionId {
    /// As a number, for another node to give back.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// From [`Self::to_bits`]; of a session that may be gone.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

#[cfg(test)]
impl SessionId {
    pub(crate) fn for_tests(index: u32) -> Self {
        Self { index, generation: 1 }
    }
}

/// The registered close code for a client that broke the rules of the service.
const CLOSE_POLICY_VIOLATION: u16 = 1008;

/// Why a session ended (wire.md 1.11 and 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed its transport.
    TransportClose,
    /// The transport failed, or was used in a way that ends it.
    TransportError,
    /// No pong came in time.
    PingTimeout,
    /// A packet could not be read.
    ParseError,
    /// The application ended it: the client broke its protocol.
    Forced,
    /// Somebody had the client disconnected, who is told so and does not come back by itself.
    ServerDisconnect,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The client read too slowly.
    SlowConsumer,
    /// The client sent more than it may.
    RateLimited,
    /// The client's token expired, and no fresh one came.
    TokenExpired,
    /// The client's token was revoked.
    TokenRevoked,
    /// The keys that the client's token is to be checked with can't be had now.
    KeysUnavailable,
    /// The node is going away.
    Shutdown,
}

impl CloseReason {
    /// What the close frame says (RFC 6455 section 7.4.1); `None`: nothing, as the reference (wire.md 2.4).
    pub(super) fn close_code(self) -> Option<u16> {
        (self == Self::RateLimited).then_some(CLOSE_POLICY_VIOLATION)
    }

    /// Was the client told to stay away by a DISCONNECT, which must reach it (wire.md 1.11)?
    pub(super) fn follows_disconnect(self) -> bool {
        matches!(self, Self::ServerDisconnect | Self::TokenRevoked)
    }

    /// The counter of the sessions that ended so.
    pub(super) fn counter(self, counters: &ShardCounters) -> &Counter {
        match self {
            Self::TransportClose => &counters.closed_transport_close,
            Self::TransportError => &counters.closed_transport_error,
            Self::PingTimeout => &counters.closed_ping_timeout,
            Self::ParseError => &counters.closed_parse_error,
            Self::Forced => &counters.closed_forced,
            Self::ServerDisconnect => &counters.closed_server_disconnect,
            Self::ConnectTimeout => &counters.closed_connect_timeout,
            Self::SlowConsumer => &counters.closed_slow_consumer,
            Self::RateLimited => &counters.closed_rate_limited,
            Self::TokenExpired => &counters.closed_token_expired,
            Self::TokenRevoked => &counters.closed_token_revoked,
            Self::KeysUnavailable => &counters.closed_keys_unavailable,
            Self::Shutdown => &counters.closed_shutdown,
        }
    }
}

pub(super) enum Carrier {
    WebSocket(ConnectionId),
    Polling(Box<Polling>),
    /// A session of another node that is coming here.
    Visiting(Box<Visit>),
}

pub(super) struct Session {
    pub(super) secret: u64,
    pub(super) generation: u32,
    /// Is about to be closed; takes and gives nothing any more.
    pub(super) doomed: bool,
    /// Has not done yet what it came for; see [`super::EngineIo::set_pending`].
    pub(super) pending: bool,
    pub(super) heartbeat: Heartbeat,
    pub(super) carrier: Carrier,
    /// When the application wants to be asked about the session; `u64::MAX` for never.
    pub(super) application_deadline_ms: u64,
    /// When the session's one live entry in the wheel comes up.
    pub(super) armed_ms: u64,
    /// What its client has sent lately.
    pub(super) spent: Spent,
    /// Where it is counted.
    pub(super) address: Option<AddressKey>,
}

impl Session {
    pub(super) fn transport(&self) -> Transport {
        match self.carrier {
            Carrier::WebSocket(_) | Carrier::Visiting(_) => Transport::WebSocket,
            Carrier::Polling(_) => Transport::Polling,
        }
    }

    /// The earliest time at which something has to be done about the session.
    pub(super) fn deadline_ms(&self) -> u64 {
        let carrier_ms = match &self.carrier {
            Carrier::WebSocket(_) => u64::MAX,
            // Its heart beats where it still is.
            Carrier::Visiting(visit) => return visit.deadline_ms,
            Carrier::Polling(polling) => match polling.closing_until_ms {
                // Its heart beats no more.
                Some(until_ms) => return until_ms,
                None => polling.deadline_ms(),
            },
        };
        self.heartbeat.deadline_ms().min(self.application_deadline_ms).min(carrier_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 80, "{}", size_of::<Session>());
    }
}
