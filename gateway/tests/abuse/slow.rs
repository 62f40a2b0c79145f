//! Clients that take their time: to read, to ask, to send.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use broadgate_protocol::websocket::OpCode;

use super::{
    Neighbours, assert_closed, metric, node, reached,
    support::{
        engineio::Polling,
        eventually,
        http::{Connection, head},
        socketio::{Client, PATH},
        websocket::frame,
    },
};

/// Between two bytes of a client that sends one after another: far below every bound of these tests.
const PACE: Duration = Duration::from_millis(20);

/// Sends byte after byte until the node ends the connection; how many were sent.
fn drip(mut stream: TcpStream, bytes: &[u8]) -> usize {
    stream.set_read_timeout(Some(PACE)).unwrap();
    for (sent, byte) in bytes.iter().enumerate() {
        if stream.write_all(&[*byte]).is_err() {
            return sent;
        }
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return sent,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return sent,
            // An answer, a ping, or nothing yet.
            Ok(_) | Err(_) => thread::sleep(PACE),
        }
    }
    panic!("the node has waited for {} bytes", bytes.len());
}

#[test]
fn a_member_that_never_reads() {
    let server = node(
        "[limits]\nmax_queued_bytes = 300000\nmax_received_bytes_per_second = 0\nmax_messages_per_second = 0\n\
         [engine]\nmax_payload_bytes = 150000\n",
    );
    let mut neighbours = Neighbours::connect(&server);
    let (mut writer, mut slow) = (Client::connect(&server), Client::connect(&server));
    slow.join("room");
    let message = format!(r#"2["publish","room","e","{}"]"#, "x".repeat(140_000));
    // Until the kernel's buffers are full, and the node's queue behind them.
    for _ in 0..300 {
        writer.send(&message);
        if metric(&server, "broadgate_slow_consumers_total") > 0 {
            break;
        }
    }
    assert_closed(&server, "slow_consumer", 1);
    assert_eq!(reached(&server, "max_queued_bytes"), 1);
    assert!(server.peak_memory_bytes() < 128 << 20, "{}", server.peak_memory_bytes());
    neighbours.assert_well();
    drop(slow);
}

#[test]
fn a_head_that_comes_byte_by_byte() {
    let server = node("[limits]\nhttp_header_timeout_ms = 2000\n");
    let mut neighbours = Neighbours::connect(&server);
    let request = head("GET", &format!("{}&{}", super::POLLING, "x".repeat(5000)), &[], None);
    drip(Connection::open(server.address).stream.into_inner(), &request);
    eventually("it is counted", || reached(&server, "http_header_timeout_ms") == 1);
    // One that says nothing at all.
    assert!(Connection::open(server.address).is_ended());
    neighbours.assert_well();
    eventually("no connection is left", || metric(&server, "broadgate_http_connections") == 0);
}

#[test]
fn a_body_that_comes_byte_by_byte() {
    let server = node("[limits]\nhttp_body_timeout_ms = 500\n");
    let mut neighbours = Neighbours::connect(&server);
    let (session, _) = Polling::open_at(server.address, PATH);
    let mut connection = Connection::open(server.address);
    connection.write(&head("POST", &session.target(), &[], Some(5000)));
    drip(connection.stream.into_inner(), &[b'4'; 5000]);
    assert_closed(&server, "transport_error", 1);
    assert_eq!(reached(&server, "http_body_timeout_ms"), 1);
    neighbours.assert_well();
    eventually("nothing is kept", || metric(&server, "broadgate_inbound_buffer_bytes") == 0);
}

/// A message that takes longer than a heartbeat: the pong does not come through.
#[test]
fn a_frame_that_comes_byte_by_byte() {
    let server = node("[engine]\nping_interval_ms = 2000\nping_timeout_ms = 2000\n");
    let client = Client::connect(&server);
    drip(client.socket.stream, &frame(OpCode::Text, true, &[b'4'; 5000]));
    assert_closed(&server, "ping_timeout", 1);
    assert_eq!(metric(&server, "broadgate_ping_timeouts_total{transport=\"websocket\"}"), 1);
    assert_eq!(metric(&server, "broadgate_ping_timeouts_total{transport=\"polling\"}"), 0);
    eventually("nothing is kept", || metric(&server, "broadgate_inbound_buffer_bytes") == 0);
}
