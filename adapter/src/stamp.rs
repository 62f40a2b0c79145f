//! What a broadcast says of its own publishing: when it was, and in which trace.

use std::{
    fmt,
    num::NonZeroU64,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

/// Later times are taken for mistakes: the largest integer that JavaScript has exactly, in the year 2255.
const MAX_PUBLISHED_AT_US: u64 = (1 << 53) - 1;
/// A `traceparent` of a later version may be longer than that of version 00, within reason.
const MAX_TRACEPARENT_BYTES: usize = 256;
/// Length of a `traceparent` of version 00.
const TRACEPARENT_BYTES: usize = 55;
/// The flags that are known: sampled (W3C Trace Context, level 1) and random trace id (level 2). Others are not handed on.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// When and in which trace a broadcast was published. Two words of a publisher that has neither; nothing is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Microseconds since 1970 on the publisher's clock; `None` where the publisher does not say.
    pub published_at_us: Option<NonZeroU64>,
    /// The span that published it.
    pub trace: Option<TraceParent>,
}

impl Stamp {
    /// Published at `time`, in no trace. A clock before 1970 gives no time.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let us = u64::try_from(since_1970.as_micros()).unwrap_or_default();
        Self { published_at_us: published_at_us(us), trace: None }
    }

    /// The same, in a trace.
    #[must_use]
    pub fn in_trace(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }
}

/// `None` for what can't be a time: 0, or beyond [`MAX_PUBLISHED_AT_US`].
pub(crate) fn published_at_us(us: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(us).filter(|us| us.get() <= MAX_PUBLISHED_AT_US)
}

/// The same, of a double; some languages have no other number that large.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast that saturates, then the range"
)]
pub(crate) fn published_at_us_of_float(us: f64) -> Option<NonZeroU64> {
    published_at_us(us as u64)
}

/// A span and its trace, as a W3C `traceparent` names them (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: [u8; 16],
    // Never 0, which leaves room for `None`.
    span_id: NonZeroU64,
    flags: u8,
}

/// Not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// Not four parts of 2, 32, 16 and 2 lower-case hexadecimal digits, or what a version may not have behind them.
    #[error("a traceparent is 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case")]
    Format,
    /// Version ff.
    #[error("version ff of traceparent is forbidden")]
    Version,
    /// An id that is all zeros.
    #[error("an id of a traceparent is all zeros")]
    ZeroId,
}

impl TraceParent {
    /// `None` where an id is all zeros.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<Self> {
        let span_id = NonZeroU64::new(u64::from_be_bytes(span_id))?;
        let flags = if is_sampled { SAMPLED } else { 0 };
        (trace_id != [0; 16]).then_some(Self { trace_id, span_id, flags })
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span that is the parent of what follows.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id.get().to_be_bytes()
    }

    /// Is the trace recorded by whoever began it?
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads the bytes of a header or of a message. Never reads more than a bounded number of them.
    ///
    /// # Errors
    /// If they are no `traceparent`; such a one is to be ignored (W3C Trace Context, section 3.2.2.3).
    pub fn parse(text: &[u8]) -> Result<Self, TraceParentError> {
        let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES).ok_or(TraceParentError::Format)?;
        let [a, b, b'-', known @ ..] = known else { return Err(TraceParentError::Format) };
        let version = hex([*a, *b])?;
        match (version, rest) {
            (0xff, _) => return Err(TraceParentError::Version),
            // A later version may have more behind what is known, set off by a dash.
            (_, []) => {}
            (1.., [b'-', ..]) if text.len() <= MAX_TRACEPARENT_BYTES => {}
            _ => return Err(TraceParentError::Format),
        }
        let (trace_id, known) = id::<16>(known)?;
        let (span_id, known) = id::<8>(known)?;
        let &[a, b] = known else { return Err(TraceParentError::Format) };
        let flags = hex([a, b])? & KNOWN_FLAGS;
        let span_id = NonZeroU64::new(u64::from_be_bytes(span_id)).ok_or(TraceParentError::ZeroId)?;
        if trace_id == [0; 16] {
            return Err(TraceParentError::ZeroId);
        }
        Ok(Self { trace_id, span_id, flags })
    }

    /// The text of version 00, which is what is handed on.
    #[must_use]
    pub fn to_text(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace_id);
        write_hex(&mut text[36..52], &self.span_id());
        write_hex(&mut text[53..], &[self.flags]);
        text
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_text();
        formatter.write_str(std::str::from_utf8(&text).expect("hexadecimal digits and dashes"))
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An id and the dash behind it; and what follows.
fn id<const BYTES: usize>(text: &[u8]) -> Result<([u8; BYTES], &[u8]), TraceParentError> {
    let mut id = [0; BYTES];
    let (digits, rest) = text.split_at_checked(2 * BYTES).ok_or(TraceParentError::Format)?;
    for (byte, pair) in id.iter_mut().zip(digits.as_chunks().0) {
        *byte = hex(*pair)?;
    }
    let [b'-', rest @ ..] = rest else { return Err(TraceParentError::Format) };
    Ok((id, rest))
}

fn hex([high, low]: [u8; 2]) -> Result<u8, TraceParentError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(TraceParentError::Format),
    };
    Ok(digit(high)? << 4 | digit(low)?)
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_traceparent_is_read_as_w3c_says() {
        let long = "x".repeat(MAX_TRACEPARENT_BYTES);
        let rows: &[(String, Result<bool, TraceParentError>)] = &[
            (format!("00-{TRACE}-{SPAN}-01"), Ok(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Ok(false)),
            (format!("00-{TRACE}-{SPAN}-03"), Ok(true)),
            (format!("00-{TRACE}-{SPAN}-fe"), Ok(false)),
            (format!("cc-{TRACE}-{SPAN}-01"), Ok(true)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-holds"), Ok(true)),
            (format!("cc-{TRACE}-{SPAN}-01-"), Ok(true)),
            (format!("cc-{TRACE}-{SPAN}-01.x"), Err(TraceParentError::Format)),
            (format!("cc-{TRACE}-{SPAN}-01-{long}"), Err(TraceParentError::Format)),
            (format!("00-{TRACE}-{SPAN}-01-x"), Err(TraceParentError::Format)),
            (format!("00-{TRACE}-{SPAN}-01-"), Err(TraceParentError::Format)),
            (format!("ff-{TRACE}-{SPAN}-01"), Err(TraceParentError::Version)),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), Err(TraceParentError::ZeroId)),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), Err(TraceParentError::ZeroId)),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), Err(TraceParentError::Format)),
            (format!("00-{TRACE}-{SPAN}-0x"), Err(TraceParentError::Format)),
            (format!("00-{TRACE}-{SPAN}-1"), Err(TraceParentError::Format)),
            (format!("00-{TRACE}-{SPAN}"), Err(TraceParentError::Format)),
            (format!("00_{TRACE}-{SPAN}-01"), Err(TraceParentError::Format)),
            (format!("00-{TRACE}{SPAN}--01"), Err(TraceParentError::Format)),
            (format!(" 00-{TRACE}-{SPAN}-01"), Err(TraceParentError::Format)),
            (format!("0é-{TRACE}-{SPAN}-1"), Err(TraceParentError::Format)),
            (String::new(), Err(TraceParentError::Format)),
        ];
        for (text, expected) in rows {
            let read = TraceParent::from_str(text);
            assert_eq!(read.map(|parent| parent.is_sampled()), *expected, "{text}");
            let Ok(read) = read else { continue };
            assert_eq!(&read.to_string()[..53], &format!("00-{TRACE}-{SPAN}-"), "{text}");
            assert_eq!(TraceParent::from_str(&read.to_string()), Ok(read), "{text}");
        }
    }

    #[test]
    fn flags_that_nobody_knows_are_not_handed_on() {
        let read = TraceParent::from_str(&format!("00-{TRACE}-{SPAN}-ff")).expect("it is valid");
        assert_eq!(read.to_string(), format!("00-{TRACE}-{SPAN}-03"));
    }

    #[test]
    fn ids_are_never_all_zeros() {
        assert_eq!(TraceParent::new([0; 16], [1; 8], true), None);
        assert_eq!(TraceParent::new([1; 16], [0; 8], true), None);
        let made = TraceParent::new([0xab; 16], [0x0c; 8], true).expect("it is valid");
        assert_eq!(made.to_string(), format!("00-{}-{}-01", "ab".repeat(16), "0c".repeat(8)));
        assert_eq!((made.trace_id(), made.span_id()), ([0xab; 16], [0x0c; 8]));
    }

    #[test]
    fn times_are_microseconds_since_1970() {
        let at = |time| Stamp::at(time).published_at_us.map(NonZeroU64::get);
        assert_eq!(
            at(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)),
            Some(1_700_000_000_123_456)
        );
        assert_eq!(at(UNIX_EPOCH - Duration::from_secs(1)), None);
        for (us, expected) in [
            (0.0, None),
            (-5.0, None),
            (1.5, Some(1)),
            (1e15, Some(1_000_000_000_000_000)),
            (1e16, None),
            (f64::NAN, None),
        ] {
            assert_eq!(published_at_us_of_float(us).map(NonZeroU64::get), expected, "{us}");
        }
    }

    #[test]
    fn a_stamp_is_small() {
        assert!(size_of::<Stamp>() <= 40);
    }
}
