//! HTTP requests on the public listener: the checks in their documented order (wire.md 1.3), then the session's owner
//! is asked, on this shard or another.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use broadgate_protocol::engineio::{Query, RequestError, RequestFacts, Target, Transport, check_request};
use http::{
    HeaderMap, HeaderValue, Method, Request as HttpRequest, Response,
    header::{ORIGIN, UPGRADE},
};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{
    Application, Cors, EngineMessage, Handshake, IdText, Peers, Server, TokenSources,
    answers::{RetryLater, poll_response, refuse, retry_later},
    forward::Owner,
    peer::RemoteOwner,
    polling::PollReply,
    request::Refused,
};
use crate::{
    config::EngineSettings,
    limits::{AddressGuard, Admission},
    net::ClientAddress,
    net::http::{check_handshake, switching_protocols, upgraded},
    runtime::{Inbox, Shard},
    telemetry::ShardCounters,
};

/// What the answering of requests needs beside the sessions.
pub struct HttpContext<M> {
    /// `[engine]`
    pub settings: Arc<EngineSettings>,
    /// Pages of which origins may connect.
    pub cors: Cors,
    /// Where clients' tokens are looked for.
    pub tokens: Option<TokenSources>,
    /// How long a POST's body may take.
    pub body_timeout: Duration,
    /// Bytes of incomplete messages that all clients of the shard together may leave here.
    pub max_inbound_buffer_bytes: usize,
    /// The number of this shard.
    pub shard: u8,
    /// The way to the other nodes, where there are any.
    pub peers: Option<Arc<Peers>>,
    /// The ways to all shards of the node, by number.
    pub shards: Arc<[Inbox<EngineMessage<M>>]>,
    /// Who is let in.
    pub admission: Arc<Admission>,
    /// Counts what happens.
    pub counters: Arc<ShardCounters>,
}

/// A connection is to be dropped without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is dropped, as the protocol demands")]
pub struct Dropped;

pub(super) type Answer = Result<Response<Body>, Dropped>;

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
    // Before all other checks, so that a page that is not allowed learns nothing.
    let Ok(origin) = http.cors.admit(request.headers()) else {
        if shard.admits_log_line() {
            let (client, origin) = (ClientAddress::of(&request), request.headers().get(ORIGIN));
            tracing::info!(%client, ?origin, "a page was refused: its origin is none of engine.allowed_origins");
        }
        let is_upgrade = is_websocket_upgrade(request.headers());
        let mut refusal = refuse(&http, RequestError::Forbidden, is_upgrade);
        http.cors.apply(None, refusal.headers_mut());
        return Ok(refusal);
    };
    if let Some(mut preflight) = http.cors.preflight(request.method(), request.headers()) {
        http.cors.apply(origin.as_ref(), preflight.headers_mut());
        return Ok(preflight);
    }
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
        Err(error) => match http.admission.bad_handshake(ClientAddress::of(&request)) {
            Ok(()) => Ok(refuse(http, error, is_upgrade)),
            Err(refusal) => Ok(retry_later(http, RetryLater::Address(refusal))),
        },
        Ok(Target::NewSession(_)) if shard.peek(|server| server.io.draining) => {
            Ok(retry_later(http, RetryLater::Draining))
        }
        Ok(Target::NewSession(Transport::Polling)) if is_upgrade => {
            match http.admission.bad_handshake(ClientAddress::of(&request)) {
                Ok(()) => accept_and_close(shard, request, http),
                Err(refusal) => Ok(retry_later(http, RetryLater::Address(refusal))),
            }
        }
        Ok(Target::NewSession(Transport::Polling)) => new_polling(shard, http, &request).await,
        Ok(Target::NewSession(Transport::WebSocket)) => new_websocket(shard, http, request),
        Ok(Target::Session { sid, transport }) => {
            let Some(session) = IdText::parse(sid) else {
                return Ok(refuse(http, RequestError::SessionUnknown, is_upgrade));
            };
            http.counters.session_requests.add(1);
            let (node, id) = session.parts();
            if node != shard.peek(|server| server.io.spec.node) {
                let Some(peers) = http.peers.clone() else {
                    return Ok(refuse(http, RequestError::SessionUnknown, is_upgrade));
                };
                let (shard, http) = (shard.clone(), Arc::clone(http));
                let owner = RemoteOwner { shard, http, peers, session, eio4 };
                return match is_upgrade {
                    true => owner.upgrade(request, transport).await,
                    false => owner.respond(request, transport).await,
                };
            }
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

/// Is there a place for another session of this client?
fn admit<A: Application>(
    shard: &Shard<Server<A>>,
    http: &HttpContext<A::Message>,
    request: &HttpRequest<Incoming>,
) -> Result<AddressGuard, RetryLater> {
    if http.admission.memory.is_reached() {
        return Err(RetryLater::Memory);
    }
    let (has_room, has_room_for_pending) =
        shard.peek(|server| (server.io.has_room(), server.io.has_room_for_pending()));
    if !has_room {
        return Err(RetryLater::Capacity);
    }
    if !has_room_for_pending {
        return Err(RetryLater::Pending);
    }
    http.admission.handshake(ClientAddress::of(request)).map_err(RetryLater::Address)
}

async fn new_polling<A: Application>(
    shard: &Shard<Server<A>>,
    http: &HttpContext<A::Message>,
    request: &HttpRequest<Incoming>,
) -> Answer {
    let began = Instant::now();
    let address = match admit(shard, http, request) {
        Ok(address) => address,
        Err(why) => return Ok(retry_later(http, why)),
    };
    let (reply, body) = oneshot::channel();
    let handshake = handshake(http, request);
    let opened = shard.with(|server, now_ms| {
        let session = server.open_polling(address, handshake, now_ms)?;
        http.counters.histograms.handshake_polling.observe(micros_since(began));
        server.take_poll(session, PollReply::Here(reply));
        server.settle(now_ms);
        Some(())
    });
    if opened.is_none() {
        return Ok(retry_later(http, RetryLater::Capacity));
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
    let began = Instant::now();
    let address = match admit(shard, http, &request) {
        Ok(address) => address,
        Err(why) => return Ok(retry_later(http, why)),
    };
    let accept = match check_handshake(&request) {
        Ok(accept) => accept,
        Err(refusal) => return Ok(*refusal),
    };
    let handshake = handshake(http, &request);
    let (shard, on_upgrade) = (shard.clone(), hyper::upgrade::on(&mut request));
    let counters = Arc::clone(&http.counters);
    tokio::task::spawn_local(async move {
        if let Some((socket, early)) = upgraded(on_upgrade).await {
            counters.histograms.handshake_websocket.observe(micros_since(began));
            shard.with(|server, now_ms| server.open_websocket(socket, early, address, handshake, now_ms));
        }
    });
    Ok(switching_protocols(&accept))
}

fn micros_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What the application gets to know of a session's first request.
fn handshake<M, B>(http: &HttpContext<M>, request: &HttpRequest<B>) -> Handshake {
    http.tokens.as_ref().map_or_else(Handshake::default, |sources| sources.handshake(request))
}

/// The reference answers some WebSockets with 101 and an immediate close frame (wire.md 1.3).
pub(super) fn accept_and_close<A: Application>(
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

fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
