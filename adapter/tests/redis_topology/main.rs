//! The Redis engine with the servers that people have: with a password, an ACL user, TLS, on a Unix socket, under
//! sentinels, as a cluster. Every test runs with each driver.
#![allow(unreachable_pub, missing_docs, reason = "nothing is public in a test")]

mod access;
mod certificates;
mod cluster;
mod cluster_nodes;
mod sentinel;
mod sentinels;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broadgate_adapter::{
    Engine, Event, RedisConfig, RedisDriver, RedisEngine, Revocation, SubscriberId, redis::Servers,
};
use support::{DEADLINE, Recorder, event, eventually, eventually_async, join, redis_server::RedisServer};

const SHARD: SubscriberId = SubscriberId(0);
const ROOM: &str = "room";

/// Makes a test of each function, for each driver.
macro_rules! on_each_driver {
    ($($test:ident),* $(,)?) => {
        mod with_redis {
            $(#[tokio::test] async fn $test() {
                super::$test(broadgate_adapter::RedisDriver::Redis).await;
            })*
        }
        mod with_fred {
            $(#[tokio::test] async fn $test() {
                super::$test(broadgate_adapter::RedisDriver::Fred).await;
            })*
        }
    };
}
pub(crate) use on_each_driver;

/// An engine with a member in [`ROOM`], and what it told.
pub struct Node {
    pub engine: Arc<RedisEngine>,
    pub recorder: Arc<Recorder>,
}

impl Node {
    /// Starts one, whose links may never come up.
    pub fn start(config: RedisConfig) -> Self {
        let recorder = Arc::new(Recorder::default());
        let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the settings can work");
        Self { engine, recorder }
    }

    /// Starts one, and waits until it is in the room.
    pub async fn joined(config: RedisConfig) -> Self {
        let node = Self::start(config);
        node.ready().await;
        join(&*node.engine, &node.recorder, SHARD, ROOM).await;
        node
    }

    pub async fn ready(&self) {
        eventually("both links and all subscriptions", || {
            let metrics = self.engine.metrics();
            metrics.publish_link_up == 1
                && metrics.subscribe_link_up == 1
                && metrics.base_subscribed == 1
                && metrics.subscriptions_confirmed == metrics.subscriptions_desired
        })
        .await;
    }

    pub fn links_lost(&self) -> usize {
        self.recorder.count(|event| matches!(event, Event::LinkLost { .. }))
    }

    pub fn links_up(&self) -> u64 {
        let metrics = self.engine.metrics();
        metrics.publish_link_up + metrics.subscribe_link_up
    }

    /// What it was told to have been lifted while it could not hear of it.
    pub fn lifts_missed(&self) -> Vec<Revocation> {
        self.recorder.map(|event| match event {
            Event::LiftMissed(revocation) => Some(revocation.clone()),
            _ => None,
        })
    }

    pub fn gaps(&self) -> usize {
        self.recorder.gaps_ms().len()
    }

    pub async fn shutdown(self) {
        self.engine.shutdown().await;
    }
}

/// A configuration whose failures are noticed soon.
pub fn config(driver: RedisDriver, url: impl Into<String>, uid: &str) -> RedisConfig {
    RedisConfig {
        driver,
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_secs(5),
        publish_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        count_timeout: Duration::from_secs(20),
        answer_timeout: Duration::from_secs(15),
        ..RedisConfig::new(url, uid, uid)
    }
}

/// The same with other servers than one.
pub fn config_of(driver: RedisDriver, servers: Servers, uid: &str) -> RedisConfig {
    RedisConfig { servers, ..config(driver, "", uid) }
}

/// What is published on one node arrives at the other, both ways.
pub async fn assert_connected(a: &Node, b: &Node) {
    for (from, to, name) in [(a, b, "a to b"), (b, a, "b to a")] {
        let json = format!("[\"{name}\"]");
        to.recorder.remove(|event| matches!(event, Event::Broadcast(..)));
        from.engine.publish(event(&[ROOM], &[], &json)).await.expect("it is published");
        eventually(name, || to.recorder.json() == [json.clone()]).await;
    }
}

/// The same after a failure, when publishing may not work at once.
pub async fn eventually_connected(a: &Node, b: &Node) {
    for (from, to, name) in [(a, b, "a to b again"), (b, a, "b to a again")] {
        let json = format!("[\"{name}\"]");
        let start = Instant::now();
        while !to.recorder.json().contains(&json) {
            assert!(start.elapsed() < DEADLINE, "{name}: nothing arrives");
            let _lost = from.engine.publish(event(&[ROOM], &[], &json)).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What a backend publishes by hand, at this server, arrives at the node.
pub async fn assert_hears(node: &Node, server: &RedisServer, what: &str) {
    let (channel, message) = (format!("socket.io#/#{ROOM}#"), format!("{{\"event\":\"{what}\"}}"));
    eventually_async("it is published", async || {
        server.try_command::<u64>(&["PUBLISH", &channel, &message]).await.is_some()
    })
    .await;
    eventually(what, || node.recorder.json().contains(&format!("[\"{what}\"]"))).await;
}
