//! Requests of clients for sessions of other nodes: asked over Redis, answered here. The shard owns the [`Asks`] that
//! wait; each belongs to an HTTP connection, whose number is bounded, and has a time by which it ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::body::Body;
use broadgate_adapter::SendError;
use broadgate_protocol::engineio::{RequestError, Transport};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Request as HttpRequest, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{PeerMessage, Peers, message::PeerAnswer, message::PeerRequest};
use crate::{
    engineio::{
        Application, IdText, NodeId, Server,
        answers::{RetryLater, empty, poll_response, pushed, refuse, retry_later},
        body::{BodyError, read_body},
        polling::PollBody,
        request::Refused,
        respond::{Answer, Dropped, HttpContext, accept_and_close},
    },
    net::ClientAddress,
    net::http::{check_handshake, switching_protocols, upgraded},
    runtime::Shard,
    telemetry::{Counter, ShardCounters},
};

/// Requests to nodes that this one has not heard of, per second and shard: the owner may have started just now, but
/// whoever makes ids up must not make Redis work.
const STRANGERS_PER_SECOND: u32 = 100;

/// Ids kept of sessions that are gone, so that a client which comes back with one again and again asks nobody: 24 bytes
/// each.
const STALE_PLACES: u64 = 1024;

/// What a shard has asked other nodes.
#[derive(Default)]
pub(in crate::engineio) struct Asks {
    next: u64,
    pending: HashMap<u64, Pending>,
    strangers: u32,
    strangers_since_ms: u64,
    /// Ids that their node did not know; it never will again. Each has one place, and a newer one takes it.
    stale: HashMap<u16, IdText>,
}

struct Pending {
    owner: NodeId,
    answer: oneshot::Sender<PeerAnswer>,
    /// The session, of a poll: it may be held for long.
    polled: Option<IdText>,
}

impl Asks {
    fn begin(&mut self, owner: NodeId, polled: Option<IdText>) -> (u64, oneshot::Receiver<PeerAnswer>) {
        self.next += 1;
        let (answer, answered) = oneshot::channel();
        self.pending.insert(self.next, Pending { owner, answer, polled });
        (self.next, answered)
    }

    /// The sessions whose polls are held here.
    pub(super) fn polled(&self) -> impl Iterator<Item = IdText> {
        self.pending.values().filter_map(|pending| pending.polled)
    }

    /// Takes an answer in; one that nobody waits for any more is ignored.
    pub(super) fn answer(&mut self, from: NodeId, ask: u64, answer: PeerAnswer) {
        if self.pending.get(&ask).is_none_or(|pending| pending.owner != from) {
            return;
        }
        if let Some(pending) = self.pending.remove(&ask) {
            let _gone = pending.answer.send(answer);
        }
    }

    /// Those who wait for this node, or for any, are told that nothing comes.
    pub(super) fn forget(&mut self, owner: Option<NodeId>) {
        self.pending.retain(|_, pending| owner.is_some_and(|owner| owner != pending.owner));
    }

    fn is_stale(&self, session: IdText) -> bool {
        self.stale.get(&stale_place(session)) == Some(&session)
    }

    fn note_stale(&mut self, session: IdText) {
        self.stale.insert(stale_place(session), session);
    }

    /// May a node that is not known be asked?
    fn admits_stranger(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.strangers_since_ms) >= 1000 {
            (self.strangers, self.strangers_since_ms) = (0, now_ms);
        }
        self.strangers += 1;
        self.strangers <= STRANGERS_PER_SECOND
    }
}

fn stale_place(session: IdText) -> u16 {
    (session.parts().1.secret % STALE_PLACES) as u16
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoAnswer {
    /// The node is not there.
    NoSuchNode,
    /// The node has never made such an id.
    Forged,
    /// The node had the session and has it no more, or nobody knows the node.
    Stale,
    /// It can't be asked right now.
    Unavailable,
    /// It took too long.
    Late,
    /// It ended, or the link to it did, while it was asked; or the session did.
    Lost,
}

impl NoAnswer {
    fn counter(self, counters: &ShardCounters) -> &Counter {
        match self {
            Self::NoSuchNode => &counters.forwarded_no_such_node,
            Self::Forged => &counters.forwarded_forged,
            Self::Stale => &counters.forwarded_stale,
            Self::Unavailable => &counters.forwarded_unavailable,
            Self::Late => &counters.forwarded_timeout,
            Self::Lost => &counters.forwarded_lost,
        }
    }
}

impl From<SendError> for NoAnswer {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoSuchNode => Self::NoSuchNode,
            _ => Self::Unavailable,
        }
    }
}

/// The owner of a session at another node, as a request sees it.
pub(in crate::engineio) struct RemoteOwner<A: Application> {
    pub(in crate::engineio) shard: Shard<Server<A>>,
    pub(in crate::engineio) http: Arc<HttpContext<A::Message>>,
    pub(in crate::engineio) peers: Arc<Peers>,
    pub(in crate::engineio) session: IdText,
    pub(in crate::engineio) eio4: bool,
}

impl<A: Application> RemoteOwner<A> {
    /// Answers a request that is no upgrade.
    pub(in crate::engineio) async fn respond(
        self,
        request: HttpRequest<Incoming>,
        transport: Transport,
    ) -> Answer {
        match (transport, request.method()) {
            // Without an upgrade it fits no session (wire.md 1.3, item 3).
            (Transport::WebSocket, _) => self.check(Refused::Error(RequestError::BadRequest)).await,
            (Transport::Polling, &Method::GET) => self.poll(request.headers()).await,
            (Transport::Polling, &Method::POST) => self.push(request).await,
            (Transport::Polling, _) => self.check(Refused::Status(500)).await,
        }
    }

    /// Asks, and waits for the answer.
    async fn ask(&self, request: PeerRequest, timeout: Duration) -> Result<PeerAnswer, NoAnswer> {
        let result = self.ask_uncounted(request, timeout).await;
        let counters = &self.http.counters;
        let counter = match &result {
            Ok(PeerAnswer::Body { .. } | PeerAnswer::Done | PeerAnswer::AcceptAndClose) => {
                &counters.forwarded_ok
            }
            Ok(PeerAnswer::Error(_) | PeerAnswer::Status(_)) => &counters.forwarded_refused,
            Ok(PeerAnswer::Dropped) => &counters.forwarded_lost,
            Err(why) => why.counter(counters),
        };
        counter.add(1);
        result
    }

    async fn ask_uncounted(&self, request: PeerRequest, timeout: Duration) -> Result<PeerAnswer, NoAnswer> {
        let owner = self.session.parts().0;
        let admitted = match self.peers.id_key(owner) {
            Some(key) if !key.has_sealed(self.session) => return Err(NoAnswer::Forged),
            Some(_) => self.shard.peek(|server| !server.asks.is_stale(self.session)),
            None => self.shard.with(|server, now_ms| server.asks.admits_stranger(now_ms)),
        };
        if !admitted {
            return Err(NoAnswer::Stale);
        }
        let polled = matches!(request, PeerRequest::Poll { .. }).then_some(self.session);
        let (ask, answered) = self.shard.with(|server, _| server.asks.begin(owner, polled));
        let _waiting = Waiting { shard: &self.shard, ask };
        let unknown = PeerAnswer::Error(RequestError::SessionUnknown.code());
        let message = PeerMessage::Ask { session: self.session, ask, request };
        let sent = self.peers.to_owner(self.session, self.http.shard, &message);
        if polled.is_some() && self.shard.peek(|server| server.io.shutting_down) {
            self.tell(PeerRequest::ReleasePoll);
        }
        let answer = async {
            tokio::pin!(answered);
            tokio::select! {
                biased;
                answer = &mut answered => return answer.map_err(|_| NoAnswer::Lost),
                sent = sent => sent?,
            }
            answered.await.map_err(|_| NoAnswer::Lost)
        };
        let answer = tokio::time::timeout(timeout, answer).await.unwrap_or(Err(NoAnswer::Late));
        if answer.as_ref() == Ok(&unknown) {
            self.shard.with(|server, _| server.asks.note_stale(self.session));
        }
        answer
    }

    /// Says something that has no answer.
    fn tell(&self, request: PeerRequest) {
        if self.peers.id_key(self.session.parts().0).is_some_and(|key| key.has_sealed(self.session)) {
            let message = PeerMessage::Ask { session: self.session, ask: 0, request };
            // Where it does not arrive, the session ends by its heartbeat.
            drop(self.peers.to_owner(self.session, self.http.shard, &message));
        }
    }

    /// Holds a GET until something waits for the session.
    async fn poll(self, headers: &HeaderMap) -> Answer {
        let settings = &self.http.settings;
        // The owner pings in time, so a poll is never held for longer.
        let timeout = settings.ping_interval + settings.ping_timeout + self.peers.answer_timeout;
        let mut guard = AbortGuard { owner: &self, armed: true };
        let answer = self.ask(PeerRequest::Poll { eio4: self.eio4 }, timeout).await;
        // With any other answer the owner knows that nobody waits; with none, it may have sent one that was lost.
        guard.armed = matches!(answer, Err(NoAnswer::Late | NoAnswer::Lost));
        match answer {
            Ok(PeerAnswer::Body { bytes, compress }) => {
                let body = PollBody { bytes, compress };
                Ok(poll_response(&self.http, headers, &body))
            }
            other => self.refuse(&other, false),
        }
    }

    /// Reads a POST's body and hands it over, in one message.
    async fn push(self, request: HttpRequest<Incoming>) -> Answer {
        let binary = (request.headers().get(CONTENT_TYPE))
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"));
        let body = match read_body(request.into_body(), &self.http).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                self.http.counters.payload_too_large.add(1);
                return self.check(Refused::Status(413)).await;
            }
            Err(BodyError::NoRoom) => return Ok(retry_later(&self.http, RetryLater::Body)),
            Err(BodyError::Aborted) => {
                // That ends the session (wire.md 1.6); one that is not there needs no word.
                self.tell(PeerRequest::PushAborted);
                return Err(Dropped);
            }
        };
        let push = PeerRequest::Push { eio4: self.eio4, binary, body: Bytes::from(body) };
        match self.ask(push, self.peers.answer_timeout).await {
            Ok(PeerAnswer::Done) => Ok(pushed()),
            other => self.refuse(&other, false),
        }
    }

    /// Refuses a request that no session takes, after the checks that come first.
    async fn check(self, refused: Refused) -> Answer {
        let check = PeerRequest::Check { eio4: self.eio4 };
        match self.ask(check, self.peers.answer_timeout).await {
            Ok(PeerAnswer::Done) => Ok(self.refused(refused, false)),
            other => self.refuse(&other, false),
        }
    }

    /// Lets a WebSocket begin to take the session over, and with that fetch it to this node.
    pub(in crate::engineio) async fn upgrade(
        self,
        mut request: HttpRequest<Incoming>,
        transport: Transport,
    ) -> Answer {
        // It would have to move again at once.
        if self.shard.peek(|server| server.io.draining) {
            return Ok(retry_later(&self.http, RetryLater::Draining));
        }
        if self.shard.peek(|server| !server.io.has_room()) {
            return Ok(retry_later(&self.http, RetryLater::Capacity));
        }
        let check = PeerRequest::CheckUpgrade { eio4: self.eio4 };
        match self.ask(check, self.peers.answer_timeout).await {
            Ok(PeerAnswer::Done) if transport == Transport::WebSocket => {}
            Ok(PeerAnswer::Done | PeerAnswer::AcceptAndClose) => {
                return accept_and_close(&self.shard, request, &self.http);
            }
            other => return self.refuse(&other, true),
        }
        let accept = match check_handshake(&request) {
            Ok(accept) => accept,
            Err(refusal) => return Ok(*refusal),
        };
        let address = self.http.admission.arrival(ClientAddress::of(&request));
        let on_upgrade = hyper::upgrade::on(&mut request);
        tokio::task::spawn_local(async move {
            if let Some((socket, early)) = upgraded(on_upgrade).await {
                let (shard, session) = (self.shard, self.session);
                shard.with(|server, now_ms| server.begin_visit(session, socket, early, address, now_ms));
            }
        });
        Ok(switching_protocols(&accept))
    }

    fn refuse(&self, answer: &Result<PeerAnswer, NoAnswer>, is_upgrade: bool) -> Answer {
        match answer {
            Ok(PeerAnswer::Error(code)) => {
                let error = RequestError::from_code(*code).unwrap_or(RequestError::BadRequest);
                Ok(self.refused(Refused::Error(error), is_upgrade))
            }
            Ok(PeerAnswer::Status(status)) => Ok(self.refused(Refused::Status(*status), is_upgrade)),
            Err(NoAnswer::NoSuchNode | NoAnswer::Forged | NoAnswer::Stale) => {
                Ok(self.refused(Refused::Error(RequestError::SessionUnknown), is_upgrade))
            }
            Err(NoAnswer::Unavailable | NoAnswer::Late) => {
                // To the client a failed request like any other: it connects anew, here.
                let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
                response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
                Ok(response)
            }
            // An answer that fits no question comes of another version, or of nobody we know.
            Ok(_) | Err(NoAnswer::Lost) => Err(Dropped),
        }
    }

    fn refused(&self, refused: Refused, is_upgrade: bool) -> Response<Body> {
        match refused {
            Refused::Error(error) => refuse(&self.http, error, is_upgrade),
            Refused::Status(status) => empty(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)),
        }
    }
}

/// Takes an ask out of the table when nobody waits for it any more.
struct Waiting<'a, A: Application> {
    shard: &'a Shard<Server<A>>,
    ask: u64,
}

impl<A: Application> Drop for Waiting<'_, A> {
    fn drop(&mut self) {
        self.shard.with(|server, _| server.asks.pending.remove(&self.ask));
    }
}

/// Tells the owner when the client of an unfinished poll goes away; then the session ends (wire.md 1.6).
struct AbortGuard<'a, A: Application> {
    owner: &'a RemoteOwner<A>,
    armed: bool,
}

impl<A: Application> Drop for AbortGuard<'_, A> {
    fn drop(&mut self) {
        if self.armed {
            self.owner.tell(PeerRequest::PollAborted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::Id;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    #[test]
    fn an_answer_goes_to_the_one_who_asked_that_node_once() {
        let mut asks = Asks::default();
        let (first, mut first_answer) = asks.begin(node("aaaaa"), None);
        let (second, mut second_answer) = asks.begin(node("bbbbb"), None);
        asks.answer(node("bbbbb"), first, PeerAnswer::Done);
        assert!(first_answer.try_recv().is_err(), "another node can't answer");
        asks.answer(node("aaaaa"), first, PeerAnswer::Done);
        asks.answer(node("aaaaa"), first, PeerAnswer::Status(400));
        assert_eq!(first_answer.try_recv(), Ok(PeerAnswer::Done));
        asks.forget(Some(node("aaaaa")));
        asks.answer(node("bbbbb"), second, PeerAnswer::Dropped);
        assert_eq!(second_answer.try_recv(), Ok(PeerAnswer::Dropped));
    }

    #[test]
    fn who_waits_for_a_lost_node_is_told() {
        let mut asks = Asks::default();
        let (_, mut of_lost) = asks.begin(node("aaaaa"), None);
        let (_, mut of_other) = asks.begin(node("bbbbb"), None);
        asks.forget(Some(node("aaaaa")));
        assert_eq!(of_lost.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(of_other.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        asks.forget(None);
        assert_eq!(of_other.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(asks.pending.is_empty());
    }

    #[test]
    fn an_id_that_its_node_did_not_know_is_asked_for_once() {
        let mut asks = Asks::default();
        let id = |secret| Id { shard: 0, index: 1, secret }.encode(node("aaaaa"));
        asks.note_stale(id(5));
        assert_eq!([5, 6, 5 + STALE_PLACES].map(|secret| asks.is_stale(id(secret))), [true, false, false]);
        (0..10 * STALE_PLACES).for_each(|secret| asks.note_stale(id(secret)));
        assert_eq!(asks.stale.len() as u64, STALE_PLACES);
    }

    #[test]
    fn nodes_that_nobody_heard_of_are_asked_at_a_bounded_rate() {
        let mut asks = Asks::default();
        let admitted = |asks: &mut Asks, now_ms| (0..1000).filter(|_| asks.admits_stranger(now_ms)).count();
        assert_eq!(admitted(&mut asks, 5_000), STRANGERS_PER_SECOND as usize);
        assert_eq!(admitted(&mut asks, 5_999), 0);
        assert_eq!(admitted(&mut asks, 6_000), STRANGERS_PER_SECOND as usize);
    }
}
