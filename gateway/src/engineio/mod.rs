//! The Engine.IO server of a shard: sessions over polling and WebSocket, upgrades, heartbeats. Knows nothing of
//! Socket.IO: what messages mean is the [`Application`]'s affair.

mod answers;
mod application;
mod body;
mod cors;
mod credentials;
mod drain;
mod forward;
mod id;
mod io;
mod message;
mod origins;
mod owner;
mod peer;
mod polling;
mod request;
mod respond;
mod server;
mod session;
mod upgrade;
mod wheel;

pub use application::{Application, BadState, Elsewhere};
pub use cors::Cors;
pub use credentials::{Handshake, TokenSources};
pub use id::{ID_CHARS, Id, IdKey, IdText, MAX_SHARDS, NodeId};
pub use io::{EngineIo, EngineSpec, Sent};
pub use message::{Outgoing, Part};
pub use origins::{AllowedOrigins, OriginPattern, Port};
pub use peer::{Gate, PeerDecodeError, PeerDelivery, Peers, PublishOrder, Source};
pub use request::EngineMessage;
pub use respond::{Dropped, HttpContext};
pub use server::Server;
pub use session::{CloseReason, SessionId};
