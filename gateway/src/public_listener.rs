//! The public listener: its address is taken at start, clients are let in once the node can serve them.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};

use crate::node::{Node, NotReady};

/// Connections that the kernel holds for us while a burst is taken in.
pub(crate) const LISTEN_BACKLOG: u32 = 4096;
/// A node that starts looks so often for its first link to the other nodes before it lets clients in: for three seconds, or
/// longer where the process stands still meanwhile, as its link does then, too. Where Redis is away, clients are better
/// served by one node than by none.
const LOOKS: u32 = 600;
/// A link takes a few milliseconds on one machine.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// An address that nobody else gets, and that refuses connections so far.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a node that was here before may not be over yet.
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    // Until it listens, another socket that reuses addresses could take the same one.
    socket.set_reuseaddr(false)?;
    Ok(socket)
}

/// Lets clients connect.
pub(crate) fn listen(socket: TcpSocket) -> anyhow::Result<TcpListener> {
    let address = socket.local_addr()?;
    socket.set_reuseaddr(true)?;
    socket.listen(LISTEN_BACKLOG).with_context(|| format!("cannot listen on {address}"))
}

/// Opens the socket when the other nodes know this one, or after so many [`LOOKS`]. Until then connections are refused,
/// so a balancer takes the next node: what is asked here for a session of another node could not be answered (5 of 6
/// restarts refused a request before this), and a client whose upgrade is refused stays with polling.
pub(crate) async fn open_when_linked(socket: TcpSocket, node: &Node) -> anyhow::Result<TcpListener> {
    let is_linked = || node.readiness() != Err(NotReady::NeverLinked);
    for _ in 0..LOOKS {
        if is_linked() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if !is_linked() {
        tracing::warn!("clients are let in before the node is linked to the other nodes");
    }
    let listener = listen(socket)?;
    node.is_open.store(true, Ordering::Relaxed);
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn an_address_is_taken_from_the_start_and_lets_nobody_in_before_it_listens() {
        let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        assert!(bind(address).is_err(), "another node");
        assert!(TcpStream::connect(address).await.is_err(), "a client");
        let listener = listen(first).unwrap();
        assert!(bind(address).is_err(), "another node");
        TcpStream::connect(address).await.unwrap();
        drop(listener);
    }
}
