//! The channel of python-socketio: what its managers publish (wire.md 4), as tables; and over Redis.

mod support;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use broadgate_adapter::{
    Broadcast, Engine, Event, EventPacket, Flags, Origin, RedisConfig, RedisDriver, RedisEngine, Request,
    RequestKind, Stamp, StartError, Targets,
    wire::{DecodeError, Limits, PythonMessage, decode_python},
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Recorder, eventually, on_every_driver, redis_server::RedisServer};

fn read(payload: &str) -> Result<PythonMessage, DecodeError> {
    decode_python(payload.as_bytes(), &Limits::default())
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn broadcast(rooms: &[&str], except: &[&str], json: &str) -> Broadcast {
    Broadcast {
        namespace: "/".into(),
        rooms: names(rooms),
        except: names(except),
        flags: Flags::default(),
        stamp: Stamp::default(),
        packet: EventPacket { json: json.into(), attachments: Vec::new() },
    }
}

fn emitted(payload: &str) -> Broadcast {
    match read(payload) {
        Ok(PythonMessage::Emit(broadcast)) => broadcast,
        other => panic!("{payload}: {other:?}"),
    }
}

#[test]
fn an_emit_is_a_broadcast() {
    // As RedisManager of python-socketio 5.18.1 writes it.
    let payload = r#"{"method": "emit", "event": "news", "data": [{"a": [1, "é"]}], "binary": false, "namespace": "/", "room": "r1", "skip_sid": null, "callback": null, "host_id": "0123456789abcdef0123456789abcdef"}"#;
    assert_eq!(emitted(payload), broadcast(&["r1"], &[], r#"["news",{"a": [1, "é"]}]"#));
}

#[test]
fn rooms_and_who_is_left_out_may_be_one_many_or_none() {
    for (fields, rooms, except) in [
        ("", &[][..], &[][..]),
        (r#","room":null,"skip_sid":null"#, &[], &[]),
        (r#","room":"a","skip_sid":"x""#, &["a"], &["x"]),
        (r#","room":["a","b"],"skip_sid":["x","y"]"#, &["a", "b"], &["x", "y"]),
        (r#","room":7,"skip_sid":[8]"#, &["7"], &["8"]),
        (r#","skip_sid":[]"#, &[], &[]),
    ] {
        let payload = format!(r#"{{"method":"emit","event":"e","data":[1]{fields}}}"#);
        assert_eq!(emitted(&payload), broadcast(rooms, except, r#"["e",1]"#), "{payload}");
    }
}

#[test]
fn arguments_are_those_of_python() {
    for (data, expected) in [
        ("[]", r#"["e"]"#),
        // emit("e", None) has no argument.
        ("[null]", r#"["e"]"#),
        ("[null,null]", r#"["e",null,null]"#),
        ("[[1,2]]", r#"["e",[1,2]]"#),
        (r#"["a",{"b":null}]"#, r#"["e","a",{"b":null}]"#),
        (r#"["\ud83d\ude00"]"#, r#"["e","\ud83d\ude00"]"#),
    ] {
        let payload = format!(r#"{{"method":"emit","event":"e","data":{data}}}"#);
        assert_eq!(&*emitted(&payload).packet.json, expected, "{payload}");
    }
    assert_eq!(&*emitted(r#"{"method":"emit","event":"e"}"#).packet.json, r#"["e"]"#);
}

#[test]
fn the_namespace_is_the_root_unless_said() {
    for (namespace, expected) in [("null", "/"), ("\"\"", "/"), ("\"/chat\"", "/chat")] {
        let payload = format!(r#"{{"method":"emit","event":"e","data":[],"namespace":{namespace}}}"#);
        assert_eq!(&*emitted(&payload).namespace, expected);
    }
}

#[test]
fn binary_is_put_to_its_placeholders() {
    let payload = format!(
        r#"{{"method":"emit","event":"e","binary":true,"data":[[{{"x":{{"_placeholder": true, "num": 1}}}},{{"_placeholder": true, "num": 0}}],"{}","{}"]}}"#,
        STANDARD.encode([0, 255]),
        STANDARD.encode("second"),
    );
    let packet = emitted(&payload).packet;
    assert_eq!(&*packet.json, r#"["e",{"x":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]"#);
    assert_eq!(packet.attachments, [Bytes::from_static(b"second"), Bytes::from_static(&[0, 255])]);
}

#[test]
fn binary_that_clients_would_end_on_is_refused() {
    for (data, expected) in [
        (r"[]", "empty"),
        (r#"["x"]"#, "data must be an array"),
        (r#"[[{"_placeholder":true,"num":1}],"AAA="]"#, "a placeholder without its attachment"),
        (r#"[[{"_placeholder":true,"num":-1}],"AAA="]"#, "a placeholder without its attachment"),
        (r#"[[{"_placeholder":true,"num":0},{"_placeholder":"no"}],"AAA="]"#, "_placeholder"),
        (r#"[[{"_placeholder":true,"num":0}],"*"]"#, "Base64"),
        (r#"[[{"_placeholder":true,"num":0}],7]"#, "not a JSON message"),
        (&format!("[[]{}]", r#","AAA=""#.repeat(11)), "more than 10"),
    ] {
        let payload = format!(r#"{{"method":"emit","event":"e","binary":true,"data":{data}}}"#);
        let error = read(&payload).expect_err(data).to_string();
        assert!(error.contains(expected), "{data}: {error}");
    }
}

#[test]
fn methods_about_sockets_are_commands() {
    let one = |sid: &str| Targets { rooms: names(&[sid]), except: Vec::new() };
    for (payload, namespace, kind) in [
        (
            r#"{"method":"disconnect","sid":"s","namespace":"/","host_id":"x"}"#,
            "/",
            RequestKind::Disconnect { targets: one("s"), close: false },
        ),
        (
            r#"{"method":"enter_room","sid":"s","room":"r","namespace":"/chat"}"#,
            "/chat",
            RequestKind::Join { targets: one("s"), rooms: names(&["r"]) },
        ),
        (
            r#"{"method":"leave_room","sid":"s","room":5,"namespace":null}"#,
            "/",
            RequestKind::Leave { targets: one("s"), rooms: names(&["5"]) },
        ),
        (
            r#"{"method":"close_room","room":"r","namespace":"/"}"#,
            "/",
            RequestKind::Leave { targets: one("r"), rooms: names(&["r"]) },
        ),
    ] {
        let expected = Request { namespace: namespace.into(), kind };
        assert_eq!(read(payload).expect(payload), PythonMessage::Command(expected), "{payload}");
    }
}

#[test]
fn what_concerns_no_socket_is_nothing() {
    for (payload, expected) in [
        (r#"{"method":"callback","host_id":"x","sid":"s","id":1,"args":[]}"#, PythonMessage::Nothing),
        (r#"{"method":"emit","event":"e","data":[],"room":[]}"#, PythonMessage::Nothing),
        (r#"{"method":"dance"}"#, PythonMessage::Unknown),
    ] {
        assert_eq!(read(payload).expect(payload), expected);
    }
}

#[test]
fn nobody_is_meant_by_mistake() {
    for (payload, expected) in [
        (r#"{"method":"disconnect","namespace":"/"}"#, "sid is missing"),
        (r#"{"method":"disconnect","sid":null}"#, "sid is missing"),
        (r#"{"method":"disconnect","sid":""}"#, "empty"),
        (r#"{"method":"enter_room","sid":"s"}"#, "one room"),
        (r#"{"method":"enter_room","sid":"s","room":["a"]}"#, "one room"),
        (r#"{"method":"enter_room","room":"a"}"#, "sid is missing"),
        (r#"{"method":"close_room","room":null}"#, "one room"),
        (r#"{"method":"close_room","room":""}"#, "empty"),
        (r#"{"method":"emit","event":"e","data":[],"room":""}"#, "empty"),
        (r#"{"method":"emit","event":"e","data":[],"room":["a",""]}"#, "empty"),
    ] {
        let error = read(payload).expect_err(payload).to_string();
        assert!(error.contains(expected), "{payload}: {error}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let deep = format!(r#"{{"method":"emit","event":"e","data":{}{}}}"#, "[".repeat(70), "]".repeat(70));
    let rooms = format!(r#"{{"method":"emit","event":"e","data":[],"room":[{}1]}}"#, "1,".repeat(1024));
    let long = format!(r#"{{"method":"emit","event":"e","data":[],"room":"{}"}}"#, "x".repeat(1025));
    for (payload, expected) in [
        ("", "not a JSON message"),
        ("[]", "not a JSON message"),
        ("{}", "not a JSON message"),
        (r#"{"method":1}"#, "not a JSON message"),
        (r#"{"method":"emit","data":[]}"#, "without an event"),
        (r#"{"method":"emit","event":1,"data":[]}"#, "not a JSON message"),
        (r#"{"method":"emit","event":"connect","data":[]}"#, "reserved"),
        (r#"{"method":"emit","event":"e","data":1}"#, "data must be an array"),
        (r#"{"method":"emit","event":"e","data":[NaN]}"#, "not a JSON message"),
        (deep.as_str(), "nested deeper"),
        (rooms.as_str(), "more than 1024 rooms"),
        (long.as_str(), "longer than 1024"),
    ] {
        let error = read(payload).expect_err(payload).to_string();
        assert!(error.contains(expected), "{payload}: {error}");
    }
    let too_big = vec![b' '; (8 << 20) + 1];
    assert!(matches!(decode_python(&too_big, &Limits::default()), Err(DecodeError::TooBig { .. })));
}

#[test]
fn a_pickle_is_refused_unread() {
    // pickle.dumps({"method": "emit"}) by protocols 2 and 5, and by protocol 0, which is text.
    for payload in [
        b"\x80\x02}q\x00X\x06\x00\x00\x00methodq\x01X\x04\x00\x00\x00emitq\x02s.".as_slice(),
        b"\x80\x05\x95\x15\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x06method\x94\x8c\x04emit\x94s.",
    ] {
        let error = decode_python(payload, &Limits::default()).expect_err("a pickle").to_string();
        assert!(error.contains("a pickle"), "{error}");
    }
    assert!(decode_python(b"(dp0\nVmethod\np1\nVemit\np2\ns.", &Limits::default()).is_err());
}

/// Values that JSON and Python have in common.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn an_emit_arrives_with_its_arguments(
        event in "[a-z]{12}",
        args in prop::collection::vec(value(), 2..5),
        room in "[a-z]{1,10}",
    ) {
        let payload = json!({ "method": "emit", "event": event, "data": args, "room": room }).to_string();
        let Broadcast { rooms, packet, .. } = emitted(&payload);
        prop_assert_eq!(rooms, [Box::<str>::from(room)]);
        let mut expected = vec![Value::from(event)];
        expected.extend(args);
        prop_assert_eq!(serde_json::from_str::<Value>(&packet.json).expect("valid JSON"), Value::from(expected));
    }

    #[test]
    fn attachments_arrive_as_they_were(
        attachments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..10),
    ) {
        let placeholders: Vec<_> =
            (0..attachments.len()).map(|num| json!({ "_placeholder": true, "num": num })).collect();
        let mut data = vec![Value::from(placeholders)];
        data.extend(attachments.iter().map(|bytes| Value::from(STANDARD.encode(bytes))));
        let payload = json!({ "method": "emit", "event": "e", "binary": true, "data": data }).to_string();
        prop_assert_eq!(emitted(&payload).packet.attachments, attachments);
    }

    #[test]
    fn nothing_that_arrives_panics(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_python(&payload, &Limits::default());
    }

    #[test]
    fn no_object_that_arrives_panics(
        method in "emit|disconnect|enter_room|leave_room|close_room|callback",
        fields in prop::collection::hash_map("event|data|binary|namespace|room|skip_sid|sid", value(), 0..7),
    ) {
        let mut object: serde_json::Map<_, _> = fields.into_iter().collect();
        object.insert("method".into(), method.into());
        let _ = read(&Value::Object(object).to_string());
    }
}

// Over Redis.

on_every_driver! {
    #[tokio::test] the_channel_is_read_beside_all_others
    #[tokio::test] without_the_setting_it_is_not_subscribed
}

async fn start(
    server: &RedisServer,
    driver: RedisDriver,
    python_channel: Option<&str>,
) -> (Arc<RedisEngine>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let config = RedisConfig {
        driver,
        python_channel: python_channel.map(str::to_owned),
        ..RedisConfig::new(server.url(), "nodeA", "nodeA")
    };
    let engine = RedisEngine::start(config, Arc::clone(&recorder) as _).expect("the configuration is usable");
    eventually("the links", || engine.metrics().announced == 1).await;
    (engine, recorder)
}

async fn the_channel_is_read_beside_all_others(driver: RedisDriver) {
    let server = RedisServer::start();
    let (engine, recorder) = start(&server, driver, Some("socketio")).await;
    let emit =
        r#"{"method":"emit","event":"e","data":[1],"room":"r","host_id":"0123456789abcdef0123456789abcdef"}"#;
    let leave = r#"{"method":"leave_room","sid":"s","room":"r","namespace":"/"}"#;
    for message in [emit, leave, "\u{1}", r#"{"method":"dance"}"#, r#"{"method":"callback"}"#] {
        let reached: u64 = server.command(&["PUBLISH", "socketio", message]).await;
        assert_eq!(reached, 1, "{message}");
    }
    let mark = r#"{"event":"mark"}"#;
    let _: u64 = server.command(&["PUBLISH", "socket.io#/#", mark]).await;
    eventually("the last", || recorder.json().len() == 2).await;
    assert_eq!(recorder.json(), [r#"["e",1]"#, r#"["mark"]"#]);
    assert_eq!(recorder.requests(), 1);
    let origins = recorder.map(|event| match event {
        Event::Broadcast(_, origin) | Event::Request(_, _, origin) => Some(*origin),
        _ => None,
    });
    assert_eq!(origins, [Origin::OTHER, Origin::OTHER, Origin::UNKNOWN]);
    let metrics = engine.metrics();
    assert_eq!((metrics.received_total, metrics.requests_received_total[3]), (2, 1));
    assert_eq!((metrics.malformed_total, metrics.requests_unknown_total), (1, 1));
}

async fn without_the_setting_it_is_not_subscribed(driver: RedisDriver) {
    let server = RedisServer::start();
    let _node = start(&server, driver, None).await;
    let reached: u64 = server.command(&["PUBLISH", "socketio", r#"{"method":"dance"}"#]).await;
    assert_eq!(reached, 0);
}

#[tokio::test]
async fn a_channel_of_nodes_is_none_of_python() {
    for channel in ["", "socket.io#/#"] {
        let config = RedisConfig {
            python_channel: Some(channel.to_owned()),
            ..RedisConfig::new("redis://127.0.0.1:1", "nodeA", "nodeA")
        };
        let started = RedisEngine::start(config, Arc::new(Recorder::default()));
        assert_eq!(started.err(), Some(StartError::PythonChannel));
    }
}
