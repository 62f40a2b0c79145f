//! Requests that came to other nodes, for sessions of this shard; and where all messages of other nodes come in.

use std::sync::Arc;

use broadgate_adapter::{EngineFuture, SendError};
use broadgate_protocol::engineio::Transport;
use futures_util::FutureExt;

use super::{
    Direction, Header, PeerDelivery, PeerMessage, Peers, Visitor,
    message::{PeerAnswer, PeerRequest},
};
use crate::{
    engineio::{
        Application, EngineMessage, Id, IdText, NodeId, Server, SessionId,
        io::answer,
        polling::{PollBody, PollReply},
        request::{Refused, Request, RoutedRequest, UpgradeVerdict},
        session::{Carrier, CloseReason},
    },
    runtime::Inbox,
    telemetry::ShardCounters,
};

impl<A: Application> Server<A> {
    /// Takes a message of another node.
    pub(in crate::engineio) fn on_peer(&mut self, delivery: &PeerDelivery, now_ms: u64) {
        let Some(peers) = self.http.peers.clone() else { return };
        let Ok(message) = PeerMessage::decode(&delivery.bytes) else {
            self.io.spec.counters.forwarded_malformed.add(1);
            return tracing::debug!(from = ?delivery.header.from, "a message of another node can't be read");
        };
        let from = delivery.header.from;
        match message {
            PeerMessage::Ask { session, ask, request } => {
                self.on_ask(&peers, delivery.header, session, ask, request, now_ms);
            }
            PeerMessage::Answer { ask, answer } => self.asks.answer(from, ask, answer),
            PeerMessage::Visit { session, visit, step } => {
                let visitor = Visitor { node: from, shard: delivery.header.asker_shard, visit };
                self.on_visit(&peers, session, visitor, step, now_ms);
            }
            PeerMessage::Move { visit, step } => self.on_move(from, visit, step, now_ms),
            // Behind it, broadcasts are another node's affair: those before it go out first.
            PeerMessage::Cut { session, visit } => {
                self.hand_over_messages(now_ms);
                if from == peers.node && delivery.header.direction == Direction::Both {
                    self.hand_session_over(&peers, session, now_ms);
                } else {
                    self.on_cut(from, visit);
                }
            }
            PeerMessage::Application { data } => self.application.on_peer_message(&mut self.io, &data),
        }
        self.settle(now_ms);
    }

    /// A session of this node, by its id.
    pub(super) fn find_own(&self, peers: &Peers, session: IdText) -> Option<SessionId> {
        self.io.find(own_id(peers, &self.io.spec, session)?)
    }

    fn on_ask(
        &mut self,
        peers: &Arc<Peers>,
        header: Header,
        session: IdText,
        ask: u64,
        request: PeerRequest,
        now_ms: u64,
    ) {
        let asker = Asker { peers: Arc::clone(peers), node: header.from, shard: header.asker_shard, ask };
        let Some(id) = own_id(peers, &self.io.spec, session) else {
            return self.answer_peer(&asker, PeerAnswer::Error(1));
        };
        match request {
            PeerRequest::Poll { eio4 } => self.on_peer_poll(asker, id, eio4, now_ms),
            PeerRequest::PollAborted => {
                self.on_request(RoutedRequest { session: id, request: Request::PollAborted }, now_ms);
            }
            PeerRequest::ReleasePoll => self.release_poll(id, header.from),
            PeerRequest::PushAborted => {
                let request = Request::PushFailed { keep_session: false };
                self.on_request(RoutedRequest { session: id, request }, now_ms);
            }
            PeerRequest::Push { eio4, binary, body } => {
                let pushed = match self.check(id, Transport::Polling, false, eio4) {
                    Ok(session) => self.begin_push(session, binary).map(|_never_cancelled| session),
                    Err(error) => Err(Refused::Error(error)),
                };
                let pushed = pushed.map(|session| self.on_push(session, &body, now_ms));
                // What the messages led to, such as acks, waits for the next poll; first things first.
                self.answer_peer(&asker, answer_of(pushed));
            }
            PeerRequest::Check { eio4 } => {
                let checked = self.check(id, Transport::Polling, false, eio4);
                self.answer_peer(&asker, answer_of(checked.map(drop).map_err(Refused::Error)));
            }
            PeerRequest::CheckUpgrade { eio4 } => {
                let answer = match self.check(id, Transport::WebSocket, true, eio4) {
                    Ok(session) if self.verdict(session) == UpgradeVerdict::Probe => PeerAnswer::Done,
                    Ok(_) => PeerAnswer::AcceptAndClose,
                    Err(error) => PeerAnswer::Error(error.code()),
                };
                self.answer_peer(&asker, answer);
            }
        }
    }

    /// Lets a poll go that waits at a node which goes away: the client's next one goes to another.
    fn release_poll(&mut self, id: Id, asker: NodeId) {
        let counters = Arc::clone(&self.io.spec.counters);
        let state = self.io.find(id).and_then(|session| self.io.session_mut(session));
        let Some(Carrier::Polling(polling)) = state.map(|state| &mut state.carrier) else { return };
        if let Some(reply) = polling.poll.take_if(|poll| poll.asker() == Some(asker)) {
            answer(polling, reply, Some("6"), &counters);
        }
    }

    /// The polls that wait here for sessions of other nodes would keep this node from its end.
    pub(in crate::engineio) fn release_polls_of_others(&self) {
        let Some(peers) = &self.http.peers else { return };
        for session in self.asks.polled() {
            let message = PeerMessage::Ask { session, ask: 0, request: PeerRequest::ReleasePoll };
            // Where it does not arrive, the poll ends with this node.
            drop(peers.to_owner(session, self.http.shard, &message));
        }
    }

    /// Lets a poll wait here whose client waits at another node.
    fn on_peer_poll(&mut self, asker: Asker, id: Id, eio4: bool, now_ms: u64) {
        let aborted = RoutedRequest { session: id, request: Request::PollAborted };
        let inbox = self.inbox();
        let on_unsent = Box::new(move || inbox.send(EngineMessage::Request(aborted)));
        let counters = Arc::clone(&self.io.spec.counters);
        let reply = PeerReply { asker, own_shard: self.http.shard, counters, on_unsent: Some(on_unsent) };
        let request = Request::Poll { eio4, reply: PollReply::Elsewhere(reply) };
        self.on_request(RoutedRequest { session: id, request }, now_ms);
    }

    fn answer_peer(&self, asker: &Asker, answer: PeerAnswer) {
        count(&self.io.spec.counters, &answer);
        // Where it does not arrive, the asker's time is up at some time.
        drop(asker.send(self.http.shard, answer));
    }

    /// A node is gone: what waited for it, or because of it, does so no more. `None`: the link to all of them is.
    pub(in crate::engineio) fn on_peer_lost(&mut self, lost: Option<NodeId>, now_ms: u64) {
        self.asks.forget(lost);
        let is_lost = |node: NodeId| lost.is_none_or(|lost| lost == node);
        let sessions: Vec<SessionId> = (self.io.sessions.iter())
            .map(|(index, state)| SessionId { index: index as u32, generation: state.generation })
            .collect();
        for session in sessions {
            let Some(state) = self.io.session_mut(session) else { continue };
            match &mut state.carrier {
                Carrier::Visiting(visit) if is_lost(visit.owner()) => {
                    self.io.doom(session, CloseReason::TransportError);
                }
                Carrier::WebSocket(_) | Carrier::Visiting(_) => {}
                Carrier::Polling(polling) => {
                    // Over a lost link of our own, the asker may still get its answer by the next one.
                    let holder = polling.poll.as_ref().and_then(PollReply::asker);
                    if lost.is_some() && holder == lost {
                        self.io.doom(session, CloseReason::TransportError);
                    } else if polling.visitor().is_some_and(|visitor| is_lost(visitor.node)) {
                        self.on_visitor_lost(session, now_ms);
                    }
                }
            }
        }
        self.settle(now_ms);
    }

    pub(super) fn inbox(&self) -> Inbox<EngineMessage<A::Message>> {
        self.http.shards[usize::from(self.http.shard)].clone()
    }
}

/// Who asked, and how to answer.
struct Asker {
    peers: Arc<Peers>,
    node: NodeId,
    shard: u8,
    ask: u64,
}

impl Asker {
    fn send(&self, own_shard: u8, answer: PeerAnswer) -> EngineFuture<Result<(), SendError>> {
        let message = PeerMessage::Answer { ask: self.ask, answer };
        self.peers.to_asker((self.node, self.shard), own_shard, &message)
    }
}

/// The way back to a poll that waits at another node. The answer is on its way when [`Self::send`] returns, also where
/// this node ends; one that is dropped says so, too.
pub(in crate::engineio) struct PeerReply {
    asker: Asker,
    own_shard: u8,
    counters: Arc<ShardCounters>,
    /// For an answer with messages that does not arrive: they are lost, and so the session ends, as for a client that
    /// goes away in the middle of an answer. `None`: it was answered.
    on_unsent: Option<Box<dyn FnOnce() + Send>>,
}

impl PeerReply {
    pub(in crate::engineio) fn asker(&self) -> NodeId {
        self.asker.node
    }

    pub(in crate::engineio) fn send(mut self, answer: Result<PollBody, Refused>) {
        let Some(on_unsent) = self.on_unsent.take() else { return };
        let holds_messages = answer.is_ok();
        let mut sent = self.answer(match answer {
            Ok(PollBody { bytes, compress }) => PeerAnswer::Body { bytes, compress },
            Err(refused) => answer_of(Err(refused)),
        });
        match (&mut sent).now_or_never() {
            Some(Err(_)) if holds_messages => on_unsent(),
            None if holds_messages => {
                tokio::task::spawn_local(async move {
                    if sent.await.is_err() {
                        on_unsent();
                    }
                });
            }
            _ => {}
        }
    }

    fn answer(&self, answer: PeerAnswer) -> EngineFuture<Result<(), SendError>> {
        count(&self.counters, &answer);
        self.asker.send(self.own_shard, answer)
    }
}

impl Drop for PeerReply {
    fn drop(&mut self) {
        if self.on_unsent.is_some() {
            drop(self.answer(PeerAnswer::Dropped));
        }
    }
}

fn own_id(peers: &Peers, spec: &crate::engineio::EngineSpec, session: IdText) -> Option<Id> {
    let (node, id) = session.parts();
    (node == peers.node && id.shard == spec.shard).then_some(id)
}

fn answer_of(result: Result<(), Refused>) -> PeerAnswer {
    match result {
        Ok(()) => PeerAnswer::Done,
        Err(Refused::Error(error)) => PeerAnswer::Error(error.code()),
        Err(Refused::Status(status)) => PeerAnswer::Status(status),
    }
}

fn count(counters: &ShardCounters, answer: &PeerAnswer) {
    match answer {
        PeerAnswer::Body { .. } | PeerAnswer::Done | PeerAnswer::AcceptAndClose => &counters.answered_ok,
        PeerAnswer::Error(_) | PeerAnswer::Status(_) => &counters.answered_refused,
        PeerAnswer::Dropped => &counters.answered_dropped,
    }
    .add(1);
}
