//! wire.md 2.2 and 2.5: connecting to namespaces and leaving them.

use super::{
    node, node_with,
    support::{
        engineio::Polling,
        process::Server,
        socketio::{Client, PATH},
    },
};

fn is_id(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// CONNECT => what comes before and behind the id of the socket.
#[test]
fn forms_of_connect() {
    let table = [
        ("0", "0"),
        ("0{}", "0"),
        (r#"0{"token":"x","deep":{"a":[1]}}"#, "0"),
        ("0/,", "0"),
        ("0/custom,", "0/custom,"),
        ("0/custom", "0/custom,"),
        (r#"0/custom,{"token":"x"}"#, "0/custom,"),
    ];
    let server = node();
    for (packet, start) in table {
        let mut client = Client::open(&server);
        client.send(packet);
        let answer = client.receive();
        let id =
            answer.strip_prefix(&format!("{start}{{\"sid\":\"")).and_then(|rest| rest.strip_suffix("\"}"));
        assert!(id.is_some_and(is_id), "{packet} => {answer}");
    }
}

#[test]
fn without_a_configuration_there_is_one_namespace_with_open_rooms() {
    let server = Server::node(None);
    let mut client = Client::connect(&server);
    client.join("room");
    client.send("0/custom,");
    assert_eq!(client.receive(), r#"4/custom,{"message":"Invalid namespace"}"#);
}

/// The session's id is a secret, those of its sockets are not: nothing of it may be seen in them.
#[test]
fn every_socket_has_an_id_of_its_own() {
    let server = node();
    let mut client = Client::connect(&server);
    let first = client.id.clone();
    client.join_namespace("/custom");
    assert_ne!(first, client.id);
    // The last ten characters are the secret part.
    for id in [&first, &client.id] {
        assert_ne!(id[10..], client.session_id[10..]);
    }
}

#[test]
fn an_unknown_namespace_is_refused_and_the_connection_lives_on() {
    let table = [
        ("0/nope,", r#"4/nope,{"message":"Invalid namespace"}"#),
        ("0/nope", r#"4/nope,{"message":"Invalid namespace"}"#),
        ("0/custom/x,", r#"4/custom/x,{"message":"Invalid namespace"}"#),
        ("0/custom?token=a,", r#"4/custom?token=a,{"message":"Invalid namespace"}"#),
        ("0/Custom,", r#"4/Custom,{"message":"Invalid namespace"}"#),
    ];
    let server = node();
    let mut client = Client::open(&server);
    for (packet, refusal) in table {
        client.send(packet);
        assert_eq!(client.receive(), refusal);
    }
    client.join_namespace("/custom");
}

#[test]
fn a_session_that_joins_nothing_is_closed() {
    let server = node_with("[engine]\nconnect_timeout_ms = 3000\n");
    let mut joined = Client::connect(&server);
    let mut left = Client::connect(&server);
    left.send("1");
    let mut idle = Client::open(&server);
    let mut refused = Client::open(&server);
    refused.send("0/nope,");
    assert_eq!(refused.receive(), r#"4/nope,{"message":"Invalid namespace"}"#);
    let (polling, _) = Polling::open_at(server.address, PATH);
    let mut poll = polling.begin_get();
    idle.assert_closed("idle");
    refused.assert_closed("a refused CONNECT does not stop the clock");
    assert_eq!(poll.receive().unwrap().text(), "1");
    polling.assert_gone();
    joined.assert_alive();
    left.join_namespace("/");
}

/// 2.5: only the namespace ends; the session lives on, with none left too.
#[test]
fn a_client_leaves_a_namespace_and_comes_back() {
    let server = node();
    let mut client = Client::connect(&server);
    let first = client.id.clone();
    client.join_namespace("/custom");
    client.send("1");
    client.send(r#"2/custom,5["leave","x"]"#);
    assert_eq!(client.ack("3/custom,5")["ok"], true, "the other namespace is untouched");
    client.send("1/custom,");
    client.join_namespace("/");
    assert_ne!(client.id, first, "a new socket");
    client.assert_alive();
}

#[test]
fn polling_works_as_websocket_does() {
    let server = node();
    let (session, _) = Polling::open_at(server.address, PATH);
    session.push("40");
    let [answer] = &session.poll()[..] else { panic!("one packet") };
    assert!(answer.starts_with(r#"40{"sid":""#), "{answer}");
    for (sent, answer) in [
        (r#"421["join","room"]"#, r#"431[{"ok":true,"room":"room","joined":true}]"#),
        (r#"422["leave","room"]"#, r#"432[{"ok":true,"room":"room","left":true}]"#),
    ] {
        session.push(sent);
        assert_eq!(session.poll(), [answer]);
    }
}
