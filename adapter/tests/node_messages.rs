//! Nodes as each other's addressees: who is there, that messages to a node arrive, and their place in the order of
//! everything else. What moves a session from one node to another rests on that order.

mod support;

use std::{sync::Arc, time::Duration};

use broadgate_adapter::{
    Engine, Event, MemoryBus, MemoryEngine, NodeTargets, Origin, RedisConfig, RedisDriver, RedisEngine,
    Request, RequestKind, SendError, Targets, wire::Limits,
};
use bytes::Bytes;
use support::{
    DEADLINE, Recorder, event, eventually, join, on_every_driver, on_every_engine, redis_server::RedisServer,
};

/// Names of the nodes of a cluster.
const NAMES: [&str; 5] = ["nodeA", "nodeB", "nodeC", "nodeD", "nodeE"];
const SHARD: broadgate_adapter::SubscriberId = broadgate_adapter::SubscriberId(0);
/// Messages of each kind and publisher, where several publish at once.
const CONCURRENT_ROUNDS: usize = 250;
/// Shorter than by default, as tests wait for three of them.
/// Three of them are more than the two seconds that a node may take between attempts to come back to a restarted server.
const HELLO_INTERVAL: Duration = Duration::from_millis(1_000);
const MAX_MESSAGE_BYTES: usize = 64 << 10;

struct Node {
    engine: Arc<dyn Engine>,
    recorder: Arc<Recorder>,
}

/// Some nodes, and what keeps them connected.
struct Cluster {
    nodes: Vec<Node>,
    server: Option<RedisServer>,
}

impl Cluster {
    fn memory() -> Self {
        let bus = MemoryBus::with_limits(limits());
        let node = |name: &str| {
            let recorder = Arc::new(Recorder::default());
            Node { engine: MemoryEngine::start(&bus, name, Arc::clone(&recorder) as _), recorder }
        };
        Self { nodes: NAMES.map(node).into(), server: None }
    }

    async fn redis(driver: RedisDriver) -> Self {
        let server = RedisServer::start();
        let mut nodes = Vec::new();
        for name in NAMES {
            nodes.push(start(&RedisConfig { driver, ..RedisConfig::new(server.url(), name, name) }).await);
        }
        Self { nodes, server: Some(server) }
    }

    fn engine(&self, node: usize) -> Arc<dyn Engine> {
        Arc::clone(&self.nodes[node].engine)
    }

    async fn everyone_joins(&self, room: &str) {
        for node in &self.nodes {
            join(&*node.engine, &node.recorder, SHARD, room).await;
        }
    }

    /// What arrived at a node, as text.
    fn seen(&self, node: usize) -> Vec<String> {
        self.nodes[node].recorder.map(|event| match event {
            Event::Broadcast(broadcast, _) => Some(broadcast.packet.json.to_string()),
            Event::NodeMessage { payload } => Some(String::from_utf8_lossy(payload).into_owned()),
            Event::Request(..) => Some("a request".to_owned()),
            _ => None,
        })
    }

    async fn eventually_seen(&self, node: usize, count: usize) -> Vec<String> {
        eventually("all messages", || self.seen(node).len() >= count).await;
        self.seen(node)
    }
}

async fn start(config: &RedisConfig) -> Node {
    let config = RedisConfig {
        limits: limits(),
        hello_interval: HELLO_INTERVAL,
        // Longer than a busy machine's pauses.
        publish_timeout: Duration::from_secs(20),
        ..config.clone()
    };
    let recorder = Arc::new(Recorder::default());
    let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the configuration is usable");
    eventually("the links of a node", || {
        let metrics = engine.metrics();
        metrics.announced == 1 && metrics.base_subscribed == 1
    })
    .await;
    Node { engine, recorder }
}

fn limits() -> Limits {
    Limits { max_message_bytes: MAX_MESSAGE_BYTES, ..Limits::default() }
}

on_every_engine! {
    a_message_reaches_its_node_alone
    a_node_may_send_to_itself
    a_message_to_two_nodes_reaches_both
    a_node_that_is_not_there_is_told_at_once
    a_message_that_is_too_large_is_not_sent
    after_shutdown_nothing_is_sent_and_nobody_is_reached
    messages_and_broadcasts_of_one_node_arrive_in_the_order_of_the_calls
    all_nodes_see_broadcasts_of_all_publishers_and_messages_in_one_order
    a_message_to_two_nodes_is_at_one_place_of_the_order
    broadcasts_and_requests_say_who_published_them
    nodes_know_each_other
    a_node_that_ends_says_goodbye
}

async fn send(from: &Node, to: NodeTargets<'_>, text: &str) -> Result<(), SendError> {
    let sent = from.engine.send(to, Bytes::copy_from_slice(text.as_bytes()));
    tokio::time::timeout(DEADLINE, sent).await.expect("an answer")
}

async fn a_message_reaches_its_node_alone(cluster: Cluster) {
    let [a, b, c, ..] = cluster.nodes.as_slice() else { panic!("five nodes") };
    assert_eq!(send(a, NodeTargets::One("nodeB"), "to B").await, Ok(()));
    assert_eq!(send(a, NodeTargets::One("nodeC"), "to C").await, Ok(()));
    assert_eq!(cluster.eventually_seen(1, 1).await, ["to B"]);
    assert_eq!(cluster.eventually_seen(2, 1).await, ["to C"]);
    assert_eq!(cluster.seen(0), Vec::<String>::new());
    assert_eq!(a.engine.metrics().node_messages_sent_total, 2);
    assert_eq!(b.engine.metrics().node_messages_received_total, 1);
    assert_eq!(c.engine.metrics().node_messages_received_total, 1);
    assert_eq!(a.engine.metrics().published_total, 0, "they are counted apart");
}

async fn a_node_may_send_to_itself(cluster: Cluster) {
    assert_eq!(send(&cluster.nodes[0], NodeTargets::One("nodeA"), "to myself").await, Ok(()));
    assert_eq!(cluster.eventually_seen(0, 1).await, ["to myself"]);
}

async fn a_message_to_two_nodes_reaches_both(cluster: Cluster) {
    let a = &cluster.nodes[0];
    assert_eq!(send(a, NodeTargets::Two("nodeB", "nodeA"), "to both").await, Ok(()));
    // It fails with the first one only.
    assert_eq!(send(a, NodeTargets::Two("nodeB", "gone"), "to one").await, Ok(()));
    assert_eq!(send(a, NodeTargets::Two("gone", "nodeB"), "to the other").await, Err(SendError::NoSuchNode));
    assert_eq!(cluster.eventually_seen(1, 3).await, ["to both", "to one", "to the other"]);
    assert_eq!(cluster.eventually_seen(0, 1).await, ["to both"]);
    assert_eq!(a.engine.metrics().node_messages_sent_total, 2);
    assert_eq!(a.engine.metrics().node_messages_unreachable_total, 1);
}

async fn a_node_that_is_not_there_is_told_at_once(cluster: Cluster) {
    let a = &cluster.nodes[0];
    for name in ["nodeX", "", "node", "nodeA#", "*"] {
        assert_eq!(send(a, NodeTargets::One(name), "hello").await, Err(SendError::NoSuchNode), "{name}");
    }
    assert_eq!(a.engine.metrics().node_messages_unreachable_total, 5);
    assert_eq!(a.engine.metrics().publish_failed_total, 0);
}

async fn a_message_that_is_too_large_is_not_sent(cluster: Cluster) {
    let a = &cluster.nodes[0];
    let largest = "x".repeat(MAX_MESSAGE_BYTES);
    let too_large = Err(SendError::TooLarge { limit: MAX_MESSAGE_BYTES });
    assert_eq!(send(a, NodeTargets::One("nodeB"), &format!("{largest}x")).await, too_large);
    assert_eq!(send(a, NodeTargets::One("nodeB"), &largest).await, Ok(()));
    assert_eq!(cluster.eventually_seen(1, 1).await, [largest]);
    assert_eq!(a.engine.metrics().publish_failed_total, 1);
}

async fn after_shutdown_nothing_is_sent_and_nobody_is_reached(cluster: Cluster) {
    let [a, b, ..] = cluster.nodes.as_slice() else { panic!("five nodes") };
    b.engine.shutdown().await;
    // Redis drops the subscriptions when it sees the end of the connection.
    let deadline = std::time::Instant::now() + DEADLINE;
    while send(a, NodeTargets::One("nodeB"), "hello").await != Err(SendError::NoSuchNode) {
        assert!(std::time::Instant::now() < deadline, "B is still there");
    }
    assert_eq!(send(b, NodeTargets::One("nodeA"), "hello").await, Err(SendError::LinkDown));
}

async fn messages_and_broadcasts_of_one_node_arrive_in_the_order_of_the_calls(cluster: Cluster) {
    const COUNT: usize = 2000;
    cluster.everyone_joins("room").await;
    let (a, mut expected) = (cluster.engine(0), Vec::new());
    for number in 0..COUNT {
        let text = format!("[\"e\",{number}]");
        match number % 4 {
            0 => drop(a.send(NodeTargets::One("nodeB"), Bytes::from(text.clone()))),
            1 => drop(a.send(NodeTargets::Two("nodeC", "nodeB"), Bytes::from(text.clone()))),
            _ => drop(a.publish(event(&["room"], &[], &text))),
        }
        expected.push(text);
    }
    assert_eq!(cluster.eventually_seen(1, COUNT).await, expected);
}

/// Everything that a receiver may see, from three publishers at once: broadcasts to a room, broadcasts to everyone,
/// and messages to the receivers, alone and to both. Returns how many of each publisher's messages a receiver gets.
async fn publish_from_all_at_once(cluster: &Cluster) -> usize {
    let together = Arc::new(tokio::sync::Barrier::new(3));
    let publishers: Vec<_> = (0..3)
        .map(|publisher| {
            let (engine, together) = (cluster.engine(publisher), Arc::clone(&together));
            tokio::spawn(async move {
                for round in 0..CONCURRENT_ROUNDS {
                    together.wait().await;
                    let text = |kind: &str| format!("[\"{kind}\",{publisher},{round}]");
                    let both = NodeTargets::Two("nodeD", "nodeE");
                    let to_room = engine.publish(event(&["room"], &[], &text("room")));
                    let marker = engine.send(both, Bytes::from(text("marker")));
                    drop(engine.publish(event(&[], &[], &text("everyone"))));
                    marker.await.expect("both are there");
                    to_room.await.expect("it is taken");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("it publishes everything");
    }
    3 * 3 * CONCURRENT_ROUNDS
}

async fn all_nodes_see_broadcasts_of_all_publishers_and_messages_in_one_order(cluster: Cluster) {
    const ROUNDS: usize = 300;
    cluster.everyone_joins("room").await;
    let other = {
        let engine = cluster.engine(2);
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                engine
                    .publish(event(&["room"], &[], &format!("[\"C\",{round}]")))
                    .await
                    .expect("it is taken");
            }
        })
    };
    let a = cluster.engine(0);
    for round in 0..ROUNDS {
        drop(a.publish(event(&["room"], &[], &format!("[\"A\",{round}]"))));
        // A message that is answered before the next broadcast is published: whatever D saw before it, E sees, too.
        a.send(NodeTargets::One("nodeD"), Bytes::from(format!("D {round}"))).await.expect("D is there");
        a.send(NodeTargets::One("nodeE"), Bytes::from(format!("E {round}"))).await.expect("E is there");
    }
    other.await.expect("it publishes everything");
    let (at_d, at_e) =
        (cluster.eventually_seen(3, 3 * ROUNDS).await, cluster.eventually_seen(4, 3 * ROUNDS).await);
    // The broadcasts are in one order at both.
    let broadcasts = |seen: &[String]| -> Vec<String> {
        seen.iter().filter(|text| text.starts_with('[')).cloned().collect()
    };
    assert_eq!(broadcasts(&at_d), broadcasts(&at_e));
    for round in 0..ROUNDS {
        let before = |seen: &[String], text: &str| {
            let place = seen.iter().position(|seen| seen == text).expect("it arrived");
            broadcasts(&seen[..place]).len()
        };
        let (at_d, at_e) = (before(&at_d, &format!("D {round}")), before(&at_e, &format!("E {round}")));
        assert!(at_d <= at_e, "round {round}: D's message was sent first, {at_d} and {at_e}");
    }
    // And those of one publisher are in the order of its calls.
    for publisher in ["A", "C"] {
        let expected: Vec<_> = (0..ROUNDS).map(|round| format!("[\"{publisher}\",{round}]")).collect();
        let of_publisher: Vec<_> = broadcasts(&at_d)
            .into_iter()
            .filter(|text| text.starts_with(&format!("[\"{publisher}\"")))
            .collect();
        assert_eq!(of_publisher, expected);
    }
}

async fn a_message_to_two_nodes_is_at_one_place_of_the_order(cluster: Cluster) {
    cluster.everyone_joins("room").await;
    let count = publish_from_all_at_once(&cluster).await;
    let (at_d, at_e) = (cluster.eventually_seen(3, count).await, cluster.eventually_seen(4, count).await);
    assert_eq!(at_d.len(), count);
    // One order of everything: so before each marker, both have seen the same.
    assert_eq!(at_d, at_e);
    // Several publishers were at it at the same time, or this shows nothing.
    let publisher = |text: &String| text.split(',').nth(1).map(str::to_owned);
    let changes = at_d.windows(2).filter(|pair| publisher(&pair[0]) != publisher(&pair[1])).count();
    assert!(changes >= CONCURRENT_ROUNDS, "{changes}");
}

async fn broadcasts_and_requests_say_who_published_them(cluster: Cluster) {
    cluster.engine(0).publish(event(&[], &[], "[\"e\"]")).await.expect("it is taken");
    let kind = RequestKind::Join { targets: Targets::default(), rooms: vec!["room".into()] };
    let command = Arc::new(Request { namespace: "/".into(), kind });
    cluster.engine(2).request(command).await.expect("it is taken");
    cluster.eventually_seen(1, 2).await;
    let origins = cluster.nodes[1].recorder.map(|event| match event {
        Event::Broadcast(_, origin) | Event::Request(_, _, origin) => Some(*origin),
        _ => None,
    });
    assert_eq!(origins, [Origin::of("nodeA"), Origin::of("nodeC")]);
}

/// What a node was told of others, in order.
fn told(node: &Node) -> Vec<String> {
    node.recorder.map(|event| match event {
        Event::NodeFound { node } => Some(format!("found {node}")),
        Event::NodeLost { node } => Some(format!("lost {node}")),
        _ => None,
    })
}

fn known(node: &Node) -> Vec<String> {
    node.engine.nodes().iter().map(|other| other.name.to_string()).collect()
}

async fn nodes_know_each_other(cluster: Cluster) {
    for (node, name) in cluster.nodes.iter().zip(NAMES) {
        let others: Vec<_> = NAMES.into_iter().filter(|other| *other != name).collect();
        eventually("all others", || known(node) == others).await;
        assert_eq!(node.engine.name(), name);
        assert_eq!((node.engine.metrics().nodes, node.engine.metrics().announced), (5, 1));
        let mut found = told(node);
        found.sort();
        let expected: Vec<_> = others.iter().map(|other| format!("found {other}")).collect();
        assert_eq!(found, expected);
        assert!(node.engine.nodes().iter().all(|other| &*other.version == env!("CARGO_PKG_VERSION")));
    }
}

async fn a_node_that_ends_says_goodbye(cluster: Cluster) {
    let [a, b, ..] = cluster.nodes.as_slice() else { panic!("five nodes") };
    eventually("all nodes", || known(a).len() == 4).await;
    b.engine.shutdown().await;
    eventually("the goodbye", || known(a).len() == 3).await;
    assert_eq!(told(a).last().map(String::as_str), Some("lost nodeB"));
    assert_eq!(a.engine.metrics().nodes, 4);
}

// What only Redis has.

on_every_driver! {
    #[tokio::test] a_node_that_ends_without_a_word_is_lost_and_its_next_process_is_found
    #[tokio::test] a_node_that_is_told_to_be_gone_is_forgotten_at_once
    #[tokio::test] a_notice_that_is_none_is_skipped_and_counted
    #[tokio::test] an_outage_makes_no_node_look_dead
    #[tokio::test] a_server_that_stands_still_makes_no_node_look_dead
    #[tokio::test] who_is_no_node_publishes_under_its_own_name_or_none
    #[tokio::test] a_message_beyond_the_bound_is_skipped_and_counted
    #[tokio::test] without_redis_nothing_is_sent
    #[tokio::test] what_the_server_refuses_is_told_and_the_rest_of_the_batch_is_not_mixed_up
}

async fn a_node_that_ends_without_a_word_is_lost_and_its_next_process_is_found(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    let a = &cluster.nodes[0];
    let f = start(&RedisConfig { driver, ..RedisConfig::new(server.url(), "nodeF", "nodeF") }).await;
    eventually("the new node", || known(a).contains(&"nodeF".to_owned())).await;
    // Its tasks end with it, and nobody says goodbye.
    drop(f);
    eventually("the loss", || !known(a).contains(&"nodeF".to_owned())).await;
    assert_eq!(known(a).len(), 4, "no other");
    let _f = start(&RedisConfig { driver, ..RedisConfig::new(server.url(), "nodeF", "nodeF") }).await;
    eventually("the next process", || known(a).contains(&"nodeF".to_owned())).await;
    let told: Vec<_> = told(a).into_iter().filter(|told| told.contains("nodeF")).collect();
    assert_eq!(told, ["found nodeF", "lost nodeF", "found nodeF"]);
}

async fn a_node_that_is_told_to_be_gone_is_forgotten_at_once(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    let a = &cluster.nodes[0];
    let hello = r#"{"type":"hello","node":"ghost","version":"1","start":1}"#;
    let _: u64 = server.command(&["PUBLISH", "socket.io-broadgate#", hello]).await;
    eventually("the ghost", || known(a).contains(&"ghost".to_owned())).await;
    assert_eq!(send(a, NodeTargets::One("ghost"), "hello").await, Err(SendError::NoSuchNode));
    assert!(!known(a).contains(&"ghost".to_owned()));
}

async fn a_notice_that_is_none_is_skipped_and_counted(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    for payload in ["hello", r#"{"type":"hello","node":"a b","version":"1","start":1}"#] {
        let _: u64 = server.command(&["PUBLISH", "socket.io-broadgate#", payload]).await;
    }
    let malformed = || cluster.nodes[0].engine.metrics().malformed_total;
    eventually("both", || malformed() == 2).await;
}

async fn an_outage_makes_no_node_look_dead(driver: RedisDriver) {
    let mut cluster = Cluster::redis(driver).await;
    for node in &cluster.nodes {
        eventually("all nodes", || known(node).len() == 4).await;
    }
    let server = cluster.server.as_mut().expect("it is a cluster over Redis");
    server.kill();
    // Longer than a lease: what the nodes' clocks say must not matter.
    tokio::time::sleep(HELLO_INTERVAL * 5).await;
    server.restart();
    for node in &cluster.nodes {
        eventually("the link", || node.recorder.gaps_ms().len() == 1).await;
        let heard = || node.engine.nodes().iter().filter(|other| other.age_ms < 2_000).count();
        eventually("all nodes again", || heard() == 4).await;
        assert!(told(node).iter().all(|told| told.starts_with("found")), "{:?}", told(node));
    }
}

async fn a_server_that_stands_still_makes_no_node_look_dead(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    for node in &cluster.nodes {
        eventually("all nodes", || known(node).len() == 4).await;
    }
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    server.pause();
    tokio::time::sleep(HELLO_INTERVAL * 5).await;
    server.resume();
    for node in &cluster.nodes {
        let heard = || node.engine.nodes().iter().filter(|other| other.age_ms < 2_000).count();
        eventually("all nodes again", || heard() == 4).await;
        assert!(told(node).iter().all(|told| told.starts_with("found")), "{:?}", told(node));
    }
}

async fn who_is_no_node_publishes_under_its_own_name_or_none(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    broadgate_adapter::emitter::publish_once(&server.url(), "socket.io", &event(&[], &[], "[\"e\"]"))
        .await
        .expect("it is published");
    let json = r#"{"event":"e"}"#;
    let _: u64 = server.command(&["PUBLISH", "socket.io#/#", json]).await;
    let long = b"\x93\xa9nine_char\x82\xa4type\x02\xa4data\x91\xa1e\x80";
    let mut connection = server.connect().await;
    let mut command = ::redis::cmd("PUBLISH");
    let _: u64 = command.arg("socket.io#/#").arg(long).query_async(&mut connection).await.expect("taken");
    cluster.eventually_seen(1, 3).await;
    let origins = cluster.nodes[1].recorder.map(|event| match event {
        Event::Broadcast(_, origin) => Some(*origin),
        _ => None,
    });
    assert_eq!(origins, [Origin::of("emitter"), Origin::UNKNOWN, Origin::OTHER]);
}

async fn a_message_beyond_the_bound_is_skipped_and_counted(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    let too_large = "x".repeat(MAX_MESSAGE_BYTES + 1);
    for payload in [too_large.as_str(), "fits"] {
        let reached: u64 = server.command(&["PUBLISH", "socket.io-broadgate#nodeB#", payload]).await;
        assert_eq!(reached, 1);
    }
    assert_eq!(cluster.eventually_seen(1, 1).await, ["fits"]);
    let metrics = cluster.nodes[1].engine.metrics();
    assert_eq!((metrics.malformed_total, metrics.node_messages_received_total), (1, 1));
}

async fn without_redis_nothing_is_sent(driver: RedisDriver) {
    let mut cluster = Cluster::redis(driver).await;
    cluster.server.as_mut().expect("it is a cluster over Redis").kill();
    let a = &cluster.nodes[0];
    eventually("the loss", || a.engine.metrics().publish_link_up == 0).await;
    assert_eq!(send(a, NodeTargets::One("nodeB"), "hello").await, Err(SendError::LinkDown));
    assert_eq!(send(a, NodeTargets::Two("nodeB", "nodeC"), "hello").await, Err(SendError::LinkDown));
}

async fn what_the_server_refuses_is_told_and_the_rest_of_the_batch_is_not_mixed_up(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server.as_ref().expect("it is a cluster over Redis");
    // May not publish to C.
    let channels = ["&socket.io#*", "&socket.io#/#nodeL*", "&socket.io-re*"];
    let nodes = [
        "&socket.io-broadgate#",
        "&socket.io-broadgate#revocations#",
        "&socket.io-broadgate#nodeL#",
        "&socket.io-broadgate#nodeB#",
    ];
    let rules =
        ["ACL", "SETUSER", "limited", "on", ">secret", "+@all", channels[0], channels[1], channels[2]];
    let _: () = server.command(&[&rules[..], &nodes].concat()).await;
    let url = server.url().replace("redis://", "redis://limited:secret@");
    let limited = start(&RedisConfig { driver, ..RedisConfig::new(url, "nodeL", "nodeL") }).await;
    let a = &limited.engine;
    let message = || Bytes::from_static(b"hello");
    let answers = futures_util::future::join_all([
        a.send(NodeTargets::One("nodeB"), message()),
        a.send(NodeTargets::Two("nodeB", "nodeC"), message()),
        a.send(NodeTargets::One("nodeC"), message()),
        a.send(NodeTargets::Two("nodeB", "nodeB"), message()),
        a.send(NodeTargets::One("nodeB"), message()),
    ])
    .await;
    let refused = |answer: &Result<(), SendError>| matches!(answer, Err(SendError::Refused(_)));
    assert_eq!(answers.iter().map(refused).collect::<Vec<_>>(), [false, true, true, false, false]);
    assert!(answers.iter().filter(|answer| !refused(answer)).all(Result::is_ok), "{answers:?}");
    assert_eq!(cluster.eventually_seen(1, 4).await.len(), 4, "a refused one reaches neither node");
}
