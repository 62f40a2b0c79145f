//! More than a client may send, of whatever it may send: every packet, control frame and tiny fragment counts.

use broadgate_protocol::websocket::OpCode;

use super::{
    Neighbours, assert_closed, closed, metric, node,
    support::{
        engineio::Polling,
        eventually,
        process::Server,
        socketio::{Client, PATH},
        websocket::{Received, frame},
    },
};

/// 40 messages at once, and then 20 a second.
const RATE: &str = "[limits]\nmax_messages_per_second = 20\nrate_burst_ms = 2000\n";
/// The close code for a client that breaks the rules of the service.
const POLICY_VIOLATION: Received = Received::Close(Some(1008));

fn text(packet: &str) -> Vec<u8> {
    frame(OpCode::Text, true, packet.as_bytes())
}

#[test]
fn floods_over_websocket() {
    let table = [
        ("events", text(r#"42["x"]"#)),
        ("acks", text("431[]")),
        ("joins", text(r#"421["join","room"]"#)),
        ("attempts to connect", text("40/nope,")),
        ("pongs of Engine.IO", text("3")),
        ("packets without a meaning", text("6")),
        ("close packets, which close nothing on a WebSocket", text("1")),
        ("pings of WebSocket", frame(OpCode::Ping, true, b"")),
        ("pongs of WebSocket", frame(OpCode::Pong, true, b"x")),
    ];
    let server = node(RATE);
    let mut neighbours = Neighbours::connect(&server);
    for (number, (what, packet)) in table.into_iter().enumerate() {
        let mut flooder = Client::connect(&server);
        flooder.socket.write(&packet.repeat(200));
        assert_eq!(flooder.socket.receive_all().last(), Some(&POLICY_VIOLATION), "{what}");
        assert_closed(&server, "rate_limited", number as u64 + 1);
        if number % 3 == 0 {
            neighbours.assert_well();
        }
    }
}

/// Not one message ever comes of them.
#[test]
fn fragments_of_nothing() {
    let server = node(RATE);
    let mut neighbours = Neighbours::connect(&server);
    let mut flooder = Client::connect(&server);
    flooder.socket.write(&frame(OpCode::Text, false, b"4"));
    flooder.socket.write(&frame(OpCode::Continuation, false, b"").repeat(200));
    assert_eq!(flooder.socket.receive_all(), [POLICY_VIOLATION]);
    assert_closed(&server, "rate_limited", 1);
    // Also where they make a message in the end.
    let mut flooder = Client::connect(&server);
    let mut frames = frame(OpCode::Text, false, br#"42[""#);
    frames.extend(frame(OpCode::Continuation, false, b"x").repeat(200));
    frames.extend(frame(OpCode::Continuation, true, br#""]"#));
    flooder.socket.write(&frames);
    assert_eq!(flooder.socket.receive_all().last(), Some(&POLICY_VIOLATION));
    assert_closed(&server, "rate_limited", 2);
    neighbours.assert_well();
}

/// Browsers send large messages in parts; those cost no more than their bytes.
#[test]
fn large_fragments_are_no_flood() {
    let server = node(RATE);
    let mut client = Client::connect(&server);
    let part = "x".repeat(2048);
    client.socket.write(&frame(OpCode::Text, false, br#"427["publish","r","e",""#));
    for _ in 0..100 {
        client.socket.write(&frame(OpCode::Continuation, false, part.as_bytes()));
    }
    client.socket.write(&frame(OpCode::Continuation, true, br#""]"#));
    assert_eq!(client.ack("37")["ok"], true);
    client.assert_alive();
}

#[test]
fn packets_in_the_bodies_of_posts() {
    let server = node(RATE);
    let mut neighbours = Neighbours::connect(&server);
    for (number, packet) in [r#"42["x"]"#, "3", "6", "bAQID"].into_iter().enumerate() {
        let (session, _) = Polling::open_at(server.address, PATH);
        session.push("40");
        session.poll();
        // Binary messages without their packet would be a fault of Socket.IO.
        if packet.starts_with('b') {
            session.push(&format!("4510-{}", r#"["x"]"#));
        }
        session.push(&[packet; 200].join("\u{1e}"));
        session.assert_gone();
        eventually(packet, || {
            closed(&server, "rate_limited") == number as u64 + 1 || packet.starts_with('b')
        });
    }
    neighbours.assert_well();
    assert_eq!(metric(&server, "broadgate_connections{transport=\"polling\"}"), 0);
}

#[test]
fn one_small_post_after_another() {
    // The same burst, refilled so slowly that slow requests are too fast as well.
    let server = node("[limits]\nmax_messages_per_second = 1\nrate_burst_ms = 40000\n");
    let (session, _) = Polling::open_at(server.address, PATH);
    let taken = (0..200).take_while(|_| session.post("3").status == 200).count();
    assert!((40..200).contains(&taken), "{taken}");
    session.assert_gone();
    assert_closed(&server, "rate_limited", 1);
}

#[test]
fn more_bytes_than_the_rate() {
    let server = node(
        "[limits]\nmax_received_bytes_per_second = 10000\nrate_burst_ms = 5000\n[engine]\nmax_payload_bytes = 50000\n",
    );
    let mut neighbours = Neighbours::connect(&server);
    let event = |bytes: usize| format!(r#"42["x","{}"]"#, "x".repeat(bytes));
    // A calm client may send the largest message that there is.
    let mut calm = Client::connect(&server);
    calm.socket.send_text(&event(49_000));
    calm.socket.send(OpCode::Ping, b"here?");
    assert_eq!(calm.socket.receive(), Received::Pong(b"here?".to_vec()));
    let mut flooder = Client::connect(&server);
    flooder.socket.write(&text(&event(20_000)).repeat(10));
    assert_eq!(flooder.socket.receive_all(), [POLICY_VIOLATION]);
    assert_closed(&server, "rate_limited", 1);
    neighbours.assert_well();
}

/// What comes to a client costs it nothing, and neither do its polls.
#[test]
fn receiving_is_free() {
    let server: Server = node("[limits]\nmax_messages_per_second = 5\nrate_burst_ms = 4000\n");
    let mut reader = Client::connect(&server);
    reader.join("room");
    for _ in 0..10 {
        let mut writer = Client::connect(&server);
        for number in 0..15 {
            writer.send(&format!(r#"2["publish","room","n",{number}]"#));
        }
        for number in 0..15 {
            assert_eq!(reader.receive(), format!(r#"2["n",{number}]"#));
        }
    }
    reader.assert_alive();
    assert_eq!(closed(&server, "rate_limited"), 0);
}

#[test]
fn without_a_rate_there_is_no_flood() {
    let server = node("[limits]\nmax_messages_per_second = 0\nmax_received_bytes_per_second = 0\n");
    let mut client = Client::connect(&server);
    client.socket.write(&text(r#"42["x"]"#).repeat(5000));
    client.assert_alive();
}
