//! One connection of an abuser, blocking with short deadlines.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use broadgate_protocol::websocket::{self, OpCode};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use super::FIRST_SOURCE;
use crate::plan::Endpoint;

/// Abusers do not wait for long.
const TIMEOUT: Duration = Duration::from_millis(500);
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MASK: [u8; 4] = [1, 2, 3, 4];

/// A connection that is one of an abuse's.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stream: TcpStream,
}

impl Peer {
    /// Connects from a loopback address of abuser number `source`, with a kernel buffer of `receive_bytes` where given.
    pub(super) fn connect(endpoint: &Endpoint, source: u8, receive_bytes: Option<usize>) -> io::Result<Self> {
        let family = if endpoint.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if let IpAddr::V4(target) = endpoint.address.ip()
            && target.is_loopback()
        {
            let block = FIRST_SOURCE.saturating_add(source);
            net::bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, block), 0)))?;
        }
        if let Some(bytes) = receive_bytes {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        net::connect(&socket, &endpoint.address)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream })
    }

    /// A WebSocket with an Engine.IO session.
    pub(super) fn websocket(
        endpoint: &Endpoint,
        source: u8,
        receive_bytes: Option<usize>,
    ) -> io::Result<Self> {
        let mut peer = Self::connect(endpoint, source, receive_bytes)?;
        let Endpoint { path, host, .. } = endpoint;
        peer.write(
            format!(
                "GET {path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        )?;
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut byte = [0; 1];
            peer.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
            if head.len() > MAX_HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            Ok(peer)
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    /// The same, with a socket in the main namespace.
    pub(super) fn socket(endpoint: &Endpoint, source: u8, receive_bytes: Option<usize>) -> io::Result<Self> {
        let mut peer = Self::websocket(endpoint, source, receive_bytes)?;
        peer.text("40")?;
        Ok(peer)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A WebSocket text frame.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.write(&frame(OpCode::Text, text.as_bytes()))
    }

    /// Reads and forgets until the server ends the connection or is silent.
    pub(super) fn read_to_end(&mut self) {
        let mut buffer = [0; 4096];
        while self.stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
    }

    /// Has the server ended the connection? Forgets what it has sent.
    pub(super) fn is_cut(&self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match net::recv(&self.stream, &mut buffer[..], net::RecvFlags::DONTWAIT) {
                Ok((0, _)) => return true,
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }
}

/// A client's frame.
pub(super) fn frame(kind: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    websocket::push_masked_frame(&mut frame, kind, MASK, payload);
    frame
}
