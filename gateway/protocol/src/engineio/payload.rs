//! The body of a poll or a push (wire.md 1.5): packets as text, joined with a separator.

use std::str::Split;

use base64::Engine as _;

use super::packet::{BASE64, Packet, ParseError};

/// Stands between two packets. JSON escapes it, so it never occurs inside one.
pub const SEPARATOR: u8 = 0x1e;

/// The packets of a payload, in order. It ends after the first error (wire.md 1.6: what came before it counts).
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    /// `None` after an error.
    parts: Option<Split<'a, char>>,
}

/// Reads a payload lazily. An empty body is one error.
pub fn decode(body: &str) -> Packets<'_> {
    Packets { parts: Some(body.split(char::from(SEPARATOR))) }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let packet = Packet::decode(self.parts.as_mut()?.next()?);
        if packet.is_err() {
            self.parts = None;
        }
        Some(packet)
    }
}

/// Appends a binary message as one packet of a payload: `b` and padded base64.
pub fn push_binary(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'b');
    let start = out.len();
    // Four characters for every three bytes begun.
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    let written =
        BASE64.encode_slice(data, &mut out[start..]).expect("room for the padded encoding was made");
    debug_assert_eq!(start + written, out.len());
}
