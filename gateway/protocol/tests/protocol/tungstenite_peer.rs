//! The WebSocket codec against `tungstenite` as the opposite peer: both directions, both roles, in fragments.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use broadgate_protocol::websocket::{OpCode, Role, push_close};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode as PeerOpCode};
use tungstenite::{Error, Message, WebSocket};

use super::properties::{Sent, sent, stream};
use super::stream::{MAX_MESSAGE_BYTES, Outcome, Seen, decode_pieces};

/// Both ends of a connection in memory.
#[derive(Debug, Default)]
struct Wire {
    to_peer: VecDeque<u8>,
    from_peer: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_peer.is_empty() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.to_peer.read(buffer)
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.from_peer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A peer for a codec in the role `ours`, with `to_peer` in its mailbox.
fn peer(ours: Role, to_peer: Vec<u8>) -> WebSocket<Wire> {
    let theirs = match ours {
        Role::Server => tungstenite::protocol::Role::Client,
        Role::Client => tungstenite::protocol::Role::Server,
    };
    WebSocket::from_raw_socket(Wire { to_peer: to_peer.into(), from_peer: Vec::new() }, theirs, None)
}

/// What the peer reads until its input is used up or it refuses it; false for the latter.
fn read_by_peer(peer: &mut WebSocket<Wire>) -> (Vec<Seen>, bool) {
    let mut seen = Vec::new();
    loop {
        match peer.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(close)) => {
                seen.push(Seen::Close(close.map(|close| (close.code.into(), close.reason.to_string()))));
                return (seen, true);
            }
            Ok(Message::Frame(_)) => unreachable!("only whole messages are read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, true),
            Err(_) => return (seen, false),
        }
    }
}

fn write_by_peer(peer: &mut WebSocket<Wire>, sent: &[Sent]) {
    for (opcode, fin, payload) in sent.iter().flat_map(Sent::frames) {
        let fragment = |kind| Message::Frame(Frame::message(payload.to_vec(), PeerOpCode::Data(kind), fin));
        let message = match opcode {
            OpCode::Continuation => fragment(Data::Continue),
            OpCode::Text => fragment(Data::Text),
            OpCode::Binary => fragment(Data::Binary),
            OpCode::Ping => Message::Ping(payload.to_vec().into()),
            OpCode::Pong => Message::Pong(payload.to_vec().into()),
            OpCode::Close => Message::Close(None),
        };
        peer.send(message).expect("memory takes all");
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// Our outcome up to the first close, after which a peer reads no more.
fn until_close((mut seen, violation): Outcome) -> Outcome {
    match seen.iter().position(|event| matches!(event, Seen::Close(_))) {
        Some(index) => {
            seen.truncate(index + 1);
            (seen, None)
        }
        None => (seen, violation),
    }
}

proptest! {
    #[test]
    fn the_peer_reads_what_we_write(ours in role(), sent in vec(sent(), 0..6), seed in any::<u32>()) {
        let mut peer = peer(ours, stream(&sent, ours == Role::Client, seed));
        prop_assert_eq!(read_by_peer(&mut peer), (sent.iter().map(Sent::seen).collect(), true));
    }

    #[test]
    fn we_read_what_the_peer_writes(ours in role(), sent in vec(sent(), 0..6), piece_bytes in 1..5000_usize) {
        let mut peer = peer(ours, Vec::new());
        write_by_peer(&mut peer, &sent);
        let bytes = &peer.get_ref().from_peer;
        let expected = (sent.iter().map(Sent::seen).collect(), None);
        prop_assert_eq!(decode_pieces(ours, MAX_MESSAGE_BYTES, bytes.chunks(piece_bytes)), expected);
    }

    /// We may be stricter than the peer, never laxer: what we accept, it reads in the same way.
    #[test]
    fn what_we_accept_of_a_damaged_stream_the_peer_accepts(
        ours in role(),
        sent in vec(sent(), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = stream(&sent, ours == Role::Server, 3);
        for (index, byte) in damage {
            let at = index.index(bytes.len().min(40));
            bytes[at] = byte;
        }
        // The peer as the one that reads: of the same role as ours.
        let mut same_role = peer(if ours == Role::Server { Role::Client } else { Role::Server }, bytes.clone());
        let (seen, violation) = until_close(decode_pieces(ours, MAX_MESSAGE_BYTES, [&bytes[..]]));
        let (seen_by_peer, accepted) = read_by_peer(&mut same_role);
        if violation.is_none() {
            prop_assert!(accepted);
            prop_assert_eq!(seen_by_peer, seen);
        } else {
            prop_assert!(seen_by_peer.starts_with(&seen), "{seen_by_peer:?} {seen:?}");
        }
    }

    #[test]
    fn the_peer_reads_our_close(code in 3000..5000_u16, reason in "\\PC{0,40}") {
        let mut out = Vec::new();
        push_close(&mut out, Some((code, &reason)));
        let (seen, accepted) = read_by_peer(&mut peer(Role::Server, out));
        prop_assert!(accepted);
        let [Seen::Close(Some((seen_code, seen_reason)))] = &seen[..] else { panic!("{seen:?}") };
        prop_assert_eq!(*seen_code, code);
        prop_assert!(reason.starts_with(seen_reason.as_str()));
    }
}
