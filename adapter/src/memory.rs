//! The engine without a server: a node alone, or several nodes of one process on one bus.
//!
//! Owner of the state: the [`MemoryBus`] owns the list of nodes, each [`MemoryEngine`] its interest. Everything happens
//! on the caller's thread. Like Redis, the bus hands a broadcast to one room only to engines that are interested in that
//! room, and every other broadcast to all; and like Redis, it takes one message after the other, so that all nodes see
//! them in one order.

use std::{
    collections::HashMap,
    collections::hash_map::Entry,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use parking_lot::{Mutex, ReentrantMutex, RwLock};
use tokio::sync::Notify;

use crate::{
    Answers, Broadcast, Engine, EngineFuture, EngineMetrics, Event, EventSink, NodeInfo, NodeTargets, Origin,
    PublishError, Request, RequestError, Responder, RevocationChange, Revocations, SendError, SubscriberId,
    counters::Counters,
    requests::PendingRequests,
    wire::{self, Limits},
};

/// All of one process are of one version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long other engines of the bus may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What the engines of one process share. Cloning gives another handle of the same bus.
#[derive(Clone, Default)]
pub struct MemoryBus {
    limits: Limits,
    // Replaced as a whole when a node comes or goes, so that nobody waits for a publish to do so.
    nodes: Arc<RwLock<Arc<[Arc<Node>]>>>,
    // Held while one message goes to the other nodes. A sink may publish.
    order: Arc<ReentrantMutex<()>>,
    kept: Arc<Mutex<Kept>>,
}

/// What Redis keeps for the nodes of a cluster.
#[derive(Default)]
struct Kept {
    revocations: Revocations,
    /// Connections of each user, by the name of the node.
    user_counts: HashMap<Arc<str>, HashMap<Arc<str>, u32>>,
}

struct Node {
    name: Arc<str>,
    origin: Origin,
    sink: Arc<dyn EventSink>,
    interest: Mutex<HashMap<RoomKey, Subscribers>>,
    counters: Counters,
}

/// Namespace and room.
type RoomKey = (Arc<str>, Arc<str>);

/// One bit for each [`SubscriberId`].
type Subscribers = u64;

/// An engine on a [`MemoryBus`].
pub struct MemoryEngine {
    bus: MemoryBus,
    node: Arc<Node>,
    running: AtomicBool,
}

impl MemoryBus {
    /// A bus without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A bus without nodes, on which a message may hold so much.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Node>>)) {
        let mut nodes = self.nodes.write();
        let mut list = nodes.to_vec();
        change(&mut list);
        *nodes = list.into();
    }
}

impl Kept {
    fn forget_node(&mut self, name: &str) {
        self.user_counts.retain(|_, of_nodes| {
            of_nodes.remove(name);
            !of_nodes.is_empty()
        });
    }
}

impl MemoryEngine {
    /// Joins the bus as the node `name`. What other engines of the bus publish goes to `sink`.
    pub fn start(bus: &MemoryBus, name: &str, sink: Arc<dyn EventSink>) -> Arc<Self> {
        let node = Arc::new(Node {
            name: name.into(),
            origin: Origin::of(name),
            sink,
            interest: Mutex::default(),
            counters: Counters::default(),
        });
        let _one_at_a_time = bus.order.lock();
        let others = Arc::clone(&bus.nodes.read());
        bus.change(|nodes| nodes.push(Arc::clone(&node)));
        for other in others.iter() {
            other.sink.deliver(Event::NodeFound { node: node.name.clone() });
            node.sink.deliver(Event::NodeFound { node: other.name.clone() });
        }
        let in_force: Vec<_> = bus.kept.lock().revocations.iter().cloned().collect();
        for revocation in in_force {
            node.sink.deliver(Event::Revocation(RevocationChange::Revoke(revocation)));
        }
        Arc::new(Self { bus: bus.clone(), node, running: AtomicBool::new(true) })
    }
}

impl MemoryEngine {
    fn send_now(&self, to: NodeTargets<'_>, payload: &Bytes) -> Result<(), SendError> {
        let counters = &self.node.counters;
        let limit = self.bus.limits.max_message_bytes;
        if payload.len() > limit {
            counters.publish_failed.increment();
            return Err(SendError::TooLarge { limit });
        }
        if !self.running.load(Ordering::Acquire) {
            counters.publish_failed.increment();
            return Err(SendError::LinkDown);
        }
        let nodes = Arc::clone(&self.bus.nodes.read());
        let of_name = |name: &str| nodes.iter().find(|node| &*node.name == name);
        let _one_at_a_time = self.bus.order.lock();
        let (first, second) = (of_name(to.first()), to.second().and_then(of_name));
        for node in first.into_iter().chain(second) {
            node.receive_message(payload.clone());
        }
        let figure =
            if first.is_some() { &counters.node_messages_sent } else { &counters.node_messages_unreachable };
        figure.increment();
        first.map(drop).ok_or(SendError::NoSuchNode)
    }
}

impl Node {
    fn wants(&self, broadcast: &Broadcast) -> bool {
        let [room] = broadcast.rooms.as_slice() else { return true };
        // The key owns its text, so the look-up makes two; the bus is for tests and single nodes, which never get here.
        let key = (Arc::from(&*broadcast.namespace), Arc::from(&**room));
        self.interest.lock().contains_key(&key)
    }

    fn ask(&self, request: &Arc<Request>, responder: Responder, origin: Origin) {
        self.counters.requests_received[usize::from(request.kind.number())].increment();
        self.sink.deliver(Event::Request(Arc::clone(request), responder, origin));
    }

    fn receive(&self, broadcast: &Arc<Broadcast>, origin: Origin) {
        if !self.wants(broadcast) {
            return;
        }
        let attachments: usize = broadcast.packet.attachments.iter().map(bytes::Bytes::len).sum();
        self.counters.received.increment();
        self.counters.received_bytes.add((broadcast.packet.json.len() + attachments) as u64);
        self.sink.deliver(Event::Broadcast(Arc::clone(broadcast), origin));
    }

    fn receive_message(&self, payload: Bytes) {
        self.counters.received_bytes.add(payload.len() as u64);
        self.counters.node_messages_received.increment();
        self.sink.deliver(Event::NodeMessage { payload });
    }
}

impl Engine for MemoryEngine {
    fn publish(&self, broadcast: Arc<Broadcast>) -> EngineFuture<Result<(), PublishError>> {
        // A node must behave the same alone and in a cluster, so this asks the codec that a cluster would use.
        if let Err(error) = wire::encode_tuple("", &broadcast, &self.bus.limits) {
            self.node.counters.publish_failed.increment();
            return Box::pin(ready(Err(PublishError::Invalid(error.to_string()))));
        }
        if !self.running.load(Ordering::Acquire) {
            self.node.counters.publish_failed.increment();
            return Box::pin(ready(Err(PublishError::LinkDown)));
        }
        self.node.counters.published.increment();
        let nodes = Arc::clone(&self.bus.nodes.read());
        if nodes.len() > 1 {
            let _one_at_a_time = self.bus.order.lock();
            for node in nodes.iter().filter(|node| !Arc::ptr_eq(node, &self.node)) {
                node.receive(&broadcast, self.node.origin);
            }
        }
        Box::pin(ready(Ok(())))
    }

    fn send(&self, to: NodeTargets<'_>, payload: Bytes) -> EngineFuture<Result<(), SendError>> {
        Box::pin(ready(self.send_now(to, &payload)))
    }

    fn request(&self, request: Arc<Request>) -> EngineFuture<Result<Answers, RequestError>> {
        if !self.running.load(Ordering::Acquire) {
            self.node.counters.requests_failed.increment();
            return Box::pin(ready(Err(PublishError::LinkDown.into())));
        }
        self.node.counters.requests_sent[usize::from(request.kind.number())].increment();
        let nodes = Arc::clone(&self.bus.nodes.read());
        if request.kind.is_command() {
            let _one_at_a_time = self.bus.order.lock();
            nodes.iter().for_each(|node| node.ask(&request, Responder::default(), self.node.origin));
            return Box::pin(ready(Ok(Answers::default())));
        }
        let others: Vec<_> =
            nodes.iter().filter(|node| !Arc::ptr_eq(node, &self.node)).map(Arc::clone).collect();
        let node = Arc::clone(&self.node);
        Box::pin(async move {
            if others.is_empty() {
                return Ok(Answers::default());
            }
            // Each request has a table of its own, so every id is the same.
            let (id, done) = ("", Arc::new(Notify::new()));
            let mut table = PendingRequests::new(1);
            table.begin(id, &request, others.len(), Arc::clone(&done))?;
            let table = Arc::new(Mutex::new(table));
            let answers = Arc::clone(&table);
            let responder = Responder::new(move |response| {
                if let Some(done) = answers.lock().answer(id, response) {
                    done.notify_one();
                }
            });
            others.iter().for_each(|other| other.ask(&request, responder.clone(), node.origin));
            let began = Instant::now();
            let in_time = tokio::time::timeout(ANSWER_TIMEOUT, done.notified()).await.is_ok();
            let counters = &node.counters;
            counters.request_durations.observe(began.elapsed());
            let figure = if in_time { &counters.requests_complete } else { &counters.requests_partial };
            figure.increment();
            Ok(table.lock().finish(id).unwrap_or_default())
        })
    }

    fn subscribe(&self, subscriber: SubscriberId, namespace: &Arc<str>, room: &Arc<str>) {
        let key = (Arc::clone(namespace), Arc::clone(room));
        *self.node.interest.lock().entry(key).or_default() |= 1 << subscriber.0;
        self.node.sink.deliver(Event::Subscribed {
            subscriber,
            namespace: Arc::clone(namespace),
            room: Arc::clone(room),
        });
    }

    fn unsubscribe(&self, subscriber: SubscriberId, namespace: &Arc<str>, room: &Arc<str>) {
        let key = (Arc::clone(namespace), Arc::clone(room));
        if let Entry::Occupied(mut interest) = self.node.interest.lock().entry(key) {
            *interest.get_mut() &= !(1 << subscriber.0);
            if *interest.get() == 0 {
                interest.remove();
            }
        }
    }

    fn revoke(&self, change: RevocationChange) -> EngineFuture<Result<(), PublishError>> {
        if !self.running.load(Ordering::Acquire) {
            return Box::pin(ready(Err(PublishError::LinkDown)));
        }
        let _one_at_a_time = self.bus.order.lock();
        self.bus.kept.lock().revocations.change(&change, unix_now_s());
        let nodes = Arc::clone(&self.bus.nodes.read());
        for node in nodes.iter() {
            node.counters.revocations_received.increment();
            node.sink.deliver(Event::Revocation(change.clone()));
        }
        Box::pin(ready(Ok(())))
    }

    fn count_user(&self, user: &Arc<str>, own: u32) -> EngineFuture<Result<u64, PublishError>> {
        let counted = self.tell_user_count(user, own).map(|()| {
            let kept = self.bus.kept.lock();
            let of_nodes = kept.user_counts.get(user).into_iter().flat_map(HashMap::values);
            of_nodes.map(|&connections| u64::from(connections)).sum()
        });
        Box::pin(ready(counted))
    }

    fn tell_user_count(&self, user: &Arc<str>, own: u32) -> Result<(), PublishError> {
        if !self.running.load(Ordering::Acquire) {
            return Err(PublishError::LinkDown);
        }
        let mut kept = self.bus.kept.lock();
        let of_nodes = kept.user_counts.entry(Arc::clone(user)).or_default();
        match own {
            0 => of_nodes.remove(&self.node.name),
            _ => of_nodes.insert(Arc::clone(&self.node.name), own),
        };
        if of_nodes.is_empty() {
            kept.user_counts.remove(user);
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.node.name
    }

    fn id_key(&self, node: &str) -> Option<u128> {
        let nodes = self.bus.nodes.read();
        nodes.iter().any(|one| &*one.name == node && !Arc::ptr_eq(one, &self.node)).then_some(0)
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let nodes = Arc::clone(&self.bus.nodes.read());
        let others = nodes.iter().filter(|node| !Arc::ptr_eq(node, &self.node));
        let info =
            |node: &Arc<Node>| NodeInfo { name: node.name.clone(), version: VERSION.into(), age_ms: 0 };
        let mut infos: Vec<_> = others.map(info).collect();
        infos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    fn metrics(&self) -> EngineMetrics {
        let rooms = self.node.interest.lock().len() as u64;
        EngineMetrics {
            publish_link_up: 1,
            subscribe_link_up: 1,
            base_subscribed: 1,
            ever_subscribed: 1,
            announced: 1,
            nodes: self.bus.nodes.read().len() as u64,
            subscriptions_desired: rooms,
            subscriptions_confirmed: rooms,
            ..self.node.counters.read()
        }
    }

    fn shutdown(&self) -> EngineFuture<()> {
        if self.running.swap(false, Ordering::AcqRel) {
            let _one_at_a_time = self.bus.order.lock();
            self.bus.change(|nodes| nodes.retain(|node| !Arc::ptr_eq(node, &self.node)));
            self.bus.kept.lock().forget_node(&self.node.name);
            let others = Arc::clone(&self.bus.nodes.read());
            for other in others.iter() {
                other.sink.deliver(Event::NodeLost { node: self.node.name.clone() });
            }
        }
        Box::pin(ready(()))
    }
}

/// Seconds since 1970; a clock before gives 0.
fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
