//! A Redis Cluster: all nodes meet at one master, and hear what is published at any server.

use std::sync::Arc;

use broadgate_adapter::{
    Engine, Event, RedisConfig, RedisDriver, Response, Revocation, RevocationChange, RevocationSubject,
    redis::Servers,
};
use futures_util::StreamExt;

use crate::{
    Node,
    access::{everyone, make_user, revocation},
    assert_connected, assert_hears,
    cluster_nodes::ClusterNodes,
    config_of, eventually_connected, on_each_driver,
    support::{eventually, eventually_async, redis_server::RedisServer},
};

on_each_driver![
    messages_of_all_servers_arrive_and_all_servers_are_counted,
    delivery_survives_the_death_of_the_master,
    the_links_follow_a_failover_that_cuts_nobody,
];

/// Of the channels' prefix, `socket.io`.
const SLOT: u16 = 9972;

async fn nodes(driver: RedisDriver, cluster: &ClusterNodes) -> (Node, Node) {
    let urls = cluster.urls();
    let mut login = None;
    for server in &cluster.servers {
        login = Some(make_user(server, &["+role", "+cluster|slots"]).await);
    }
    // They know different servers, and one that is not there.
    let servers = |urls: &[String]| {
        let nobody = "redis://127.0.0.1:9".to_owned();
        Servers::Cluster { urls: [&[nobody][..], urls].concat() }
    };
    let config = |urls, uid| RedisConfig { login: login.clone(), ..config_of(driver, servers(urls), uid) };
    let a = Node::joined(config(&urls[..1], "nodeA_")).await;
    let b = Node::joined(config(&urls[4..], "nodeB_")).await;
    (a, b)
}

async fn messages_of_all_servers_arrive_and_all_servers_are_counted(driver: RedisDriver) {
    let cluster = ClusterNodes::start().await;
    let (a, b) = nodes(driver, &cluster).await;
    assert_connected(&a, &b).await;
    for (index, server) in cluster.servers.iter().enumerate() {
        for (node, name) in [(&a, "a"), (&b, "b")] {
            assert_hears(node, server, &format!("{name} hears server {index}")).await;
        }
    }

    // Node.js servers subscribe at any server, replicas too.
    let mut others = Vec::new();
    for server in [&cluster.servers[0], &cluster.servers[5]] {
        let mut other = server.connect_pubsub().await;
        other.subscribe("socket.io-request#/#").await.expect("it is subscribed");
        others.push(other);
    }
    let asked = tokio::spawn(a.engine.request(everyone()));
    let (_, responder) = b.recorder.next_request().await;
    for other in &mut others {
        let request = other.on_message().next().await.expect("it is asked as well");
        let request: serde_json::Value =
            serde_json::from_slice(request.get_payload_bytes()).expect("it is JSON");
        let answer = serde_json::json!({"requestId": request["requestId"], "sockets": ["x"]}).to_string();
        let () = cluster.servers[4].command(&["PUBLISH", "socket.io-response#/#", &answer]).await;
    }
    responder.respond(Response::Sockets(Vec::new()));
    let answers = asked.await.expect("it ends").expect("the nodes are counted and asked");
    assert_eq!((answers.expected, answers.answered), (3, 3));

    // The keys are where the nodes meet.
    let change = RevocationChange::Revoke(revocation());
    a.engine.revoke(change.clone()).await.expect("it is told and kept");
    for node in [&a, &b] {
        let is_told = |event: &Event| matches!(event, Event::Revocation(told) if *told == change);
        eventually("it is told", || node.recorder.count(is_told) == 1).await;
    }
    b.engine.revoke(RevocationChange::Lift(revocation().subject)).await.expect("it is told and kept");
    let alice = Arc::from("alice");
    assert_eq!(a.engine.count_user(&alice, 2).await, Ok(2));
    eventually_async("both are counted", async || b.engine.count_user(&alice, 3).await == Ok(5)).await;
    for node in [a, b] {
        node.shutdown().await;
    }
}

async fn delivery_survives_the_death_of_the_master(driver: RedisDriver) {
    let mut cluster = ClusterNodes::start().await;
    let (a, b) = nodes(driver, &cluster).await;
    let of_bob = Revocation { subject: RevocationSubject::User("bob".into()), ..revocation() };
    for revocation in [revocation(), of_bob] {
        a.engine.revoke(RevocationChange::Revoke(revocation)).await.expect("it is told and kept");
    }
    b.engine.revoke(RevocationChange::Lift(revocation().subject)).await.expect("it is told and kept");
    let meeting_place = cluster.serving(SLOT);
    eventually_async("the replica has the lift and what is in force", async || {
        cluster.servers[meeting_place + 3].command::<u64>(&["DBSIZE"]).await == 2
    })
    .await;
    assert_eq!(subscribers(&cluster.servers[meeting_place]).await, 2);

    cluster.servers[meeting_place].kill();
    for node in [&a, &b] {
        eventually("the gap is told", || node.gaps() == 1).await;
        node.ready().await;
    }
    eventually_connected(&a, &b).await;
    for node in [&a, &b] {
        eventually("what was lifted is told", || node.lifts_missed().contains(&revocation())).await;
    }
    let another = (meeting_place + 1) % 3;
    for (node, name) in [(&a, "a"), (&b, "b")] {
        assert_hears(node, &cluster.servers[another], &format!("{name} hears another master")).await;
    }
    assert_eq!(subscribers(&cluster.servers[meeting_place + 3]).await, 2, "they meet at the new master");
    for node in [a, b] {
        node.shutdown().await;
    }
}

async fn the_links_follow_a_failover_that_cuts_nobody(driver: RedisDriver) {
    let cluster = ClusterNodes::start().await;
    let (a, b) = nodes(driver, &cluster).await;
    let meeting_place = cluster.serving(SLOT);
    let (old, new) = (&cluster.servers[meeting_place], &cluster.servers[meeting_place + 3]);
    let () = new.command(&["CLUSTER", "FAILOVER"]).await;
    for node in [&a, &b] {
        eventually("the gap is told", || node.gaps() == 1).await;
        node.ready().await;
    }
    assert_connected(&a, &b).await;
    assert_eq!(subscribers(new).await, 2, "they meet at the new master");
    eventually_async("nobody is left at the old one", async || subscribers(old).await == 0).await;
    for node in [a, b] {
        node.shutdown().await;
    }
}

/// How many connections subscribe there.
async fn subscribers(server: &RedisServer) -> usize {
    server.command::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.lines().count()
}
