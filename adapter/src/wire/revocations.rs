//! Revocations on their channel, and as they are kept: a small JSON object, so that any backend may publish one.
//!
//! ```json
//! {"user":"alice","until_s":1767225600}
//! {"user":"alice","issued_before_s":1767139200,"until_s":1767225600}
//! {"token_id":"4b1f","until_s":1767225600}
//! {"user":"alice","lifted":true}
//! ```
//!
//! Times are seconds since 1970. A node that has kept it in Redis already says so with `"kept":true`. A key that is not
//! known is refused: a misspelt `issued_before_s` would lock somebody out.

use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::revocation::{MAX_SUBJECT_BYTES, Revocation, RevocationChange, RevocationSubject};

/// A message is no longer than this, however its text is escaped.
pub const MAX_REVOCATION_BYTES: usize = 8 * MAX_SUBJECT_BYTES;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with user or token_id")]
struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_id: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_before_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_s: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    lifted: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    kept: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationMessage {
    /// What all nodes are told.
    pub change: RevocationChange,
    /// Redis has it already, for nodes that start later.
    pub kept: bool,
}

/// Writes a message.
#[must_use]
pub fn encode_revocation(message: &RevocationMessage) -> Vec<u8> {
    let (subject, issued_before_s, until_s) = match &message.change {
        RevocationChange::Revoke(Revocation { subject, issued_before_s, until_s }) => {
            (subject, *issued_before_s, Some(*until_s))
        }
        RevocationChange::Lift(subject) => (subject, None, None),
    };
    let (user, token_id) = match subject {
        RevocationSubject::User(name) => (Some((**name).into()), None),
        RevocationSubject::Token(id) => (None, Some((**id).into())),
    };
    let lifted = until_s.is_none();
    let message = Message { user, token_id, issued_before_s, until_s, lifted, kept: message.kept };
    serde_json::to_vec(&message).expect("text, numbers and booleans can be written")
}

/// Reads a message.
///
/// # Errors
/// If it is none of those above.
pub fn decode_revocation(payload: &[u8]) -> Result<RevocationMessage, DecodeError> {
    if payload.len() > MAX_REVOCATION_BYTES {
        return Err(DecodeError::TooBig { limit: MAX_REVOCATION_BYTES });
    }
    // Derived readers take a list for an object as well.
    if payload.trim_ascii_start().first() != Some(&b'{') {
        return Err(DecodeError::Revocation("it must be a JSON object"));
    }
    let Message { user, token_id, issued_before_s, until_s, lifted, kept } = serde_json::from_slice(payload)?;
    let subject = match (user, token_id) {
        (Some(user), None) => RevocationSubject::User(user.into()),
        (None, Some(id)) => RevocationSubject::Token(id.into()),
        _ => return Err(DecodeError::Revocation("it must name either user or token_id")),
    };
    let (RevocationSubject::User(name) | RevocationSubject::Token(name)) = &subject;
    if !(1..=MAX_SUBJECT_BYTES).contains(&name.len()) {
        return Err(DecodeError::Revocation("user and token_id must be 1 to 512 bytes long"));
    }
    let change = match (lifted, until_s, issued_before_s) {
        (true, None, None) => RevocationChange::Lift(subject),
        (true, ..) => return Err(DecodeError::Revocation("what is lifted has no times")),
        (false, Some(until_s), issued_before_s) => {
            RevocationChange::Revoke(Revocation { until_s, subject, issued_before_s })
        }
        (false, None, _) => return Err(DecodeError::Revocation("until_s is missing")),
    };
    Ok(RevocationMessage { change, kept })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(name: &str) -> RevocationSubject {
        RevocationSubject::User(name.into())
    }

    fn revoke(subject: RevocationSubject, issued_before_s: Option<u64>, until_s: u64) -> RevocationChange {
        RevocationChange::Revoke(Revocation { until_s, subject, issued_before_s })
    }

    #[test]
    fn the_documented_forms() {
        for (text, change, kept) in [
            (r#"{"user":"alice","until_s":9}"#, revoke(user("alice"), None, 9), false),
            (r#"{"user":"alice","issued_before_s":5,"until_s":9}"#, revoke(user("alice"), Some(5), 9), false),
            (
                r#"{"token_id":"4b1f","until_s":9}"#,
                revoke(RevocationSubject::Token("4b1f".into()), None, 9),
                false,
            ),
            (r#"{"user":"alice","lifted":true}"#, RevocationChange::Lift(user("alice")), false),
            (r#"{"user":"alice","until_s":9,"kept":true}"#, revoke(user("alice"), None, 9), true),
        ] {
            let message = RevocationMessage { change, kept };
            assert_eq!(decode_revocation(text.as_bytes()).expect(text), message);
            assert_eq!(String::from_utf8_lossy(&encode_revocation(&message)), text);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = "x".repeat(MAX_SUBJECT_BYTES + 1);
        for (text, expected) in [
            ("", "a JSON object"),
            (r#"["alice"]"#, "a JSON object"),
            ("{", "not a JSON message"),
            ("{}", "either user or token_id"),
            (r#"{"until_s":9}"#, "either user or token_id"),
            (r#"{"user":"a","token_id":"b","until_s":9}"#, "either user or token_id"),
            (r#"{"user":"a"}"#, "until_s is missing"),
            (r#"{"user":"a","until_s":-1}"#, "not a JSON message"),
            (r#"{"user":"a","until_s":1.5}"#, "not a JSON message"),
            (r#"{"user":"a","until_s":9,"issued_befor_s":5}"#, "unknown field `issued_befor_s`"),
            (r#"{"user":"","until_s":9}"#, "1 to 512 bytes"),
            (&format!(r#"{{"user":"{long}","until_s":9}}"#), "1 to 512 bytes"),
            (r#"{"user":"a","until_s":9,"lifted":true}"#, "no times"),
            (&" ".repeat(MAX_REVOCATION_BYTES + 1), "larger than"),
        ] {
            let error = decode_revocation(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_revocation_survives_the_wire(
            name in ".{1,128}",
            is_user in any::<bool>(),
            issued_before_s in any::<Option<u64>>(),
            until_s in any::<Option<u64>>(),
            kept in any::<bool>(),
        ) {
            let subject = match is_user {
                true => RevocationSubject::User(name.into()),
                false => RevocationSubject::Token(name.into()),
            };
            let change = match until_s {
                Some(until_s) => revoke(subject, issued_before_s, until_s),
                None => RevocationChange::Lift(subject),
            };
            let message = RevocationMessage { change, kept };
            let payload = encode_revocation(&message);
            prop_assert!(payload.len() <= MAX_REVOCATION_BYTES);
            prop_assert_eq!(decode_revocation(&payload).expect("it is a revocation"), message);
        }

        #[test]
        fn nothing_that_arrives_panics(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_revocation(&payload);
        }
    }
}
