//! Handshakes that come to nothing.

use super::{
    Neighbours, POLLING, assert_closed, metric, node, reached, rejected,
    support::{engineio::Polling, eventually, http::request, socketio::Client, socketio::PATH},
};

#[test]
fn sessions_that_join_no_namespace() {
    let server = node("[limits]\nmax_pending_connections = 5\n[engine]\nconnect_timeout_ms = 8000\n");
    let mut neighbours = Neighbours::connect(&server);
    let pending = || metric(&server, "broadgate_connections_pending");
    let _abandoned: Vec<_> = (0..4).map(|_| Client::open(&server)).collect();
    let _polling = Polling::open_at(server.address, PATH);
    assert_eq!(pending(), 5);
    let response = request(server.address, "GET", POLLING, &[], b"");
    assert_eq!(response.status, 503);
    assert!((5..16).contains(&response.header("retry-after").parse().unwrap()), "{response:?}");
    assert_eq!((rejected(&server, "pending"), reached(&server, "max_pending_connections")), (1, 1));
    neighbours.assert_well();
    assert_closed(&server, "connect_timeout", 5);
    assert_eq!(pending(), 0);
    Client::connect(&server).assert_alive();
    assert_eq!(pending(), 0, "who has joined is not pending");
}

#[test]
fn clients_that_come_are_told_to_come_back_at_different_times() {
    let server = node("[limits]\nmax_pending_connections = 1\n");
    let _pending = Client::open(&server);
    let mut times: Vec<u64> = (0..11)
        .map(|_| {
            let response = request(server.address, "GET", POLLING, &[], b"");
            response.header("retry-after").parse().unwrap()
        })
        .collect();
    times.sort_unstable();
    assert_eq!(times, (5..16).collect::<Vec<_>>());
}

#[test]
fn more_clients_than_there_are_places() {
    let server = node("[limits]\nmax_connections = 3\n");
    let mut neighbours = Neighbours::connect(&server);
    let third = Client::connect(&server);
    assert_eq!(request(server.address, "GET", POLLING, &[], b"").status, 503);
    assert_eq!((rejected(&server, "capacity"), reached(&server, "max_connections")), (1, 1));
    neighbours.assert_well();
    drop(third);
    eventually("the place is free again", || request(server.address, "GET", POLLING, &[], b"").status == 200);
}
