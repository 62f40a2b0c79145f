//! Requests for a session on their way to its owner, and their answers on the way back (wire.md 1.6 and 1.8). What
//! happens at the owner is in `owner.rs`.

use std::sync::Arc;

use axum::body::Body;
use broadgate_protocol::engineio::Transport;
use http::{HeaderMap, Request as HttpRequest, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{
    Application, EngineMessage, Id, Server,
    answers::{RetryLater, empty, poll_response, pushed, refuse, retry_later},
    body::{BodyError, discard_body, read_body},
    polling::PollReply,
    request::{Refused, Request, RoutedRequest, UpgradeVerdict},
    respond::{Answer, Dropped, HttpContext, accept_and_close},
};
use crate::{
    net::http::{check_handshake, switching_protocols, upgraded},
    runtime::Shard,
};

/// A session's owner, as a request sees it.
pub(super) struct Owner<A: Application> {
    pub(super) shard: Shard<Server<A>>,
    pub(super) http: Arc<HttpContext<A::Message>>,
    pub(super) id: Id,
    pub(super) eio4: bool,
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

    /// Holds a GET until something waits for the session.
    pub(super) async fn poll(self, headers: &HeaderMap) -> Answer {
        let (reply, body) = oneshot::channel();
        self.ask(Request::Poll { eio4: self.eio4, reply: PollReply::Here(reply) });
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

    /// Reads a POST's body and hands it over.
    pub(super) async fn push(self, request: HttpRequest<Incoming>) -> Answer {
        let (reply, ticket) = oneshot::channel();
        let binary = (request.headers().get(CONTENT_TYPE))
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"));
        self.ask(Request::BeginPush { eio4: self.eio4, binary, reply });
        let cancelled = match ticket.await {
            Ok(Ok(cancelled)) => cancelled,
            Ok(Err(refused)) => {
                discard_body(request.into_body(), &self.http).await;
                return Ok(self.refuse(refused));
            }
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
            body = read_body(request.into_body(), &http) => body,
        };
        let body = match body {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                http.counters.payload_too_large.add(1);
                guard.request = Some(Request::PushFailed { keep_session: true });
                return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
            }
            Err(BodyError::NoRoom) => {
                guard.request = Some(Request::PushFailed { keep_session: true });
                return Ok(retry_later(&http, RetryLater::Body));
            }
            Err(BodyError::Aborted) => return Err(Dropped),
        };
        guard.request = None;
        let (reply, taken) = oneshot::channel();
        guard.owner.ask(Request::Push { body, reply });
        taken.await.map_err(|_| Dropped)?;
        Ok(pushed())
    }

    /// Refuses a request that no session takes, after the checks that come first.
    pub(super) async fn check(self, refused: Refused) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Check { eio4: self.eio4, reply });
        match answer.await {
            Ok(Ok(())) => Ok(self.refuse(refused)),
            Ok(Err(refused)) => Ok(self.refuse(refused)),
            Err(_) => Err(Dropped),
        }
    }

    /// Lets a WebSocket begin to take the session over.
    pub(super) async fn upgrade(self, mut request: HttpRequest<Incoming>, transport: Transport) -> Answer {
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
