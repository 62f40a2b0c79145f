//! Clients that connect as most do: by polling, then with an upgrade to a WebSocket. The generator is its own balancer:
//! it decides for each request which node gets it, at no cost of a proxy. Plain blocking sockets, one client a thread.

mod client;
mod http;
mod round;
mod socket;

pub(crate) use self::round::{Affinity, HandshakeLoad, HandshakeRound, Meters, run_round};
