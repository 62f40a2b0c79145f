//! Sentinels: the links follow the master, whether it dies or is only another one from now on.

use std::sync::Arc;

use broadgate_adapter::{
    Engine, RedisConfig, RedisDriver, RedisEngine, Revocation, RevocationChange, RevocationSubject,
    StartError,
    redis::{Login, Servers},
};

use crate::{
    Node,
    access::{make_user, revocation},
    assert_connected, assert_hears, config_of, eventually_connected, on_each_driver,
    sentinels::{MASTER, Sentinels},
    support::{Recorder, eventually, eventually_async, log::Log, redis_server::RedisServer},
};

on_each_driver![
    the_links_follow_a_failover,
    the_links_leave_a_server_that_is_the_master_no_more,
    what_the_sentinels_say_is_told,
];

fn servers(sentinels: &Sentinels) -> Servers {
    Servers::Sentinel { urls: sentinels.urls(), master: MASTER.to_owned(), login: None, master_tls: false }
}

async fn the_links_follow_a_failover(driver: RedisDriver) {
    let mut sentinels = Sentinels::start().await;
    let mut servers = servers(&sentinels);
    if let Servers::Sentinel { urls, .. } = &mut servers {
        // One that is not there.
        urls.insert(0, "redis://127.0.0.1:9".to_owned());
    }
    let mut login = None;
    for server in &sentinels.servers {
        login = Some(make_user(server, &["+role"]).await);
    }
    let config = |uid| RedisConfig { login: login.clone(), ..config_of(driver, servers.clone(), uid) };
    let (a, b) = (Node::joined(config("nodeA_")).await, Node::joined(config("nodeB_")).await);
    assert_connected(&a, &b).await;
    assert_eq!(a.gaps() + b.gaps(), 0);
    let of_bob = Revocation { subject: RevocationSubject::User("bob".into()), ..revocation() };
    for revocation in [revocation(), of_bob] {
        a.engine.revoke(RevocationChange::Revoke(revocation)).await.expect("it is told and kept");
    }
    b.engine.revoke(RevocationChange::Lift(revocation().subject)).await.expect("it is told and kept");
    eventually_async("the replica has the lift and what is in force", async || {
        sentinels.servers[1].command::<u64>(&["DBSIZE"]).await == 2
    })
    .await;

    sentinels.servers[0].kill();
    for node in [&a, &b] {
        eventually("the gap is told", || node.gaps() == 1).await;
        node.ready().await;
        assert_eq!(node.links_lost(), 1);
        eventually("what was lifted is told", || node.lifts_missed().contains(&revocation())).await;
    }
    eventually_connected(&a, &b).await;
    assert_hears(&a, &sentinels.servers[1], "at the new master").await;

    // The old one comes back as a replica, which takes nobody away.
    sentinels.servers[0].restart();
    sentinels.eventually_replica(0).await;
    assert_connected(&a, &b).await;
    assert_eq!((a.links_lost(), b.links_lost()), (1, 1));
    for node in [a, b] {
        node.shutdown().await;
    }
}

/// A failover cuts the clients of the old master. Where nobody does, the sentinels' word alone has to be enough.
async fn the_links_leave_a_server_that_is_the_master_no_more(driver: RedisDriver) {
    let sentinels = Sentinels::start().await;
    let a = Node::joined(config_of(driver, servers(&sentinels), "nodeA_")).await;
    let b = Node::joined(config_of(driver, servers(&sentinels), "nodeB_")).await;

    let port = sentinels.servers[1].place().port.to_string();
    let () = sentinels.servers[1].command(&["REPLICAOF", "NO", "ONE"]).await;
    for sentinel in &sentinels.sentinels {
        let () = sentinel.command(&["SENTINEL", "REMOVE", MASTER]).await;
        let () = sentinel.command(&["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, "2"]).await;
    }
    for node in [&a, &b] {
        eventually("the gap is told", || node.gaps() == 1).await;
        node.ready().await;
    }
    assert_connected(&a, &b).await;
    assert_hears(&b, &sentinels.servers[1], "at the new master").await;
    for node in [a, b] {
        node.shutdown().await;
    }
}

async fn what_the_sentinels_say_is_told(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let master = RedisServer::start_with_password("masterSecret");
    let port = master.place().port;
    let sentinel = RedisServer::start_sentinel(
        &format!("sentinel monitor {MASTER} 127.0.0.1 {port} 1\nsentinel auth-pass {MASTER} masterSecret\n"),
        Some("sentinelSecret"),
    );
    let login = |password: &str| Some(Login::new(None, password));
    let config = |name: &str, sentinel_password: &str, password: &str, uid| {
        let servers = Servers::Sentinel {
            urls: vec![sentinel.url()],
            master: name.to_owned(),
            login: login(sentinel_password),
            master_tls: false,
        };
        RedisConfig { login: login(password), ..config_of(driver, servers, uid) }
    };
    let mut nodes = Vec::new();
    for (name, sentinel_password, password, line) in [
        ("another", "sentinelSecret", "masterSecret", "it knows no master named \"another\""),
        (MASTER, "wrongSecret", "masterSecret", "WRONGPASS"),
        (MASTER, "sentinelSecret", "wrongSecret", &format!("127.0.0.1:{port}: ")),
    ] {
        let before = log.lines_with("WRONGPASS").len();
        nodes.push(Node::start(config(name, sentinel_password, password, "nodeA_")));
        eventually(line, || log.lines_with(line).len() >= 2).await;
        if name == MASTER {
            eventually("the password is wrong", || log.lines_with("WRONGPASS").len() >= before + 2).await;
        }
    }
    nodes.push(Node::start(config(MASTER, "sentinelSecret", "masterSecret", "nodeB_")));
    nodes[3].ready().await;
    assert_eq!(log.lines_with("Secret"), Vec::<String>::new());
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn sentinels_that_can_never_be_asked_are_refused_at_the_start() {
    let with = |urls: &[&str]| Servers::Sentinel {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        master: MASTER.to_owned(),
        login: None,
        master_tls: false,
    };
    for (servers, expected) in [
        (with(&[]), StartError::NoServers),
        (Servers::Cluster { urls: Vec::new() }, StartError::NoServers),
        (with(&["unix:///run/redis.sock"]), StartError::UnixSocket),
    ] {
        let config = config_of(RedisDriver::Redis, servers, "nodeA_");
        let error = RedisEngine::start(config, Arc::<Recorder>::default()).err();
        assert_eq!(error, Some(expected));
    }
}
