//! The engine without a server: a node alone, or several nodes of one process on one bus.
//!
//! Owner of the state: the [`MemoryBus`] owns the list of nodes, each [`MemoryEngine`] its interest. Everything happens
//! on the caller's thread, so the order of one publisher is kept by itself. Like Redis, the bus hands a broadcast to one
//! room only to engines that are interested in that room, and every other broadcast to all.

use std::{
    collections::HashMap,
    collections::hash_map::Entry,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{
    Broadcast, Engine, EngineFuture, EngineMetrics, Event, EventSink, PublishError, SubscriberId,
    counters::Counters,
    wire::{self, Limits},
};

/// What the engines of one process share. Cloning gives another handle of the same bus.
#[derive(Clone, Default)]
pub struct MemoryBus {
    limits: Limits,
    // Replaced as a whole when a node comes or goes, so that a publish holds no lock while sinks run.
    nodes: Arc<RwLock<Arc<[Arc<Node>]>>>,
}

struct Node {
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

impl MemoryEngine {
    /// Joins the bus. What other engines of the bus publish goes to `sink`.
    pub fn start(bus: &MemoryBus, sink: Arc<dyn EventSink>) -> Arc<Self> {
        let node = Arc::new(Node { sink, interest: Mutex::default(), counters: Counters::default() });
        bus.change(|nodes| nodes.push(Arc::clone(&node)));
        Arc::new(Self { bus: bus.clone(), node, running: AtomicBool::new(true) })
    }
}

impl Node {
    fn wants(&self, broadcast: &Broadcast) -> bool {
        let [room] = broadcast.rooms.as_slice() else { return true };
        // The key owns its text, so the look-up makes two; the bus is for tests and single nodes, which never get here.
        let key = (Arc::from(&*broadcast.namespace), Arc::from(&**room));
        self.interest.lock().contains_key(&key)
    }

    fn receive(&self, broadcast: &Arc<Broadcast>) {
        if !self.wants(broadcast) {
            return;
        }
        let attachments: usize = broadcast.packet.attachments.iter().map(bytes::Bytes::len).sum();
        self.counters.received.increment();
        self.counters.received_bytes.add((broadcast.packet.json.len() + attachments) as u64);
        self.sink.deliver(Event::Broadcast(Arc::clone(broadcast)));
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
        for node in nodes.iter().filter(|node| !Arc::ptr_eq(node, &self.node)) {
            node.receive(&broadcast);
        }
        Box::pin(ready(Ok(())))
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

    fn metrics(&self) -> EngineMetrics {
        let rooms = self.node.interest.lock().len() as u64;
        EngineMetrics {
            publish_link_up: 1,
            subscribe_link_up: 1,
            base_subscribed: 1,
            ever_subscribed: 1,
            subscriptions_desired: rooms,
            subscriptions_confirmed: rooms,
            ..self.node.counters.read()
        }
    }

    fn shutdown(&self) -> EngineFuture<()> {
        if self.running.swap(false, Ordering::AcqRel) {
            self.bus.change(|nodes| nodes.retain(|node| !Arc::ptr_eq(node, &self.node)));
        }
        Box::pin(ready(()))
    }
}
