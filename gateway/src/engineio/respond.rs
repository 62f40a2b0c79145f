//! HTTP requests on the public listener: the checks in their documented order (wire.md 1.3), then the session's owner
//! is asked, on this shard or another.

use std::{io::Write, sync::Arc, time::Duration};

use axum::body::Body;
use broadgate_protocol::engineio::{Query, RequestError, RequestFacts, Target, Transport, check_request};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::{
    HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, RETRY_AFTER,
        UPGRADE, VARY,
    },
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{
    Application, Cors, EngineMessage, Id, Server,
    polling::PollBody,
    request::{Refused, Request, RoutedRequest, UpgradeVerdict},
};
use crate::{
    config::EngineSettings,
    net::http::{check_handshake, switching_protocols, upgraded},
    runtime::{Inbox, Shard},
    telemetry::ShardCounters,
};

/// What the answering of requests needs beside the sessions.
pub struct HttpContext<M> {
    /// `[engine]`
    pub settings: Arc<EngineSettings>,
    /// Who may read answers from another origin.
    pub cors: Cors,
    /// How long a POST's body may take.
    pub body_timeout: Duration,
    /// The number of this shard.
    pub shard: u8,
    /// The ways to all shards of the node, by number.
    pub shards: Arc<[Inbox<EngineMessage<M>>]>,
    /// Counts what happens.
    pub counters: Arc<ShardCounters>,
}

/// A connection is to be dropped without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is dropped, as the protocol demands")]
pub struct Dropped;

type Answer = Result<Response<Body>, Dropped>;

/// Answers any request of the public listener.
pub(super) async fn respond<A: Application>(
    shard: &Shard<Server<A>>,
    request: HttpRequest<Incoming>,
) -> Answer {
    let http = shard.peek(|server| Arc::clone(&server.http));
    if !request.uri().path().starts_with(&http.settings.path) {
        let answer = shard.peek(|server| server.application.respond(request));
        return Ok(answer.await);
    }
    if let Some(mut preflight) = http.cors.preflight(request.method(), request.headers()) {
        http.cors.apply(request.headers().get(ORIGIN), preflight.headers_mut());
        return Ok(preflight);
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = engine_request(shard, &http, request).await?;
    http.cors.apply(origin.as_ref(), response.headers_mut());
    Ok(response)
}

async fn engine_request<A: Application>(
    shard: &Shard<Server<A>>,
    http: &Arc<HttpContext<A::Message>>,
    request: HttpRequest<Incoming>,
) -> Answer {
    let query = Query::parse(request.uri().query());
    let is_upgrade = is_websocket_upgrade(request.headers());
    let facts = RequestFacts {
        query: &query,
        is_get: request.method() == Method::GET,
        is_upgrade,
        origin: request.headers().get(ORIGIN).map(HeaderValue::as_bytes),
        polling_enabled: http.settings.polling,
        websocket_enabled: http.settings.websocket,
    };
    let eio4 = query.eio4;
    match check_request(&facts) {
        Err(error) => Ok(refuse(http, error, is_upgrade)),
        Ok(Target::NewSession(Transport::Polling)) if is_upgrade => accept_and_close(shard, request, http),
        Ok(Target::NewSession(Transport::Polling)) => new_polling(shard, http, &request).await,
        Ok(Target::NewSession(Transport::WebSocket)) => new_websocket(shard, http, request),
        Ok(Target::Session { sid, transport }) => {
            let Some(id) = shard.peek(|server| Id::decode(server.io.spec.node, sid)) else {
                return Ok(refuse(http, RequestError::SessionUnknown, is_upgrade));
            };
            if usize::from(id.shard) >= http.shards.len() {
                return Ok(refuse(http, RequestError::SessionUnknown, is_upgrade));
            }
            let owner = Owner { shard: shard.clone(), http: Arc::clone(http), id, eio4 };
            if is_upgrade {
                return owner.upgrade(request, transport).await;
            }
            match (transport, request.method()) {
                // Without an upgrade it fits no session (wire.md 1.3, item 3).
                (Transport::WebSocket, _) => owner.check(Refused::Error(RequestError::BadRequest)).await,
                (Transport::Polling, &Method::GET) => owner.poll(request.headers()).await,
                (Transport::Polling, &Method::POST) => owner.push(request).await,
                (Transport::Polling, _) => owner.check(Refused::Status(500)).await,
            }
        }
    }
}

async fn new_polling<A: Application>(
    shard: &Shard<Server<A>>,
    http: &HttpContext<A::Message>,
    request: &HttpRequest<Incoming>,
) -> Answer {
    let (reply, body) = oneshot::channel();
    let opened = shard.with(|server, now_ms| {
        let session = server.open_polling(now_ms)?;
        server.take_poll(session, reply);
        server.settle(now_ms);
        Some(())
    });
    if opened.is_none() {
        return Ok(at_capacity(http));
    }
    match body.await {
        Ok(Ok(body)) => Ok(poll_response(http, request.headers(), &body)),
        _ => Err(Dropped),
    }
}

fn new_websocket<A: Application>(
    shard: &Shard<Server<A>>,
    http: &Arc<HttpContext<A::Message>>,
    mut request: HttpRequest<Incoming>,
) -> Answer {
    if shard.peek(|server| !server.io.has_room()) {
        return Ok(at_capacity(http));
    }
    let accept = match check_handshake(&request) {
        Ok(accept) => accept,
        Err(refusal) => return Ok(*refusal),
    };
    let (shard, on_upgrade) = (shard.clone(), hyper::upgrade::on(&mut request));
    tokio::task::spawn_local(async move {
        if let Some((socket, early)) = upgraded(on_upgrade).await {
            shard.with(|server, now_ms| server.open_websocket(socket, early, now_ms));
        }
    });
    Ok(switching_protocols(&accept))
}

/// The reference answers some WebSockets with 101 and an immediate close frame (wire.md 1.3).
fn accept_and_close<A: Application>(
    shard: &Shard<Server<A>>,
    mut request: HttpRequest<Incoming>,
    http: &HttpContext<A::Message>,
) -> Answer {
    http.counters.rejected_bad_request.add(1);
    let accept = match check_handshake(&request) {
        Ok(accept) => accept,
        Err(refusal) => return Ok(*refusal),
    };
    let (shard, on_upgrade) = (shard.clone(), hyper::upgrade::on(&mut request));
    tokio::task::spawn_local(async move {
        if let Some((socket, _)) = upgraded(on_upgrade).await {
            shard.with(|server, now_ms| server.begin_upgrade(None, socket, Vec::new(), now_ms));
        }
    });
    Ok(switching_protocols(&accept))
}

/// A session's owner, as a request sees it.
struct Owner<A: Application> {
    shard: Shard<Server<A>>,
    http: Arc<HttpContext<A::Message>>,
    id: Id,
    eio4: bool,
}

impl<A: Application> Owner<A> {
    /// Hands the request to the owner.
    fn ask(&self, request: Request) {
        let routed = RoutedRequest { session: self.id, request };
        if self.id.shard == self.http.shard {
            return self.shard.with(|server, now_ms| server.on_request(routed, now_ms));
        }
        self.http.counters.requests_forwarded.add(1);
        self.http.shards[usize::from(self.id.shard)].send(EngineMessage::Request(routed));
    }

    async fn poll(self, headers: &HeaderMap) -> Answer {
        let (reply, body) = oneshot::channel();
        self.ask(Request::Poll { eio4: self.eio4, reply });
        // Dropped with this future where the client goes away; then the session ends (wire.md 1.6).
        let mut guard = AbortGuard { owner: self, request: Some(Request::PollAborted) };
        let answer = body.await;
        guard.request = None;
        match answer {
            Ok(Ok(body)) => Ok(poll_response(&guard.owner.http, headers, &body)),
            Ok(Err(refused)) => Ok(guard.owner.refuse(refused)),
            Err(_) => Err(Dropped),
        }
    }

    async fn push(self, request: HttpRequest<Incoming>) -> Answer {
        let (reply, ticket) = oneshot::channel();
        let binary = (request.headers().get(CONTENT_TYPE))
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"));
        self.ask(Request::BeginPush { eio4: self.eio4, binary, reply });
        let cancelled = match ticket.await {
            Ok(Ok(cancelled)) => cancelled,
            Ok(Err(refused)) => return Ok(self.refuse(refused)),
            Err(_) => return Err(Dropped),
        };
        let mut guard =
            AbortGuard { owner: self, request: Some(Request::PushFailed { keep_session: false }) };
        let http = Arc::clone(&guard.owner.http);
        let body = tokio::select! {
            biased;
            // Another POST or the end of the session came between (wire.md 1.6).
            _ = cancelled => {
                guard.request = None;
                return Err(Dropped);
            }
            body = tokio::time::timeout(http.body_timeout, read_body(request.into_body(), http.settings.max_payload_bytes)) => body,
        };
        let body = match body {
            Ok(Ok(body)) => body,
            Ok(Err(BodyError::TooLarge)) => {
                http.counters.payload_too_large.add(1);
                guard.request = Some(Request::PushFailed { keep_session: true });
                return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
            }
            Ok(Err(BodyError::Aborted)) | Err(_) => return Err(Dropped),
        };
        guard.request = None;
        let (reply, taken) = oneshot::channel();
        guard.owner.ask(Request::Push { body, reply });
        taken.await.map_err(|_| Dropped)?;
        let mut response = Response::new(Body::from("ok"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// Refuses a request that no session takes, after the checks that come first.
    async fn check(self, refused: Refused) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Check { eio4: self.eio4, reply });
        match answer.await {
            Ok(Ok(())) => Ok(self.refuse(refused)),
            Ok(Err(refused)) => Ok(self.refuse(refused)),
            Err(_) => Err(Dropped),
        }
    }

    async fn upgrade(self, mut request: HttpRequest<Incoming>, transport: Transport) -> Answer {
        let (reply, verdict) = oneshot::channel();
        self.ask(Request::CheckUpgrade { eio4: self.eio4, reply });
        match verdict.await {
            Ok(Ok(UpgradeVerdict::Probe)) if transport == Transport::WebSocket => {}
            Ok(Ok(_)) => return accept_and_close(&self.shard, request, &self.http),
            Ok(Err(Refused::Error(error))) => return Ok(refuse(&self.http, error, true)),
            Ok(Err(refused)) => return Ok(self.refuse(refused)),
            Err(_) => return Err(Dropped),
        }
        let accept = match check_handshake(&request) {
            Ok(accept) => accept,
            Err(refusal) => return Ok(*refusal),
        };
        let on_upgrade = hyper::upgrade::on(&mut request);
        tokio::task::spawn_local(async move {
            if let Some((socket, early)) = upgraded(on_upgrade).await {
                self.ask(Request::Upgrade { socket, early });
            }
        });
        Ok(switching_protocols(&accept))
    }

    fn refuse(&self, refused: Refused) -> Response<Body> {
        match refused {
            Refused::Error(error) => refuse(&self.http, error, false),
            Refused::Status(status) => empty(StatusCode::from_u16(status).expect("one of ours")),
        }
    }
}

/// Tells the owner when the client of an unfinished request goes away.
struct AbortGuard<A: Application> {
    owner: Owner<A>,
    request: Option<Request>,
}

impl<A: Application> Drop for AbortGuard<A> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.owner.ask(request);
        }
    }
}

enum BodyError {
    TooLarge,
    Aborted,
}

/// Reads a body up to the bound. Of one above it, as much again is read and thrown away, so that a client that is
/// still writing gets to read the refusal.
async fn read_body(mut body: Incoming, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let (mut bytes, mut total) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Aborted)?.into_data() else { continue };
        total += data.len();
        if total <= max_bytes {
            bytes.extend_from_slice(&data);
        } else if total > max_bytes.saturating_mul(2) {
            break;
        }
    }
    if total > max_bytes { Err(BodyError::TooLarge) } else { Ok(bytes) }
}

fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The documented error, as JSON for a request and as bare text for an upgrade (wire.md 1.3).
fn refuse<M>(http: &HttpContext<M>, error: RequestError, is_upgrade: bool) -> Response<Body> {
    let counters = &http.counters;
    let counter = match error {
        RequestError::TransportUnknown => &counters.rejected_transport_unknown,
        RequestError::SessionUnknown => &counters.rejected_session_unknown,
        RequestError::BadHandshakeMethod => &counters.rejected_bad_method,
        RequestError::BadRequest => &counters.rejected_bad_request,
        RequestError::Forbidden => &counters.rejected_forbidden,
        RequestError::UnsupportedProtocolVersion => &counters.rejected_protocol_version,
    };
    counter.add(1);
    if is_upgrade {
        let mut response = Response::new(Body::from(error.message()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        return response;
    }
    let mut response = Response::new(Body::from(error.json_body()));
    *response.status_mut() = StatusCode::from_u16(error.http_status()).expect("400 or 403");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn at_capacity<M>(http: &HttpContext<M>) -> Response<Body> {
    http.counters.rejected_capacity.add(1);
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn poll_response<M>(http: &HttpContext<M>, request: &HeaderMap, body: &PollBody) -> Response<Body> {
    let threshold_bytes = http.settings.compression_threshold_bytes.unwrap_or(usize::MAX);
    let compressed = if body.compress && body.bytes.len() >= threshold_bytes {
        compress(request.get(ACCEPT_ENCODING), &body.bytes)
    } else {
        None
    };
    let (bytes, encoding) = match compressed {
        Some((bytes, encoding)) => (Bytes::from(bytes), Some(encoding)),
        None => (body.bytes.clone(), None),
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// gzip or deflate, whichever is accepted first in that order (wire.md 1.6).
fn compress(accepted: Option<&HeaderValue>, bytes: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    let accepted = accepted?.to_str().ok()?;
    let accepts = |coding: &str| {
        accepted.split(',').any(|item| {
            let mut parts = item.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding))
                && !parts
                    .any(|weight| weight.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32))
        })
    };
    // Level 1: a poll is read once, and the node has better things to do (rust.md A.10).
    if accepts("gzip") {
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
        encoder.write_all(bytes).ok()?;
        return Some((encoder.finish().ok()?, "gzip"));
    }
    if accepts("deflate") {
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
        encoder.write_all(bytes).ok()?;
        return Some((encoder.finish().ok()?, "deflate"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_is_one_that_the_client_accepts() {
        for (accepted, expected) in [
            (None, None),
            (Some("gzip, deflate, br"), Some("gzip")),
            (Some("deflate"), Some("deflate")),
            (Some("gzip;q=0, deflate;q=0.5"), Some("deflate")),
            (Some("br"), None),
            (Some("identity"), None),
        ] {
            let value = accepted.map(HeaderValue::from_static);
            assert_eq!(
                compress(value.as_ref(), &[b'a'; 2000]).map(|(_, coding)| coding),
                expected,
                "{accepted:?}"
            );
        }
    }
}
