//! What every driver must do: one suite, run with each on a real server.

#[allow(dead_code, unreachable_pub, reason = "shared with other tests, which use more of it")]
#[path = "../../../tests/support/redis_server.rs"]
mod redis_server;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::*;
use redis_server::RedisServer;

const DEADLINE: Duration = Duration::from_secs(60);
const TIMEOUTS: Timeouts = Timeouts { connect: DEADLINE, response: Some(DEADLINE) };

/// What arrived, in order.
type Received = Arc<Mutex<Vec<(String, String)>>>;

fn endpoint(server: &RedisServer) -> Endpoint {
    Endpoint::parse(&server.url()).expect("the URL is valid")
}

async fn connect(driver: RedisDriver, server: &RedisServer) -> Link {
    driver.connect(&endpoint(server), TIMEOUTS, |_, _| {}).await.expect("the server is there")
}

async fn connect_receiver(driver: RedisDriver, server: &RedisServer) -> (Link, Received) {
    let received = Received::default();
    let on_message = {
        let received = Arc::clone(&received);
        move |channel: &[u8], payload: &[u8]| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            received.lock().push((text(channel), text(payload)));
        }
    };
    let link = driver.connect(&endpoint(server), TIMEOUTS, on_message).await;
    (link.expect("the server is there"), received)
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "still waiting for: {what}");
}

fn to_one(channel: &str, payload: &str) -> Outbound {
    Outbound::new(channel.to_owned(), payload.as_bytes().to_vec())
}

fn to_two(channel: &str, and_channel: &str, payload: &str) -> Outbound {
    Outbound { and_channel: Some(and_channel.to_owned()), ..to_one(channel, payload) }
}

macro_rules! on_every_driver {
    ($($name:ident)+) => {
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::RedisDriver::Redis).await;
                }
            )+
        }
        mod fred {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::RedisDriver::Fred).await;
                }
            )+
        }
    };
}

on_every_driver! {
    a_burst_reaches_a_slow_receiver_whole_and_in_order
    what_is_subscribed_is_confirmed_by_the_server
    what_is_unsubscribed_is_confirmed_by_the_server
    a_subscription_that_is_refused_is_not_confirmed
    each_kind_of_answer_is_read
    commands_of_one_call_stay_together
    a_refused_part_of_a_batch_is_told_in_its_place
    a_command_without_an_answer_in_time_fails
    a_link_is_closed_with_its_last_clone
    an_attempt_to_connect_that_is_given_up_leaves_nothing
    a_link_that_was_cut_is_lost_at_once_and_its_commands_fail
}

/// Many times what any driver would hold for a receiver, over channels and a pattern.
async fn a_burst_reaches_a_slow_receiver_whole_and_in_order(driver: RedisDriver) {
    const MESSAGES: usize = 20_000;
    let server = RedisServer::start();
    let received = Received::default();
    let on_message = {
        let received = Arc::clone(&received);
        move |channel: &[u8], payload: &[u8]| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut received = received.lock();
            received.push((text(channel), text(payload)));
            // Asleep for much longer than the server needs to send hundreds more.
            if received.len().is_multiple_of(1000) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    let connected = driver.connect(&endpoint(&server), TIMEOUTS, on_message).await;
    let mut receiver = connected.expect("the server is there");
    receiver.subscribe(vec!["a".into(), "b".into()]).await.expect("confirmed");
    receiver.subscribe_patterns(vec!["p*".into()]).await.expect("confirmed");

    let sent: Vec<_> = (0..MESSAGES)
        .map(|number| (["a", "b", "pattern"][number % 3].to_owned(), number.to_string()))
        .collect();
    let burst: Vec<_> = sent.iter().map(|(channel, payload)| to_one(channel, payload)).collect();
    let mut publisher = connect(driver, &server).await;
    let answers = publisher.publish(burst.iter()).await.expect("the server is there");
    assert!(answers.iter().all(|answer| *answer == Ok(1)));

    eventually("all messages", async || received.lock().len() >= MESSAGES).await;
    assert!(*received.lock() == sent, "the order is another");
    receiver.ping().await.expect("the link is as good as before");
}

async fn what_is_subscribed_is_confirmed_by_the_server(driver: RedisDriver) {
    let server = RedisServer::start();
    let (mut receiver, received) = connect_receiver(driver, &server).await;
    let mut publisher = connect(driver, &server).await;
    for round in 0..200 {
        let channels: Vec<String> = (0..20).map(|number| format!("{round}:{number}")).collect();
        let last = to_one(&channels[19], "now");
        receiver.subscribe(channels).await.expect("confirmed");
        assert_eq!(publisher.publish([&last].into_iter()).await.expect("the server is there"), [Ok(1)]);
    }
    eventually("all messages", async || received.lock().len() == 200).await;
}

async fn what_is_unsubscribed_is_confirmed_by_the_server(driver: RedisDriver) {
    let server = RedisServer::start();
    let (mut receiver, received) = connect_receiver(driver, &server).await;
    let mut publisher = connect(driver, &server).await;
    receiver.subscribe(vec!["a".into(), "b".into()]).await.expect("confirmed");
    receiver.unsubscribe(vec!["a".into(), "never".into()]).await.expect("confirmed");
    assert_eq!(publisher.count_subscriptions("a").await.expect("the server is there"), 0);
    assert_eq!(publisher.count_subscriptions("b").await.expect("the server is there"), 1);
    let batch = [to_one("a", "1"), to_two("a", "b", "2"), to_two("b", "a", "3")];
    let answers = publisher.publish(batch.iter()).await.expect("the server is there");
    assert_eq!(answers, [Ok(0), Ok(0), Ok(1)], "those of the first channel");
    eventually("both messages", async || received.lock().len() == 2).await;
    let expected = [("b".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())];
    assert_eq!(*received.lock(), expected);
}

async fn a_subscription_that_is_refused_is_not_confirmed(driver: RedisDriver) {
    let server = RedisServer::start();
    let rules = ["ACL", "SETUSER", "limited", "on", ">secret", "+@all", "&mine*"];
    let _: () = server.command(&rules).await;
    let url = server.url().replace("redis://", "redis://limited:secret@");
    let endpoint = Endpoint::parse(&url).expect("the URL is valid");
    for channels in [vec!["mine".into()], vec!["mine".into(), "other".into()]] {
        let is_allowed = channels.len() == 1;
        let mut link = driver.connect(&endpoint, TIMEOUTS, |_, _| {}).await.expect("the log-in is right");
        assert_eq!(link.subscribe(channels).await.is_ok(), is_allowed);
    }
}

async fn each_kind_of_answer_is_read(driver: RedisDriver) {
    let server = RedisServer::start();
    let mut link = connect(driver, &server).await;
    let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
    let script = "return {1, 'text', false, {'nested'}, redis.error_reply('ERR part')}";
    let parts = vec![Reply::Int(1), text("text"), Reply::Nil, Reply::Array(vec![text("nested")])];
    let parts = [parts, vec![Reply::Error("ERR part".into())]].concat();
    let map = "redis.setresp(3); return {map = {key = 7}}";
    let pair = vec![text("key"), Reply::Int(7)];
    for (words, expected) in [
        (["ECHO", "hello", ""], text("hello")),
        (["ECHO", "", ""], text("")),
        (["SET", "key", "\u{e9}"], text("OK")),
        (["GET", "key", ""], text("\u{e9}")),
        (["GET", "missing", ""], Reply::Nil),
        (["EXISTS", "key", ""], Reply::Int(1)),
        (["EVAL", script, "0"], Reply::Array(parts)),
        (["EVAL", map, "0"], Reply::Array(pair)),
        (["EVAL", "redis.setresp(3); return {double = 1.5}", "0"], text("1.5")),
        (["EVAL", "redis.setresp(3); return true", "0"], Reply::Int(1)),
    ] {
        let arguments = match words[0] {
            "SET" | "EVAL" => 3,
            _ => 2,
        };
        let mut commands = Commands::default();
        match arguments {
            3 => commands.push(words.map(str::as_bytes)),
            _ => commands.push([words[0].as_bytes(), words[1].as_bytes()]),
        }
        let replies = link.send(&commands).await.expect("the server is there");
        assert_eq!(replies, [expected], "{words:?}");
    }
    let unknown = link.query(["NOSUCHCOMMAND"]).await.expect("a refusal is an answer");
    assert!(matches!(unknown, Reply::Error(error) if error.contains("unknown command")));
}

async fn commands_of_one_call_stay_together(driver: RedisDriver) {
    let server = RedisServer::start();
    let link = connect(driver, &server).await;
    let publish = |mut link: Link| async move {
        for _ in 0..300 {
            let batch = [to_two("a", "b", "x"), to_two("c", "d", "y"), to_one("e", "z")];
            let answers = link.publish(batch.iter()).await.expect("the server is there");
            assert_eq!(answers, [Ok(0), Ok(0), Ok(0)]);
        }
    };
    let ask = |mut link: Link| async move {
        for number in 0..300 {
            let number = number.to_string();
            let echoed = link.query(["ECHO", &number]).await.expect("the server is there");
            assert_eq!(echoed, Reply::Text(number.into_bytes()));
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        tasks.spawn(publish(link.clone()));
        tasks.spawn(ask(link.clone()));
    }
    tasks.join_all().await;
}

async fn a_refused_part_of_a_batch_is_told_in_its_place(driver: RedisDriver) {
    let server = RedisServer::start();
    let rules = ["ACL", "SETUSER", "limited", "on", ">secret", "+@all", "&mine*"];
    let _: () = server.command(&rules).await;
    let url = server.url().replace("redis://", "redis://limited:secret@");
    let endpoint = Endpoint::parse(&url).expect("the URL is valid");
    let mut link = driver.connect(&endpoint, TIMEOUTS, |_, _| {}).await.expect("the log-in is right");
    let batch = [
        to_one("mine", "1"),
        to_one("other", "2"),
        to_two("mine", "other", "3"),
        to_two("mine", "mine", "4"),
        to_one("mine", "5"),
    ];
    let answers = link.publish(batch.iter()).await.expect("the server is there");
    let refused = answers.iter().map(|answer| matches!(answer, Err(error) if error.contains("NOPERM")));
    assert_eq!(refused.collect::<Vec<_>>(), [false, true, true, false, false], "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(0)).count(), 3);
}

async fn a_command_without_an_answer_in_time_fails(driver: RedisDriver) {
    let server = RedisServer::start();
    let timeouts = Timeouts { response: Some(Duration::from_millis(50)), ..TIMEOUTS };
    let mut link = driver.connect(&endpoint(&server), timeouts, |_, _| {}).await.expect("it is there");
    server.pause();
    assert!(matches!(link.ping().await, Err(LinkError::Timeout)));
    let timeouts = Timeouts { connect: Duration::from_millis(50), ..TIMEOUTS };
    let connected = driver.connect(&endpoint(&server), timeouts, |_, _| {}).await;
    assert!(matches!(connected.err(), Some(LinkError::Timeout)));
    server.resume();
}

async fn clients(server: &RedisServer) -> usize {
    let list: String = server.command(&["CLIENT", "LIST"]).await;
    list.lines().filter(|line| !line.contains("cmd=client|list")).count()
}

async fn a_link_is_closed_with_its_last_clone(driver: RedisDriver) {
    let server = RedisServer::start();
    let (mut link, received) = connect_receiver(driver, &server).await;
    link.subscribe(vec!["a".into()]).await.expect("confirmed");
    let clone = link.clone();
    drop(link);
    assert_eq!(clients(&server).await, 1);
    let mut publisher = connect(driver, &server).await;
    let message = to_one("a", "still here");
    assert_eq!(publisher.publish([&message].into_iter()).await.expect("the server is there"), [Ok(1)]);
    eventually("the message", async || received.lock().len() == 1).await;
    drop(publisher);
    drop(clone);
    eventually("the end of the connections", async || clients(&server).await == 0).await;
    eventually("the end of the receiver", async || Arc::strong_count(&received) == 1).await;
}

async fn an_attempt_to_connect_that_is_given_up_leaves_nothing(driver: RedisDriver) {
    let server = RedisServer::start();
    let received = Received::default();
    server.pause();
    for _ in 0..5 {
        let held = Arc::clone(&received);
        let on_message = move |_: &[u8], _: &[u8]| held.lock().clear();
        let endpoint = endpoint(&server);
        let attempt = driver.connect(&endpoint, TIMEOUTS, on_message);
        assert!(tokio::time::timeout(Duration::from_millis(50), attempt).await.is_err());
    }
    server.resume();
    eventually("the end of the connections", async || clients(&server).await == 0).await;
    eventually("the end of the receivers", async || Arc::strong_count(&received) == 1).await;
}

async fn a_link_that_was_cut_is_lost_at_once_and_its_commands_fail(driver: RedisDriver) {
    let mut server = RedisServer::start();
    let link = connect(driver, &server).await;
    server.pause();
    let mut asking = link.clone();
    let asked = tokio::spawn(async move { asking.ping().await });
    server.kill();
    tokio::time::timeout(DEADLINE, link.lost()).await.expect("the loss is noticed");
    assert!(matches!(asked.await.expect("no panic"), Err(LinkError::Failed(_))));
}
