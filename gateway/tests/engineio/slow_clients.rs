//! Clients that take too little: the echo keeps at most 8 MiB for a session and then cuts it (wire.md 1.7: the
//! reference has no such bound).

use std::{io::Write, time::Duration};

use broadgate_protocol::websocket::OpCode::Binary;

use super::{
    on_each_layout,
    support::{
        engineio::{Polling, open_websocket},
        websocket::frame,
    },
};

const MAX_MEMORY_BYTES: u64 = 96 << 20;

#[test]
fn a_session_that_posts_and_never_polls_is_cut() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let body = format!("4{}", "x".repeat(999_999));
        // The one that fills the queue may be cut while it is written: that is the end of its session.
        let is_taken = |_: &i32| session.try_post(&body).is_some_and(|response| response.status == 200);
        let taken = (0..20).take_while(is_taken).count();
        assert!((8..20).contains(&taken), "{taken} bodies of 1 MB");
        session.assert_gone();
        assert!(server.peak_memory_bytes() < MAX_MEMORY_BYTES, "{}", server.peak_memory_bytes());
        Polling::open(server.address).assert_alive();
    });
}

#[test]
fn a_websocket_that_is_not_read_is_cut() {
    on_each_layout(|server| {
        let (mut socket, _) = open_websocket(server.address, "/engine.io/");
        let message = frame(Binary, true, &vec![7; 1_000_000]);
        // Ends with an error once the server has cut the connection; the deadline for a write is long.
        let sent = (0..200).take_while(|_| socket.stream.write_all(&message).is_ok()).count();
        assert!((8..200).contains(&sent), "{sent} messages of 1 MB");
        assert!(server.peak_memory_bytes() < MAX_MEMORY_BYTES, "{}", server.peak_memory_bytes());
        Polling::open(server.address).assert_alive();
    });
}

/// It waits in the session, whichever transport comes to fetch it.
#[test]
fn what_fits_is_kept_for_a_client_that_comes_late() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let packet = format!("4{}", "x".repeat(999_999));
        for _ in 0..7 {
            session.push(&packet);
        }
        let mut socket = session.probing_websocket();
        socket.send_text("5");
        for _ in 0..7 {
            assert_eq!(socket.receive_text(), packet);
        }
        assert!(socket.is_silent_for(Duration::from_millis(50)), "each once");
    });
}
