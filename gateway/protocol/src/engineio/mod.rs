//! Engine.IO protocol revision 4: packets, polling payloads, requests and the heartbeat.
//!
//! The rules are those of the engine.io reference server as written down in wire.md, section 1.

mod heartbeat;
mod open;
mod packet;
pub mod payload;
mod query;
mod request;

pub use heartbeat::{Heartbeat, HeartbeatAction, HeartbeatRest, HeartbeatTiming};
pub use open::OpenPacket;
pub use packet::{Packet, ParseError};
pub use query::Query;
pub use request::{RequestError, RequestFacts, Target, check_request, check_session};

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// One packet per WebSocket frame.
    WebSocket,
}

impl Transport {
    /// The name as it stands in the query and in the open packet.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }

    /// The transport of this name, which is case-sensitive.
    fn from_name(name: &str) -> Option<Self> {
        [Self::Polling, Self::WebSocket].into_iter().find(|transport| transport.as_str() == name)
    }
}
