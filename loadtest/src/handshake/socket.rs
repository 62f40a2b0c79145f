//! Blocking sockets to the nodes.

use std::{io, net::TcpStream, time::Duration};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::plan::{self, Endpoint};

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Connects as client number `index`, which decides the source address (see [`plan::source_address`]).
pub(super) fn connect(endpoint: &Endpoint, index: usize) -> io::Result<TcpStream> {
    let family = if endpoint.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if let Some(source) = plan::source_address(endpoint.address.ip(), index) {
        net::bind(&socket, &source)?;
    }
    net::connect(&socket, &endpoint.address)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
