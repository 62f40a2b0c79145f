//! wire.md 1.2 and 1.4: where the server listens, and how a session begins.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    on_each_layout, on_each_layout_with,
    support::{
        engineio::{Polling, open_websocket, packets},
        http::request,
        websocket::Socket,
    },
};

fn assert_handshake(handshake: &Value, upgrades: &Value) {
    let sid = handshake["sid"].as_str().unwrap();
    assert_eq!(sid.len(), 20, "{sid}");
    assert!(sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{sid}");
    let expected = json!({
        "sid": sid, "upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000,
    });
    assert_eq!(*handshake, expected, "exactly these keys");
}

#[test]
fn the_open_packet_on_both_transports() {
    on_each_layout_with(&["--ping-interval-ms", "300", "--ping-timeout-ms", "200"], |server| {
        let (_, handshake) = Polling::open_at(server.address, "/engine.io/");
        assert_handshake(&handshake, &json!(["websocket"]));
        let (_, handshake) = open_websocket(server.address, "/engine.io/");
        assert_handshake(&handshake, &json!([]));
    });
}

#[test]
fn every_session_has_an_id_of_its_own() {
    on_each_layout(|server| {
        let ids: BTreeSet<_> = (0..50).map(|_| Polling::open(server.address).sid).collect();
        assert_eq!(ids.len(), 50);
    });
}

/// Also the headers of every poll (1.6).
#[test]
fn the_answer_to_a_polling_handshake() {
    on_each_layout(|server| {
        let response = request(server.address, "GET", "/engine.io/?EIO=4&transport=polling", &[], b"");
        assert_eq!(packets(&response).len(), 1, "the open packet alone");
        for (name, value) in [
            ("content-type", "text/plain; charset=UTF-8"),
            ("cache-control", "no-store"),
            ("content-length", &response.body.len().to_string()),
            ("set-cookie", ""),
            ("content-encoding", ""),
        ] {
            assert_eq!(response.header(name), value, "{name}");
        }
    });
}

#[test]
fn no_subprotocol_and_no_extension_is_agreed_on() {
    on_each_layout(|server| {
        let offers = [("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Extensions", "permessage-deflate")];
        let target = "/engine.io/?EIO=4&transport=websocket";
        let (mut socket, response) = Socket::connect_with(server.address, target, &offers, b"");
        assert_eq!(response.header("sec-websocket-protocol"), "");
        assert_eq!(response.header("sec-websocket-extensions"), "");
        assert!(socket.receive_text().starts_with("0{"));
    });
}

/// 1.2: every path below `/engine.io/`; unknown keys do not matter; of a repeated key the last counts.
#[test]
fn paths_and_queries() {
    on_each_layout(|server| {
        let table = [
            ("/engine.io/?EIO=4&transport=polling", 200),
            ("/engine.io/?transport=polling&EIO=4&t=abc&b64=1&j=0&token=x", 200),
            ("/engine.io/foo?EIO=4&transport=polling", 200),
            ("/engine.io/?EIO=3&EIO=4&transport=x&transport=polling", 200),
            ("/engine.io/?EIO=4&EIO=3&transport=polling", 400),
            ("/engine.io/?EIO=4&transport=polling&sid=", 200),
            ("/engine.io/?EIO=%34&transport=poll%69ng", 200),
            ("/engine.io?EIO=4&transport=polling", 404),
            ("/?EIO=4&transport=polling", 404),
        ];
        for (target, status) in table {
            assert_eq!(request(server.address, "GET", target, &[], b"").status, status, "{target}");
        }
    });
}
