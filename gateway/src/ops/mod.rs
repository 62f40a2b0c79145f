//! The listener for operators: metrics, health, and publishing over HTTP.

mod metrics;
mod publish;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::json;

use crate::node::{Node, NotReady};

/// Everything under the ops listener.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let max_body_bytes = node.settings.engine.max_payload_bytes;
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/api/v1/publish", post(publish::publish))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .with_state(node)
}

async fn metrics_page(State(node): State<Arc<Node>>) -> impl IntoResponse {
    match metrics::render(&node) {
        Ok(page) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let reason = match node.readiness() {
        Ok(()) => return (StatusCode::OK, Json(json!({ "ready": true }))),
        Err(NotReady::Draining) => "the node is shutting down",
        Err(NotReady::NeverLinked) => "the link to the other nodes was not made yet",
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason })))
}
