//! wire.md 1.11: a node that ends closes the transports and sends no Socket.IO DISCONNECT, or the official clients would
//! not come back by themselves.

use std::time::Duration;

use super::{
    node,
    support::{
        engineio::Polling,
        socketio::{Client, PATH},
        websocket::Socket,
    },
};

#[test]
fn a_node_that_ends_closes_every_transport() {
    let mut server = node();
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(&server)).collect();
    let mut unconnected = Client::open(&server);
    let (polling, _) = Polling::open_at(server.address, PATH);
    let mut poll = polling.begin_get();
    assert!(poll.is_silent_for(Duration::from_millis(500)));
    let (upgrading, _) = Polling::open_at(server.address, PATH);
    let mut probe: Socket = upgrading.probing_websocket();

    server.terminate();
    for client in clients.iter_mut().chain([&mut unconnected]) {
        client.assert_closed("the node ends");
    }
    assert_eq!(poll.receive().unwrap().text(), "1");
    assert_eq!(probe.receive_all(), [super::support::websocket::Received::Close(None)]);
    assert_eq!(server.wait(), Some(0));
}

/// What was published before is delivered before the end.
#[test]
fn what_waits_is_delivered_before_the_end() {
    let mut server = node();
    let mut member = Client::connect(&server);
    member.join("room");
    let mut publisher = Client::connect(&server);
    for number in 0..200 {
        publisher.send(&format!(r#"2["publish","room","n",{number}]"#));
    }
    publisher.assert_alive();
    server.terminate();
    for number in 0..200 {
        assert_eq!(member.receive(), format!(r#"2["n",{number}]"#));
    }
    member.assert_closed("the node ends");
    assert_eq!(server.wait(), Some(0));
}
