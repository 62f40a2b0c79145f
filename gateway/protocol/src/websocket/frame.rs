//! Frames on the wire (RFC 6455 section 5.2): the header read strictly, and frames written.

use super::{Violation, mask};

/// The longest header of a frame without a mask: two bytes and a 64-bit length.
pub const MAX_HEADER_BYTES: usize = 10;

/// The longest header of all: the same with the four bytes of a mask.
pub(super) const MAX_MASKED_HEADER_BYTES: usize = MAX_HEADER_BYTES + 4;

/// The largest payload of a close, ping or pong (RFC 6455 section 5.5).
pub(super) const MAX_CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;
const LENGTH_IN_16_BITS: u8 = 126;
const LENGTH_IN_64_BITS: u8 = 127;

/// What a frame is (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpCode {
    /// A further fragment of the open message.
    Continuation,
    /// The first or only fragment of a text message.
    Text,
    /// The first or only fragment of a binary message.
    Binary,
    /// The closing handshake.
    Close,
    /// A question whether the peer is there.
    Ping,
    /// The answer to a ping, or a heartbeat without one.
    Pong,
}

impl OpCode {
    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn from_bits(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            reserved => return Err(Violation::ReservedOpCode(reserved)),
        })
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Which side is decoding: a server demands masked frames, a client refuses them (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames come from a client.
    Server,
    /// Frames come from a server.
    Client,
}

/// A frame's header, complete and checked as far as it can be without knowing the frames before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    /// All zero in a frame without a mask.
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u64,
    /// Bytes of the header itself.
    pub(super) header_bytes: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when it is not all there.
    ///
    /// Each rule is checked as soon as its byte is there and always in the order of the bytes, so that the outcome
    /// does not depend on how the stream was cut.
    pub(super) fn parse(bytes: &[u8], role: Role) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & RESERVED_BITS != 0 {
            return Err(Violation::ReservedBits);
        }
        let opcode = OpCode::from_bits(first & 0x0f)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl);
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & MASKED != 0;
        match role {
            Role::Server if !masked => return Err(Violation::Unmasked),
            Role::Client if masked => return Err(Violation::Masked),
            _ => {}
        }
        let short_length = second & !MASKED;
        if opcode.is_control() && usize::from(short_length) > MAX_CONTROL_BYTES {
            return Err(Violation::ControlTooLong);
        }

        let Some((payload_bytes, length_end)) = parse_length(short_length, &bytes[2..])? else {
            return Ok(None);
        };
        if !masked {
            return Ok(Some(Self { opcode, fin, mask: [0; 4], payload_bytes, header_bytes: length_end }));
        }
        let Some(&mask) = bytes.get(length_end..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        Ok(Some(Self { opcode, fin, mask, payload_bytes, header_bytes: length_end + mask.len() }))
    }
}

/// The payload's length and where in the header it ends. `extended` follows the header's first two bytes.
fn parse_length(short_length: u8, extended: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    match short_length {
        LENGTH_IN_16_BITS => {
            let Some(bytes) = extended.first_chunk() else { return Ok(None) };
            let length = u16::from_be_bytes(*bytes);
            if length < u16::from(LENGTH_IN_16_BITS) {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), 4)))
        }
        LENGTH_IN_64_BITS => {
            let Some(bytes) = extended.first_chunk() else { return Ok(None) };
            let length = u64::from_be_bytes(*bytes);
            if length > u64::MAX >> 1 {
                return Err(Violation::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((length, 10)))
        }
        length => Ok(Some((u64::from(length), 2))),
    }
}

/// Appends the header of a complete, unmasked frame (FIN set), as a server sends it.
pub fn push_header(out: &mut Vec<u8>, opcode: OpCode, payload_bytes: usize) {
    push_any_header(out, opcode, true, None, payload_bytes);
}

/// Appends a complete, unmasked frame (FIN set), as a server sends it.
pub fn push_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    push_fragment(out, opcode, true, None, payload);
}

/// Appends a complete, masked frame (FIN set), as a client sends it. The mask is to be unpredictable
/// (RFC 6455 section 10.3), which is the caller's part.
pub fn push_masked_frame(out: &mut Vec<u8>, opcode: OpCode, mask: [u8; 4], payload: &[u8]) {
    push_fragment(out, opcode, true, Some(mask), payload);
}

/// Appends any frame: a fragment where `fin` is false, masked where a `mask` is given.
///
/// Writes what it is told, also what a peer would refuse: it serves tests and conformance checks.
pub fn push_fragment(out: &mut Vec<u8>, opcode: OpCode, fin: bool, mask: Option<[u8; 4]>, payload: &[u8]) {
    out.reserve(MAX_MASKED_HEADER_BYTES + payload.len());
    push_any_header(out, opcode, fin, mask, payload.len());
    let payload_start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(&mut out[payload_start..], mask);
    }
}

fn push_any_header(
    out: &mut Vec<u8>,
    opcode: OpCode,
    fin: bool,
    mask: Option<[u8; 4]>,
    payload_bytes: usize,
) {
    out.push(if fin { FIN } else { 0 } | opcode.bits());
    let masked = if mask.is_some() { MASKED } else { 0 };
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length), _) if length < LENGTH_IN_16_BITS => out.push(masked | length),
        (_, Ok(length)) => {
            out.push(masked | LENGTH_IN_16_BITS);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | LENGTH_IN_64_BITS);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], <[u8; 4]>::as_slice));
}
