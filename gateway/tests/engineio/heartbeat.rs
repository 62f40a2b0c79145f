//! wire.md 1.9: heartbeats. The official test suite gives pongs 200 ms; here they have four seconds, so that a busy machine
//! does not fail the test.

use std::time::{Duration, Instant};

use super::{
    on_each_layout, on_each_layout_with,
    support::{
        engineio::{Polling, open_websocket},
        eventually,
        websocket::Received,
    },
};

const TIMING: [&str; 4] = ["--ping-interval-ms", "300", "--ping-timeout-ms", "4000"];
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(4000);

/// Never early; how late depends on the machine.
fn assert_after(started: Instant, time: Duration, what: &str) {
    assert!(started.elapsed() >= time, "{what} after {:?}", started.elapsed());
}

#[test]
fn polling_lives_as_long_as_it_answers_pings() {
    on_each_layout_with(&TIMING, |server| {
        let started = Instant::now();
        let session = Polling::open(server.address);
        for _ in 0..3 {
            assert_eq!(session.poll(), ["2"]);
            session.push("3");
        }
        assert_eq!(session.poll(), ["2"]);
        assert_eq!(session.poll(), ["1"], "a poll that waits is told of the end");
        assert_after(started, PING_INTERVAL * 3 + PING_TIMEOUT, "closed");
        session.assert_gone();
    });
}

#[test]
fn websocket_lives_as_long_as_it_answers_pings() {
    on_each_layout_with(&TIMING, |server| {
        let started = Instant::now();
        let (mut socket, _) = open_websocket(server.address, "/engine.io/");
        for _ in 0..3 {
            assert_eq!(socket.receive_text(), "2");
            socket.send_text("3");
        }
        assert_after(started, PING_INTERVAL * 3, "three pings");
        assert_eq!(socket.receive_text(), "2");
        assert_eq!(socket.receive_all(), [Received::Close(None)]);
        assert_after(started, PING_INTERVAL * 4 + PING_TIMEOUT, "closed");
    });
}

/// An answered ping on one transport counts on the next.
#[test]
fn an_upgraded_session_is_pinged_on_its_websocket() {
    on_each_layout_with(&TIMING, |server| {
        let session = Polling::open(server.address);
        let mut socket = session.probing_websocket();
        socket.send_text("5");
        for _ in 0..3 {
            assert_eq!(socket.receive_text(), "2");
            socket.send_text("3");
        }
        assert_eq!(socket.receive_text(), "2");
        assert_eq!(socket.receive_all(), [Received::Close(None)]);
        session.assert_gone();
    });
}

#[test]
fn a_session_that_never_polls_times_out() {
    on_each_layout_with(&TIMING, |server| {
        let session = Polling::open(server.address);
        eventually("it is gone", || session.request("PUT", &[], b"").status == 400);
        session.assert_gone();
    });
}

#[test]
fn a_ping_from_the_client_ends_the_session() {
    on_each_layout(|server| {
        for ping in ["2", "2probe"] {
            let session = Polling::open(server.address);
            session.push(ping);
            session.assert_gone();
            let (mut socket, _) = open_websocket(server.address, "/engine.io/");
            socket.send_text(ping);
            assert_eq!(socket.receive_all(), [Received::Close(None)], "{ping}");
        }
    });
}

#[test]
fn a_pong_that_nobody_waits_for_is_harmless() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        session.push("3");
        session.push("3probe");
        session.assert_alive();
        let (mut socket, _) = open_websocket(server.address, "/engine.io/");
        socket.send_text("3");
        socket.send_text("3probe");
        socket.send_text("4alive?");
        assert_eq!(socket.receive_text(), "4alive?");
    });
}
