//! Feeds a byte stream to a decoder in pieces, and writes streams of masked frames.

use broadgate_protocol::websocket::{Decoder, Event, OpCode, Role, Violation, push_fragment};

pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
pub(crate) const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// An [`Event`] that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Event::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Event::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

pub(crate) fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

pub(crate) fn binary(bytes: &[u8]) -> Seen {
    Seen::Binary(bytes.to_owned())
}

/// What came out of a stream: events, and the violation that ended it.
pub(crate) type Outcome = (Vec<Seen>, Option<Violation>);

/// Feeds one piece; false when the stream has ended with a violation.
pub(crate) fn feed(
    decoder: &mut Decoder,
    role: Role,
    max_bytes: usize,
    piece: &[u8],
    outcome: &mut Outcome,
) -> bool {
    let mut piece = piece.to_vec();
    let mut input = &mut piece[..];
    loop {
        match decoder.next(role, max_bytes, &mut input) {
            Ok(Some(event)) => outcome.0.push(event.into()),
            Ok(None) => {
                assert!(input.is_empty(), "None is only for input that is used up");
                return true;
            }
            Err(violation) => {
                outcome.1 = Some(violation);
                return false;
            }
        }
    }
}

pub(crate) fn decode_pieces<'p>(
    role: Role,
    max_bytes: usize,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Outcome {
    let mut decoder = Decoder::new();
    let mut outcome = Outcome::default();
    for piece in pieces {
        if !feed(&mut decoder, role, max_bytes, piece, &mut outcome) {
            break;
        }
    }
    outcome
}

/// Decodes as a server, whole and in pieces of several sizes, which must not make a difference.
pub(crate) fn decode(bytes: &[u8]) -> Outcome {
    decode_as(Role::Server, MAX_MESSAGE_BYTES, bytes)
}

pub(crate) fn decode_as(role: Role, max_bytes: usize, bytes: &[u8]) -> Outcome {
    let whole = decode_pieces(role, max_bytes, [bytes]);
    for piece_bytes in [1, 2, 3, 7, 64, 997] {
        let pieces = decode_pieces(role, max_bytes, bytes.chunks(piece_bytes));
        assert_eq!(pieces, whole, "in pieces of {piece_bytes} bytes");
    }
    whole
}

/// A masked frame, as a client sends it.
pub(crate) fn frame(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_fragment(&mut out, opcode, fin, Some(MASK), payload);
    out
}

/// Masked frames one after the other: (opcode, FIN, payload).
pub(crate) fn frames(frames: &[(OpCode, bool, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(opcode, fin, payload)| frame(*opcode, *fin, payload)).collect()
}
