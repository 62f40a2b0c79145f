//! What all parts of a node share, and the way of broadcasts from the adapter to the shards.

use std::{
    collections::HashSet,
    future::ready,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use broadgate_adapter::{
    Broadcast, Engine, Event, EventSink, PublishError, Request, RequestError, Response, RevocationChange,
    SocketDetails, TraceParent,
};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::{
    auth::{Authenticator, RevocationStore, UserConnections, unix_now_s},
    cluster::Gatherer,
    config::Settings,
    engineio::{EngineMessage, NodeId, PeerDelivery, PublishOrder, Source},
    hub::{HubMessage, send_broadcast, send_counted},
    net::ListenerTls,
    ops::{AccessCounters, RequestTimes},
    publish_course::Course,
    runtime::{Inbox, Places},
    telemetry::{LogFilter, ShardCounters, Span, SpanKind, Traces},
};

pub(crate) type ShardInbox = Inbox<EngineMessage<HubMessage>>;

/// Takes the adapter's events to the shards. Runs on whatever thread the adapter is on; never waits.
pub(crate) struct ShardSink {
    pub(crate) shards: Arc<[ShardInbox]>,
    pub(crate) gatherer: Arc<Gatherer>,
    pub(crate) node_id: NodeId,
    pub(crate) learnt: Learnt,
}

/// What the adapter's events say about the node as a whole.
#[derive(Clone, Default)]
pub(crate) struct Learnt {
    /// Messages of other nodes that could not be read.
    pub(crate) malformed_peer_messages: Arc<AtomicU64>,
    /// Tokens that count no more.
    pub(crate) revocations: Arc<RevocationStore>,
    /// Notified when the link to the other nodes is back.
    pub(crate) outage_is_over: Arc<Notify>,
}

impl EventSink for ShardSink {
    fn deliver(&self, event: Event) {
        match event {
            Event::Broadcast(broadcast, origin) => {
                for inbox in self.shards.iter() {
                    // One that does not fit is counted by the inbox.
                    let _taken = send_broadcast(inbox, &broadcast, Source::Cluster(origin));
                }
            }
            Event::Request(request, responder, origin) => self.gatherer.take(request, responder, origin),
            Event::Subscribed { subscriber, namespace, room } => {
                if let Some(inbox) = self.shards.get(usize::from(subscriber.0)) {
                    inbox.send(EngineMessage::Application(HubMessage::Subscribed { namespace, room }));
                }
            }
            // The engine logs it itself, at a bounded rate; so it does a gap.
            Event::LinkLost { .. } => {
                for inbox in self.shards.iter() {
                    inbox.send(EngineMessage::Application(HubMessage::LinkLost));
                    inbox.send(EngineMessage::PeerLost(None));
                }
            }
            Event::NodeMessage { payload } => self.on_node_message(payload),
            Event::NodeLost { node } => {
                let Some(node) = NodeId::parse(&node) else { return };
                for inbox in self.shards.iter() {
                    inbox.send(EngineMessage::PeerLost(Some(node)));
                }
            }
            Event::Revocation(change) => self.on_revocation(&change),
            Event::LiftMissed(revocation) => self.learnt.revocations.withdraw(&revocation),
            Event::Gap { .. } => self.learnt.outage_is_over.notify_one(),
            Event::NodeFound { .. } => {}
        }
    }
}

impl ShardSink {
    /// All that is in force is told again on each new link: shards hear of what is new only.
    fn on_revocation(&self, change: &RevocationChange) {
        let is_new = self.learnt.revocations.change(change, unix_now_s());
        let RevocationChange::Revoke(_) = change else { return };
        if is_new {
            for inbox in self.shards.iter() {
                inbox.send(EngineMessage::Application(HubMessage::Revoked));
            }
        }
    }

    /// What clients of other nodes send comes this way, too.
    fn on_node_message(&self, payload: Bytes) {
        match PeerDelivery::read(self.node_id, payload) {
            Ok((shard, delivery)) => {
                // Clients make ids up, also of shards that are not here: any shard knows to say so.
                let inbox = self.shards.get(usize::from(shard)).unwrap_or(&self.shards[0]);
                let bytes = delivery.held_bytes();
                // One that does not fit is counted by the inbox; whoever waits for an answer gives up in time.
                let _taken = inbox.send_bounded(EngineMessage::Peer(delivery), bytes);
            }
            Err(error) => {
                self.learnt.malformed_peer_messages.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "a message of another node can't be read");
            }
        }
    }
}

/// A running node, as its ops listener sees it.
pub(crate) struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) publish_order: Arc<PublishOrder>,
    pub(crate) learnt: Learnt,
    pub(crate) users: Arc<UserConnections>,
    pub(crate) shards: Arc<[ShardInbox]>,
    pub(crate) gatherer: Arc<Gatherer>,
    pub(crate) counters: Vec<Arc<ShardCounters>>,
    pub(crate) places: Arc<Places>,
    /// Clients are let in.
    pub(crate) is_open: AtomicBool,
    pub(crate) drain: DrainClock,
    /// The certificate of the public listener, where it speaks TLS.
    pub(crate) tls: Option<Arc<ListenerTls>>,
    /// Begins spans.
    pub(crate) traces: Traces,
    /// What is logged.
    pub(crate) log_filter: Arc<LogFilter>,
    /// What was asked of the ops API.
    pub(crate) ops_access: Arc<AccessCounters>,
    /// How long that took.
    pub(crate) ops_times: Arc<RequestTimes>,
    /// Requests of the ops API with more rooms than `limits.max_rooms_per_publish`.
    pub(crate) refused_publishes: AtomicU64,
}

/// Since when the node goes away.
#[derive(Debug, Default)]
pub(crate) struct DrainClock(OnceLock<Instant>);

impl DrainClock {
    /// Begins, where it has not begun before; readiness fails from now on. When all has to be over.
    pub(crate) fn begin(&self, timeout: Duration) -> Instant {
        *self.0.get_or_init(Instant::now) + timeout
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.get().is_some()
    }

    /// How long it has lasted; 0 before.
    pub(crate) fn seconds(&self) -> f64 {
        self.0.get().map_or(0.0, |began| began.elapsed().as_secs_f64())
    }
}

/// Why a node should get no new clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotReady {
    Draining,
    /// Since it started.
    NeverLinked,
    /// Clients are not let in yet.
    NotOpen,
    /// What is published now would not arrive: for so long nothing has come back through Redis.
    ProbeStale {
        age: Duration,
        max_age: Duration,
    },
}

impl Node {
    pub(crate) fn new(
        settings: Arc<Settings>,
        engine: Arc<dyn Engine>,
        shards: Arc<[ShardInbox]>,
        gatherer: Arc<Gatherer>,
        counters: Vec<Arc<ShardCounters>>,
        places: Arc<Places>,
        learnt: Learnt,
    ) -> Self {
        let publish_order = Arc::default();
        let authenticator = Arc::new(Authenticator::new(&settings.auth, &settings.limits));
        let users = UserConnections::new(
            Arc::clone(&engine),
            settings.limits.max_connections_per_user,
            Arc::clone(&learnt.outage_is_over),
        );
        let log_filter = Arc::new(LogFilter::fixed(&settings.log.filter));
        Self {
            settings,
            engine,
            authenticator,
            publish_order,
            learnt,
            users: Arc::new(users),
            shards,
            gatherer,
            counters,
            places,
            is_open: AtomicBool::new(false),
            drain: DrainClock::default(),
            tls: None,
            traces: Traces::default(),
            log_filter,
            ops_access: Arc::default(),
            ops_times: Arc::default(),
            refused_publishes: AtomicU64::new(0),
        }
    }

    /// Clients' connections that are WebSockets by now.
    pub(crate) fn websockets(&self) -> usize {
        self.counters.iter().map(|counters| usize::try_from(counters.websockets.get()).unwrap_or(0)).sum()
    }

    /// Open sessions.
    pub(crate) fn sessions(&self) -> u64 {
        (self.counters.iter())
            .map(|counters| counters.sessions_polling.get().wrapping_add(counters.sessions_websocket.get()))
            .fold(0, u64::wrapping_add)
    }

    pub(crate) fn readiness(&self) -> Result<(), NotReady> {
        if self.drain.is_running() {
            return Err(NotReady::Draining);
        }
        let metrics = self.engine.metrics();
        if metrics.ever_subscribed == 0 || metrics.announced == 0 {
            return Err(NotReady::NeverLinked);
        }
        if !self.is_open.load(Ordering::Relaxed) {
            return Err(NotReady::NotOpen);
        }
        let age = Duration::from_micros(metrics.probe_age_us);
        if let Some(max_age) = self.settings.adapter.probe_max_age().filter(|max_age| age > *max_age) {
            return Err(NotReady::ProbeStale { age, max_age });
        }
        Ok(())
    }

    /// The sockets that a [`RequestKind::Fetch`](broadgate_adapter::RequestKind::Fetch) names, on all nodes; those
    /// that are known where nodes do not answer.
    pub(crate) async fn fetch(&self, request: Request, trace: Option<TraceParent>) -> Fetched {
        let request = Arc::new(request);
        let mut span = self.request_span("request", trace);
        let elsewhere = self.engine.request(Arc::clone(&request));
        let (here, elsewhere) = tokio::join!(self.gatherer.ask(&request), elsewhere);
        let mut fetched = Fetched { sockets: here.sockets, expected: 0, answers: 0, complete: here.complete };
        match elsewhere {
            Ok(answers) => {
                fetched.complete &= answers.is_complete();
                (fetched.expected, fetched.answers) = (answers.expected, answers.answered);
                if let Some(span) = &mut span {
                    span.set("broadgate.expected", answers.expected);
                    span.set("broadgate.answers", answers.answered);
                }
                for response in answers.responses {
                    if let Response::Fetched(sockets) = response {
                        fetched.sockets.extend(sockets);
                    }
                }
                // This node is asked a moment before the others: a socket that moves may be named by two.
                let mut known = HashSet::new();
                fetched.sockets.retain(|socket| known.insert(socket.id.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a query of the ops API knows this node's sockets only");
                if let Some(span) = &mut span {
                    span.fail(error.to_string());
                }
                fetched.complete = false;
            }
        }
        fetched
    }

    /// Lets all nodes carry out a command. This one does when it comes back from Redis, as every other.
    pub(crate) async fn command(
        &self,
        request: Request,
        trace: Option<TraceParent>,
    ) -> Result<(), RequestError> {
        let span = self.request_span("command", trace);
        let commanded = self.engine.request(Arc::new(request)).await.map(drop);
        if let (Some(mut span), Err(error)) = (span, &commanded) {
            span.fail(error.to_string());
        }
        commanded
    }

    /// What is asked of the other nodes, for somebody who is in a trace.
    fn request_span(&self, name: &'static str, trace: Option<TraceParent>) -> Option<Span> {
        self.traces.child(name, SpanKind::Client, &trace?)
    }

    /// Publishes to all members on all nodes, or as `adapter.redis.when_down` says where the others can't be reached.
    pub(crate) async fn publish(&self, broadcast: Broadcast) -> Published {
        let broadcast = Arc::new(broadcast);
        let mut round_trip = self.request_span("adapter publish", broadcast.stamp.trace);
        let (published, answers) = {
            let _order = self.publish_order.publish();
            let mut published = self.engine.publish(Arc::clone(&broadcast));
            // Before anybody has it: what the engine says at once decides whether anybody gets it.
            let answered = (&mut published).now_or_never();
            let course = Course::of(answered.as_ref(), self.settings.adapter.when_down());
            if let Course::Nowhere(error) = course {
                if let Some(span) = &mut round_trip {
                    span.fail(error.to_string());
                }
                return Published::Nowhere(error);
            }
            let answers: Vec<_> = self.shards.iter().map(|inbox| send_counted(inbox, &broadcast)).collect();
            let published = match course {
                Course::HereOnly => None,
                _ => Some(match answered {
                    Some(result) => ready(result).boxed(),
                    None => published,
                }),
            };
            (published, answers)
        };
        let published = match published {
            None => None,
            Some(published) => Some(published.await),
        };
        if let (Some(mut span), Some(Err(error))) = (round_trip, &published) {
            span.fail(error.to_string());
        }
        tracing::debug!(to_others = ?published, namespace = &*broadcast.namespace, rooms = ?broadcast.rooms, "published");
        let mut delivered = 0;
        for answer in answers {
            // A shard that is gone or full delivers nothing.
            delivered += answer.await.unwrap_or(0);
        }
        match published {
            None => Published::HereOnly { delivered },
            Some(Ok(())) => Published::Everywhere { delivered },
            Some(Err(error)) => Published::MaybeElsewhere { delivered, error },
        }
    }
}

/// What became of [`Node::publish`]. `delivered`: sessions of this node that it was queued for.
#[derive(Debug)]
pub(crate) enum Published {
    /// It went on to the other nodes.
    Everywhere { delivered: usize },
    /// The other nodes can't be reached, and it was to be delivered all the same.
    HereOnly { delivered: usize },
    /// It failed on its way: the other nodes may have it or not.
    MaybeElsewhere { delivered: usize, error: PublishError },
    /// Nobody has it.
    Nowhere(PublishError),
}

/// The answer to [`Node::fetch`].
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) sockets: Vec<SocketDetails>,
    /// Other nodes that were asked.
    pub(crate) expected: usize,
    /// How many of them answered in time.
    pub(crate) answers: usize,
    /// Is nothing missing?
    pub(crate) complete: bool,
}
