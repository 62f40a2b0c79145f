//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod log;
pub mod redis_server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broadgate_adapter::{
    Broadcast, Engine, Event, EventPacket, EventSink, Flags, Request, Responder, Stamp, SubscriberId,
};
use parking_lot::Mutex;

/// Longer than anything takes on a loaded machine; a test that waits for it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Remembers what an engine told.
#[derive(Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl EventSink for Recorder {
    fn deliver(&self, event: Event) {
        self.events.lock().push(event);
    }
}

impl Recorder {
    pub fn broadcasts(&self) -> Vec<Arc<Broadcast>> {
        let events = self.events.lock();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Broadcast(broadcast, _) => Some(Arc::clone(broadcast)),
                _ => None,
            })
            .collect()
    }

    /// Requests that nobody has taken yet.
    pub fn requests(&self) -> usize {
        self.count(|event| matches!(event, Event::Request(..)))
    }

    /// Waits for a request and takes it out.
    pub async fn next_request(&self) -> (Arc<Request>, Responder) {
        eventually("a request", || self.requests() > 0).await;
        let mut events = self.events.lock();
        let place = events.iter().position(|event| matches!(event, Event::Request(..)));
        match events.remove(place.expect("it was seen")) {
            Event::Request(request, responder, _) => (request, responder),
            _ => unreachable!("the place is that of a request"),
        }
    }

    /// The events' JSON, in order.
    pub fn json(&self) -> Vec<String> {
        self.broadcasts().iter().map(|broadcast| broadcast.packet.json.to_string()).collect()
    }

    /// What is to be said of the events, in order.
    pub fn map<T>(&self, say: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.events.lock().iter().filter_map(say).collect()
    }

    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().iter().filter(|event| matches(event)).count()
    }

    pub fn subscribed(&self, subscriber: SubscriberId, room: &str) -> usize {
        self.count(|event| {
            matches!(event, Event::Subscribed { subscriber: who, room: what, .. }
                if *who == subscriber && &**what == room)
        })
    }

    pub fn gaps_ms(&self) -> Vec<u64> {
        let events = self.events.lock();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Gap { duration_ms, .. } => Some(*duration_ms),
                _ => None,
            })
            .collect()
    }

    /// What kinds of events there were, in order.
    pub fn names(&self) -> Vec<&'static str> {
        let name = |event: &Event| match event {
            Event::Request(..) => "Request",
            Event::Broadcast(..) => "Broadcast",
            Event::Revocation(_) => "Revocation",
            Event::LiftMissed(_) => "LiftMissed",
            Event::NodeFound { .. } => "NodeFound",
            Event::NodeLost { .. } => "NodeLost",
            Event::NodeMessage { .. } => "NodeMessage",
            Event::Subscribed { .. } => "Subscribed",
            Event::LinkLost { .. } => "LinkLost",
            Event::Gap { .. } => "Gap",
        };
        self.events.lock().iter().map(name).collect()
    }

    pub fn remove(&self, matches: impl Fn(&Event) -> bool) {
        self.events.lock().retain(|event| !matches(event));
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "still waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The same for a condition that has to be asked for.
pub async fn eventually_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "still waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An event with one number.
pub fn numbered(rooms: &[&str], number: usize) -> Arc<Broadcast> {
    event(rooms, &[], &format!("[\"message\",{number}]"))
}

/// An event in the namespace `/`.
pub fn event(rooms: &[&str], except: &[&str], json: &str) -> Arc<Broadcast> {
    Arc::new(Broadcast {
        namespace: "/".into(),
        rooms: rooms.iter().map(|&room| room.into()).collect(),
        except: except.iter().map(|&room| room.into()).collect(),
        flags: Flags::default(),
        stamp: Stamp::default(),
        packet: EventPacket { json: json.into(), attachments: Vec::new() },
    })
}

/// Subscribes and waits for the confirmation.
pub async fn join(engine: &dyn Engine, recorder: &Recorder, subscriber: SubscriberId, room: &str) {
    let before = recorder.subscribed(subscriber, room);
    engine.subscribe(subscriber, &Arc::from("/"), &Arc::from(room));
    eventually("the subscription", || recorder.subscribed(subscriber, room) > before).await;
}

/// Makes a test of each driver from one function that takes it.
#[allow(unused_macros, reason = "each test file uses a part of it")]
macro_rules! on_every_driver {
    ($($(#[$attribute:meta])+ $name:ident)+) => {
        mod redis {
            $(
                $(#[$attribute])+
                async fn $name() {
                    super::$name(broadgate_adapter::RedisDriver::Redis).await;
                }
            )+
        }
        mod fred {
            $(
                $(#[$attribute])+
                async fn $name() {
                    super::$name(broadgate_adapter::RedisDriver::Fred).await;
                }
            )+
        }
    };
}
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use on_every_driver;

/// Makes a test of each engine from one function over a cluster: the `Cluster` of the file, with its `memory` and `redis`.
#[allow(unused_macros, reason = "each test file uses a part of it")]
macro_rules! on_every_engine {
    ($($name:ident)+) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::Cluster::memory()).await;
                }
            )+
        }
        mod on_redis {
            $(
                async fn $name(driver: broadgate_adapter::RedisDriver) {
                    super::$name(super::Cluster::redis(driver).await).await;
                }
            )+
            super::support::on_every_driver! {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] $name)+
            }
        }
    };
}
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use on_every_engine;
