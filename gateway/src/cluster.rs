//! Requests from other nodes, emitters and the ops API, for all sockets of this node: they go to every shard, and the
//! shards' answers come together in one. Owns how many are under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use broadgate_adapter::{Origin, Request, RequestKind, Responder, Response, SocketDetails};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    hub::{ShardAnswer, send_request},
    node::ShardInbox,
};

/// Requests whose answers are being gathered, at most.
const MAX_GATHERING: usize = 1024;
/// How long shards may take: well below the five seconds that Node.js servers wait.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Gatherer {
    shards: Arc<[ShardInbox]>,
    places: Arc<Semaphore>,
    pub(crate) counters: GatherCounters,
}

/// What a gatherer counts.
#[derive(Default)]
pub(crate) struct GatherCounters {
    /// Every shard has answered.
    pub(crate) complete: AtomicU64,
    /// A shard was late, full or gone; the rest was the answer.
    pub(crate) partial: AtomicU64,
    /// Answered with nothing, because too many requests were under way.
    pub(crate) refused: AtomicU64,
}

/// What the shards of this node said.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) sockets: Vec<SocketDetails>,
    names: Vec<Box<str>>,
    count: usize,
    /// Did every shard answer?
    pub(crate) complete: bool,
}

impl Gatherer {
    pub(crate) fn new(shards: Arc<[ShardInbox]>) -> Self {
        let places = Arc::new(Semaphore::new(MAX_GATHERING));
        Self { shards, places, counters: GatherCounters::default() }
    }

    /// Requests whose answers are being gathered now.
    pub(crate) fn gathering(&self) -> usize {
        MAX_GATHERING - self.places.available_permits()
    }

    /// Takes a request that the adapter hands over, and answers it where an answer is wanted. Never waits.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn take(self: &Arc<Self>, request: Arc<Request>, responder: Responder, origin: Origin) {
        // A node has no listeners for events between servers, but whoever waits for it is answered.
        if matches!(request.kind, RequestKind::ServerSideEmit { .. }) {
            return responder.respond(Response::ServerSideAck(None));
        }
        if !responder.wants_answer() {
            return drop(self.send(&request, &responder, origin));
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return answer(&request, &responder, Gathered::default());
        };
        // Now, and not in the task: what is published after the request must not overtake it.
        let answers = self.send(&request, &responder, origin);
        let gatherer = Arc::clone(self);
        tokio::spawn(async move {
            let gathered = gatherer.gather(answers).await;
            answer(&request, &responder, gathered);
            drop(place);
        });
    }

    /// The answer of this node's own sockets.
    pub(crate) async fn ask(&self, request: &Arc<Request>) -> Gathered {
        self.gather(self.send(request, &Responder::default(), Origin::UNKNOWN)).await
    }

    fn send(
        &self,
        request: &Arc<Request>,
        responder: &Responder,
        origin: Origin,
    ) -> Vec<oneshot::Receiver<ShardAnswer>> {
        self.shards.iter().map(|inbox| send_request(inbox, request, responder, origin)).collect()
    }

    async fn gather(&self, answers: Vec<oneshot::Receiver<ShardAnswer>>) -> Gathered {
        let deadline = tokio::time::Instant::now() + GATHER_TIMEOUT;
        let mut gathered = Gathered { complete: true, ..Gathered::default() };
        for answer in answers {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(ShardAnswer::Sockets(sockets))) => gathered.sockets.extend(sockets),
                Ok(Ok(ShardAnswer::Names(names))) => gathered.names.extend(names),
                Ok(Ok(ShardAnswer::Count(count))) => gathered.count += count,
                Ok(Err(_)) | Err(_) => gathered.complete = false,
            }
        }
        let figure = if gathered.complete { &self.counters.complete } else { &self.counters.partial };
        figure.fetch_add(1, Ordering::Relaxed);
        gathered
    }
}

fn answer(request: &Request, responder: &Responder, gathered: Gathered) {
    let Gathered { sockets, mut names, count, .. } = gathered;
    responder.respond(match &request.kind {
        RequestKind::Sockets { .. } => Response::Sockets(names),
        RequestKind::AllRooms => {
            // Shards may hold the same room.
            names.sort_unstable();
            names.dedup();
            Response::Rooms(names)
        }
        RequestKind::Fetch { .. } => Response::Fetched(sockets),
        RequestKind::Broadcast { .. } => Response::ClientCount(count as u64),
        RequestKind::ServerSideEmit { .. } => Response::ServerSideAck(None),
        // In their old form, only the node that has the socket answers.
        RequestKind::Join { .. } | RequestKind::Leave { .. } | RequestKind::Disconnect { .. } => {
            if count == 0 {
                return;
            }
            Response::Done
        }
    });
}

#[cfg(test)]
mod tests {
    use broadgate_adapter::Targets;
    use tokio::sync::mpsc;

    use super::*;
    use crate::runtime::inboxes;

    fn fetch() -> Arc<Request> {
        Arc::new(Request { namespace: "/".into(), kind: RequestKind::Fetch { targets: Targets::default() } })
    }

    fn responder() -> (Responder, mpsc::UnboundedReceiver<Response>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Responder::new(move |response| drop(sender.send(response))), receiver)
    }

    #[tokio::test]
    async fn a_request_is_answered_though_shards_are_gone() {
        let (inboxes, mailboxes) = inboxes(2, 1 << 20);
        drop(mailboxes);
        let gatherer = Arc::new(Gatherer::new(inboxes));
        let (responder, mut responses) = responder();
        gatherer.take(fetch(), responder, Origin::UNKNOWN);
        assert_eq!(responses.recv().await, Some(Response::Fetched(Vec::new())));
        assert_eq!(gatherer.counters.partial.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_request_is_answered_though_shards_do_not_look_at_it() {
        let (inboxes, _mailboxes) = inboxes(2, 1 << 20);
        let gatherer = Arc::new(Gatherer::new(inboxes));
        let (responder, mut responses) = responder();
        gatherer.take(fetch(), responder, Origin::UNKNOWN);
        assert_eq!(gatherer.gathering(), 1);
        assert_eq!(responses.recv().await, Some(Response::Fetched(Vec::new())));
    }

    #[tokio::test]
    async fn one_request_too_many_is_answered_at_once() {
        let (inboxes, _mailboxes) = inboxes(1, 1 << 20);
        let gatherer = Arc::new(Gatherer::new(inboxes));
        let all = u32::try_from(MAX_GATHERING).unwrap();
        let _places = gatherer.places.try_acquire_many(all).unwrap();
        let (responder, mut responses) = responder();
        gatherer.take(fetch(), responder, Origin::UNKNOWN);
        assert_eq!(responses.try_recv(), Ok(Response::Fetched(Vec::new())));
        assert_eq!(gatherer.counters.refused.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn events_for_servers_are_answered_without_an_argument() {
        let (inboxes, _mailboxes) = inboxes(1, 1 << 20);
        let gatherer = Arc::new(Gatherer::new(inboxes));
        let (responder, mut responses) = responder();
        let kind = RequestKind::ServerSideEmit { data: "[\"hello\"]".into() };
        gatherer.take(Arc::new(Request { namespace: "/".into(), kind }), responder, Origin::UNKNOWN);
        assert_eq!(responses.try_recv(), Ok(Response::ServerSideAck(None)));
    }
}
