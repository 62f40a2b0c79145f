//! Whose request it is, as far as the connection tells.

use std::net::{IpAddr, Ipv4Addr};

use hyper::Request;

/// The address of a request's client: an extension of every request of the public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Of a request; `0.0.0.0` of one that was not served by a listener of ours.
    pub fn of<B>(request: &Request<B>) -> IpAddr {
        request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |&Self(address)| address)
    }
}
