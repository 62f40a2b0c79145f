//! What fits no protocol, on each layer.

use std::io::Write;

use broadgate_protocol::websocket::OpCode;
use flate2::{Compression, write::GzEncoder};

use super::{
    Neighbours, assert_closed, closed, metric, node,
    support::{
        engineio::Polling,
        eventually,
        http::request,
        socketio::{Client, PATH},
        websocket::{Received, Socket, frame, frame_with_first_byte},
    },
};

fn errors(layer: &str) -> String {
    format!("broadgate_protocol_errors_total{{layer=\"{layer}\"}}")
}

#[test]
fn what_is_no_websocket() {
    let too_long = [0x81, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    let table: [(&str, Vec<u8>, u16); 9] = [
        ("a reserved bit, as of a compressed frame", frame_with_first_byte(0xc1, b"4x"), 1002),
        ("an opcode that is not there", frame_with_first_byte(0x83, b"4x"), 1002),
        ("a frame without a mask", b"\x81\x024x".to_vec(), 1002),
        ("a continuation of nothing", frame(OpCode::Continuation, true, b"x"), 1002),
        ("a ping in parts", frame(OpCode::Ping, false, b"x"), 1002),
        ("a long ping", frame(OpCode::Ping, true, &[b'x'; 126]), 1002),
        ("text that is none", frame(OpCode::Text, true, b"4\xff"), 1007),
        ("four gigabytes, announced", too_long.to_vec(), 1009),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
    ];
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    for (number, (what, bytes, code)) in table.into_iter().enumerate() {
        let mut client = Client::connect(&server);
        client.socket.write(&bytes);
        assert_eq!(client.socket.receive_all(), [Received::Close(Some(code))], "{what}");
        assert_closed(&server, "transport_error", number as u64 + 1);
        assert_eq!(metric(&server, &errors("websocket")), number as u64 + 1, "{what}");
    }
    assert_eq!(metric(&server, "broadgate_payload_too_large_total"), 1);
    neighbours.assert_well();
}

#[test]
fn what_is_no_engineio() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    for (number, packet) in ["", "9", "x", "b!", "\u{0}", "7probe"].into_iter().enumerate() {
        let mut client = Client::connect(&server);
        client.socket.send_text(packet);
        client.assert_closed(packet);
        assert_closed(&server, "parse_error", 2 * number as u64 + 1);
        let (session, _) = Polling::open_at(server.address, PATH);
        session.post(if packet.is_empty() { "\u{1e}" } else { packet });
        session.assert_gone();
        assert_closed(&server, "parse_error", 2 * number as u64 + 2);
    }
    assert_eq!(metric(&server, &errors("engineio")), 12);
    neighbours.assert_well();
}

#[test]
fn what_is_no_socketio() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    let deep = format!("42{}", "[".repeat(100_000));
    let packets = ["4", "49", "42{}", "42[", "451-[", "4999999999999999999999-", "42[\"disconnect\"]", &deep];
    for (number, packet) in packets.into_iter().enumerate() {
        let mut client = Client::connect(&server);
        client.socket.send_text(packet);
        client.assert_closed(&packet[..packet.len().min(40)]);
        assert_closed(&server, "forced_close", number as u64 + 1);
    }
    assert_eq!(metric(&server, &errors("socketio")), packets.len() as u64);
    neighbours.assert_well();
}

/// Compression is never agreed on, so nothing is ever inflated.
#[test]
fn compressed_frames() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")];
    let (mut socket, response) = Socket::connect_with(server.address, super::WEBSOCKET, &offer, b"");
    assert_eq!(response.header("sec-websocket-extensions"), "");
    socket.receive_text();
    let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b'4'; 100 << 20]).unwrap();
    socket.write(&frame_with_first_byte(0xc1, &bomb.finish().unwrap()));
    assert_eq!(socket.receive_all(), [Received::Close(Some(1002))]);
    assert_closed(&server, "transport_error", 1);
    assert!(server.peak_memory_bytes() < 100 << 20, "{}", server.peak_memory_bytes());
    neighbours.assert_well();
}

/// Bodies are taken as they come, whatever is said of their coding.
#[test]
fn compressed_bodies() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b'4'; 100 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 200_000, "within the payload: {}", bomb.len());
    for (number, coding) in ["gzip", "deflate", "br", "gzip, gzip"].into_iter().enumerate() {
        let (session, _) = Polling::open_at(server.address, PATH);
        request(server.address, "POST", &session.target(), &[("Content-Encoding", coding)], &bomb);
        session.assert_gone();
        eventually(coding, || closed(&server, "parse_error") == number as u64 + 1);
    }
    assert!(server.peak_memory_bytes() < 100 << 20, "{}", server.peak_memory_bytes());
    neighbours.assert_well();
}
