//! The listener for operators: metrics, health, publishing, the nodes and the sockets of the cluster, and what is logged,
//! over HTTP.

mod access;
mod exposition;
mod keys;
mod log_level;
mod metrics;
mod nodes;
mod process_metrics;
mod publish;
mod redis_metrics;
mod request_times;
mod revocations;
mod sockets;
mod tracing_context;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware,
    response::IntoResponse,
    routing::{get, post, put},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tower::ServiceExt;

pub(crate) use access::AccessCounters;
pub(crate) use request_times::RequestTimes;

use access::{Access, OpsPeer};
use keys::KeyRing;

use crate::{
    config::OpsScope,
    net::{self, HttpStream},
    node::{Node, NotReady},
};

/// Connections of operators at one time; more wait.
const MAX_CONNECTIONS: usize = 256;
/// How long their requests' heads, and idle connections, may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the ops listener until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Node>) {
    let (settings, counters) = (&node.settings.ops, &node.ops_access);
    let keys = Arc::new(KeyRing::new(settings));
    let watching = keys::watch_key_files(settings.keys.clone(), Arc::clone(&keys), Arc::clone(counters));
    let access = Access::new(settings.anonymous, keys, Arc::clone(counters));
    let router = router(Arc::clone(&node), &Arc::new(access));
    tokio::select! {
        () = accept(listener, router) => {}
        () = watching => {}
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let never = watch::Sender::new(false);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (router, stopping) = (router.clone(), never.subscribe());
        tokio::spawn(async move {
            let stream = match HttpStream::plain(stream, HEADER_TIMEOUT) {
                Ok(stream) => stream,
                Err(error) => return tracing::error!(%error, "cannot watch a connection; it is closed"),
            };
            net::http::serve(stream, HEADER_TIMEOUT, stopping, |mut request| {
                request.extensions_mut().insert(OpsPeer(peer));
                let answer = router.clone().oneshot(request.map(Body::new));
                async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
            })
            .await;
            drop(place);
        });
    }
}

/// Everything under the ops listener. Metrics and health need no key: they hold no secrets, and probes have none.
fn router(node: Arc<Node>, access: &Arc<Access>) -> Router {
    let max_body_bytes = node.settings.engine.max_payload_bytes;
    let needs = |scope| middleware::from_fn_with_state((Arc::clone(access), scope), access::require);
    let traced = |name| middleware::from_fn_with_state((node.traces.clone(), name), tracing_context::trace);
    let publish = Router::new()
        .route("/api/v1/publish", post(publish::publish))
        .route_layer(traced("publish"))
        .route_layer(needs(OpsScope::Publish));
    let read = Router::new()
        .route("/api/v1/nodes", get(nodes::list))
        .route("/api/v1/sockets", get(sockets::fetch))
        .route("/api/v1/revocations", get(revocations::list))
        .route("/api/v1/log-level", get(log_level::show))
        .route_layer(traced("read"))
        .route_layer(needs(OpsScope::Read));
    let control = Router::new()
        .route("/api/v1/sockets/join", post(sockets::join))
        .route("/api/v1/sockets/leave", post(sockets::leave))
        .route("/api/v1/sockets/disconnect", post(sockets::disconnect))
        .route("/api/v1/revocations", post(revocations::revoke).delete(revocations::lift))
        .route("/api/v1/log-level", put(log_level::change).delete(log_level::revert))
        .route_layer(traced("control"))
        .route_layer(needs(OpsScope::Control));
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .merge(publish)
        .merge(read)
        .merge(control)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(middleware::from_fn_with_state(Arc::clone(&node.ops_times), request_times::measure))
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
        Err(NotReady::Draining) => "the node is shutting down".to_owned(),
        Err(NotReady::NeverLinked) => "the link to the other nodes was not made yet".to_owned(),
        Err(NotReady::NotOpen) => "the public listener is not open yet".to_owned(),
        Err(NotReady::ProbeStale { age, max_age }) => format!(
            "no message came back through Redis for {} s (adapter.redis.probe_max_age_ms = {})",
            age.as_secs(),
            max_age.as_millis()
        ),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason })))
}
