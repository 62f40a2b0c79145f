//! Ways in which a message gets to the process under test.

mod ops;
mod redis;
mod tuple;

use std::{
    io::{self, Write},
    net::SocketAddr,
    ops::Range,
    process::ChildStdin,
};

use self::{ops::OpsPublisher, redis::RedisPublisher};

/// Publishes messages by their sequence numbers.
#[derive(Debug)]
pub(crate) enum Publisher {
    /// As every Socket.IO emitter does it.
    Redis(RedisPublisher),
    /// `POST /api/v1/publish` of the node's ops listener.
    Ops(OpsPublisher),
    /// The control pipe of the bare loop.
    Bare(ChildStdin),
}

impl Publisher {
    /// Messages of `size_bytes` to `room`, through the Redis server at `address`.
    pub(crate) fn redis(address: SocketAddr, room: &str, size_bytes: usize) -> anyhow::Result<Self> {
        Ok(Self::Redis(RedisPublisher::connect(address, room, size_bytes)?))
    }

    /// Messages of `size_bytes` to `room`, through the node's ops listener at `address`.
    pub(crate) fn ops(address: SocketAddr, room: &str, size_bytes: usize) -> anyhow::Result<Self> {
        Ok(Self::Ops(OpsPublisher::connect(address, room, size_bytes)?))
    }

    /// Publishes all of `sequences` at once, in order.
    ///
    /// # Errors
    /// The other side is gone, or has refused an earlier message.
    pub(crate) fn publish(&mut self, sequences: Range<u64>) -> anyhow::Result<()> {
        match self {
            Self::Redis(publisher) => publisher.publish(sequences),
            Self::Ops(publisher) => publisher.publish(sequences),
            Self::Bare(pipe) => {
                let numbers: Vec<u8> = sequences.flat_map(u64::to_le_bytes).collect();
                pipe.write_all(&numbers).map_err(Into::into)
            }
        }
    }

    /// Looks at the answers that have come so far.
    ///
    /// # Errors
    /// A message was refused, or went to nobody.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Redis(publisher) => publisher.take_replies(),
            Self::Ops(publisher) => publisher.take_replies(),
            Self::Bare(_) => Ok(()),
        }
    }
}

/// Reads what is there, without waiting, and gives it to `take`.
fn read_available(
    socket: &std::net::TcpStream,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    use rustix::net::RecvFlags;
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok((read, _)) => take(&buffer[..read])?,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
