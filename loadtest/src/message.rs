//! The one message of a load test: `42["m","<sequence><filler>"]`. Its size is that of the event's argument. The
//! sequence number stands at a fixed offset, so that reading it costs a client next to nothing and a ready
//! command or frame is re-used by overwriting twelve digits.

use broadgate_protocol::websocket::{self, OpCode};

/// Name of the event.
pub(crate) const EVENT: &str = "m";
/// What a member receives before the sequence number: Engine.IO message, Socket.IO event.
const PREFIX: &str = "42[\"m\",\"";
/// Width of the sequence number: decimal, padded with zeros.
pub(crate) const SEQUENCE_DIGITS: usize = 12;

/// The event's argument: the sequence number, then filler up to `size_bytes` (at least [`SEQUENCE_DIGITS`]).
pub(crate) fn argument(size_bytes: usize, sequence: u64) -> String {
    let mut text = format!("{sequence:0SEQUENCE_DIGITS$}");
    text.extend(std::iter::repeat_n('x', size_bytes.saturating_sub(SEQUENCE_DIGITS)));
    text
}

/// The sequence number of a received packet; `None` if it is not one of ours.
pub(crate) fn sequence_of(packet: &str) -> Option<u64> {
    let digits = packet.as_bytes().strip_prefix(PREFIX.as_bytes())?.get(..SEQUENCE_DIGITS)?;
    digits.iter().try_fold(0, |sequence: u64, digit| {
        digit.is_ascii_digit().then(|| sequence * 10 + u64::from(digit - b'0'))
    })
}

/// Bytes made once and sent for every message, with the sequence number overwritten in place.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    digits_at: usize,
}

impl Template {
    /// `bytes` hold the argument of sequence number 0, made by [`argument`], exactly once.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let mark = [b'0'; SEQUENCE_DIGITS];
        let digits_at = bytes
            .windows(SEQUENCE_DIGITS)
            .rposition(|window| window == mark)
            .expect("the template holds the argument of message 0");
        Self { bytes, digits_at }
    }

    /// The WebSocket frame that a node sends to a member: what the bare loop sends too.
    pub(crate) fn server_frame(size_bytes: usize) -> Self {
        let packet = format!("{PREFIX}{}\"]", argument(size_bytes, 0));
        let mut frame = Vec::with_capacity(packet.len() + websocket::MAX_HEADER_BYTES);
        websocket::push_frame(&mut frame, OpCode::Text, packet.as_bytes());
        Self::new(frame)
    }

    /// The bytes of one message.
    pub(crate) fn with_sequence(&mut self, sequence: u64) -> &[u8] {
        let mut rest = sequence;
        for digit in self.bytes[self.digits_at..self.digits_at + SEQUENCE_DIGITS].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_argument() {
        assert_eq!(argument(100, 7).len(), 100);
        assert_eq!(argument(SEQUENCE_DIGITS, 7), "000000000007");
    }

    #[test]
    fn the_sequence_number_is_read_back_from_our_packets_only() {
        for (packet, expected) in [
            (r#"42["m","000000000042xxxx"]"#, Some(42)),
            (r#"42["m","999999999999"]"#, Some(999_999_999_999)),
            (r#"42["m","00000000004"]"#, None),
            (r#"42["m","00000000004a"]"#, None),
            (r#"42["n","000000000042"]"#, None),
            (r#"42["m",42]"#, None),
            ("2", None),
            ("", None),
        ] {
            assert_eq!(sequence_of(packet), expected, "{packet}");
        }
    }

    #[test]
    fn a_frame_is_the_text_frame_of_the_packet_with_its_number_replaced() {
        let mut frame = Template::server_frame(100);
        let bytes = frame.with_sequence(1234).to_vec();
        assert_eq!(bytes[..2], [0x81, 110]);
        let packet = std::str::from_utf8(&bytes[2..]).expect("text");
        assert_eq!(packet, format!("42[\"m\",\"{}\"]", argument(100, 1234)));
        assert_eq!(sequence_of(packet), Some(1234));
    }
}
