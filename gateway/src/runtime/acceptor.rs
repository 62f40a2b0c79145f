//! Accepts connections and deals them to the shards in turn: long-lived connections never move, so an even start is
//! what keeps shards even.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{Inbox, inbox::Delivery};
use crate::limits::{AddressGuard, Admission};

/// How long accepting rests where there is no room.
const PAUSE: Duration = Duration::from_millis(50);
/// At most one log line about that in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The places that connections take, and how many are taken. While there is none, new connections wait in the kernel's
/// backlog.
pub struct Places {
    http: Arc<Semaphore>,
    max_http_connections: usize,
    max_descriptors: usize,
    pauses: AtomicU64,
    http_full: AtomicU64,
    admission: Arc<Admission>,
}

/// What an HTTP connection holds for as long as it is one.
pub(super) struct Place {
    // Given back first: whoever sees that the place is free may have it.
    address: AddressGuard,
    _http: OwnedSemaphorePermit,
}

impl Place {
    /// What counts it by its address.
    pub(super) fn address(&mut self) -> &mut AddressGuard {
        &mut self.address
    }
}

impl Places {
    /// `max_http_connections` at one time, and no more than `max_descriptors` connections of any kind; of each address,
    /// what `admission` lets in.
    pub fn new(max_http_connections: usize, max_descriptors: usize, admission: Arc<Admission>) -> Self {
        let http = Arc::new(Semaphore::new(max_http_connections));
        Self {
            http,
            max_http_connections,
            max_descriptors,
            pauses: AtomicU64::new(0),
            http_full: AtomicU64::new(0),
            admission,
        }
    }

    /// Who is let in.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Connections that speak HTTP now.
    pub fn http_connections(&self) -> usize {
        self.max_http_connections - self.http.available_permits()
    }

    /// Those of them that were because of `max_http_connections`.
    pub fn http_full_total(&self) -> u64 {
        self.http_full.load(Ordering::Relaxed)
    }

    /// Times that accepting had to rest because there was no room.
    pub fn pauses_total(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }
}

/// Accepts until the future is dropped. `websockets` tells how many connections are WebSockets by now.
pub async fn accept<M: Send + 'static>(
    listener: TcpListener,
    inboxes: Arc<[Inbox<M>]>,
    places: Arc<Places>,
    websockets: impl Fn() -> usize,
) {
    let mut turn = 0_usize;
    let mut logged = None;
    loop {
        if places.http_connections() + websockets() >= places.max_descriptors {
            pause(&places, &mut logged, &"as many connections are open as there are descriptors for").await;
            continue;
        }
        // Nobody else takes permits: what is free now is free when somebody comes.
        if places.http.available_permits() == 0 {
            places.http_full.fetch_add(1, Ordering::Relaxed);
            pause(&places, &mut logged, &"limits.max_http_connections is reached").await;
            continue;
        }
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                // Counted where it is refused; the connection is closed.
                let Ok(address) = places.admission.connection(peer.ip()) else { continue };
                let Ok(http) = Arc::clone(&places.http).try_acquire_owned() else { continue };
                let place = Place { address, _http: http };
                // Only latency depends on it.
                let _slower = stream.set_nodelay(true);
                turn = turn.wrapping_add(1);
                inboxes[turn % inboxes.len()].deliver(Delivery::Accepted(stream, peer, place));
            }
            Err(error) if is_of_the_peer(&error) => {}
            // Out of descriptors or memory: accepting again at once would only spin.
            Err(error) => pause(&places, &mut logged, &error).await,
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn pause(places: &Places, logged: &mut Option<Instant>, reason: &(dyn std::fmt::Display + Sync)) {
    places.pauses.fetch_add(1, Ordering::Relaxed);
    if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
        *logged = Some(Instant::now());
        tracing::warn!(%reason, "new connections have to wait");
    }
    tokio::time::sleep(PAUSE).await;
}
