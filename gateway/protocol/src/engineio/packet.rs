//! One packet as text (wire.md 1.5): a digit and its data, or `b` and base64.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

/// Standard base64 with padding; read also without it, as Node does.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A packet of Engine.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the server's handshake, as JSON (see [`OpenPacket`](super::OpenPacket)).
    Open(&'a str),
    /// `1`: ends the session.
    Close,
    /// `2`: from the server, every ping interval; `2probe` from a client that upgrades.
    Ping(&'a str),
    /// `3`: the answer to a ping, with the same data.
    Pong(&'a str),
    /// `4`: a text message.
    Message(&'a str),
    /// A binary message: a whole binary frame on WebSocket, `b` and base64 where only text travels.
    Binary(Cow<'a, [u8]>),
    /// `5`: the client now uses the new transport.
    Upgrade,
    /// `6`: releases a pending poll.
    Noop,
}

/// A packet that cannot be read. The session closes with the reason `parse error` (wire.md 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an Engine.IO packet: expected a type from 0 to 6, or b and base64")]
pub struct ParseError;

impl<'a> Packet<'a> {
    /// Reads one packet from text: a text frame, or one packet of a polling payload.
    ///
    /// Data after `1`, `5` and `6` is ignored, as by the reference.
    ///
    /// # Errors
    /// The text is empty, begins with another character, or its base64 is broken.
    pub fn decode(text: &'a str) -> Result<Self, ParseError> {
        let kind = *text.as_bytes().first().ok_or(ParseError)?;
        let data = text.get(1..).ok_or(ParseError)?;
        Ok(match kind {
            b'0' => Self::Open(data),
            b'1' => Self::Close,
            b'2' => Self::Ping(data),
            b'3' => Self::Pong(data),
            b'4' => Self::Message(data),
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            b'b' => Self::Binary(Cow::Owned(BASE64.decode(data).map_err(|_| ParseError)?)),
            _ => return Err(ParseError),
        })
    }
}
