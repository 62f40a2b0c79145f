//! Sockets at the edge: the epoll set in which a shard's WebSockets live, their outgoing queues, and the HTTP
//! connections from which they come.

mod cidr;
mod client_address;
mod connection;
mod frame;
pub mod http;
mod socket_set;
mod write_deadline;

pub use cidr::{Cidr, CidrError};
pub use client_address::ClientAddress;
pub use connection::{CloseCause, ConnectionId};
pub use frame::Frame;
pub(crate) use socket_set::Readiness;
pub use socket_set::{Enqueued, SocketLimits, SocketSet};
