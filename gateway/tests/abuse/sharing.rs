//! What all clients share: the turns of a shard, places, room for messages that are not complete.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    POLLING, metric, node,
    support::{
        eventually,
        http::{Connection, head, request},
        socketio::Client,
        websocket::Received,
    },
};
use broadgate_protocol::websocket::{OpCode, push_masked_frame};

/// The other tasks of a shard get their turn while its socket set is never quiet.
#[test]
fn a_client_that_never_stops_sending() {
    let server = node("[limits]\nmax_messages_per_second = 0\nmax_received_bytes_per_second = 0\n");
    let mut flooder = Client::connect(&server).socket.stream;
    let stop = Arc::new(AtomicBool::new(false));
    let flood = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut frames = Vec::new();
            (0..1000).for_each(|_| push_masked_frame(&mut frames, OpCode::Text, [1, 2, 3, 4], br#"42["x"]"#));
            // It answers no ping, so its end comes, too.
            while !stop.load(Ordering::Relaxed) && flooder.write_all(&frames).is_ok() {}
        }
    });
    eventually("the flood is on", || metric(&server, "broadgate_events_unknown_total") > 10_000);
    for _ in 0..5 {
        assert_eq!(request(server.address, "GET", POLLING, &[], b"").status, 200);
        let mut client = Client::connect(&server);
        client.join("room");
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
}

/// Answers that nobody reads end their connection, and others get its place.
#[test]
fn clients_that_ask_and_never_read() {
    let server = node("[limits]\nmax_http_connections = 3\nhttp_header_timeout_ms = 5000\n");
    let address = server.address;
    let asked: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = Connection::open(address).stream.into_inner();
                stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                let requests = head("GET", "/socket.io/?EIO=3&transport=polling", &[], None).repeat(200);
                // Until the node reads no more, because its own writes are stuck.
                while stream.write_all(&requests).is_ok() {}
                stream
            })
        })
        .collect();
    eventually("the bound is met", || metric(&server, "broadgate_accept_pauses_total") > 0);
    let asked: Vec<TcpStream> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(request(server.address, "GET", POLLING, &[], b"").status, 200);
    drop(asked);
}

/// Parts of messages count together: the client that there is no room for is told to come later.
#[test]
fn clients_that_begin_messages_and_never_end_them() {
    let server = node("[limits]\nmax_inbound_buffer_bytes = 20000\n[engine]\nmax_payload_bytes = 15000\n");
    let mut whole = Vec::new();
    push_masked_frame(&mut whole, OpCode::Text, [1, 2, 3, 4], &[b'x'; 14_000]);
    let mut first = Client::connect(&server);
    first.socket.write(&whole[..13_000]);
    eventually("the part is counted", || metric(&server, "broadgate_inbound_buffer_bytes") >= 12_900);
    let mut second = Client::connect(&server);
    second.socket.write(&whole[..13_000]);
    assert!(matches!(second.socket.receive(), Received::Close(Some(1013))));
    assert_eq!(metric(&server, "broadgate_inbound_buffer_refused_total"), 1);
    drop(first);
    eventually("what went away is not counted", || metric(&server, "broadgate_inbound_buffer_bytes") == 0);
}

#[test]
fn attachments_for_a_namespace_that_was_not_joined() {
    let server = node("");
    let mut client = Client::open(&server);
    client.send(r#"51-["publish","room","e",{"_placeholder":true,"num":0}]"#);
    client.assert_closed("nobody waits for its attachments");
}

/// A message that the other nodes would refuse is delivered nowhere, and the client is told why.
#[test]
fn messages_that_no_other_node_would_take() {
    let server = node("");
    let (mut writer, mut reader) = (Client::connect(&server), Client::connect(&server));
    reader.join("room");
    // The same attachment again and again: small here, 60 MB on its way to the others.
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    let many = vec![placeholder; 300].join(",");
    writer.send(&format!(r#"51-1["publish","room","e",{many}]"#));
    writer.send_binary(&vec![0; 200_000]);
    let answer = writer.ack("31");
    assert_eq!((&answer["ok"], &answer["error"]), (&false.into(), &"invalid_argument".into()), "{answer}");
    let answer = writer.ask(r#"["publish","room","e","fits"]"#);
    assert_eq!(answer["ok"], true);
    assert_eq!(reader.receive(), r#"2["e","fits"]"#, "the first was delivered to nobody");
}
