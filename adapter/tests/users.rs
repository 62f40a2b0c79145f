//! What nodes share about users: tokens that count no more, and how many connections somebody has.

mod support;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use broadgate_adapter::{
    Engine, Event, MemoryBus, MemoryEngine, PublishError, RedisConfig, RedisDriver, RedisEngine, Revocation,
    RevocationChange, RevocationSubject, USER_COUNT_LIFETIME, redis::Login,
};
use support::{
    Recorder, eventually, eventually_async, log::Log, on_every_driver, on_every_engine,
    redis_server::RedisServer,
};

const KEY: &str = "{socket.io}-broadgate#revocations";
const LIFTED_KEY: &str = "{socket.io}-broadgate#revocations#lifted";
const CHANNEL: &str = "socket.io-broadgate#revocations#";

struct Node {
    engine: Arc<dyn Engine>,
    recorder: Arc<Recorder>,
}

impl Node {
    /// What the node was told, in order; each once, as a node may be told again when it reads what is kept.
    fn told(&self) -> Vec<RevocationChange> {
        let mut told: Vec<RevocationChange> = Vec::new();
        let change = |event: &Event| match event {
            Event::Revocation(change) => Some(change.clone()),
            _ => None,
        };
        for change in self.recorder.map(change) {
            if !told.contains(&change) {
                told.push(change);
            }
        }
        told
    }

    /// What it was told to have been lifted while it could not hear of it.
    fn lifts_missed(&self) -> Vec<Revocation> {
        self.recorder.map(|event| match event {
            Event::LiftMissed(revocation) => Some(revocation.clone()),
            _ => None,
        })
    }

    async fn eventually_told(&self, expected: &[RevocationChange]) {
        eventually("the revocations", || self.told().len() >= expected.len()).await;
        assert_eq!(self.told(), expected);
    }

    async fn count(&self, user: &str, own: u32) -> Result<u64, PublishError> {
        self.engine.count_user(&Arc::from(user), own).await
    }
}

enum Place {
    Memory(MemoryBus),
    Redis(RedisDriver, RedisServer),
}

/// Two nodes, and what keeps them connected.
struct Cluster {
    a: Node,
    b: Node,
    place: Place,
}

impl Cluster {
    fn memory() -> Self {
        let bus = MemoryBus::new();
        let (a, b) = (on_bus(&bus, "nodeA_"), on_bus(&bus, "nodeB_"));
        Self { a, b, place: Place::Memory(bus) }
    }

    async fn redis(driver: RedisDriver) -> Self {
        let server = RedisServer::start();
        let a = on_redis_server(config(driver, &server, "nodeA_")).await;
        let b = on_redis_server(config(driver, &server, "nodeB_")).await;
        let cluster = Self { a, b, place: Place::Redis(driver, server) };
        eventually("both know each other", || {
            cluster.a.engine.nodes().len() == 1 && cluster.b.engine.nodes().len() == 1
        })
        .await;
        cluster
    }

    /// Starts a third node.
    async fn join(&self) -> Node {
        match &self.place {
            Place::Memory(bus) => on_bus(bus, "nodeC_"),
            Place::Redis(driver, server) => on_redis_server(config(*driver, server, "nodeC_")).await,
        }
    }

    fn server(&self) -> &RedisServer {
        match &self.place {
            Place::Redis(_, server) => server,
            Place::Memory(_) => unreachable!("a test of what Redis holds"),
        }
    }
}

fn on_bus(bus: &MemoryBus, name: &str) -> Node {
    let recorder = Arc::new(Recorder::default());
    Node { engine: MemoryEngine::start(bus, name, Arc::clone(&recorder) as _), recorder }
}

fn config(driver: RedisDriver, server: &RedisServer, uid: &str) -> RedisConfig {
    RedisConfig {
        driver,
        hello_interval: Duration::from_millis(200),
        ping_interval: Duration::from_millis(100),
        // Longer than a busy machine's pauses.
        publish_timeout: Duration::from_secs(20),
        ping_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(1),
        ..RedisConfig::new(server.url(), uid, uid)
    }
}

async fn on_redis_server(config: RedisConfig) -> Node {
    let recorder = Arc::new(Recorder::default());
    let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the configuration is usable");
    eventually("the links of a node", || {
        let metrics = engine.metrics();
        metrics.publish_link_up == 1 && metrics.base_subscribed == 1 && metrics.announced == 1
    })
    .await;
    Node { engine, recorder }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Has something in force of which nobody is told.
async fn keep_by_hand(server: &RedisServer, name: &str) -> RevocationChange {
    let until_s = now_s() + 3600;
    let text = format!(r#"{{"user":"{name}","until_s":{until_s}}}"#);
    let _: u64 = server.command(&["ZADD", KEY, &until_s.to_string(), &text]).await;
    RevocationChange::Revoke(Revocation { until_s, subject: user(name), issued_before_s: None })
}

/// A user of Redis who can be locked out, so that a node is away for as long as a test wants.
async fn make_user(server: &RedisServer, name: &str) -> Login {
    let rules = ["ACL", "SETUSER", name, "on", ">secret", "+@all", "allkeys", "allchannels"];
    let () = server.command(&rules).await;
    Login::new(Some(name), "secret")
}

async fn lock_out(server: &RedisServer, node: &Node, name: &str) {
    let () = server.command(&["ACL", "SETUSER", name, "off"]).await;
    // Two links, or more where a driver has one of its own.
    let _cut: u64 = server.command(&["CLIENT", "KILL", "USER", name]).await;
    eventually("its links are lost", || {
        let metrics = node.engine.metrics();
        metrics.publish_link_up == 0 && metrics.subscribe_link_up == 0
    })
    .await;
}

async fn let_in(server: &RedisServer, name: &str) {
    let () = server.command(&["ACL", "SETUSER", name, "on"]).await;
}

fn user(name: &str) -> RevocationSubject {
    RevocationSubject::User(name.into())
}

fn revoke(subject: RevocationSubject) -> RevocationChange {
    RevocationChange::Revoke(Revocation { until_s: now_s() + 3600, subject, issued_before_s: Some(7) })
}

on_every_engine! {
    a_revocation_reaches_every_node_and_the_sender
    a_node_that_starts_later_knows_what_is_in_force
    what_is_lifted_is_in_force_nowhere
    connections_of_a_user_are_counted_over_all_nodes
    a_node_that_ends_takes_its_connections_with_it
    after_shutdown_nothing_is_revoked_or_counted
}

async fn a_revocation_reaches_every_node_and_the_sender(cluster: Cluster) {
    let changes = [revoke(user("alice")), revoke(RevocationSubject::Token("4b1f".into()))];
    for change in &changes {
        cluster.a.engine.revoke(change.clone()).await.expect("it is taken");
    }
    for node in [&cluster.a, &cluster.b] {
        node.eventually_told(&changes).await;
        assert_eq!(node.engine.metrics().revocations_received_total, 2);
    }
}

async fn a_node_that_starts_later_knows_what_is_in_force(cluster: Cluster) {
    let change = revoke(user("alice"));
    cluster.a.engine.revoke(change.clone()).await.expect("it is taken");
    cluster.join().await.eventually_told(&[change]).await;
}

async fn what_is_lifted_is_in_force_nowhere(cluster: Cluster) {
    let (alice, bob) = (revoke(user("alice")), revoke(user("bob")));
    let again = RevocationChange::Revoke(Revocation {
        until_s: now_s() + 60,
        subject: user("alice"),
        issued_before_s: None,
    });
    let lift = RevocationChange::Lift(user("alice"));
    let changes = [alice, again, bob.clone(), lift];
    for change in &changes {
        cluster.a.engine.revoke(change.clone()).await.expect("it is taken");
    }
    for node in [&cluster.a, &cluster.b] {
        node.eventually_told(&changes).await;
    }
    cluster.join().await.eventually_told(&[bob]).await;
}

async fn connections_of_a_user_are_counted_over_all_nodes(cluster: Cluster) {
    let Cluster { a, b, .. } = &cluster;
    assert_eq!(a.count("alice", 2).await, Ok(2));
    assert_eq!(b.count("alice", 3).await, Ok(5));
    assert_eq!(b.count("bob", 1).await, Ok(1));
    // A number stands for itself: it is the same whether it is told once or more.
    assert_eq!(a.count("alice", 2).await, Ok(5));
    assert_eq!(a.count("alice", 0).await, Ok(3));
    b.engine.tell_user_count(&Arc::from("alice"), 7).expect("it is queued");
    assert_eq!(b.count("bob", 1).await, Ok(1), "what was queued before is told by now");
    assert_eq!(a.count("alice", 1).await, Ok(8));
}

async fn a_node_that_ends_takes_its_connections_with_it(cluster: Cluster) {
    let Cluster { a, b, .. } = &cluster;
    assert_eq!(b.count("alice", 3).await, Ok(3));
    assert_eq!(a.count("alice", 1).await, Ok(4));
    b.engine.shutdown().await;
    eventually_async("the end of the other's", async || a.count("alice", 1).await == Ok(1)).await;
}

async fn after_shutdown_nothing_is_revoked_or_counted(cluster: Cluster) {
    cluster.a.engine.shutdown().await;
    assert_eq!(cluster.a.engine.revoke(revoke(user("alice"))).await, Err(PublishError::LinkDown));
    assert_eq!(cluster.a.count("alice", 1).await, Err(PublishError::LinkDown));
    assert_eq!(cluster.b.told(), []);
}

// What only Redis has: what others publish, what it keeps, and that it may be away or not be for everyone.

on_every_driver! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_backend_revokes_with_a_plain_publish
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] what_is_no_revocation_is_counted
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] what_was_missed_is_read_on_the_next_link
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_lift_that_was_missed_is_told_on_the_next_link
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] what_redis_has_lost_is_not_lifted
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] what_was_told_before_an_outage_is_kept_after_it
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] thousands_are_read_in_pages
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] what_is_over_does_not_stay_in_redis
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] while_redis_is_away_it_is_said_at_once
    #[tokio::test] a_node_without_permission_for_keys_goes_on_without
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_node_that_died_counts_until_it_is_lost
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] numbers_end_by_themselves
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_key_that_is_something_else_harms_only_its_user
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] a_hello_that_comes_back_says_that_messages_get_through
}

async fn a_backend_revokes_with_a_plain_publish(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let until_s = now_s() + 3600;
    let text = format!(r#"{{"user":"alice","until_s":{until_s}}}"#);
    let receivers: u64 = cluster.server().command(&["PUBLISH", CHANNEL, &text]).await;
    assert_eq!(receivers, 2);
    let change =
        RevocationChange::Revoke(Revocation { until_s, subject: user("alice"), issued_before_s: None });
    for node in [&cluster.a, &cluster.b] {
        node.eventually_told(std::slice::from_ref(&change)).await;
    }
    let kept = async || {
        let entries: Vec<String> = cluster.server().command(&["ZRANGE", KEY, "0", "-1", "WITHSCORES"]).await;
        entries
    };
    eventually_async("it is kept", async || kept().await == [text.clone(), until_s.to_string()]).await;
    cluster.join().await.eventually_told(&[change]).await;

    let lift = r#"{"user":"alice","lifted":true}"#;
    let _: u64 = cluster.server().command(&["PUBLISH", CHANNEL, lift]).await;
    eventually("the lift", || cluster.a.told().last() == Some(&RevocationChange::Lift(user("alice")))).await;
    eventually_async("it is kept no more", async || kept().await.is_empty()).await;
}

async fn what_is_no_revocation_is_counted(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    for text in ["", "{}", "junk", r#"{"user":"alice"}"#, r#"{"user":"alice","until":1}"#] {
        let receivers: u64 = cluster.server().command(&["PUBLISH", CHANNEL, text]).await;
        assert_eq!(receivers, 2);
    }
    let _: u64 = cluster.server().command(&["ZADD", KEY, "9999999999", "junk"]).await;
    let change = revoke(user("alice"));
    cluster.a.engine.revoke(change.clone()).await.expect("it is taken");
    for node in [&cluster.a, &cluster.b] {
        node.eventually_told(std::slice::from_ref(&change)).await;
        assert_eq!(node.engine.metrics().malformed_total, 5);
    }
    let later = cluster.join().await;
    later.eventually_told(&[change]).await;
    assert_eq!(later.engine.metrics().malformed_total, 1, "what was kept");
}

async fn what_was_missed_is_read_on_the_next_link(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    // Nobody is told of it now.
    let until_s = now_s() + 3600;
    let text = format!(r#"{{"token_id":"4b1f","until_s":{until_s}}}"#);
    let _: u64 = cluster.server().command(&["ZADD", KEY, &until_s.to_string(), &text]).await;
    let _: u64 = cluster.server().command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let subject = RevocationSubject::Token("4b1f".into());
    let change = RevocationChange::Revoke(Revocation { until_s, subject, issued_before_s: None });
    for node in [&cluster.a, &cluster.b] {
        node.eventually_told(std::slice::from_ref(&change)).await;
    }
}

async fn a_lift_that_was_missed_is_told_on_the_next_link(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server();
    let login = Some(make_user(server, "away").await);
    let away = on_redis_server(RedisConfig { login, ..config(driver, server, "nodeC_") }).await;
    let [alice, bob, token] = [user("alice"), user("bob"), RevocationSubject::Token("4b1f".into())]
        .map(|subject| Revocation { until_s: now_s() + 3600, subject, issued_before_s: Some(7) });
    let all = [&alice, &bob, &token].map(|revocation| RevocationChange::Revoke(revocation.clone()));
    for change in &all {
        cluster.a.engine.revoke(change.clone()).await.expect("it is taken");
    }
    away.eventually_told(&all).await;

    lock_out(server, &away, "away").await;
    // One by a node, one by a backend, which only those take up that hear it, and one that is revoked again, which is as if
    // nothing had been.
    let lift = |subject: &RevocationSubject| RevocationChange::Lift(subject.clone());
    cluster.a.engine.revoke(lift(&alice.subject)).await.expect("it is taken");
    let _: u64 = server.command(&["PUBLISH", CHANNEL, r#"{"token_id":"4b1f","lifted":true}"#]).await;
    cluster.b.engine.revoke(lift(&bob.subject)).await.expect("it is taken");
    cluster.b.engine.revoke(RevocationChange::Revoke(bob)).await.expect("it is taken");
    let numbers = async || {
        let in_force: u64 = server.command(&["ZCARD", KEY]).await;
        let lifted: u64 = server.command(&["ZCARD", LIFTED_KEY]).await;
        (in_force, lifted)
    };
    eventually_async("all of it is kept", async || numbers().await == (1, 1)).await;
    let_in(server, "away").await;
    let fence = keep_by_hand(server, "fence").await;
    // What was lifted is told before what is in force.
    away.eventually_told(&[&all[..], &[fence]].concat()).await;
    let mut missed = away.lifts_missed();
    // A reading that failed is begun again.
    missed.dedup();
    assert_eq!(missed, [alice]);
    assert_eq!(cluster.a.lifts_missed(), [], "it was there");
}

/// Of a server without persistence that was started again, or of another one.
async fn what_redis_has_lost_is_not_lifted(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server();
    let alice = revoke(user("alice"));
    cluster.a.engine.revoke(alice.clone()).await.expect("it is taken");
    cluster.b.eventually_told(std::slice::from_ref(&alice)).await;
    let () = server.command(&["FLUSHALL"]).await;
    let bob = keep_by_hand(server, "bob").await;
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    for node in [&cluster.a, &cluster.b] {
        // What was lifted is told before what is in force.
        node.eventually_told(&[alice.clone(), bob.clone()]).await;
        assert_eq!(node.lifts_missed(), []);
    }
}

/// The same revocation was lifted before, so it has to be kept before the sets are read.
async fn what_was_told_before_an_outage_is_kept_after_it(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let server = cluster.server();
    let login = Some(make_user(server, "away").await);
    let away = on_redis_server(RedisConfig { login, ..config(driver, server, "nodeC_") }).await;
    for node in [&cluster.a, &cluster.b] {
        node.engine.shutdown().await;
    }
    let alice = revoke(user("alice"));
    away.engine.revoke(alice.clone()).await.expect("it is taken");
    away.engine.revoke(RevocationChange::Lift(user("alice"))).await.expect("it is taken");
    eventually("its own lift", || away.told().len() == 2).await;

    // Only the link to which it is told stays.
    let RevocationChange::Revoke(of_alice) = &alice else { unreachable!("it is one") };
    let text = format!(r#"{{"user":"alice","issued_before_s":7,"until_s":{}}}"#, of_alice.until_s);
    let () = server.command(&["ACL", "SETUSER", "away", "off"]).await;
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "normal", "USER", "away"]).await;
    eventually("its link is lost", || away.engine.metrics().publish_link_up == 0).await;
    let before = away.engine.metrics().revocations_received_total;
    let _: u64 = server.command(&["PUBLISH", CHANNEL, &text]).await;
    eventually("it is told", || away.engine.metrics().revocations_received_total > before).await;
    lock_out(server, &away, "away").await;
    let fence = keep_by_hand(server, "fence").await;
    let_in(server, "away").await;
    // What was lifted is told before what is in force.
    away.eventually_told(&[alice, RevocationChange::Lift(user("alice")), fence]).await;
    assert_eq!(away.lifts_missed(), []);
    let in_force: Vec<String> = server.command(&["ZRANGE", KEY, "0", "-1"]).await;
    assert!(in_force.contains(&text), "{in_force:?}");
}

async fn thousands_are_read_in_pages(driver: RedisDriver) {
    const COUNT: usize = 5_000;
    let cluster = Cluster::redis(driver).await;
    let until_s = now_s() + 3600;
    let mut connection = cluster.server().connect().await;
    let mut pipeline = ::redis::pipe();
    for number in 0..COUNT {
        pipeline
            .cmd("ZADD")
            .arg(KEY)
            .arg(until_s)
            .arg(format!(r#"{{"user":"u{number}","until_s":{until_s}}}"#));
    }
    let _: Vec<u64> = pipeline.query_async(&mut connection).await.expect("Redis takes them");
    let later = cluster.join().await;
    let subject = |event: &Event| match event {
        Event::Revocation(change) => Some(format!("{change:?}")),
        _ => None,
    };
    let subjects = || later.recorder.map(subject).into_iter().collect::<HashSet<_>>().len();
    eventually("all of them", || subjects() >= COUNT).await;
    let statistics: String = cluster.server().command(&["INFO", "commandstats"]).await;
    let scans =
        statistics.lines().find_map(|line| line.strip_prefix("cmdstat_zscan:calls=")?.split(',').next());
    let scans: usize = scans.expect("it was read").parse().expect("a number");
    assert!((5..50).contains(&scans), "{scans}");
}

async fn what_is_over_does_not_stay_in_redis(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let _: u64 = cluster.server().command(&["ZADD", KEY, "5", r#"{"user":"old","until_s":5}"#]).await;
    cluster.a.engine.revoke(revoke(user("alice"))).await.expect("it is taken");
    let entries: u64 = cluster.server().command(&["ZCARD", KEY]).await;
    assert_eq!(entries, 1);
}

async fn while_redis_is_away_it_is_said_at_once(driver: RedisDriver) {
    let mut cluster = Cluster::redis(driver).await;
    assert_eq!(cluster.a.count("alice", 1).await, Ok(1));
    let Place::Redis(_, server) = &mut cluster.place else { unreachable!("it is on Redis") };
    server.kill();
    eventually("the loss", || cluster.a.engine.metrics().publish_link_up == 0).await;
    assert_eq!(cluster.a.engine.revoke(revoke(user("alice"))).await, Err(PublishError::LinkDown));
    assert_eq!(cluster.a.count("alice", 2).await, Err(PublishError::LinkDown));
    assert_eq!(cluster.a.engine.tell_user_count(&Arc::from("alice"), 2), Err(PublishError::LinkDown));
    server.restart();
    eventually_async("it is counted again", async || cluster.a.count("alice", 2).await == Ok(2)).await;
}

async fn a_node_without_permission_for_keys_goes_on_without(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let cluster = Cluster::redis(driver).await;
    let rules = ["ACL", "SETUSER", "channels", "on", ">secret", "+@all", "resetkeys", "allchannels"];
    let () = cluster.server().command(&rules).await;
    let (kept, lifted) = (revoke(user("kept")), revoke(user("lifted")));
    for change in [kept, lifted, RevocationChange::Lift(user("lifted"))] {
        cluster.a.engine.revoke(change).await.expect("it is taken");
    }
    let limited = on_redis_server(RedisConfig {
        login: Some(Login::new(Some("channels"), "secret")),
        ..config(driver, cluster.server(), "nodeC_")
    })
    .await;
    eventually("it is known", || limited.engine.metrics().keys_denied == 1).await;
    assert_eq!(limited.told(), [], "what is kept is beyond it");

    // What is told while it runs, it knows; and what it tells itself, others keep.
    let (live, own) = (revoke(user("live")), revoke(user("own")));
    cluster.a.engine.revoke(live.clone()).await.expect("it is taken");
    limited.engine.revoke(own.clone()).await.expect("it is told");
    limited.eventually_told(&[live, own.clone()]).await;
    eventually("others know it", || cluster.b.told().contains(&own)).await;
    eventually_async("others keep it", async || {
        let entries: u64 = cluster.server().command(&["ZCARD", KEY]).await;
        entries == 3
    })
    .await;
    assert!(matches!(limited.count("alice", 1).await, Err(PublishError::Refused(_))));
    assert_eq!(log.lines_with("may not use keys").len(), 1);
    assert_eq!(cluster.a.engine.metrics().keys_denied, 0);
    assert_eq!(limited.lifts_missed(), []);
    limited.engine.shutdown().await;
}

async fn a_node_that_died_counts_until_it_is_lost(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let third = cluster.join().await;
    assert_eq!(third.count("alice", 5).await, Ok(5));
    eventually("the third is known", || cluster.a.engine.nodes().len() == 2).await;
    assert_eq!(cluster.a.count("alice", 1).await, Ok(6));
    // Its tasks end with it, and nobody says goodbye.
    drop(third);
    eventually_async("its connections are gone", async || cluster.a.count("alice", 1).await == Ok(1)).await;
    assert_eq!(cluster.a.engine.nodes().len(), 1);
}

async fn numbers_end_by_themselves(driver: RedisDriver) {
    const USER: &str = "{socket.io}-broadgate#user#alice";
    let cluster = Cluster::redis(driver).await;
    let mut fields = vec!["HSET".to_owned(), USER.to_owned()];
    fields.extend((0..100).flat_map(|number| [format!("gone{number}"), "3".to_owned()]));
    let words: Vec<&str> = fields.iter().map(String::as_str).collect();
    let _: u64 = cluster.server().command(&words).await;
    assert_eq!(cluster.a.count("alice", 1).await, Ok(1), "nodes that nobody knows count nothing");
    eventually_async("they are removed", async || {
        let fields: Vec<String> = cluster.server().command(&["HKEYS", USER]).await;
        fields == ["nodeA_"]
    })
    .await;
    let lifetime_ms: u64 = cluster.server().command(&["PTTL", USER]).await;
    let expected = Duration::from_secs(60)..=USER_COUNT_LIFETIME;
    assert!(expected.contains(&Duration::from_millis(lifetime_ms)), "{lifetime_ms}");
    assert_eq!(cluster.a.count("alice", 0).await, Ok(0));
    let exists: u64 = cluster.server().command(&["EXISTS", USER]).await;
    assert_eq!(exists, 0);
}

/// Numbers of many users go in one batch.
async fn a_key_that_is_something_else_harms_only_its_user(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let _: String = cluster.server().command(&["SET", "{socket.io}-broadgate#user#eve", "x"]).await;
    for round in 1..=3 {
        let (ada, eve, bob) = tokio::join!(
            cluster.a.count("ada", round),
            cluster.a.count("eve", round),
            cluster.a.count("bob", round + 10)
        );
        assert_eq!((ada, bob), (Ok(u64::from(round)), Ok(u64::from(round) + 10)));
        assert!(eve.is_err(), "{eve:?}");
    }
    assert_eq!(cluster.b.count("ada", 1).await, Ok(4));
}

async fn a_hello_that_comes_back_says_that_messages_get_through(driver: RedisDriver) {
    let cluster = Cluster::redis(driver).await;
    let age_us = || cluster.a.engine.metrics().probe_age_us;
    eventually("a round trip", || cluster.a.engine.metrics().probe_round_trip_us > 0).await;
    eventually("it is young", || age_us() < 1_000_000).await;
    cluster.server().pause();
    eventually("it grows old", || age_us() > 2_000_000).await;
    cluster.server().resume();
    eventually("it is young again", || age_us() < 1_000_000).await;
}

#[tokio::test]
async fn a_node_alone_is_always_within_its_own_reach() {
    let metrics = on_bus(&MemoryBus::new(), "nodeA_").engine.metrics();
    assert_eq!((metrics.probe_age_us, metrics.probe_round_trip_us), (0, 0));
}
