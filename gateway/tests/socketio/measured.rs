//! What the histograms of a node count: each thing once, where it happens.

use super::{
    OPEN, node, node_with,
    support::{
        engineio::Polling,
        metrics::{eventually_is, value},
        process::Server,
        socketio::{Client, PATH},
    },
};

/// How many values a histogram has, and their sum.
fn count_and_sum(server: &Server, name: &str, labels: &str) -> (f64, f64) {
    (value(server, &format!("{name}_count{labels}")), value(server, &format!("{name}_sum{labels}")))
}

/// Two clients on each of the three shards, since connections are dealt in turn.
fn members(server: &Server) -> Vec<Client> {
    let join = |_| {
        let mut client = Client::connect(server);
        client.join("room");
        client
    };
    (0..6).map(join).collect()
}

/// Nothing is written to a WebSocket then, and the next ping is 25 seconds away.
#[test]
fn a_broadcast_to_polls_alone_is_measured_at_once() {
    let server = Server::node(Some(&OPEN.replace("shards = 3", "shards = 1")));
    let [publisher, member] = [(); 2].map(|()| {
        let (session, _) = Polling::open_at(server.address, PATH);
        session.push("40");
        session.poll();
        session
    });
    member.push(r#"420["join","room"]"#);
    assert!(member.poll()[0].starts_with("430"));
    publisher.push(r#"42["publish","room","news",1]"#);
    assert_eq!(member.poll(), [r#"42["news",1]"#]);
    eventually_is(&server, "broadgate_delivery_latency_seconds_count{path=\"local\"}", 1.0);
}

#[test]
fn a_broadcast_is_measured_once_on_each_shard_and_its_size_for_each_member() {
    let server = node();
    let mut members = members(&server);
    let mut publisher = Client::connect(&server);
    assert_eq!(publisher.ask(r#"["publish","room","news",1]"#)["delivered"], 6);
    for member in &mut members {
        assert_eq!(member.receive(), r#"2["news",1]"#);
    }
    assert_eq!(count_and_sum(&server, "broadgate_broadcast_fanout", ""), (3.0, 6.0));
    assert_eq!(value(&server, r#"broadgate_broadcast_fanout_bucket{le="1"}"#), 0.0);
    assert_eq!(value(&server, r#"broadgate_broadcast_fanout_bucket{le="2"}"#), 3.0);
    let latencies = "broadgate_delivery_latency_seconds_count{path=\"local\"}";
    // Measured behind the write, which the members may have seen before.
    eventually_is(&server, latencies, 3.0);
    assert_eq!(value(&server, "broadgate_delivery_latency_seconds_count{path=\"redis\"}"), 0.0);
    let bytes = r#"["news",1]"#.len() as f64;
    let sent = count_and_sum(&server, "broadgate_message_size_bytes", r#"{direction="sent"}"#);
    assert_eq!(sent, (6.0, 6.0 * bytes));
    // Nobody is in this one, which the first bucket says.
    assert_eq!(publisher.ask(r#"["publish","empty","news"]"#)["delivered"], 0);
    assert_eq!(value(&server, r#"broadgate_broadcast_fanout_bucket{le="0"}"#), 3.0);
    assert_eq!(value(&server, latencies), 3.0, "there is nobody whom it took long to reach");
    assert_eq!(value(&server, r#"broadgate_ack_duration_seconds_count{request="publish"}"#), 2.0);
}

#[test]
fn messages_of_clients_are_measured_by_their_payload() {
    let server = node();
    let mut client = Client::connect(&server);
    let received = || count_and_sum(&server, "broadgate_message_size_bytes", r#"{direction="received"}"#);
    let before = received();
    let leave = r#"27["leave","no such room"]"#;
    client.assert_alive();
    assert_eq!(received(), (before.0 + 1.0, before.1 + leave.len() as f64));
}

#[test]
fn rooms_are_measured_when_a_socket_joins_them() {
    let server = node();
    // With one client a shard and three shards, the seventh is the third on its shard.
    let mut clients: Vec<_> = (0..7).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.join("room");
    }
    assert_eq!(count_and_sum(&server, "broadgate_room_size", ""), (7.0, 3.0 * (1.0 + 2.0) + 3.0));
    clients[0].join("room");
    assert_eq!(value(&server, "broadgate_room_size_count"), 7.0, "it was in already");
}

#[test]
fn the_round_trip_of_a_ping_counts_for_its_transport() {
    let server = node_with("[engine]\nping_interval_ms = 300\nping_timeout_ms = 20000\n");
    let count = |transport: &str| format!("broadgate_ping_rtt_seconds_count{{transport=\"{transport}\"}}");
    // In no namespace, or a ping may come in the middle of connecting.
    let mut client = Client::open(&server);
    assert_eq!(client.socket.receive_text(), "2");
    client.socket.send_text("3");
    eventually_is(&server, &count("websocket"), 1.0);
    assert_eq!(value(&server, &count("polling")), 0.0);

    let session = Polling::open_at(server.address, PATH).0;
    assert_eq!(session.poll(), ["2"]);
    session.push("3");
    eventually_is(&server, &count("polling"), 1.0);
}

#[test]
fn a_session_is_measured_when_it_opens_and_connects_and_ends() {
    let server = node();
    let handshakes = |transport: &str| {
        value(&server, &format!("broadgate_handshake_duration_seconds_count{{transport=\"{transport}\"}}"))
    };
    let opened = Client::open(&server);
    assert_eq!((handshakes("websocket"), handshakes("polling")), (1.0, 0.0));
    assert_eq!(value(&server, "broadgate_connect_duration_seconds_count"), 0.0);
    let mut client = Client::connect(&server);
    assert_eq!(value(&server, "broadgate_connect_duration_seconds_count"), 1.0);
    client.join_namespace("/custom");
    assert_eq!(
        value(&server, "broadgate_connect_duration_seconds_count"),
        1.0,
        "only the first namespace counts"
    );
    let _polling = Polling::open_at(server.address, PATH);
    assert_eq!((handshakes("websocket"), handshakes("polling")), (2.0, 1.0));

    assert_eq!(value(&server, "broadgate_connection_duration_seconds_count"), 0.0);
    drop(client);
    eventually_is(&server, "broadgate_connection_duration_seconds_count", 1.0);
    drop(opened);
    eventually_is(&server, "broadgate_connection_duration_seconds_count", 2.0);
}

#[test]
fn sockets_are_counted_by_their_namespace() {
    let server = node();
    let sockets =
        |namespace: &str| format!("broadgate_namespace_sockets{{socketio_namespace=\"{namespace}\"}}");
    assert_eq!((value(&server, &sockets("/")), value(&server, &sockets("/custom"))), (0.0, 0.0));
    let mut both = Client::connect(&server);
    both.join_namespace("/custom");
    let one = Client::connect(&server);
    assert_eq!((value(&server, &sockets("/")), value(&server, &sockets("/custom"))), (2.0, 1.0));
    drop(one);
    eventually_is(&server, &sockets("/"), 1.0);
    both.send("1/custom,");
    eventually_is(&server, &sockets("/custom"), 0.0);
    assert_eq!(value(&server, &sockets("/")), 1.0);
}
