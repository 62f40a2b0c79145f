//! `/api/v1/log-level`: what is logged, changed for a while without a restart.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    node::Node,
    telemetry::{FilterError, LogFilter},
};

/// How long a change holds unless it says so, and at most: nobody shall find a node that logs everything for months.
const DEFAULT_SECONDS: u64 = 600;
const MAX_SECONDS: u64 = 24 * 3600;

/// The body of a PUT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    filter: String,
    #[serde(default)]
    for_seconds: Option<u64>,
}

pub(super) async fn show(State(node): State<Arc<Node>>) -> Response {
    state(&node.log_filter)
}

pub(super) async fn change(State(node): State<Arc<Node>>, body: Bytes) -> Response {
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refusal(&format!("the body is no request for a log level: {error}")),
    };
    let seconds = request.for_seconds.unwrap_or(DEFAULT_SECONDS);
    if !(1..=MAX_SECONDS).contains(&seconds) {
        return refusal(&format!("\"for_seconds\" is 1 to {MAX_SECONDS}"));
    }
    let hold = Duration::from_secs(seconds);
    let change = match node.log_filter.change(&request.filter, hold) {
        Ok(change) => change,
        Err(error @ FilterError::Apply(_)) => {
            let answer = json!({ "ok": false, "error": "unavailable", "message": error.to_string() });
            return (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response();
        }
        Err(error) => return refusal(&error.to_string()),
    };
    let reverting = Arc::clone(&node.log_filter);
    let task = tokio::spawn(async move {
        tokio::time::sleep_until(change.until.into()).await;
        reverting.revert(Some(&change));
    });
    node.log_filter.keep_reverting(Some(task.abort_handle()));
    state(&node.log_filter)
}

pub(super) async fn revert(State(node): State<Arc<Node>>) -> Response {
    node.log_filter.revert(None);
    node.log_filter.keep_reverting(None);
    state(&node.log_filter)
}

fn state(filter: &LogFilter) -> Response {
    let changed = filter.changed();
    let left = changed.as_ref().map(|change| change.until.saturating_duration_since(Instant::now()));
    Json(json!({
        "ok": true,
        "filter": changed.as_ref().map_or(filter.configured(), |change| &change.filter),
        "configured": filter.configured(),
        "reverts_in_seconds": left.map(|left| left.as_secs_f64().ceil()),
    }))
    .into_response()
}

fn refusal(message: &str) -> Response {
    let answer = json!({ "ok": false, "error": "invalid_argument", "message": message });
    (StatusCode::BAD_REQUEST, Json(answer)).into_response()
}
