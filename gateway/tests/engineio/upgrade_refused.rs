//! wire.md 1.8: upgrades that fail. Each time only the WebSocket ends; the session goes on with polling and can upgrade
//! later.

use broadgate_protocol::websocket::OpCode::{Binary, Close, Text};

use super::{
    on_each_layout, on_each_layout_with,
    support::{
        engineio::Polling,
        eventually,
        websocket::{Received, Socket, frame},
    },
};

fn assert_can_upgrade(session: &Polling) {
    // The server may not have seen the end of the last WebSocket yet; then it closes this one.
    eventually("the session upgrades", || {
        let mut socket = session.websocket();
        socket.send_text("2probe");
        if socket.receive() != Received::text("3probe") {
            return false;
        }
        socket.send_text("5");
        socket.send_text("4alive?");
        assert_eq!(socket.receive_text(), "4alive?");
        true
    });
}

#[test]
fn any_other_packet_closes_only_the_websocket() {
    let packets = ["0", "1", "2", "2x", "3", "3probe", "4message", "6", "7", "", "bAQ=="];
    on_each_layout(|server| {
        for probed in [false, true] {
            for packet in packets {
                let session = Polling::open(server.address);
                let mut socket = if probed { session.probing_websocket() } else { session.websocket() };
                socket.send_text(packet);
                assert_eq!(socket.receive_all(), [Received::Close(None)], "{packet:?}, probed: {probed}");
                session.assert_alive();
            }
        }
        let session = Polling::open(server.address);
        let mut socket = session.probing_websocket();
        socket.send(Binary, b"message");
        assert_eq!(socket.receive_all(), [Received::Close(None)], "binary");
        session.assert_alive();
        assert_can_upgrade(&session);
    });
}

#[test]
fn a_websocket_that_breaks_rfc_6455_closes_alone() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.probing_websocket();
        socket.write(b"\x81\x02no");
        assert_eq!(socket.receive_all(), [Received::Close(Some(1002))]);
        session.assert_alive();
        assert_can_upgrade(&session);
    });
}

#[test]
fn a_websocket_that_is_dropped_leaves_the_session_alone() {
    on_each_layout(|server| {
        let ends: [fn(Socket); 3] =
            [|mut socket| socket.write(&frame(Close, true, b"\x03\xe8")), drop, Socket::reset];
        for probed in [false, true] {
            for end in ends {
                let session = Polling::open(server.address);
                end(if probed { session.probing_websocket() } else { session.websocket() });
                session.assert_alive();
                assert_can_upgrade(&session);
            }
        }
    });
}

#[test]
fn an_upgrade_that_takes_too_long_leaves_the_session_alone() {
    on_each_layout_with(&["--upgrade-timeout-ms", "2000"], |server| {
        let session = Polling::open(server.address);
        for probed in [false, true] {
            let mut socket = if probed { session.probing_websocket() } else { session.websocket() };
            assert_eq!(socket.receive_all(), [Received::Close(None)], "probed: {probed}");
            session.assert_alive();
        }
        assert_can_upgrade(&session);
    });
}

/// A WebSocket may come, and its packets may lie in the socket, when the session is already gone.
#[test]
fn an_upgrade_of_a_session_that_ends_meanwhile_is_closed() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.websocket();
        session.push("1");
        session.assert_gone();
        assert_eq!(socket.receive_all(), [Received::Close(None)]);
        let early = frame(Text, true, b"2probe");
        let (socket, response) = Socket::ask(server.address, &session.target_for("websocket"), &[], &early);
        assert!(socket.is_none());
        assert_eq!((response.status, response.text()), (400, "Session ID unknown"));
    });
}
