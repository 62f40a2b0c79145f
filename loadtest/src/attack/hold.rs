//! Abuses that hold many connections and do next to nothing with them.

use std::{thread, time::Duration};

use broadgate_protocol::websocket::OpCode;

use super::{
    Shared,
    peer::{Peer, frame},
};

const SECOND: Duration = Duration::from_secs(1);
const SLOW_READERS: usize = 16;
const SLOW_HEADS: usize = 300;
const SLOW_FRAMES: usize = 200;
const CONNECTIONS: usize = 3000;
/// The least that the kernel gives, so that the server's queue fills.
const RECEIVE_BYTES: usize = 4096;
/// What the busy room of the slow readers gets.
const BIG_MESSAGE_BYTES: usize = 50_000;
const PUBLISHERS: usize = 16;
const ROUNDS: u32 = 30;
const ROUNDS_PER_SECOND: u32 = 5;

/// Abusers join a room that others publish big messages to, and never read. Where one was cut does not show before it
/// reads, so all are opened anew from time to time.
pub(super) fn slow_readers(shared: &Shared) {
    let message = format!("42[\"publish\",\"slow\",\"big\",\"{}\"]", "x".repeat(BIG_MESSAGE_BYTES));
    while !shared.is_over() {
        let readers: Vec<Peer> = (0..SLOW_READERS).filter_map(|_| slow_reader(shared).ok()).collect();
        // Each stays below what one connection may send.
        let mut publishers: Vec<Peer> =
            (0..PUBLISHERS).filter_map(|_| Peer::socket(&shared.endpoint, 1, None).ok()).collect();
        for _ in 0..ROUNDS {
            // One that is cut is opened again in the next turn.
            publishers.retain_mut(|peer| !peer.is_cut() && peer.text(&message).is_ok());
            thread::sleep(SECOND / ROUNDS_PER_SECOND);
            if shared.is_over() {
                break;
            }
        }
        drop(readers);
    }
}

fn slow_reader(shared: &Shared) -> std::io::Result<Peer> {
    let mut peer = Peer::socket(&shared.endpoint, 0, Some(RECEIVE_BYTES))?;
    peer.text("42[\"join\",\"slow\"]")?;
    shared.attempted();
    Ok(peer)
}

/// A byte of a request's head for each connection and second.
pub(super) fn slow_heads(shared: &Shared) {
    let head = format!("GET {}?EIO=4&transport=polling HTTP/1.1\r\nX: ", shared.endpoint.path);
    dribble(shared, SLOW_HEADS, head.as_bytes(), |shared| Peer::connect(&shared.endpoint, 0, None).ok());
}

/// A byte of a message's frame for each connection and second.
pub(super) fn slow_frames(shared: &Shared) {
    let message = frame(OpCode::Text, &[b'4'; 60_000]);
    dribble(shared, SLOW_FRAMES, &message, |shared| Peer::websocket(&shared.endpoint, 0, None).ok());
}

fn dribble(shared: &Shared, count: usize, bytes: &[u8], open: impl Fn(&Shared) -> Option<Peer>) {
    let mut peers: Vec<(Option<Peer>, usize)> = (0..count).map(|_| (None, 0)).collect();
    while !shared.is_over() {
        for (place, written) in &mut peers {
            let next = bytes.get(*written).copied().unwrap_or(b'x');
            let goes_on = place.as_mut().is_some_and(|peer| !peer.is_cut() && peer.write(&[next]).is_ok());
            *written += 1;
            if !goes_on {
                (*place, *written) = (open(shared), 0);
                shared.attempted();
            }
            if shared.is_over() {
                return;
            }
        }
        thread::sleep(SECOND);
    }
}

/// Holds all connections that it gets, from one address.
pub(super) fn connections(shared: &Shared) {
    let mut peers = Vec::new();
    while !shared.is_over() {
        peers.retain(|peer: &Peer| !peer.is_cut());
        for _ in peers.len()..CONNECTIONS {
            shared.attempted();
            let Ok(peer) = Peer::connect(&shared.endpoint, 0, None) else { break };
            peers.push(peer);
            if shared.is_over() {
                return;
            }
        }
        thread::sleep(SECOND / 10);
    }
}
