//! Who may use the server: passwords, users, the files of a machine.

use std::{fs, path::Path, sync::Arc, time::Duration};

use broadgate_adapter::{
    Engine, PublishError, RedisConfig, RedisDriver, Request, RequestKind, Response, Revocation,
    RevocationChange, RevocationSubject, redis::Login,
};

use crate::{
    Node, assert_connected, config, on_each_driver,
    support::{
        event, eventually,
        log::Log,
        redis_server::{RedisServer, words},
    },
};

on_each_driver![
    a_wrong_password_is_told_without_it_and_tried_again,
    a_password_that_changes_in_its_file_is_used_from_the_next_connection,
    an_acl_user_needs_no_more_than_the_documented_permissions,
    a_user_who_may_not_subscribe_is_told,
    a_unix_socket_serves_as_well_as_tcp,
];

async fn a_wrong_password_is_told_without_it_and_tried_again(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start_with_password("rightSecret");
    let login = |user: Option<&str>, password: &str| Some(Login::new(user, password));
    let wrong = Node::start(RedisConfig {
        login: login(None, "wrongSecret"),
        ..config(driver, server.url(), "nodeA_")
    });
    eventually("a line for each link", || log.lines_with("WRONGPASS").len() >= 2).await;
    assert_eq!(wrong.engine.publish(event(&[], &[], "[\"x\"]")).await, Err(PublishError::LinkDown));
    let nobody = Node::start(RedisConfig {
        login: login(Some("nobodySecret"), "rightSecret"),
        ..config(driver, server.url(), "nodeB_")
    });
    eventually("lines for each link", || log.lines_with("WRONGPASS").len() >= 4).await;

    let right = Node::start(RedisConfig {
        login: login(Some("default"), "rightSecret"),
        ..config(driver, server.url(), "nodeC_")
    });
    right.ready().await;

    let () = server.command(&["CONFIG", "SET", "requirepass", "wrongSecret"]).await;
    wrong.ready().await;
    assert_eq!(log.lines_with("Secret"), Vec::<String>::new());
    for node in [wrong, nobody, right] {
        node.shutdown().await;
    }
}

async fn a_password_that_changes_in_its_file_is_used_from_the_next_connection(driver: RedisDriver) {
    let server = RedisServer::start();
    let mut login = make_user(&server, &[]).await;
    let name = format!("{}-{driver:?}-password", std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, "secret\n").expect("it can be written");
    login.password_file = Some(file.clone());
    let node = Node::start(RedisConfig { login: Some(login), ..config(driver, server.url(), "nodeA_") });
    node.ready().await;

    let reconnects = async |change: &str| {
        let before = node.engine.metrics().reconnects_total;
        let () = server.command(&["ACL", "SETUSER", "broadgate", "resetpass", change]).await;
        let _: u64 = server.command(&["CLIENT", "KILL", "USER", "broadgate"]).await;
        eventually("a new link", || node.engine.metrics().reconnects_total > before).await;
        node.ready().await;
    };
    fs::write(&file, "another\n").expect("it can be written");
    reconnects(">another").await;
    // Better than nothing: the one that was right at the start.
    fs::remove_file(&file).expect("it is there");
    reconnects(">secret").await;
    node.shutdown().await;
}

/// What a node needs, as README.md has it.
const PERMISSIONS: [&str; 22] = [
    "resetchannels",
    "allchannels",
    "-@all",
    "+publish",
    "+subscribe",
    "+psubscribe",
    "+unsubscribe",
    "+ping",
    "+multi",
    "+exec",
    "+pubsub|numsub",
    "resetkeys",
    "~{socket.io}-broadgate#*",
    "+zadd",
    "+zrem",
    "+zremrangebyscore",
    "+zremrangebyrank",
    "+zscan",
    "+hset",
    "+hdel",
    "+hgetall",
    "+pexpire",
];

/// Makes a user `broadgate` with no more than that, and `more`; gives its log-in.
pub async fn make_user(server: &RedisServer, more: &[&str]) -> Login {
    let user = [&["ACL", "SETUSER", "broadgate", "on", ">secret"], &PERMISSIONS[..], more].concat();
    let () = server.command(&user).await;
    Login::new(Some("broadgate"), "secret")
}

async fn an_acl_user_needs_no_more_than_the_documented_permissions(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start();
    let login = make_user(&server, &[]).await;
    let quick = |uid| RedisConfig {
        login: Some(login.clone()),
        unsubscribe_delay: Duration::ZERO,
        ..config(driver, server.url(), uid)
    };
    let (a, b) = (Node::joined(quick("nodeA_")).await, Node::joined(quick("nodeB_")).await);
    assert_connected(&a, &b).await;

    let asked = tokio::spawn(a.engine.request(everyone()));
    let (_, responder) = b.recorder.next_request().await;
    responder.respond(Response::Sockets(Vec::new()));
    let answers = asked.await.expect("it ends").expect("the nodes are counted and asked");
    assert_eq!((answers.expected, answers.answered), (1, 1));

    a.engine.revoke(RevocationChange::Revoke(revocation())).await.expect("it is told and kept");
    a.engine.revoke(RevocationChange::Lift(revocation().subject)).await.expect("it is told and kept");
    for own in [1, 0] {
        assert_eq!(a.engine.count_user(&"alice".into(), own).await, Ok(own.into()));
    }
    assert_eq!(a.engine.metrics().keys_denied, 0);

    let confirmed = a.engine.metrics().subscriptions_confirmed;
    a.engine.unsubscribe(crate::SHARD, &"/".into(), &crate::ROOM.into());
    eventually("the room is unsubscribed", || a.engine.metrics().subscriptions_confirmed < confirmed).await;
    assert_eq!(log.lines_with("no permissions"), Vec::<String>::new());
    let mut denied: Vec<redis::Value> = server.command(&["ACL", "LOG"]).await;
    // Which fred asks for itself, and does without.
    denied.retain(|entry| {
        !["\"info\"", "\"client|id\""].iter().any(|name| format!("{entry:?}").contains(name))
    });
    assert_eq!(denied, []);
    for node in [a, b] {
        node.shutdown().await;
    }
}

/// Redis allows a pattern only where it is allowed in the very same words, and that of a node's own sockets holds the
/// node's name: so `&socket.io*` is not enough.
async fn a_user_who_may_not_subscribe_is_told(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = RedisServer::start();
    let user = ["ACL", "SETUSER", "narrow", "on", ">hiddenSecret", "resetchannels", "&socket.io*", "+@all"];
    let () = server.command(&user).await;
    let url = server.url().replace("redis://", "redis://narrow:hiddenSecret@");
    let node = Node::start(config(driver, url, "nodeA_"));
    eventually("a line that says so", || !log.lines_with("no permissions").is_empty()).await;
    assert_eq!(node.engine.metrics().base_subscribed, 0);
    assert_eq!(log.lines_with("hiddenSecret"), Vec::<String>::new());
    let () = server.command(&["ACL", "SETUSER", "narrow", "allchannels"]).await;
    node.ready().await;
    node.shutdown().await;
}

async fn a_unix_socket_serves_as_well_as_tcp(driver: RedisDriver) {
    let mut server = RedisServer::start_with(|place| words(&["--unixsocket", &place.file("redis.sock")]));
    let url = format!("unix://{}", server.place().file("redis.sock"));
    let a = Node::joined(config(driver, url, "nodeA_")).await;
    let b = Node::joined(config(driver, server.url(), "nodeB_")).await;
    assert_connected(&a, &b).await;

    server.kill();
    eventually("the loss is noticed", || a.links_lost() == 1).await;
    server.restart();
    eventually("the gap is told", || a.gaps() == 1 && b.gaps() == 1).await;
    for node in [&a, &b] {
        node.ready().await;
    }
    assert_connected(&a, &b).await;
    for node in [a, b] {
        node.shutdown().await;
    }
}

/// One that is in force until after the test.
pub fn revocation() -> Revocation {
    Revocation {
        until_s: 9_999_999_999,
        subject: RevocationSubject::User("alice".into()),
        issued_before_s: None,
    }
}

/// Asks for every socket of the namespace `/`.
pub fn everyone() -> Arc<Request> {
    Arc::new(Request { namespace: "/".into(), kind: RequestKind::Sockets { rooms: Vec::new() } })
}
