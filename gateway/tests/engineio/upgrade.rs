//! wire.md 1.8: from polling to WebSocket.

use std::time::Duration;

use broadgate_protocol::websocket::OpCode::{Binary, Ping, Text};

use super::{
    on_each_layout,
    support::{
        engineio::{BAD_REQUEST, Polling, packets},
        websocket::{Received, Socket, frame},
    },
};

/// Completes the upgrade.
fn upgraded(session: &Polling) -> Socket {
    let mut socket = session.probing_websocket();
    socket.send_text("5");
    assert_on_websocket(&mut socket);
    socket
}

fn assert_on_websocket(socket: &mut Socket) {
    socket.send_text("4alive?");
    assert_eq!(socket.receive_text(), "4alive?");
    socket.send(Binary, b"\x01\x02");
    assert_eq!(socket.receive(), Received::Binary(vec![1, 2]));
}

#[test]
fn an_upgrade_succeeds() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        session.assert_alive();
        upgraded(&session);
    });
}

/// The poll that waits is released, at the latest with the upgrade packet.
#[test]
fn a_waiting_poll_is_released_with_a_noop() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut poll = session.begin_get();
        assert!(poll.is_silent_for(Duration::from_millis(1000)));
        let mut socket = session.websocket();
        socket.write(&[frame(Text, true, b"2probe"), frame(Text, true, b"5")].concat());
        assert_eq!(socket.receive_text(), "3probe");
        assert_eq!(packets(&poll.receive().unwrap()), ["6"]);
        assert_on_websocket(&mut socket);
    });
}

/// Every 100 ms while the probe lasts, again and again.
#[test]
fn polls_are_released_while_the_probe_lasts() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut poll = session.begin_get();
        assert!(poll.is_silent_for(Duration::from_millis(100)));
        let mut socket = session.probing_websocket();
        assert_eq!(packets(&poll.receive().unwrap()), ["6"]);
        for _ in 0..3 {
            assert_eq!(session.poll(), ["6"]);
        }
        socket.send_text("5");
        assert_on_websocket(&mut socket);
    });
}

#[test]
fn data_during_the_probe_goes_out_on_polling() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.probing_websocket();
        session.push("4during");
        assert_eq!(session.poll(), ["4during"]);
        session.push("4waits");
        socket.send_text("5");
        assert_eq!(socket.receive_text(), "4waits", "what no poll took goes out on the WebSocket");
        assert_on_websocket(&mut socket);
    });
}

#[test]
fn binary_that_waits_through_an_upgrade_stays_binary() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.probing_websocket();
        session.push("bAQID");
        socket.send_text("5");
        assert_eq!(socket.receive(), Received::Binary(vec![1, 2, 3]));
    });
}

#[test]
fn the_upgrade_packet_is_accepted_without_a_probe() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.websocket();
        socket.send_text("5");
        assert_on_websocket(&mut socket);
    });
}

#[test]
fn packets_that_come_with_the_upgrade_request_are_not_lost() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let early: Vec<u8> =
            [&b"2probe"[..], b"5", b"4early"].iter().flat_map(|packet| frame(Text, true, packet)).collect();
        let target = session.target_for("websocket");
        let (mut socket, _) = Socket::connect_with(server.address, &target, &[], &early);
        assert_eq!(socket.receive_text(), "3probe");
        assert_eq!(socket.receive_text(), "4early");
        assert_on_websocket(&mut socket);
    });
}

/// A ping frame of RFC 6455 is not a packet, here as everywhere.
#[test]
fn ping_frames_do_not_disturb_the_probe() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.websocket();
        socket.send(Ping, b"1");
        assert_eq!(socket.receive(), Received::Pong(b"1".to_vec()));
        socket.send_text("2probe");
        assert_eq!(socket.receive_text(), "3probe");
        socket.send(Ping, b"2");
        assert_eq!(socket.receive(), Received::Pong(b"2".to_vec()));
        socket.send_text("5");
        assert_on_websocket(&mut socket);
    });
}

/// The official suite: requests with the session's id are ignored after the upgrade.
#[test]
fn polling_is_refused_after_the_upgrade() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = upgraded(&session);
        for response in [session.get(), session.post("4x")] {
            assert_eq!((response.status, response.text()), BAD_REQUEST);
        }
        assert_on_websocket(&mut socket);
    });
}

#[test]
fn a_second_websocket_is_closed_and_the_first_is_left_alone() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut first = session.probing_websocket();
        assert_eq!(session.websocket().receive_all(), [Received::Close(None)], "while upgrading");
        first.send_text("5");
        assert_on_websocket(&mut first);
        assert_eq!(session.websocket().receive_all(), [Received::Close(None)], "after the upgrade");
        assert_on_websocket(&mut first);
    });
}

#[test]
fn a_session_that_ends_takes_its_probing_websocket_along() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut socket = session.probing_websocket();
        session.push("1");
        assert_eq!(socket.receive_all(), [Received::Close(None)]);
        session.assert_gone();
    });
}
