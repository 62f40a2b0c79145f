//! `/api/v1/revocations`: tokens that count no more before they expire. All nodes refuse them and disconnect whoever came
//! with one.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use broadgate_adapter::{
    PublishError, Revocation, RevocationChange, RevocationSubject, revocation::MAX_SUBJECT_BYTES,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{auth::unix_now_s, node::Node};

/// A year: longer than any token should live.
const MAX_FOR_MS: u64 = 366 * 24 * 3_600_000;
/// Revocations of one answer, unless `limit` says otherwise, and at most.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 100_000;

/// Why a request is refused; the text names the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the body is not a revocation: {0}")]
    Json(String),
    #[error("give either \"user\" or \"token_id\", of 1 to {MAX_SUBJECT_BYTES} bytes")]
    Subject,
    #[error(
        "\"for_ms\" must be a number from 1000 to {MAX_FOR_MS}: until the last of the tokens has expired"
    )]
    For,
    #[error("unknown query key {0:?}; there are {1}")]
    Key(String, &'static str),
    #[error("limit must be a number from 1 to {MAX_LIMIT}")]
    Limit,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer = json!({ "ok": false, "error": "invalid_argument", "message": self.to_string() });
        (StatusCode::BAD_REQUEST, Json(answer)).into_response()
    }
}

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    user: Option<Arc<str>>,
    #[serde(default)]
    token_id: Option<Arc<str>>,
    for_ms: u64,
    /// Without it all tokens, also those that are issued from now on.
    #[serde(default)]
    issued_before_s: Option<u64>,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before_s: Option<u64>,
    until_s: u64,
}

/// `POST /api/v1/revocations`
pub(super) async fn revoke(State(node): State<Arc<Node>>, body: Bytes) -> Response {
    let revocation = match read(&body, unix_now_s()) {
        Ok(revocation) => revocation,
        Err(refusal) => return refusal.into_response(),
    };
    let until_s = revocation.until_s;
    match node.engine.revoke(RevocationChange::Revoke(revocation)).await {
        Ok(()) => Json(json!({ "ok": true, "until_s": until_s })).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// `DELETE /api/v1/revocations?user=alice`
pub(super) async fn lift(State(node): State<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let subject = match read_subject(query.as_deref().unwrap_or_default()) {
        Ok(subject) => subject,
        Err(refusal) => return refusal.into_response(),
    };
    match node.engine.revoke(RevocationChange::Lift(subject)).await {
        Ok(()) => Json(json!({ "ok": true })).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// `GET /api/v1/revocations`: those in force, as this node knows them; those that end first come first.
pub(super) async fn list(State(node): State<Arc<Node>>, RawQuery(query): RawQuery) -> Response {
    let limit = match read_limit(query.as_deref().unwrap_or_default()) {
        Ok(limit) => limit,
        Err(refusal) => return refusal.into_response(),
    };
    let (total, revocations) = node.learnt.revocations.list(limit, unix_now_s());
    let listed: Vec<_> = revocations.iter().map(described).collect();
    Json(json!({ "ok": true, "total": total, "revocations": listed })).into_response()
}

fn described(revocation: &Revocation) -> Listed<'_> {
    let (user, token_id) = match &revocation.subject {
        RevocationSubject::User(name) => (Some(&**name), None),
        RevocationSubject::Token(id) => (None, Some(&**id)),
    };
    Listed { user, token_id, issued_before_s: revocation.issued_before_s, until_s: revocation.until_s }
}

/// It may be sent again: twice is the same as once.
fn unavailable(error: &PublishError) -> Response {
    let what = match error {
        PublishError::LinkDown | PublishError::QueueFull => "nothing was done",
        PublishError::Refused(_) | PublishError::Invalid(_) => "it may hold nowhere; send it again",
    };
    let answer = json!({
        "ok": false,
        "error": "adapter_unavailable",
        "message": format!("{error}; {what}"),
    });
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
}

fn read(body: &[u8], now_s: u64) -> Result<Revocation, Refusal> {
    let request: Request = serde_json::from_slice(body).map_err(|error| Refusal::Json(error.to_string()))?;
    let subject = subject(request.user, request.token_id)?;
    if !(1000..=MAX_FOR_MS).contains(&request.for_ms) {
        return Err(Refusal::For);
    }
    let until_s = now_s + request.for_ms.div_ceil(1000);
    Ok(Revocation { until_s, subject, issued_before_s: request.issued_before_s })
}

fn subject(user: Option<Arc<str>>, token_id: Option<Arc<str>>) -> Result<RevocationSubject, Refusal> {
    let is_bad = |text: &Arc<str>| !(1..=MAX_SUBJECT_BYTES).contains(&text.len());
    match (user, token_id) {
        (Some(user), None) if !is_bad(&user) => Ok(RevocationSubject::User(user)),
        (None, Some(id)) if !is_bad(&id) => Ok(RevocationSubject::Token(id)),
        _ => Err(Refusal::Subject),
    }
}

fn read_subject(query: &str) -> Result<RevocationSubject, Refusal> {
    let (mut user, mut token_id) = (None, None);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "user" => user = Some(value.into()),
            "token_id" => token_id = Some(value.into()),
            _ => return Err(Refusal::Key(key.into_owned(), "user and token_id")),
        }
    }
    subject(user, token_id)
}

fn read_limit(query: &str) -> Result<usize, Refusal> {
    let mut limit = DEFAULT_LIMIT;
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if key != "limit" {
            return Err(Refusal::Key(key.into_owned(), "limit"));
        }
        let number = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit = number.ok_or(Refusal::Limit)?;
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_whose_tokens_and_for_how_long() {
        let user = RevocationSubject::User("alice".into());
        let token = RevocationSubject::Token("4b1f".into());
        for (body, subject, issued_before_s, until_s) in [
            (r#"{"user":"alice","for_ms":60000}"#, user.clone(), None, 1060),
            (r#"{"user":"alice","for_ms":1001,"issued_before_s":900}"#, user, Some(900), 1002),
            (r#"{"token_id":"4b1f","for_ms":1000}"#, token, None, 1001),
        ] {
            let expected = Revocation { until_s, subject, issued_before_s };
            assert_eq!(read(body.as_bytes(), 1000).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn a_bad_body_is_refused_by_name() {
        let long = "x".repeat(MAX_SUBJECT_BYTES + 1);
        for (body, expected) in [
            ("{", "not a revocation"),
            (r#"{"for_ms":1000}"#, "either \"user\""),
            (r#"{"user":"a","token_id":"b","for_ms":1000}"#, "either \"user\""),
            (r#"{"user":"","for_ms":1000}"#, "either \"user\""),
            (&format!(r#"{{"user":"{long}","for_ms":1000}}"#), "either \"user\""),
            (r#"{"user":"a"}"#, "missing field `for_ms`"),
            (r#"{"user":"a","for_ms":0}"#, "\"for_ms\""),
            (r#"{"user":"a","for_ms":99999999999999}"#, "\"for_ms\""),
            (r#"{"user":"a","for_ms":1000,"issued_before":1}"#, "unknown field `issued_before`"),
        ] {
            let refusal = read(body.as_bytes(), 1000).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{body}: {refusal}");
        }
    }

    #[test]
    fn a_query_names_whose_are_lifted_or_how_many_are_listed() {
        let spaced = RevocationSubject::User("a b".into());
        assert_eq!(read_subject("user=a%20b"), Ok(spaced));
        assert_eq!(read_subject("token_id=4b1f"), Ok(RevocationSubject::Token("4b1f".into())));
        assert_eq!(read_subject(""), Err(Refusal::Subject));
        assert!(read_subject("sub=a").unwrap_err().to_string().contains("\"sub\""));
        assert_eq!((read_limit(""), read_limit("limit=5")), (Ok(DEFAULT_LIMIT), Ok(5)));
        assert_eq!(read_limit("limit=0"), Err(Refusal::Limit));
        assert!(read_limit("user=a").is_err());
    }
}
