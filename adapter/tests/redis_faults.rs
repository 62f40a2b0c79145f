//! The Redis engine against a server that dies, hangs, cuts links, refuses, and passes on rubbish.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use broadgate_adapter::{
    Engine, Event, EventSink, PublishError, RedisConfig, RedisDriver, RedisEngine, StartError, SubscriberId,
    redis::EndpointError, wire::Limits,
};
use futures_util::FutureExt;
use support::{
    DEADLINE, Recorder, event, eventually, eventually_async, join, log::Log, numbered, on_every_driver,
    redis_server::RedisServer,
};

const SHARD: SubscriberId = SubscriberId(1);

struct Node {
    engine: Arc<RedisEngine>,
    recorder: Arc<Recorder>,
}

fn config(driver: RedisDriver, url: String, uid: &str, node_prefix: &str) -> RedisConfig {
    RedisConfig { driver, ..RedisConfig::new(url, uid, node_prefix) }
}

fn start(driver: RedisDriver, server: &RedisServer, uid: &str) -> Node {
    let config = RedisConfig {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_secs(5),
        publish_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        ..config(driver, server.url(), uid, uid)
    };
    start_with(config)
}

fn start_with(config: RedisConfig) -> Node {
    let recorder = Arc::new(Recorder::default());
    let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the configuration is usable");
    Node { engine, recorder }
}

impl Node {
    async fn ready(&self) {
        eventually("both links and all subscriptions", || {
            let metrics = self.engine.metrics();
            metrics.publish_link_up == 1
                && metrics.subscribe_link_up == 1
                && metrics.subscriptions_confirmed == metrics.subscriptions_desired
        })
        .await;
    }

    fn links_lost(&self) -> usize {
        self.recorder.count(|event| matches!(event, Event::LinkLost { .. }))
    }
}

/// Publishes numbers to the room `load` until stopped, and counts what failed.
struct Load {
    running: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(engine: &Arc<RedisEngine>) -> Self {
        let (running, failed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let task = {
            let (engine, running, failed) = (Arc::clone(engine), Arc::clone(&running), Arc::clone(&failed));
            tokio::spawn(async move {
                let mut number = 0;
                while running.load(Ordering::Relaxed) {
                    let publishes: Vec<_> = (0..32)
                        .map(|_| {
                            number += 1;
                            engine.publish(numbered(&["load"], number))
                        })
                        .collect();
                    for publish in publishes {
                        failed.fetch_add(publish.await.is_err().into(), Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        };
        Self { running, failed, task }
    }

    async fn stop(self) {
        self.running.store(false, Ordering::Relaxed);
        self.task.await.expect("the load ends well");
    }
}

/// What arrived keeps its order, and nothing twice.
fn assert_each_once_in_order(recorder: &Recorder) {
    let numbers: Vec<u64> = recorder
        .json()
        .iter()
        .filter_map(|json| json.strip_prefix("[\"message\",")?.strip_suffix(']')?.parse().ok())
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "a message came twice or late");
}

/// Both nodes get each other's messages again.
async fn assert_working(a: &Node, b: &Node) {
    for (from, to, name) in [(a, b, "a to b"), (b, a, "b to a")] {
        let json = format!("[\"{name}\"]");
        let start = Instant::now();
        // The loss of a link may not even be noticed yet: what is published until then fails, or nobody takes it.
        while !to.recorder.json().contains(&json) {
            assert!(start.elapsed() < DEADLINE, "{name}: nothing arrives");
            let _lost = from.engine.publish(event(&["load"], &[], &json)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// After an outage or more: the node was told of each, and everything is subscribed again.
async fn eventually_recovered(node: &Node, outages: usize) {
    eventually("the gap", || node.recorder.gaps_ms().len() >= outages).await;
    node.ready().await;
    eventually("a gap for each new link", || {
        let metrics = node.engine.metrics();
        metrics.gaps_total == metrics.reconnects_total
            && metrics.gaps_total == node.recorder.gaps_ms().len() as u64
    })
    .await;
}

async fn two_nodes_in_one_room(driver: RedisDriver, server: &RedisServer) -> (Node, Node) {
    let nodes = (start(driver, server, "nodeA_"), start(driver, server, "nodeB_"));
    for node in [&nodes.0, &nodes.1] {
        node.ready().await;
        join(&*node.engine, &node.recorder, SHARD, "load").await;
    }
    nodes
}

on_every_driver! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_server_that_is_killed_and_started_again_is_found_again
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_server_that_hangs_is_noticed_and_found_again
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] links_that_are_cut_come_back
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_node_that_is_late_with_messages_keeps_its_link
    #[tokio::test] an_engine_starts_before_its_server
    #[tokio::test] the_queue_to_a_server_that_hangs_is_bounded
    #[tokio::test] what_is_queued_for_a_server_that_hangs_fails_and_is_not_sent_later
    #[tokio::test] a_link_that_is_cut_is_noticed_at_once
    #[tokio::test] thousands_of_rooms_are_subscribed_again_in_batches
    #[tokio::test] a_link_that_flaps_does_not_fill_the_log
    #[tokio::test] the_base_is_subscribed_before_the_node_says_so_and_events_of_a_link_come_after_the_loss_of_the_last
    #[tokio::test] rooms_that_nobody_wants_any_more_are_bounded
    #[tokio::test] what_is_too_large_is_refused_by_the_publisher
    #[tokio::test] malformed_messages_are_counted_and_skipped_and_valid_ones_still_arrive
    #[tokio::test] a_wrong_password_is_told_without_the_password
}

async fn a_server_that_is_killed_and_started_again_is_found_again(driver: RedisDriver) {
    let mut server = RedisServer::start();
    let (a, b) = two_nodes_in_one_room(driver, &server).await;
    let load = Load::start(&a.engine);
    eventually("load", || b.recorder.json().len() > 100).await;

    server.kill();
    for node in [&a, &b] {
        eventually("the loss", || node.links_lost() == 1 && node.engine.metrics().publish_link_up == 0).await;
        assert_eq!(node.engine.metrics().subscribe_link_up, 0);
        assert_eq!(node.engine.metrics().subscriptions_confirmed, 0);
    }
    assert_eq!(b.engine.publish(numbered(&[], 0)).await, Err(PublishError::LinkDown));
    // What is wanted during the outage is confirmed after it; what was wanted is told again.
    b.engine.subscribe(SHARD, &Arc::from("/"), &Arc::from("later"));
    b.engine.subscribe(SHARD, &Arc::from("/"), &Arc::from("nodeB_socket"));
    b.engine.subscribe(SHARD, &Arc::from("/"), &Arc::from("given up"));
    b.engine.unsubscribe(SHARD, &Arc::from("/"), &Arc::from("given up"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(b.recorder.subscribed(SHARD, "later"), 0);

    server.restart();
    for node in [&a, &b] {
        eventually_recovered(node, 1).await;
        assert!(node.recorder.gaps_ms()[0] >= 400, "{:?}", node.recorder.gaps_ms());
    }
    eventually("the later room", || b.recorder.subscribed(SHARD, "later") == 1).await;
    eventually("the socket's room", || b.recorder.subscribed(SHARD, "nodeB_socket") == 1).await;
    assert_eq!(b.recorder.subscribed(SHARD, "given up"), 0);
    assert_eq!(b.recorder.subscribed(SHARD, "load"), 2, "once for each link");
    assert_working(&a, &b).await;
    assert!(load.failed.load(Ordering::Relaxed) > 0, "publishes failed meanwhile");
    load.stop().await;
    assert_each_once_in_order(&b.recorder);
}

async fn a_server_that_hangs_is_noticed_and_found_again(driver: RedisDriver) {
    let server = RedisServer::start();
    let (a, b) = two_nodes_in_one_room(driver, &server).await;
    let load = Load::start(&a.engine);
    eventually("load", || b.recorder.json().len() > 100).await;

    server.pause();
    for node in [&a, &b] {
        eventually("the loss", || node.links_lost() == 1 && node.engine.metrics().publish_link_up == 0).await;
    }
    assert_eq!(a.engine.publish(numbered(&[], 0)).await, Err(PublishError::LinkDown));
    server.resume();

    for node in [&a, &b] {
        eventually_recovered(node, 1).await;
    }
    assert_working(&a, &b).await;
    load.stop().await;
    assert_each_once_in_order(&b.recorder);
}

async fn links_that_are_cut_come_back(driver: RedisDriver) {
    let server = RedisServer::start();
    let (a, b) = two_nodes_in_one_room(driver, &server).await;
    let load = Load::start(&a.engine);
    for round in 1..=5 {
        let arrived = b.recorder.json().len();
        eventually("load", || b.recorder.json().len() > arrived + 100).await;
        let cut: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(cut, 2, "one subscribe link of each node");
        for node in [&a, &b] {
            eventually_recovered(node, round).await;
        }
    }
    // The publish links, too.
    let failed = load.failed.load(Ordering::Relaxed);
    // Again where nothing was on its way just then.
    eventually_async("the loss", async || {
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        load.failed.load(Ordering::Relaxed) > failed
    })
    .await;
    load.stop().await;
    assert_working(&a, &b).await;
    assert_each_once_in_order(&b.recorder);
}

/// Takes its time for every message.
struct SlowSink(Recorder);

impl EventSink for SlowSink {
    fn deliver(&self, event: Event) {
        if matches!(event, Event::Broadcast(..)) {
            std::thread::sleep(Duration::from_micros(500));
        }
        self.0.deliver(event);
    }
}

async fn a_node_that_is_late_with_messages_keeps_its_link(driver: RedisDriver) {
    let server = RedisServer::start();
    let a = start(driver, &server, "nodeA_");
    let sink = Arc::new(SlowSink(Recorder::default()));
    let config = RedisConfig {
        ping_interval: Duration::from_millis(20),
        ping_timeout: Duration::from_secs(1),
        ..config(driver, server.url(), "nodeB_", "nodeB_")
    };
    let late = RedisEngine::start(config, Arc::clone(&sink) as _).expect("the configuration is usable");
    a.ready().await;
    join(&*late, &sink.0, SHARD, "load").await;
    // Two seconds behind, again and again: any answer to PING comes too late.
    let mut sent = 0;
    while sent < 12_000 {
        for publish in
            (0..100).map(|step| a.engine.publish(numbered(&["load"], sent + step))).collect::<Vec<_>>()
        {
            publish.await.expect("Redis is there");
        }
        sent += 100;
        eventually("some of it", || sink.0.json().len() + 4000 >= sent).await;
    }
    eventually("the rest", || sink.0.json().len() == sent).await;
    assert_each_once_in_order(&sink.0);
    assert_eq!(sink.0.count(|event| matches!(event, Event::LinkLost { .. })), 0);
}

async fn an_engine_starts_before_its_server(driver: RedisDriver) {
    let mut server = RedisServer::start();
    server.kill();
    let node = start(driver, &server, "nodeA_");
    node.engine.subscribe(SHARD, &Arc::from("/"), &Arc::from("news"));
    assert_eq!(node.engine.publish(numbered(&[], 0)).await, Err(PublishError::LinkDown));
    server.restart();
    eventually("the room", || node.recorder.subscribed(SHARD, "news") == 1).await;
    // Nothing was connected before, so nothing can be missing.
    assert!(node.recorder.gaps_ms().is_empty());
}

async fn the_queue_to_a_server_that_hangs_is_bounded(driver: RedisDriver) {
    let server = RedisServer::start();
    let config =
        RedisConfig { max_publish_queue_bytes: 1 << 20, ..config(driver, server.url(), "nodeA_", "A") };
    let node = start_with(config);
    node.ready().await;
    server.pause();
    let large = event(&[], &[], &format!("[\"large\",\"{}\"]", "x".repeat(100_000)));
    let mut publishes: Vec<_> = (0..20).map(|_| node.engine.publish(Arc::clone(&large))).collect();
    assert_eq!(publishes.pop().expect("there are some").await, Err(PublishError::QueueFull));
    server.resume();
    let mut taken = 0;
    for publish in publishes {
        taken += usize::from(publish.await.is_ok());
    }
    assert_eq!(taken, 10);
    // The bytes are free again.
    node.engine.publish(large).await.expect("there is room");
}

async fn what_is_queued_for_a_server_that_hangs_fails_and_is_not_sent_later(driver: RedisDriver) {
    let server = RedisServer::start();
    let (a, b) = two_nodes_in_one_room(driver, &server).await;
    server.pause();
    // More than the batches in flight take.
    let text = "x".repeat(100_000);
    let publishes: Vec<_> = (0..300)
        .map(|number| a.engine.publish(event(&[], &[], &format!("[\"late\",{number},\"{text}\"]"))))
        .collect();
    for publish in publishes {
        let answer =
            tokio::time::timeout(DEADLINE, publish).await.expect("it is answered though the server hangs");
        assert!(answer.is_err(), "nobody took it");
    }
    assert_eq!(a.engine.metrics().publish_failed_total, 300);
    server.resume();
    assert_working(&a, &b).await;
    // What was on its way may have arrived; the last ones were only queued.
    assert!(!b.recorder.json().iter().any(|json| json.starts_with("[\"late\",299,")));
}

async fn a_link_that_is_cut_is_noticed_at_once(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start();
    let hour = Duration::from_secs(3600);
    let node = start_with(RedisConfig { ping_interval: hour, ..config(driver, server.url(), "nodeA_", "A") });
    node.ready().await;
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually_recovered(&node, 1).await;
    for text in ["gap", "is lost"] {
        assert_eq!(log.lines_with(text).len(), 1, "{:?}", log.lines_with(text));
    }
}

/// A command for each of them would be 5,000 for each node of a cluster, all at the moment when Redis comes back.
async fn thousands_of_rooms_are_subscribed_again_in_batches(driver: RedisDriver) {
    const ROOMS: usize = 5_000;
    let mut server = RedisServer::start();
    let node = start(driver, &server, "nodeA_");
    node.ready().await;
    let namespace = Arc::from("/");
    for number in 0..ROOMS {
        node.engine.subscribe(SHARD, &namespace, &Arc::from(format!("room{number}")));
    }
    node.ready().await;
    server.kill();
    eventually("the loss", || node.links_lost() == 1).await;
    server.restart();
    eventually_recovered(&node, 1).await;

    let statistics: String = server.command(&["INFO", "commandstats"]).await;
    let commands =
        statistics.lines().find_map(|line| line.strip_prefix("cmdstat_subscribe:calls=")?.split(',').next());
    let commands: usize = commands.expect("it subscribed").parse().expect("a number");
    // Those of each node come in one command, 5,000 rooms in ten, and a link may have been lost once more.
    assert!((10..=24).contains(&commands), "{commands} commands");
    for number in [0, 2_500, ROOMS - 1] {
        let channel = format!("socket.io#/#room{number}#");
        let receivers: u64 = server.command(&["PUBLISH", &channel, r#"{"event":"e"}"#]).await;
        assert_eq!(receivers, 1, "{channel}");
    }
}

async fn a_link_that_flaps_does_not_fill_the_log(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start();
    let node = start(driver, &server, "nodeA_");
    node.ready().await;
    for round in 1..=8 {
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        eventually_recovered(&node, round).await;
    }
    // A loaded machine may take longer than the window of the bound.
    let lines = log.lines_with("Redis").len() + log.lines_with("gap").len();
    assert!((4..=20).contains(&lines), "{lines} lines");
}

async fn the_base_is_subscribed_before_the_node_says_so_and_events_of_a_link_come_after_the_loss_of_the_last(
    driver: RedisDriver,
) {
    let server = RedisServer::start();
    let node = start(driver, &server, "nodeA_");
    assert_eq!(node.engine.metrics().ever_subscribed, 0);
    eventually("the base", || node.engine.metrics().ever_subscribed == 1).await;
    let receivers: u64 = server.command(&["PUBLISH", "socket.io#/#nodeA_socket#", r#"{"event":"e"}"#]).await;
    assert_eq!(receivers, 1);
    let receivers: u64 = server.command(&["PUBLISH", "socket.io#/#", r#"{"event":"e"}"#]).await;
    assert_eq!(receivers, 1);

    join(&*node.engine, &node.recorder, SHARD, "news").await;
    node.recorder.remove(|_| true);
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually("the loss", || node.links_lost() == 1).await;
    assert_eq!(node.engine.metrics().ever_subscribed, 1, "it stays");
    eventually_recovered(&node, 1).await;
    assert_eq!(node.engine.metrics().base_subscribed, 1);
    let told = node.recorder.names();
    assert_eq!(told, ["LinkLost", "Subscribed", "Gap"]);
}

async fn rooms_that_nobody_wants_any_more_are_bounded(driver: RedisDriver) {
    let server = RedisServer::start();
    let node = start_with(RedisConfig {
        unsubscribe_delay: Duration::from_secs(3600),
        max_idle_subscriptions: 10,
        ping_interval: Duration::from_millis(20),
        ..config(driver, server.url(), "nodeA_", "A")
    });
    node.ready().await;
    let base = node.engine.metrics().subscriptions_confirmed;
    for number in 0..200 {
        let room = format!("room{number}");
        join(&*node.engine, &node.recorder, SHARD, &room).await;
        node.engine.unsubscribe(SHARD, &Arc::from("/"), &Arc::from(room));
    }
    eventually("the bound", || {
        let metrics = node.engine.metrics();
        metrics.subscriptions_idle == 10 && metrics.subscriptions_confirmed == base + 10
    })
    .await;
}

async fn what_is_too_large_is_refused_by_the_publisher(driver: RedisDriver) {
    let server = RedisServer::start();
    let limits = Limits { max_message_bytes: 1000, ..Limits::default() };
    let node = start_with(RedisConfig { limits, ..config(driver, server.url(), "nodeA_", "A") });
    node.ready().await;
    let large = event(&[], &[], &format!("[\"large\",\"{}\"]", "x".repeat(1000)));
    let published = node.engine.publish(large);
    let at_once = published.now_or_never();
    assert!(matches!(at_once, Some(Err(PublishError::Invalid(_)))), "{at_once:?}");
}

/// Every one is refused; several would crash or wedge a Node.js server (wire.md 3.1).
const MALFORMED: &[&[u8]] = &[
    b"",
    b"junk",
    b"\xc1",
    b"\x80",
    b"\x93",
    b"\x93\xa1x\x80\x80",
    b"\x92\x82\xa4type\x02\xa4data\x91\xa1e\x80",
    b"\x93\xa1x\x82\xa4type\x02\xa4data\x91\xa1e\xc0",
    b"\x93\xa1x\x82\xa4type\x02\xa4data\x90\x80",
    b"\x93\xa1x\x82\xa4type\x02\xa4data\x91\xaadisconnect\x80",
    b"\x93\xa1x\x82\xa4type\x03\xa4data\x91\xa1e\x80",
    b"\x93\xa1x\x82\xa4type\x02\xa4data\x91\xa1e\x80\x00",
    b"\x93\xa1x\x82\xa4type\x02\xa4data\xdd\xff\xff\xff\xff\xa1e\x80",
    b"{",
    b"{}",
    b"{\"event\":\"x\",\"dta\":1}",
    b"{\"event\":\"connect\"}",
    b"{\"event\":\"x\",\"data\":1,\"args\":[2]}",
    b"{\"event\":\"\xff\"}",
    b"[\"event\"]",
];

async fn malformed_messages_are_counted_and_skipped_and_valid_ones_still_arrive(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start();
    let node = start(driver, &server, "nodeA_");
    node.ready().await;
    join(&*node.engine, &node.recorder, SHARD, "news").await;

    let mut client = server.connect().await;
    let channels =
        ["socket.io#/#", "socket.io#/#news#", "socket.io#/#nodeA_socket#", "socket.io#/#nodeA_socket"];
    let mut sent = 0;
    for channel in channels {
        for payload in MALFORMED {
            let receivers: u64 = ::redis::cmd("PUBLISH")
                .arg(channel)
                .arg(*payload)
                .query_async(&mut client)
                .await
                .expect("Redis takes anything");
            assert_eq!(receivers, 1, "{channel}");
            sent += 1;
        }
    }
    for channel in &channels[..3] {
        let _: u64 = ::redis::cmd("PUBLISH")
            .arg(*channel)
            .arg(r#"{"event":"valid"}"#)
            .query_async(&mut client)
            .await
            .expect("Redis takes it");
    }
    eventually("the valid ones", || node.recorder.json().len() == 3).await;
    assert_eq!(node.engine.metrics().malformed_total, sent);
    assert_eq!(node.links_lost(), 0);
    let lines = log.lines_with("malformed");
    assert!((1..=10).contains(&lines.len()), "{} lines", lines.len());
}

async fn a_wrong_password_is_told_without_the_password(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start_with_password("rightSecret");
    let url = |password: &str| server.url().replace("redis://", &format!("redis://:{password}@"));
    let wrong = start_with(config(driver, url("wrongSecret"), "nodeA_", "A"));
    eventually("a line for each link", || log.lines_with("WRONGPASS").len() >= 2).await;
    assert_eq!(wrong.engine.publish(numbered(&[], 0)).await, Err(PublishError::LinkDown));
    let missing = start_with(config(driver, server.url(), "nodeB_", "B"));
    eventually("a line for each link", || log.lines_with("NOAUTH").len() >= 2).await;

    let right = start_with(config(driver, url("rightSecret"), "nodeC_", "C"));
    right.ready().await;
    assert_eq!(log.lines_with("Secret"), Vec::<String>::new());
    assert!(!format!("{:?}", config(driver, url("rightSecret"), "nodeC_", "C")).contains("Secret"));
    for node in [wrong, missing, right] {
        node.engine.shutdown().await;
    }
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused_at_the_start() {
    let valid = || RedisConfig::new("redis://127.0.0.1", "nodeA_", "A");
    let namespaces = |name: &str| RedisConfig { namespaces: vec![name.into()], ..valid() };
    for (config, expected) in [
        (
            RedisConfig::new("redis://:hiddenSecret@host:notAPort", "nodeA_", "A"),
            StartError::Url(EndpointError::Port),
        ),
        (
            RedisConfig::new("http://:hiddenSecret@host", "nodeA_", "A"),
            StartError::Url(EndpointError::Scheme),
        ),
        (RedisConfig::new("", "nodeA_", "A"), StartError::Url(EndpointError::Scheme)),
        (RedisConfig { prefix: "a#b".into(), ..valid() }, StartError::Prefix),
        (RedisConfig { uid: "emitter".into(), ..valid() }, StartError::Uid),
        (RedisConfig { uid: String::new(), ..valid() }, StartError::Uid),
        (namespaces("chat"), StartError::Namespace("chat".into())),
        (namespaces("/a#b"), StartError::Namespace("/a#b".into())),
    ] {
        let error = RedisEngine::start(config, Arc::new(Recorder::default())).err().expect("it is refused");
        assert!(!error.to_string().contains("hiddenSecret"));
        assert_eq!(error, expected);
    }
}
