//! The payload of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use super::frame::{MAX_CONTROL_BYTES, OpCode, push_frame};
use super::{Violation, frame};

/// What is left for the reason after the two bytes of the code.
const MAX_REASON_BYTES: usize = MAX_CONTROL_BYTES - 2;

/// Reads a received close payload: nothing, or a code and a reason.
pub(super) fn parse(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::ClosePayload) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Violation::CloseCode(code));
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
    Ok(Some((code, reason)))
}

/// Codes that may stand in a close frame: those of RFC 6455 section 7.4.1 without the three that only describe what
/// happened (1005, 1006, 1015), 1012 to 1014 which IANA registered later, and 3000 to 4999 for libraries and
/// applications (section 7.4.2).
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Appends an unmasked close frame: empty, or with a code and a reason, which is cut to 123 bytes at a character's
/// border so that the frame stays a legal control frame.
pub fn push_close(out: &mut Vec<u8>, close: Option<(u16, &str)>) {
    let Some((code, reason)) = close else {
        return push_frame(out, OpCode::Close, &[]);
    };
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    frame::push_header(out, OpCode::Close, size_of_val(&code) + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}
