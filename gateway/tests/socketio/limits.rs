//! The bounds of `[limits]` that a client meets.

use super::{node_with, support::socketio::Client};

#[test]
fn rooms_per_socket() {
    let server = node_with("[limits]\nmax_rooms_per_socket = 2\n");
    let mut client = Client::connect(&server);
    client.join_namespace("/custom");
    let table = [
        (r#"["join","a"]"#, true),
        (r#"["join","b"]"#, true),
        (r#"["join","c"]"#, false),
        (r#"["join","a"]"#, true),
        (r#"["leave","a"]"#, true),
        (r#"["join","c"]"#, true),
        (r#"["join","a"]"#, false),
    ];
    for (event, fits) in table {
        let answer = client.ask(event);
        assert_eq!(answer["ok"], fits, "{event} => {answer}");
        if !fits {
            assert_eq!(answer["error"], "limit_reached");
        }
    }
    client.send(r#"2/custom,1["join","c"]"#);
    assert_eq!(client.ack("3/custom,1")["ok"], true, "each socket has its own");
}

/// In bytes, not characters; the longest fits.
#[test]
fn lengths_of_names() {
    let server = node_with("[limits]\nmax_room_name_bytes = 8\nmax_event_name_bytes = 4\n");
    let mut client = Client::connect(&server);
    let table = [
        (r#"["join","12345678"]"#, true),
        (r#"["join","123456789"]"#, false),
        (r#"["join","€€12"]"#, true),
        (r#"["join","€€€"]"#, false),
        (r#"["leave","123456789"]"#, false),
        (r#"["publish","123456789","e"]"#, false),
        (r#"["publish","r","1234"]"#, true),
        (r#"["publish","r","12345"]"#, false),
        (r#"["publish","r","€€"]"#, false),
    ];
    for (event, fits) in table {
        let answer = client.ask(event);
        assert_eq!(answer["ok"], fits, "{event} => {answer}");
        if !fits {
            assert_eq!(answer["error"], "invalid_argument");
        }
    }
}

#[test]
fn namespaces_per_connection() {
    let server = node_with("[limits]\nmax_namespaces_per_connection = 1\n");
    let mut client = Client::connect(&server);
    client.send("0/custom,");
    assert_eq!(
        client.receive(),
        r#"4/custom,{"data":{"code":"too_many_namespaces"},"message":"Too many namespaces"}"#
    );
    client.assert_alive();
    client.send("1");
    client.join_namespace("/custom");
}

#[test]
fn attachments() {
    let server = node_with("[limits]\nmax_attachments = 2\n");
    let mut client = Client::connect(&server);
    client.send(r#"52-["unknown"]"#);
    client.send_binary(b"1");
    client.send_binary(b"2");
    client.assert_alive();
    client.send(r#"53-["unknown"]"#);
    client.assert_closed("three");
}

#[test]
fn payloads() {
    let server = node_with("[engine]\nmax_payload_bytes = 2048\n");
    let mut client = Client::connect(&server);
    let overhead = r#"4427["publish","r","e",""]"#.len() - 1;
    let longest = "x".repeat(2048 - overhead);
    assert_eq!(client.ask(&format!(r#"["publish","r","e","{longest}"]"#))["ok"], true);
    client.send(&format!(r#"27["publish","r","e","{longest}x"]"#));
    let received = client.socket.receive_all();
    assert_eq!(received, [super::support::websocket::Received::Close(Some(1009))]);
}
