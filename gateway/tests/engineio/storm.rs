//! Many sessions at a time, each through its whole life, on all shards: what holds for one holds for all.

use std::thread;

use super::{
    on_each_layout,
    support::{engineio::Polling, eventually, http::Connection},
};

const CLIENTS: usize = 8;
const SESSIONS_PER_CLIENT: usize = 25;

/// Handshake, a message by polling, an upgrade, a message over WebSocket; then each ends in another way. The node keeps
/// nothing of them.
#[test]
fn sessions_side_by_side_do_not_disturb_each_other() {
    on_each_layout(|server| {
        // Every shard has started, and has its own descriptors.
        (0..3).for_each(|_| Polling::open(server.address).assert_alive());
        let before = server.open_descriptors();
        let life = |client: usize| {
            for round in 0..SESSIONS_PER_CLIENT {
                let session = Polling::open(server.address);
                let text = format!("4{client}/{round}");
                session.push(&text);
                assert_eq!(session.poll(), [text.as_str()]);
                if round % 5 == 0 {
                    drop(session.begin_get());
                    continue;
                }
                let mut socket = session.probing_websocket();
                session.push("4last");
                socket.send_text("5");
                assert_eq!(socket.receive_text(), "4last");
                socket.send_text(&text);
                assert_eq!(socket.receive_text(), text);
                match round % 5 {
                    1 => socket.send_text("7"),
                    2 => socket.reset(),
                    _ => drop(socket),
                }
            }
        };
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || life(client));
            }
        });
        eventually("every connection is closed", || server.open_descriptors() <= before);
        Polling::open(server.address).assert_alive();
    });
}

/// Requests in a row on one connection, written at once, are answered in their order.
#[test]
fn pipelined_requests_are_answered_in_order() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut connection = Connection::open(server.address);
        for number in 0..20 {
            connection.send("POST", &session.target(), &[], format!("4{number}").as_bytes());
            connection.send("GET", &session.target(), &[], b"");
        }
        for number in 0..20 {
            assert_eq!(connection.receive().unwrap().text(), "ok");
            assert_eq!(connection.receive().unwrap().text(), format!("4{number}"));
        }
    });
}
