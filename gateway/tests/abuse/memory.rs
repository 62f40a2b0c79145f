//! Above the watermark new clients are refused, and those that are there are served.

use broadgate_protocol::websocket::OpCode;

use super::{
    Neighbours, POLLING, closed, metric, node, reached, rejected,
    support::{
        eventually,
        http::request,
        socketio::Client,
        websocket::{Socket, frame},
    },
};

const MIB: usize = 1 << 20;

#[test]
fn a_node_that_has_taken_too_much() {
    let server = node(&format!(
        "[limits]\nmax_memory_bytes = {}\nmax_received_bytes_per_second = 0\n[engine]\nmax_payload_bytes = {}\n",
        96 * MIB,
        60 * MIB
    ));
    let mut neighbours = Neighbours::connect(&server);
    let is_reached = || metric(&server, "broadgate_memory_limit_reached") == 1;
    assert!(!is_reached());
    assert_eq!(metric(&server, "broadgate_limit{limit=\"max_memory_bytes\"}"), 96 * MIB as u64);
    // Messages that never end: what has come of them is kept.
    let part = frame(OpCode::Binary, true, &vec![7; 50 * MIB]);
    let mut hogs: Vec<_> = (0..2).map(|_| Client::connect(&server)).collect();
    for hog in &mut hogs {
        hog.socket.write(&part[..49 * MIB]);
    }
    eventually("the watermark is reached", is_reached);
    let response = request(server.address, "GET", POLLING, &[], b"");
    assert_eq!(response.status, 503);
    assert!((5..16).contains(&response.header("retry-after").parse().unwrap()), "{response:?}");
    assert_eq!(Socket::ask(server.address, super::WEBSOCKET, &[], b"").1.status, 503);
    assert_eq!((rejected(&server, "memory"), reached(&server, "max_memory_bytes")), (2, 2));
    neighbours.assert_well();
    assert_eq!(closed(&server, "transport_error"), 0);
}

#[test]
fn the_watermark_is_of_the_process_and_not_of_its_clients() {
    let server = node("[limits]\nmax_memory_bytes = 1\n");
    eventually("the first look", || metric(&server, "broadgate_memory_limit_reached") == 1);
    assert_eq!(request(server.address, "GET", POLLING, &[], b"").status, 503);
    let server = node("[limits]\nmax_memory_bytes = 0\n");
    Client::connect(&server).assert_alive();
    assert_eq!(metric(&server, "broadgate_memory_limit_reached"), 0);
}
