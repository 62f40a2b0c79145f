//! Sockets at the edge: the epoll set in which a shard's WebSockets live, their outgoing queues, and the HTTP
//! connections from which they come, with what comes before HTTP on them: PROXY headers and TLS.

mod cidr;
mod client_address;
mod connection;
mod forwarded;
mod frame;
pub mod http;
mod opening;
mod outbound;
mod proxy_protocol;
mod socket_set;
mod stream;
mod tls;
mod write_deadline;

pub use cidr::{Cidr, CidrError};
pub use client_address::ClientAddress;
pub use connection::{CloseCause, ConnectionId};
pub use forwarded::forwarded_client;
pub use frame::Frame;
pub use opening::Proxies;
pub(crate) use opening::{HttpStream, OpenError, open};
pub(crate) use outbound::{OutboundError, OutboundTls, request_to, send};
pub use proxy_protocol::{
    MAX_HEADER_BYTES as MAX_PROXY_HEADER_BYTES, NoProxyHeader, ProxyHeader, parse_proxy_header,
};
pub(crate) use socket_set::Readiness;
pub use socket_set::{DeliveryPath, Enqueued, SocketLimits, SocketSet};
pub use stream::PeerStream;
pub use tls::{CertificateError, CertificateFiles, ListenerTls};
