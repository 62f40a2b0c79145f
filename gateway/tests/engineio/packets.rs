//! wire.md 1.5, 1.7, 1.10 and 1.11: packets on WebSocket, those that an open session ignores, and how sessions end.

use broadgate_protocol::websocket::OpCode::{Binary, Close, Ping, Text};

use super::{
    on_each_layout,
    support::{
        engineio::{Polling, open_websocket},
        eventually,
        websocket::{Received, Socket, frame},
    },
};

const PATH: &str = "/engine.io/";
const MAX_PAYLOAD_BYTES: usize = 1_000_000;

#[test]
fn messages_come_back_on_websocket() {
    on_each_layout(|server| {
        let (mut socket, _) = open_websocket(server.address, PATH);
        for text in ["4", "4hello", "4€😀", &format!("4{}", "x".repeat(MAX_PAYLOAD_BYTES - 1))] {
            socket.send_text(text);
            assert_eq!(socket.receive_text(), text);
        }
        for data in [&b""[..], b"\x01\x02\x03\x04", b"4", &[0xff; 70_000]] {
            socket.send(Binary, data);
            assert_eq!(socket.receive(), Received::Binary(data.to_vec()));
        }
        socket.send_text("bAQIDBA==");
        assert_eq!(socket.receive(), Received::Binary(vec![1, 2, 3, 4]), "base64 on WebSocket");
        socket.send(Ping, b"frame");
        assert_eq!(socket.receive(), Received::Pong(b"frame".to_vec()), "a ping frame is not a ping packet");
    });
}

#[test]
fn packets_that_come_with_the_upgrade_request_are_not_lost() {
    on_each_layout(|server| {
        let target = "/engine.io/?EIO=4&transport=websocket";
        let early = frame(Text, true, b"4early");
        let (mut socket, _) = Socket::connect_with(server.address, target, &[], &early);
        assert!(socket.receive_text().starts_with("0{"), "the open packet first");
        assert_eq!(socket.receive_text(), "4early");
    });
}

#[test]
fn open_upgrade_and_noop_packets_are_ignored() {
    on_each_layout(|server| {
        let (mut socket, _) = open_websocket(server.address, PATH);
        let session = Polling::open(server.address);
        for packet in ["0", "0{\"sid\":\"x\"}", "5", "6", "6x"] {
            socket.send_text(packet);
            socket.send_text("4alive?");
            assert_eq!(socket.receive_text(), "4alive?", "{packet}");
            session.push(packet);
            session.assert_alive();
        }
    });
}

/// On polling it closes; see `polling.rs`.
#[test]
fn a_close_packet_on_websocket_is_ignored() {
    on_each_layout(|server| {
        let (mut socket, _) = open_websocket(server.address, PATH);
        socket.send_text("1");
        socket.send_text("4alive?");
        assert_eq!(socket.receive_text(), "4alive?");
    });
}

#[test]
fn a_packet_that_cannot_be_read_closes_the_websocket() {
    on_each_layout(|server| {
        for text in ["", "7", "abc", "b*", "é4", "\u{1e}"] {
            let (mut socket, _) = open_websocket(server.address, PATH);
            socket.write(&[frame(Text, true, text.as_bytes()), frame(Text, true, b"4after")].concat());
            assert_eq!(socket.receive_all(), [Received::Close(None)], "{text:?}");
        }
    });
}

#[test]
fn a_message_above_the_limit_closes_with_1009() {
    on_each_layout(|server| {
        for opcode in [Text, Binary] {
            let (mut socket, _) = open_websocket(server.address, PATH);
            socket.send(opcode, &vec![b'4'; MAX_PAYLOAD_BYTES + 1]);
            assert_eq!(socket.receive_all(), [Received::Close(Some(1009))]);
        }
    });
}

#[test]
fn what_breaks_rfc_6455_closes_with_its_code() {
    on_each_layout(|server| {
        for (bytes, code) in [(&b"\x81\x02no"[..], 1002), (&frame(Text, true, b"4\xff"), 1007)] {
            let (mut socket, _) = open_websocket(server.address, PATH);
            socket.write(bytes);
            assert_eq!(socket.receive_all(), [Received::Close(Some(code))]);
        }
    });
}

/// By a close frame, with the code echoed; by the end of TCP, in order or by a reset.
#[test]
fn a_session_ends_with_its_websocket() {
    on_each_layout(|server| {
        let ends: [fn(Socket); 4] = [
            |mut socket| {
                socket.write(&frame(Close, true, b"\x03\xe9bye"));
                assert_eq!(socket.receive_all(), [Received::Close(Some(1001))]);
            },
            |mut socket| {
                socket.write(&frame(Close, true, b""));
                assert_eq!(socket.receive_all(), [Received::Close(None)]);
            },
            drop,
            Socket::reset,
        ];
        for end in ends {
            let session = Polling::open(server.address);
            let mut socket = session.probing_websocket();
            socket.send_text("5");
            socket.send_text("4on?");
            assert_eq!(socket.receive_text(), "4on?");
            end(socket);
            let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
            eventually("the session is gone", || session.get().text() == unknown);
        }
    });
}
