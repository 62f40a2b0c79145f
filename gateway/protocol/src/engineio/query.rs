//! The query of a request (wire.md 1.2).

use std::borrow::Cow;

use super::Transport;

/// Longer than every session id that a node makes (20 characters): a longer one is cut here and stays unknown.
const MAX_SID_BYTES: usize = 64;

/// What the query of an Engine.IO request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `EIO` is exactly `4`; anything else counts as an older revision.
    pub eio4: bool,
    /// `transport`, where it is one that we know.
    pub transport: Option<Transport>,
    /// `sid`, where it is not empty; at most 64 bytes of it.
    pub sid: Option<String>,
}

impl Query {
    /// Reads a query string (without `?`) as a form: `+` is a space, escapes are decoded, the last of a repeated key
    /// wins. Never fails: what cannot be decoded stays as it is, and bytes that are not UTF-8 are replaced.
    pub fn parse(query: Option<&str>) -> Self {
        let mut parsed = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || percent_decoded(value);
            match &*percent_decoded(key) {
                "EIO" => parsed.eio4 = value() == "4",
                "transport" => parsed.transport = Transport::from_name(&value()),
                "sid" => parsed.sid = bounded_sid(&value()),
                _ => {}
            }
        }
        parsed
    }
}

fn bounded_sid(sid: &str) -> Option<String> {
    let end = sid.floor_char_boundary(MAX_SID_BYTES);
    Some(sid[..end].to_owned()).filter(|sid| !sid.is_empty())
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => match escaped_byte(after) {
                Some(escaped) => {
                    decoded.push(escaped);
                    rest = &after[2..];
                }
                None => decoded.push(b'%'),
            },
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn escaped_byte(digits: &[u8]) -> Option<u8> {
    let digit = |index: usize| char::from(*digits.get(index)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}
