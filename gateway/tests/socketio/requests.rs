//! What clients may ask for, `join`, `leave` and `publish`, and the objects that answer.

use broadgate_protocol::websocket::OpCode;
use serde_json::{Value, json};

use super::{
    node, node_with,
    support::{process::Server, socketio::Client, websocket::frame},
};

/// A refusal has a stable code and a text for people, and nothing else.
fn assert_refused(answer: &Value, code: &str, what: &str) {
    assert_eq!((&answer["ok"], &answer["error"]), (&json!(false), &json!(code)), "{what} => {answer}");
    assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()), "{what} => {answer}");
    assert_eq!(answer.as_object().unwrap().len(), 3, "{what} => {answer}");
}

#[test]
fn joins_and_leaves() {
    let server = node();
    let mut client = Client::connect(&server);
    let table = [
        (r#"["join","a"]"#, json!({"ok": true, "room": "a", "joined": true})),
        (r#"["join","a"]"#, json!({"ok": true, "room": "a", "joined": false})),
        (r#"["leave","a"]"#, json!({"ok": true, "room": "a", "left": true})),
        (r#"["leave","a"]"#, json!({"ok": true, "room": "a", "left": false})),
        (r#"["join","a"]"#, json!({"ok": true, "room": "a", "joined": true})),
        (r#"["join","\u20ac \"{}[]#/"]"#, json!({"ok": true, "room": "€ \"{}[]#/", "joined": true})),
    ];
    for (event, answer) in table {
        assert_eq!(client.ask(event), answer, "{event}");
    }
}

/// Written at once, before the node is subscribed to the room: each is answered, in order.
#[test]
fn a_join_that_is_taken_back_at_once_is_answered_all_the_same() {
    let server = node();
    let mut client = Client::connect(&server);
    let events = [r#"421["join","a"]"#, r#"422["leave","a"]"#, r#"423["join","a"]"#];
    let frames = events.iter().flat_map(|event| frame(OpCode::Text, true, event.as_bytes()));
    client.socket.write(&frames.collect::<Vec<_>>());
    for (start, key) in [("31", "joined"), ("32", "left"), ("33", "joined")] {
        let answer = client.ack(start);
        assert_eq!((&answer["ok"], &answer[key]), (&json!(true), &json!(true)), "{answer}");
    }
}

#[test]
fn publishes_are_answered() {
    let server = node();
    let mut client = Client::connect(&server);
    for event in [r#"["publish","r","e"]"#, r#"["publish","r","e",1,{"a":null},"x"]"#] {
        let answer = client.ask(event);
        assert_eq!((&answer["ok"], &answer["room"]), (&json!(true), &json!("r")), "{answer}");
    }
}

#[test]
fn invalid_arguments_are_refused() {
    let table = [
        r#"["join"]"#,
        r#"["join","a","b"]"#,
        r#"["join",1]"#,
        r#"["join",null]"#,
        r#"["join",["a"]]"#,
        r#"["join",""]"#,
        r#"["leave"]"#,
        r#"["leave","a","b"]"#,
        r#"["leave",{}]"#,
        r#"["leave",""]"#,
        r#"["publish"]"#,
        r#"["publish","r"]"#,
        r#"["publish",1,"e"]"#,
        r#"["publish","","e"]"#,
        r#"["publish","r",1]"#,
        r#"["publish","r",null]"#,
        r#"["publish","r","connect"]"#,
        r#"["publish","r","disconnect"]"#,
        r#"["publish","r","\u0064isconnecting"]"#,
        r#"["publish",["r"],"e"]"#,
    ];
    let server = node();
    let mut client = Client::connect(&server);
    for event in table {
        assert_refused(&client.ask(event), "invalid_argument", event);
    }
}

#[test]
fn unknown_events_are_refused() {
    let server = node();
    let mut client = Client::connect(&server);
    for event in [r#"["subscribe","a"]"#, r#"["Join","a"]"#, "[1,2]", r#"["join ","a"]"#, r#"[""]"#] {
        assert_refused(&client.ask(event), "unknown_event", event);
    }
}

#[test]
fn what_no_rule_allows_is_forbidden() {
    let rules = r#"
[[namespaces]]
name = "/"
[[namespaces]]
name = "/custom"
[[rooms]]
match = "news*"
join = "anyone"
[[rooms]]
match = "inbox"
publish = "anyone"
"#;
    let table = [
        (r#"["join","news"]"#, None),
        (r#"["publish","news","e"]"#, Some("forbidden")),
        (r#"["join","inbox"]"#, Some("forbidden")),
        (r#"["publish","inbox","e"]"#, None),
        (r#"["join","other"]"#, Some("forbidden")),
        (r#"["publish","other","e"]"#, Some("forbidden")),
        (r#"["leave","other"]"#, None),
    ];
    let server = Server::node(Some(rules));
    let mut client = Client::connect(&server);
    for (event, refusal) in table {
        let answer = client.ask(event);
        match refusal {
            Some(code) => assert_refused(&answer, code, event),
            None => assert_eq!(answer["ok"], true, "{event} => {answer}"),
        }
    }
    client.join_namespace("/custom");
    client.send(r#"2/custom,1["join","news"]"#);
    assert_refused(&client.ack("3/custom,1"), "forbidden", "a rule is for its namespace alone");
}

/// Nobody listens where Redis should be.
const NO_REDIS: &str = r#"
[adapter]
kind = "redis"
[adapter.redis]
url = "redis://127.0.0.1:1"
"#;

#[test]
fn without_the_link_to_the_other_nodes_requests_fail_in_time() {
    let server = node_with(&format!("{NO_REDIS}subscribe_timeout_ms = 200\npublish_timeout_ms = 200\n"));
    let mut client = Client::connect(&server);
    for event in [r#"["join","a"]"#, r#"["publish","a","e"]"#] {
        assert_refused(&client.ask(event), "adapter_unavailable", event);
    }
    // The failed join was undone.
    assert_eq!(client.ask(r#"["leave","a"]"#)["left"], false);
}

#[test]
fn requests_that_wait_are_bounded() {
    let more = format!("{NO_REDIS}subscribe_timeout_ms = 600000\n[limits]\nmax_pending_acks = 2\n");
    let server = node_with(&more);
    let mut client = Client::connect(&server);
    client.send(r#"21["join","a"]"#);
    client.send(r#"22["join","b"]"#);
    assert_refused(&client.ask(r#"["join","c"]"#), "limit_reached", "the third");
    // Those of a socket end with it.
    client.send("1");
    client.join_namespace("/");
    client.send(r#"23["join","d"]"#);
    client.send(r#"24["join","e"]"#);
    assert_refused(&client.ask(r#"["join","f"]"#), "limit_reached", "the third again");
}
