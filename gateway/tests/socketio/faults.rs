//! wire.md 2.1, 2.3 and 2.4: what closes the connection and what does not.

use super::{
    node,
    support::{
        engineio::Polling,
        socketio::{Client, PATH},
    },
};

/// What a client sends, on a connection that is in `/`.
#[derive(Debug, Clone, Copy)]
enum Input {
    Text(&'static str),
    Binary(&'static [u8]),
}

use Input::{Binary, Text};

fn send(client: &mut Client, input: &[Input]) {
    for one in input {
        match one {
            Text(packet) => client.send(packet),
            Binary(data) => client.send_binary(data),
        }
    }
}

#[test]
fn faults_close_the_connection() {
    let table: &[&[Input]] = &[
        // The wrong time or place.
        &[Text(r#"2/custom,["join","x"]"#)],
        &[Text("1/custom,")],
        &[Text("3/custom,1[]")],
        &[Text("2/nope,[1]")],
        &[Text("0")],
        &[Text(r#"4{"message":"x"}"#)],
        &[Text(r#"4"x""#)],
        &[Text("1"), Text(r#"2["join","x"]"#)],
        &[Text("1"), Text("1")],
        &[Text("1"), Text("31[]")],
        // No such type.
        &[Text("9")],
        &[Text("7[]")],
        &[Text("")],
        &[Text(" 2[1]")],
        &[Text("é")],
        // Payloads that do not fit.
        &[Text("2{}")],
        &[Text("2[]")],
        &[Text("2[{}]")],
        &[Text("2[null]")],
        &[Text("2[true,1]")],
        &[Text(r#"2"join""#)],
        &[Text(r#"2["join""#)],
        &[Text(r#"2["join"]]"#)],
        &[Text("2[1,]")],
        &[Text(r#"1{"a":1}"#)],
        &[Text("0/custom,[1]")],
        &[Text(r#"0/custom,"a""#)],
        &[Text("30{}")],
        &[Text("2123456789012345678901[1]")],
        // Reserved names, also in disguise.
        &[Text(r#"2["connect"]"#)],
        &[Text(r#"2["connect_error"]"#)],
        &[Text(r#"2["disconnect"]"#)],
        &[Text(r#"2["disconnecting"]"#)],
        &[Text(r#"2["newListener"]"#)],
        &[Text(r#"2["removeListener"]"#)],
        &[Text(r#"2["\u0064isconnect"]"#)],
        // Attachments.
        &[Binary(b"x")],
        &[Text(r#"51-["publish","r","e",{"_placeholder":true,"num":0}]"#), Text(r#"2["join","x"]"#)],
        &[Text(r#"51-["publish","r","e",{"_placeholder":true,"num":0}]"#), Text("1")],
        &[Text(r#"511-["publish","r","e"]"#)],
        &[Text(r#"51["publish","r","e"]"#)],
        &[Text(r#"5["publish","r","e"]"#)],
        &[Text(r#"50-["publish","r","e"]"#)],
        &[Text(r#"5-1-["publish","r","e"]"#)],
        &[Text(r#"51-["publish","r","e",{"_placeholder":true,"num":1}]"#), Binary(b"x")],
        &[Text(r#"51-["publish","r","e",{"_placeholder":true,"num":-1}]"#), Binary(b"x")],
        &[Text(r#"51-["publish","r","e",{"_placeholder":true,"num":"0"}]"#), Binary(b"x")],
    ];
    let server = node();
    for input in table {
        let mut client = Client::connect(&server);
        send(&mut client, input);
        client.assert_closed(&format!("{input:?}"));
    }
}

#[test]
fn before_connect_only_connect_is_allowed() {
    let server = node();
    for packet in [r#"2["join","x"]"#, "1", "31[]", r#"4{"message":"x"}"#, r#"51-["publish","r","e"]"#] {
        let mut client = Client::open(&server);
        client.send(packet);
        if packet.starts_with('5') {
            client.send_binary(b"x");
        }
        client.assert_closed(packet);
    }
}

#[test]
fn odd_input_that_is_no_fault() {
    let table: &[&[Input]] = &[
        &[Text("2[1,2]")],
        &[Text("2[-1.5e3]")],
        &[Text("2")],
        &[Text("21")],
        &[Text(r#"2[""]"#)],
        &[Text(r#"2["unknown",{"a":[null,true]}]"#)],
        &[Text(r#"2 [ "unknown" , 1 ] "#)],
        &[Text("31[]")],
        &[Text("399999999999999999999[1]")],
        &[Text("3[1]")],
        &[Text("31")],
        &[Text("3")],
        &[Text(r#"61-1[{"_placeholder":true,"num":0}]"#), Binary(b"x")],
        &[Text(r#"51-["unknown",{"_placeholder":true,"num":0}]"#), Binary(b"")],
        &[
            Text(r#"510-["unknown"]"#),
            Binary(b"0"),
            Binary(b"1"),
            Binary(b"2"),
            Binary(b"3"),
            Binary(b"4"),
            Binary(b"5"),
            Binary(b"6"),
            Binary(b"7"),
            Binary(b"8"),
            Binary(b"9"),
        ],
        &[Text("0/nope"), Text("0/nope")],
    ];
    let server = node();
    for input in table {
        let mut client = Client::connect(&server);
        send(&mut client, input);
        if let [Text("0/nope"), ..] = input {
            for _ in *input {
                assert!(client.receive().starts_with("4/nope,"));
            }
        }
        client.assert_alive();
    }
}

#[test]
fn faults_close_polling_too() {
    let server = node();
    for packet in ["42[]", "49", "4", "bAQID", "40\u{1e}40"] {
        let (session, _) = Polling::open_at(server.address, PATH);
        session.push("40");
        session.poll();
        session.push(packet);
        session.assert_gone();
    }
}

/// 2.3: the id is text, however large; the namespace is that of the event.
#[test]
fn acks_carry_the_id_and_the_namespace_of_the_event() {
    let table = [
        (r#"20["join","a"]"#, "30"),
        (r#"2007["join","a"]"#, "3007"),
        (r#"29007199254740993["join","a"]"#, "39007199254740993"),
        (r#"299999999999999999999["join","a"]"#, "399999999999999999999"),
        (r#"2/,8["join","a"]"#, "38"),
        (r#"2/custom,9["join","a"]"#, "3/custom,9"),
    ];
    let server = node();
    let mut client = Client::connect(&server);
    client.join_namespace("/custom");
    for (event, start) in table {
        client.send(event);
        assert_eq!(client.ack(start)["ok"], true, "{event}");
    }
    // Without an id there is no ack.
    client.send(r#"2["join","b"]"#);
    client.assert_alive();
}
