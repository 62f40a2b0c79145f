//! wire.md 1.8: no message is lost, doubled or overtaken through an upgrade.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use broadgate_protocol::websocket::OpCode::Text;

use super::{
    on_each_layout,
    support::{
        engineio::{Polling, SEPARATOR},
        websocket::frame,
    },
};

const MESSAGES: usize = 500;

/// As the official client does it: it goes on polling and posting while it probes, lets the last poll return, sends the
/// upgrade packet, and goes on over WebSocket. All messages are numbered; each has to come back once and in order.
#[test]
fn messages_through_an_upgrade_come_back_once_and_in_order() {
    let sent: Vec<String> = (0..MESSAGES).map(|number| format!("4{number}")).collect();
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let paused = AtomicBool::new(false);
        let (before, after) = sent.split_at(MESSAGES / 2);
        let (mut received, mut socket) = thread::scope(|scope| {
            let polls = scope.spawn(|| {
                let mut received = Vec::new();
                while !paused.load(Ordering::SeqCst) {
                    received.extend(session.poll());
                }
                received
            });
            let mut batches = before.chunks(5);
            let push = |batches: &[&[String]]| {
                for batch in batches {
                    session.push(&batch.join(&SEPARATOR.to_string()));
                }
            };
            push(&batches.by_ref().take(20).collect::<Vec<_>>());
            let mut socket = session.websocket();
            push(&batches.by_ref().take(10).collect::<Vec<_>>());
            socket.send_text("2probe");
            push(&batches.by_ref().take(10).collect::<Vec<_>>());
            assert_eq!(socket.receive_text(), "3probe");
            push(&batches.by_ref().take(5).collect::<Vec<_>>());
            paused.store(true, Ordering::SeqCst);
            let received = polls.join().unwrap();
            // With the polls at rest, what is pushed now can come back only on the WebSocket.
            push(&batches.collect::<Vec<_>>());
            let upgrade = [&["5".to_owned()], after].concat();
            let frames = upgrade.iter().flat_map(|packet| frame(Text, true, packet.as_bytes()));
            socket.write(&frames.collect::<Vec<_>>());
            (received, socket)
        });
        received.retain(|packet| packet != "6");
        while received.len() < MESSAGES {
            received.push(socket.receive_text());
        }
        assert_eq!(received, sent);
    });
}
