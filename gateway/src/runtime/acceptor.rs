//! Accepts connections and deals them to the shards in turn: long-lived connections never move, so an even start is
//! what keeps shards even.

use std::{io, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore};

use super::{Inbox, inbox::Delivery};

/// Bounds of the acceptor.
#[derive(Debug, Clone, Copy)]
pub struct AcceptorSettings {
    /// Connections that speak HTTP at one time; more wait in the kernel's backlog.
    pub max_http_connections: usize,
}

/// Accepts until the future is dropped.
pub async fn accept<M: Send + 'static>(
    listener: TcpListener,
    inboxes: Arc<[Inbox<M>]>,
    settings: AcceptorSettings,
) {
    let places = Arc::new(Semaphore::new(settings.max_http_connections));
    let mut turn = 0_usize;
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                // Only latency depends on it.
                let _slower = stream.set_nodelay(true);
                turn = turn.wrapping_add(1);
                inboxes[turn % inboxes.len()].deliver(Delivery::Accepted(stream, peer, place));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Out of descriptors or memory: accepting again at once would only spin.
async fn pause(error: &io::Error) {
    let of_the_peer = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    if of_the_peer {
        return;
    }
    tracing::error!(%error, "cannot accept connections; trying again");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
