//! What every engine must do: one suite, run on two nodes of each engine.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use broadgate_adapter::{
    Answers, Broadcast, Engine, Event, EventPacket, Flags, MemoryBus, MemoryEngine, PublishError,
    RedisConfig, RedisDriver, RedisEngine, Request, RequestError, RequestKind, Response, SocketDetails,
    Stamp, SubscriberId, Targets, TraceParent, emitter,
};
use bytes::Bytes;
use futures_util::FutureExt;
use support::{
    Recorder, event, eventually, join, numbered, on_every_driver, on_every_engine, redis_server::RedisServer,
};

const SHARD: SubscriberId = SubscriberId(0);
const OTHER_SHARD: SubscriberId = SubscriberId(63);

struct Node {
    engine: Arc<dyn Engine>,
    recorder: Arc<Recorder>,
}

impl Node {
    async fn join(&self, room: &str) {
        join(&*self.engine, &self.recorder, SHARD, room).await;
    }

    fn leave(&self, room: &str) {
        self.engine.unsubscribe(SHARD, &Arc::from("/"), &Arc::from(room));
    }

    /// Answers the request that arrives next.
    async fn answer(&self, response: Response) {
        self.recorder.next_request().await.1.respond(response);
    }

    async fn publish(&self, broadcast: Arc<Broadcast>) {
        self.engine.publish(broadcast).await.expect("the broadcast is taken");
    }
}

/// Two nodes, and what keeps them connected.
struct Cluster {
    a: Node,
    b: Node,
    server: Option<RedisServer>,
}

impl Cluster {
    fn memory() -> Self {
        let bus = MemoryBus::new();
        let node = |name| {
            let recorder = Arc::new(Recorder::default());
            Node { engine: MemoryEngine::start(&bus, name, Arc::clone(&recorder) as _), recorder }
        };
        Self { a: node("nodeA_"), b: node("nodeB_"), server: None }
    }

    async fn redis(driver: RedisDriver) -> Self {
        let server = RedisServer::start();
        let a = redis_node(driver, &server, "nodeA_", "AAA").await;
        let b = redis_node(driver, &server, "nodeB_", "BBB").await;
        Self { a, b, server: Some(server) }
    }

    /// When this arrives, everything that A published before has arrived, too.
    async fn settle(&self) {
        let mark = event(&[], &[], "[\"settled\"]");
        self.a.publish(Arc::clone(&mark)).await;
        let arrived = |event: &Event| matches!(event, Event::Broadcast(broadcast, _) if *broadcast == mark);
        eventually("the last message", || self.b.recorder.count(arrived) > 0).await;
        self.b.recorder.remove(arrived);
    }
}

fn fetch(room: &str) -> Arc<Request> {
    let targets = Targets { rooms: vec![room.into()], except: Vec::new() };
    Arc::new(Request { namespace: "/".into(), kind: RequestKind::Fetch { targets } })
}

fn join_command() -> Arc<Request> {
    let kind = RequestKind::Join { targets: Targets::default(), rooms: vec!["room".into()] };
    Arc::new(Request { namespace: "/".into(), kind })
}

async fn a_request_is_answered_by_the_other_node(cluster: Cluster) {
    let asked = tokio::spawn(cluster.a.engine.request(fetch("room")));
    let (request, responder) = cluster.b.recorder.next_request().await;
    assert_eq!(request, fetch("room"));
    let sockets = vec![SocketDetails {
        id: "s".into(),
        rooms: vec!["s".into(), "room".into()],
        connected_at_ms: Some(1),
        data: Some("{\"a\":1}".into()),
    }];
    responder.respond(Response::Fetched(sockets.clone()));
    let answers = asked.await.expect("no panic").expect("there is a link");
    let responses = vec![Response::Fetched(sockets)];
    assert_eq!(answers, Answers { expected: 1, answered: 1, responses, truncated: false });
    assert_eq!(cluster.a.recorder.requests(), 0, "never to the one who asks");
    assert_eq!(cluster.a.engine.metrics().requests_complete_total, 1);
    assert_eq!(cluster.a.engine.metrics().requests_sent_total[5], 1);
    assert_eq!(cluster.b.engine.metrics().requests_received_total[5], 1);
}

async fn a_command_is_carried_out_once_by_every_node(cluster: Cluster) {
    for _ in 0..2 {
        let answers = cluster.a.engine.request(join_command()).await;
        assert_eq!(answers, Ok(Answers::default()));
    }
    for node in [&cluster.a, &cluster.b] {
        for _ in 0..2 {
            let (request, responder) = node.recorder.next_request().await;
            assert_eq!(request, join_command());
            assert!(!responder.wants_answer());
        }
    }
    cluster.settle().await;
    assert_eq!((cluster.a.recorder.requests(), cluster.b.recorder.requests()), (0, 0));
}

async fn an_answer_may_be_large(cluster: Cluster) {
    let asked = tokio::spawn(cluster.a.engine.request(fetch("room")));
    let sockets: Vec<_> = (0..10_000)
        .map(|number| SocketDetails {
            id: format!("socket {number}").into(),
            rooms: vec![format!("socket {number}").into()],
            connected_at_ms: Some(number),
            data: Some("{}".into()),
        })
        .collect();
    cluster.b.answer(Response::Fetched(sockets.clone())).await;
    let answers = asked.await.expect("no panic").expect("there is a link");
    assert!(answers.is_complete());
    assert_eq!(answers.responses, [Response::Fetched(sockets)]);
}

fn redis_config(driver: RedisDriver, server: &RedisServer, uid: &str, node_prefix: &str) -> RedisConfig {
    RedisConfig {
        driver,
        unsubscribe_delay: Duration::from_secs(4),
        // Longer than a busy machine's pauses.
        publish_timeout: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(20),
        count_timeout: Duration::from_secs(20),
        answer_timeout: Duration::from_secs(15),
        ..RedisConfig::new(server.url(), uid, node_prefix)
    }
}

async fn redis_node(driver: RedisDriver, server: &RedisServer, uid: &str, node_prefix: &str) -> Node {
    let recorder = Arc::new(Recorder::default());
    let config = redis_config(driver, server, uid, node_prefix);
    let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the configuration is usable");
    eventually("the links of a node", || {
        let metrics = engine.metrics();
        metrics.publish_link_up == 1 && metrics.subscriptions_confirmed == 8
    })
    .await;
    Node { engine, recorder }
}

on_every_engine! {
    a_request_is_answered_by_the_other_node
    a_command_is_carried_out_once_by_every_node
    an_answer_may_be_large
    a_broadcast_reaches_the_other_node_whole
    a_broadcast_never_comes_back_to_its_publisher
    messages_keep_the_order_of_the_calls_though_nobody_awaits_them
    a_node_without_the_room_is_not_bothered
    what_is_published_after_the_confirmation_arrives
    several_rooms_and_everyone_reach_every_node
    subscribing_is_idempotent_and_per_subscriber
    after_shutdown_nothing_is_published
    what_can_never_be_published_is_refused_at_once
}

async fn a_broadcast_reaches_the_other_node_whole(cluster: Cluster) {
    cluster.b.join("news").await;
    let broadcast = Arc::new(Broadcast {
        namespace: "/".into(),
        rooms: vec!["news".into()],
        except: vec!["muted".into(), "aSocketId".into()],
        flags: Flags { volatile: true, no_compress: true },
        stamp: Stamp::at(SystemTime::now()).in_trace(TraceParent::new([1; 16], [2; 8], true)),
        packet: EventPacket {
            json: r#"["photo",{"a":[1,-5,0.5,"é\n"],"file":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]"#
                .into(),
            attachments: vec![Bytes::from_static(&[0, 255, 128]), Bytes::from_static(b"")],
        },
    });
    cluster.a.publish(Arc::clone(&broadcast)).await;
    eventually("the broadcast", || !cluster.b.recorder.broadcasts().is_empty()).await;
    assert_eq!(cluster.b.recorder.broadcasts(), [broadcast]);
}

async fn a_broadcast_never_comes_back_to_its_publisher(cluster: Cluster) {
    cluster.a.join("news").await;
    cluster.a.publish(numbered(&["news"], 1)).await;
    cluster.a.publish(numbered(&[], 2)).await;
    cluster.b.publish(numbered(&["news"], 3)).await;
    eventually("B's message", || !cluster.a.recorder.json().is_empty()).await;
    // A's own came before, on the same link.
    assert_eq!(cluster.a.recorder.json(), [r#"["message",3]"#]);
}

async fn messages_keep_the_order_of_the_calls_though_nobody_awaits_them(cluster: Cluster) {
    const COUNT: usize = 10_000;
    cluster.b.join("news").await;
    for number in 0..COUNT {
        drop(cluster.a.engine.publish(numbered(&["news"], number)));
    }
    eventually("all messages", || cluster.b.recorder.json().len() >= COUNT).await;
    let expected: Vec<_> = (0..COUNT).map(|number| format!("[\"message\",{number}]")).collect();
    let received = cluster.b.recorder.json();
    let wrong = received.iter().zip(&expected).position(|(received, expected)| received != expected);
    assert_eq!(
        (wrong, received.len()),
        (None, COUNT),
        "{:?}",
        wrong.map(|at| &received[at..received.len().min(at + 5)])
    );
    // Redis passes a message on before it answers the one who published it.
    eventually("all are counted", || cluster.a.engine.metrics().published_total == COUNT as u64).await;
}

async fn a_node_without_the_room_is_not_bothered(cluster: Cluster) {
    cluster.b.join("news").await;
    cluster.settle().await;
    let before = cluster.b.engine.metrics();
    for number in 0..100 {
        cluster.a.publish(numbered(&["sports"], number)).await;
    }
    cluster.a.publish(numbered(&["news"], 100)).await;
    eventually("the room's message", || !cluster.b.recorder.json().is_empty()).await;
    assert_eq!(cluster.b.recorder.json(), [r#"["message",100]"#]);
    // Nothing else came over the wire.
    assert_eq!(cluster.b.engine.metrics().received_total, before.received_total + 1);
    assert_eq!(cluster.b.engine.metrics().skipped_own_total, 0);
}

async fn what_is_published_after_the_confirmation_arrives(cluster: Cluster) {
    let loaded = Arc::new(AtomicBool::new(true));
    let load = {
        let (loaded, engine) = (Arc::clone(&loaded), Arc::clone(&cluster.a.engine));
        tokio::spawn(async move {
            while loaded.load(Ordering::Relaxed) {
                let publishes: Vec<_> =
                    (0..64).map(|_| engine.publish(event(&[], &[], "[\"load\"]"))).collect();
                for publish in publishes {
                    publish.await.expect("the broadcast is taken");
                }
            }
        })
    };
    let is_load = |event: &Event| matches!(event, Event::Broadcast(broadcast, _) if &*broadcast.packet.json == "[\"load\"]");
    eventually("the load", || cluster.b.recorder.count(is_load) > 0).await;
    for number in 0..300 {
        let room = format!("room{number}");
        cluster.b.join(&room).await;
        cluster.a.publish(numbered(&[&room], number)).await;
    }
    loaded.store(false, Ordering::Relaxed);
    load.await.expect("the load ends well");
    cluster.settle().await;
    cluster.b.recorder.remove(is_load);
    let expected: Vec<_> = (0..300).map(|number| format!("[\"message\",{number}]")).collect();
    assert_eq!(cluster.b.recorder.json(), expected);
}

async fn several_rooms_and_everyone_reach_every_node(cluster: Cluster) {
    cluster.a.publish(event(&["x", "y"], &["z"], r#"["several"]"#)).await;
    cluster.a.publish(event(&[], &["z"], r#"["everyone"]"#)).await;
    eventually("both", || cluster.b.recorder.broadcasts().len() == 2).await;
    let broadcasts = cluster.b.recorder.broadcasts();
    assert_eq!(*broadcasts[0], *event(&["x", "y"], &["z"], r#"["several"]"#));
    assert_eq!(*broadcasts[1], *event(&[], &["z"], r#"["everyone"]"#));
}

async fn subscribing_is_idempotent_and_per_subscriber(cluster: Cluster) {
    cluster.b.join("news").await;
    cluster.b.join("news").await;
    join(&*cluster.b.engine, &cluster.b.recorder, OTHER_SHARD, "news").await;
    cluster.b.join("sports").await;
    let rooms = || cluster.b.engine.metrics().subscriptions_confirmed;
    let before = rooms();
    // One of two leaves: the room is still wanted. The other one has been given up when the latter has.
    cluster.b.leave("news");
    cluster.b.leave("sports");
    eventually("the end of the other room", || rooms() == before - 1).await;
    cluster.a.publish(numbered(&["news"], 1)).await;
    eventually("the message", || !cluster.b.recorder.json().is_empty()).await;
    cluster.settle().await;
    assert_eq!(cluster.b.recorder.json(), [r#"["message",1]"#]);
}

async fn what_can_never_be_published_is_refused_at_once(cluster: Cluster) {
    let with_attachments = |json: &str, count| {
        let mut broadcast = (*event(&[], &[], json)).clone();
        broadcast.packet.attachments = vec![Bytes::from_static(b"1"); count];
        Arc::new(broadcast)
    };
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    for broadcast in [
        event(&[], &[], "[\"e\""),
        event(&[], &[], "[1]"),
        event(&[], &[], "[\"connect\"]"),
        event(&[], &[], &format!("[\"e\",{}{}]", "[".repeat(64), "]".repeat(64))),
        event(&[], &[], &format!("[\"e\",\"{}\"]", "x".repeat(8 << 20))),
        event(&[&"x".repeat(1025)], &[], "[\"e\"]"),
        event(&[], &["a"; 1025], "[\"e\"]"),
        with_attachments(&format!("[\"e\",{placeholder},{{\"_placeholder\":1}}]"), 1),
        with_attachments(&format!("[\"e\"{}]", format!(",{placeholder}").repeat(11)), 11),
    ] {
        let published = cluster.a.engine.publish(broadcast);
        let at_once = published.now_or_never();
        assert!(matches!(at_once, Some(Err(PublishError::Invalid(_)))), "{at_once:?}");
    }
    cluster.settle().await;
    assert_eq!(cluster.b.recorder.json(), Vec::<String>::new());
    assert_eq!(cluster.a.engine.metrics().publish_failed_total, 9);
    // The link does not matter for it.
    cluster.a.engine.shutdown().await;
    let at_once = cluster.a.engine.publish(event(&[], &[], "[1]")).now_or_never();
    assert!(matches!(at_once, Some(Err(PublishError::Invalid(_)))), "{at_once:?}");
}

async fn after_shutdown_nothing_is_published(cluster: Cluster) {
    cluster.a.engine.shutdown().await;
    assert!(cluster.a.engine.publish(numbered(&[], 1)).await.is_err());
    assert_eq!(cluster.a.engine.metrics().publish_failed_total, 1);
    cluster.b.engine.shutdown().await;
}

// What only Redis has: names of channels that others see.

impl Cluster {
    async fn redis_command<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.server.as_ref().expect("it is a cluster over Redis").command(words).await
    }

    async fn channels(&self) -> Vec<String> {
        let mut channels: Vec<String> = self.redis_command(&["PUBSUB", "CHANNELS", "socket.io#*"]).await;
        channels.sort();
        channels
    }

    async fn eventually_channels(&self, expected: &[&str]) {
        let start = std::time::Instant::now();
        while self.channels().await != expected {
            assert!(start.elapsed() < support::DEADLINE, "still {:?}", self.channels().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

on_every_driver! {
    #[tokio::test] only_wanted_rooms_are_subscribed
    #[tokio::test] each_node_is_counted_once_and_listens_for_answers
    #[tokio::test] a_node_that_does_not_answer_costs_its_own_answer_only
    #[tokio::test] without_redis_a_request_fails_at_once
    #[tokio::test] a_room_is_unsubscribed_late
    #[tokio::test] a_room_that_flaps_causes_no_traffic
    #[tokio::test] a_unicast_to_a_socket_of_the_node_arrives_once_by_the_pattern
    #[tokio::test] glob_characters_in_names_match_only_themselves
    #[tokio::test] the_plain_json_form_is_delivered
    #[tokio::test] an_emitter_in_rust_reaches_the_nodes_with_members
    #[tokio::test] namespaces_and_prefixes_are_kept_apart
    #[tokio::test] many_rooms_at_once_are_all_confirmed
}

async fn only_wanted_rooms_are_subscribed(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    cluster.b.join("news").await;
    cluster.b.join("BBBownSocket").await;
    assert_eq!(cluster.channels().await, ["socket.io#/#", "socket.io#/#news#"]);
    let patterns: u64 = cluster.redis_command(&["PUBSUB", "NUMPAT"]).await;
    assert_eq!(patterns, 2);
    let subscriptions: Vec<::redis::Value> =
        cluster.redis_command(&["PUBSUB", "NUMSUB", "socket.io#/#news#"]).await;
    assert_eq!(subscriptions[1], ::redis::Value::Int(1));
}

async fn each_node_is_counted_once_and_listens_for_answers(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let mut channels: Vec<String> = cluster.redis_command(&["PUBSUB", "CHANNELS", "socket.io-*"]).await;
    channels.sort();
    let own = ["socket.io-response#/#nodeA_#", "socket.io-response#/#nodeB_#"];
    let to_nodes = [
        "socket.io-broadgate#",
        "socket.io-broadgate#nodeA_#",
        "socket.io-broadgate#nodeB_#",
        "socket.io-broadgate#revocations#",
    ];
    let shared = ["socket.io-request#/#", "socket.io-response#/#"];
    assert_eq!(channels, [&to_nodes[..], &shared, &own].concat());
    let subscriptions: Vec<::redis::Value> =
        cluster.redis_command(&["PUBSUB", "NUMSUB", "socket.io-request#/#"]).await;
    assert_eq!(subscriptions[1], ::redis::Value::Int(2));
}

async fn a_node_that_does_not_answer_costs_its_own_answer_only(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    // Counted as a node, and silent.
    let mut silent = cluster.server.as_ref().expect("Redis").connect_pubsub().await;
    silent.subscribe("socket.io-request#/#").await.expect("Redis is there");
    let asked = tokio::spawn(cluster.a.engine.request(fetch("room")));
    cluster.b.answer(Response::Fetched(vec![SocketDetails::default()])).await;
    let answers = asked.await.expect("no panic").expect("Redis is there");
    assert_eq!((answers.expected, answers.answered, answers.responses.len()), (2, 1, 1));
    assert!(!answers.is_complete());
    assert_eq!(cluster.a.engine.metrics().requests_partial_total, 1);
    assert_eq!(cluster.a.engine.metrics().requests_pending, 0);
}

async fn without_redis_a_request_fails_at_once(driver: RedisDriver) {
    let mut cluster = Cluster::redis(driver).await;
    cluster.server.as_mut().expect("Redis").kill();
    eventually("the loss", || cluster.a.engine.metrics().subscribe_link_up == 0).await;
    eventually("the other loss", || cluster.a.engine.metrics().publish_link_up == 0).await;
    let link_down = || Err(RequestError::Publish(PublishError::LinkDown));
    assert_eq!(cluster.a.engine.request(fetch("room")).await, link_down());
    assert_eq!(cluster.a.engine.request(join_command()).await, link_down());
}

async fn a_room_is_unsubscribed_late(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    cluster.b.join("news").await;
    cluster.b.leave("news");
    assert_eq!(cluster.channels().await, ["socket.io#/#", "socket.io#/#news#"]);
    assert_eq!(cluster.b.engine.metrics().subscriptions_desired, 8);
    cluster.eventually_channels(&["socket.io#/#"]).await;
    assert_eq!(cluster.b.engine.metrics().subscriptions_confirmed, 8);

    cluster.b.join("news").await;
    cluster.a.publish(numbered(&["news"], 1)).await;
    eventually("the message", || !cluster.b.recorder.json().is_empty()).await;
}

async fn a_room_that_flaps_causes_no_traffic(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    cluster.b.join("news").await;
    let before: String = cluster.redis_command(&["INFO", "commandstats"]).await;
    for _ in 0..1000 {
        cluster.b.leave("news");
        cluster.b.join("news").await;
    }
    let after: String = cluster.redis_command(&["INFO", "commandstats"]).await;
    for command in ["cmdstat_subscribe:", "cmdstat_unsubscribe:"] {
        let line = |info: &str| info.lines().find(|line| line.starts_with(command)).map(str::to_owned);
        assert_eq!(line(&before), line(&after));
    }
}

async fn a_unicast_to_a_socket_of_the_node_arrives_once_by_the_pattern(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let socket = "BBBsocketId0123456789";
    cluster.a.publish(numbered(&[socket], 1)).await;
    // A room of that name, joined by a client, does not make a second subscription.
    cluster.b.join(socket).await;
    cluster.a.publish(numbered(&[socket], 2)).await;
    cluster.a.publish(numbered(&["AAAsocketId0123456789"], 3)).await;
    cluster.settle().await;
    assert_eq!(cluster.b.recorder.json(), [r#"["message",1]"#, r#"["message",2]"#]);
    assert_eq!(cluster.b.engine.metrics().subscriptions_desired, 8);
}

async fn glob_characters_in_names_match_only_themselves(driver: RedisDriver) {
    let server = RedisServer::start();
    let cluster = Cluster {
        a: redis_node(driver, &server, "nodeA_", "A").await,
        b: redis_node(driver, &server, "nodeB_", "[ab]*?\\").await,
        server: Some(server),
    };
    cluster.a.publish(numbered(&["a-room"], 1)).await;
    cluster.a.publish(numbered(&["[ab]*?\\socket"], 2)).await;
    cluster.settle().await;
    assert_eq!(cluster.b.recorder.json(), [r#"["message",2]"#]);
}

async fn the_plain_json_form_is_delivered(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    cluster.b.join("news").await;
    let text = r#"{"event":"headline","data":{"title":"hi"},"except":"muted","volatile":true}"#;
    let receivers: u64 = cluster.redis_command(&["PUBLISH", "socket.io#/#news#", text]).await;
    assert_eq!(receivers, 1);
    eventually("the message", || !cluster.b.recorder.broadcasts().is_empty()).await;
    let broadcast = &cluster.b.recorder.broadcasts()[0];
    assert_eq!(&*broadcast.packet.json, r#"["headline",{"title":"hi"}]"#);
    assert_eq!(broadcast.rooms, [Box::<str>::from("news")]);
    assert_eq!(broadcast.except, [Box::<str>::from("muted")]);
    assert!(broadcast.flags.volatile);
}

async fn an_emitter_in_rust_reaches_the_nodes_with_members(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    cluster.b.join("news").await;
    let url = cluster.server.as_ref().expect("it has a server").url();
    let to_room = emitter::publish_once(&url, "socket.io", &numbered(&["news"], 1)).await;
    assert_eq!(to_room.expect("it is published"), 1);
    let to_all = emitter::publish_once(&url, "socket.io", &numbered(&[], 2)).await;
    assert_eq!(to_all.expect("it is published"), 2);
    eventually("both", || cluster.b.recorder.json().len() == 2).await;
    eventually("the second", || cluster.a.recorder.json() == [r#"["message",2]"#]).await;
}

async fn namespaces_and_prefixes_are_kept_apart(driver: RedisDriver) {
    let server = RedisServer::start();
    let recorder = Arc::new(Recorder::default());
    let config = RedisConfig {
        namespaces: vec!["/".into(), "/chat".into()],
        ..redis_config(driver, &server, "nodeB_", "B")
    };
    let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the configuration is usable");
    eventually("all subscriptions", || engine.metrics().subscriptions_confirmed == 13).await;
    let in_chat = |json: &str| Broadcast { namespace: "/chat".into(), ..(*event(&[], &[], json)).clone() };
    let url = server.url();
    for (prefix, broadcast) in [("other", in_chat("[\"no\"]")), ("socket.io", in_chat("[\"yes\"]"))] {
        emitter::publish_once(&url, prefix, &broadcast).await.expect("it is published");
    }
    eventually("the message", || !recorder.broadcasts().is_empty()).await;
    assert_eq!(*recorder.broadcasts()[0], in_chat("[\"yes\"]"));
}

async fn many_rooms_at_once_are_all_confirmed(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let namespace = Arc::from("/");
    for number in 0..20_000 {
        cluster.b.engine.subscribe(SHARD, &namespace, &Arc::from(format!("room{number}")));
    }
    let is_subscribed = |event: &Event| matches!(event, Event::Subscribed { .. });
    eventually("all confirmations", || cluster.b.recorder.count(is_subscribed) == 20_000).await;
    assert_eq!(cluster.b.engine.metrics().subscriptions_confirmed, 20_008);
}
