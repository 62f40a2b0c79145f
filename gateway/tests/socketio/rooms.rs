//! wire.md 2.1 and 2.9: events from publisher to members, whichever shards and transports they are on.

use super::{
    node,
    support::{
        engineio::Polling,
        process::Server,
        socketio::{Client, PATH},
    },
};

/// Clients in a room: on three shards, since connections are dealt in turn.
fn members(server: &Server, room: &str) -> Vec<Client> {
    let join = |_| {
        let mut client = Client::connect(server);
        client.join(room);
        client
    };
    (0..6).map(join).collect()
}

#[test]
fn an_event_reaches_every_member_once_and_nobody_else() {
    let server = node();
    let mut members = members(&server, "room");
    let mut stranger = Client::connect(&server);
    stranger.join("another room");
    let mut elsewhere = Client::open(&server);
    elsewhere.join_namespace("/custom");
    elsewhere.send(r#"2/custom,1["join","room"]"#);
    elsewhere.ack("3/custom,1");
    let mut left = Client::connect(&server);
    left.join("room");
    left.ask(r#"["leave","room"]"#);
    let mut publisher = Client::connect(&server);
    publisher.join("room");

    publisher.send(r#"2["publish","room","news",1,{"a":[null,"€"]}]"#);
    assert_eq!(publisher.ask(r#"["publish","room","last"]"#)["ok"], true);
    for member in &mut members {
        assert_eq!(member.receive(), r#"2["news",1,{"a":[null,"€"]}]"#);
        assert_eq!(member.receive(), r#"2["last"]"#);
        member.assert_alive();
    }
    // By now each of them would have got it: their shards had the events before the answers that come now.
    for client in [&mut stranger, &mut left, &mut publisher] {
        client.assert_alive();
    }
    elsewhere.send(r#"2/custom,2["leave","x"]"#);
    elsewhere.ack("3/custom,2");
}

#[test]
fn events_of_a_publisher_arrive_in_order() {
    let server = node();
    let mut members = members(&server, "room");
    let mut publisher = Client::connect(&server);
    for number in 0..300 {
        publisher.send(&format!(r#"2["publish","room","n",{number}]"#));
    }
    for member in &mut members {
        for number in 0..300 {
            assert_eq!(member.receive(), format!(r#"2["n",{number}]"#));
        }
    }
}

/// Every socket is in the room of its own id from the start.
#[test]
fn a_socket_is_reached_by_its_id() {
    let server = node();
    let mut clients = members(&server, "room");
    let mut publisher = Client::connect(&server);
    for client in &mut clients {
        let event = format!(r#"["publish","{}","you"]"#, client.id);
        assert_eq!(publisher.ask(&event)["ok"], true);
        assert_eq!(client.receive(), r#"2["you"]"#);
    }
    for client in &mut clients {
        client.assert_alive();
    }
}

#[test]
fn who_left_the_namespace_is_in_no_room() {
    let server = node();
    let mut client = Client::connect(&server);
    client.join("room");
    client.send("1");
    client.join_namespace("/");
    let mut publisher = Client::connect(&server);
    assert_eq!(publisher.ask(r#"["publish","room","e"]"#)["ok"], true);
    client.assert_alive();
    assert_eq!(client.ask(r#"["join","room"]"#)["joined"], true);
    publisher.send(r#"2["publish","room","again"]"#);
    assert_eq!(client.receive(), r#"2["again"]"#);
}

#[test]
fn events_in_a_namespace_carry_its_name() {
    let server = node();
    let mut clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Client::open(&server);
            client.join_namespace("/custom");
            client.send(r#"2/custom,1["join","room"]"#);
            assert_eq!(client.ack("3/custom,1")["ok"], true);
            client
        })
        .collect();
    clients[0].send(r#"2/custom,["publish","room","e",1]"#);
    assert_eq!(clients[1].receive(), r#"2/custom,["e",1]"#);
}

/// Attachments follow their packet in order, on every transport, and from every transport.
#[test]
fn binary_events() {
    let table: [(&str, &[&[u8]], &str); 4] = [
        (
            r#"51-["publish","room","file",{"_placeholder":true,"num":0}]"#,
            &[b"\x01\x02\x03"],
            r#"51-["file",{"_placeholder":true,"num":0}]"#,
        ),
        (
            r#"52-["publish","room","two",{"deep":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}]"#,
            &[b"first", b""],
            r#"52-["two",{"deep":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}]"#,
        ),
        (
            r#"51-/,["publish","room","same twice",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
            &[b"\xff"],
            r#"51-["same twice",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        ),
        (
            r#"510-["publish","room","ten",{"_placeholder":true,"num":9}]"#,
            &[b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"],
            r#"510-["ten",{"_placeholder":true,"num":9}]"#,
        ),
    ];
    let server = node();
    let mut members = members(&server, "room");
    let (polling, _) = Polling::open_at(server.address, PATH);
    polling.push("40\u{1e}421[\"join\",\"room\"]");
    while !polling.poll().iter().any(|packet| packet.starts_with("431[")) {}
    let mut publisher = Client::connect(&server);
    let (poster, _) = Polling::open_at(server.address, PATH);
    poster.push("40");
    poster.poll();
    for (sent, attachments, expected) in table {
        let base64: Vec<String> = attachments.iter().map(|data| format!("b{}", base64(data))).collect();
        for by_post in [false, true] {
            if by_post {
                poster.push(&format!("4{sent}\u{1e}{}", base64.join("\u{1e}")));
            } else {
                publisher.send(sent);
                attachments.iter().for_each(|data| publisher.send_binary(data));
            }
            for member in &mut members {
                assert_eq!(member.receive(), expected, "by POST: {by_post}");
                for data in attachments {
                    assert_eq!(member.receive_binary(), *data, "{expected}");
                }
            }
            let packets = [&[format!("4{expected}")], &base64[..]].concat();
            assert_eq!(polling.poll(), packets, "by POST: {by_post}");
        }
    }
}

/// Padded base64, by the codec that the server's polls use.
fn base64(data: &[u8]) -> String {
    let mut out = Vec::new();
    broadgate_protocol::engineio::payload::push_binary(&mut out, data);
    String::from_utf8(out[1..].to_vec()).unwrap()
}
