//! Rooms and names in numbers and lengths that nobody needs.

use super::{
    Neighbours, metric, node, reached,
    support::{eventually, socketio::Client},
};

#[test]
fn a_join_after_the_other() {
    let server = node("[limits]\nmax_rooms_per_socket = 10\n");
    let mut neighbours = Neighbours::connect(&server);
    let before = metric(&server, "broadgate_rooms");
    let mut client = Client::connect(&server);
    for number in 0..200 {
        let answer = client.ask(&format!(r#"["join","room {number}"]"#));
        assert_eq!(answer["ok"], number < 10, "{answer}");
    }
    // Its own room is not one of them, and neither is that of everybody, which is there already.
    assert!(metric(&server, "broadgate_rooms") <= before + 11);
    assert_eq!(metric(&server, "broadgate_joins_total{result=\"limit_reached\"}"), 190);
    assert_eq!(reached(&server, "max_rooms_per_socket"), 190);
    neighbours.assert_well();
    drop(client);
    eventually("nothing is left of it", || metric(&server, "broadgate_rooms") == before);
}

#[test]
fn names_without_an_end() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    let before = metric(&server, "broadgate_rooms");
    let mut client = Client::connect(&server);
    let long = "x".repeat(500_000);
    for (event, limit) in [
        (format!(r#"["join","{long}"]"#), "max_room_name_bytes"),
        (format!(r#"["leave","{long}"]"#), "max_room_name_bytes"),
        (format!(r#"["publish","{long}","e"]"#), "max_room_name_bytes"),
        (format!(r#"["publish","room","{long}"]"#), "max_event_name_bytes"),
    ] {
        let reached_before = reached(&server, limit);
        let answer = client.ask(&event);
        assert_eq!((&answer["ok"], &answer["error"]), (&false.into(), &"invalid_argument".into()));
        assert_eq!(reached(&server, limit), reached_before + 1, "{limit}");
    }
    assert_eq!(metric(&server, "broadgate_rooms"), before);
    neighbours.assert_well();
}

#[test]
fn namespaces_and_attachments() {
    let names: String = (0..5).map(|number| format!("[[namespaces]]\nname = \"/{number}\"\n")).collect();
    let server = super::support::process::Server::node(Some(&format!(
        "[server]\nshards = 1\n[limits]\nmax_namespaces_per_connection = 2\nmax_attachments = 2\n{names}"
    )));
    let mut client = Client::open(&server);
    client.join_namespace("/0");
    client.join_namespace("/1");
    client.send("0/2,");
    let refusal = client.receive();
    assert!(refusal.starts_with("4/2,") && refusal.contains("Too many namespaces"), "{refusal}");
    assert_eq!(reached(&server, "max_namespaces_per_connection"), 1);
    client.send(r#"53-/0,["x"]"#);
    client.assert_closed("three attachments");
    assert_eq!(reached(&server, "max_attachments"), 1);
}
