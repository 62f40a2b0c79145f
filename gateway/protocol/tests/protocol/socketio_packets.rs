//! wire.md 2.1 to 2.5: Socket.IO packets as text.

use std::borrow::Cow;

use broadgate_protocol::socketio::PacketType::{
    Ack, BinaryAck, BinaryEvent, Connect, ConnectError, Disconnect, Event as EventType,
};
use broadgate_protocol::socketio::{
    DecodeError, DecodeLimits, Event, EventName, Packet, PacketType, decode, push_packet,
};

pub(crate) const LIMITS: DecodeLimits = DecodeLimits { max_attachments: 10, max_namespace_bytes: 64 };

fn packet<'a>(
    kind: PacketType,
    attachments: usize,
    namespace: &'a str,
    ack_id: impl Into<Option<&'a str>>,
    payload: impl Into<Option<&'a str>>,
) -> Packet<'a> {
    Packet { kind, attachments, namespace, ack_id: ack_id.into(), payload: payload.into() }
}

fn encoded(packet: &Packet<'_>) -> String {
    let mut out = Vec::new();
    push_packet(&mut out, packet);
    String::from_utf8(out).expect("a packet is text")
}

const PLACEHOLDER: &str = r#"["upload",{"_placeholder":true,"num":0}]"#;

/// 2.1, 2.2, 2.3, 2.5: text that is also what we write.
#[test]
fn section_2_1_packets_both_ways() {
    let table = [
        ("0", packet(Connect, 0, "/", None, None)),
        (r#"0{"token":"x"}"#, packet(Connect, 0, "/", None, r#"{"token":"x"}"#)),
        (
            r#"0{"sid":"wZX3oN0bSVIhsaknAAAI"}"#,
            packet(Connect, 0, "/", None, r#"{"sid":"wZX3oN0bSVIhsaknAAAI"}"#),
        ),
        ("0/custom,", packet(Connect, 0, "/custom", None, None)),
        (r#"0/custom,{"a":1}"#, packet(Connect, 0, "/custom", None, r#"{"a":1}"#)),
        ("0/a?token=1,", packet(Connect, 0, "/a?token=1", None, None)),
        ("1", packet(Disconnect, 0, "/", None, None)),
        ("1/admin,", packet(Disconnect, 0, "/admin", None, None)),
        (r#"2["hello",1]"#, packet(EventType, 0, "/", None, r#"["hello",1]"#)),
        (r#"212["hello"]"#, packet(EventType, 0, "/", "12", r#"["hello"]"#)),
        (r#"2/admin,456["p",{}]"#, packet(EventType, 0, "/admin", "456", r#"["p",{}]"#)),
        ("2", packet(EventType, 0, "/", None, None)),
        ("2[1,2]", packet(EventType, 0, "/", None, "[1,2]")),
        ("3", packet(Ack, 0, "/", None, None)),
        ("312[]", packet(Ack, 0, "/", "12", "[]")),
        ("3/admin,0[1,null]", packet(Ack, 0, "/admin", "0", "[1,null]")),
        (r#"4"denied""#, packet(ConnectError, 0, "/", None, r#""denied""#)),
        (
            r#"4/nope,{"message":"Invalid namespace"}"#,
            packet(ConnectError, 0, "/nope", None, r#"{"message":"Invalid namespace"}"#),
        ),
        (r#"51-["upload",{"_placeholder":true,"num":0}]"#, packet(BinaryEvent, 1, "/", None, PLACEHOLDER)),
        (
            r#"510-/a,7["upload",{"_placeholder":true,"num":0}]"#,
            packet(BinaryEvent, 10, "/a", "7", PLACEHOLDER),
        ),
        (
            r#"61-/admin,456[{"_placeholder":true,"num":0}]"#,
            packet(BinaryAck, 1, "/admin", "456", r#"[{"_placeholder":true,"num":0}]"#),
        ),
        ("51-", packet(BinaryEvent, 1, "/", None, None)),
        // 20 digits are echoed as they came.
        ("299999999999999999999[\"x\"]", packet(EventType, 0, "/", "99999999999999999999", "[\"x\"]")),
    ];
    for (text, expected) in table {
        assert_eq!(decode(text, &LIMITS), Ok(expected), "{text}");
        assert_eq!(encoded(&expected), text);
    }
}

/// 2.1 and 2.2: read, though we would write it otherwise.
#[test]
fn section_2_1_tolerances() {
    let table = [
        ("0/custom", packet(Connect, 0, "/custom", None, None)),
        ("0/", packet(Connect, 0, "/", None, None)),
        ("0/,{}", packet(Connect, 0, "/", None, "{}")),
        ("2 [\"a\"] ", packet(EventType, 0, "/", None, "[\"a\"]")),
        ("3 [ ] ", packet(Ack, 0, "/", None, "[ ]")),
        (r#"501-["a"]"#, packet(BinaryEvent, 1, "/", None, r#"["a"]"#)),
    ];
    for (text, expected) in table {
        assert_eq!(decode(text, &LIMITS), Ok(expected), "{text}");
    }
}

/// 2.4, and the payload rules of 2.1: each of these closes the connection.
#[test]
fn section_2_4_invalid_packets() {
    let table = [
        ("", DecodeError::UnknownType),
        ("7", DecodeError::UnknownType),
        ("9", DecodeError::UnknownType),
        ("a", DecodeError::UnknownType),
        ("é", DecodeError::UnknownType),
        ("2{}", DecodeError::InvalidPayload),
        ("2[]", DecodeError::InvalidPayload),
        (r#"2"a""#, DecodeError::InvalidPayload),
        ("2[null]", DecodeError::InvalidPayload),
        ("2[true]", DecodeError::InvalidPayload),
        ("2[{}]", DecodeError::InvalidPayload),
        (r#"2[["a"]]"#, DecodeError::InvalidPayload),
        (r#"2["a""#, DecodeError::InvalidJson),
        (r#"2["a"]x"#, DecodeError::InvalidJson),
        (r#"2["a",]"#, DecodeError::InvalidJson),
        ("2[", DecodeError::InvalidJson),
        ("2x", DecodeError::InvalidJson),
        ("2-1[\"a\"]", DecodeError::InvalidPayload),
        (r#"0{"a":}"#, DecodeError::InvalidJson),
        (r#"1{"a":1}"#, DecodeError::InvalidPayload),
        ("1[]", DecodeError::InvalidPayload),
        ("0[1]", DecodeError::InvalidPayload),
        (r#"0"a""#, DecodeError::InvalidPayload),
        ("0null", DecodeError::InvalidPayload),
        ("3{}", DecodeError::InvalidPayload),
        (r#"3"a""#, DecodeError::InvalidPayload),
        ("4[]", DecodeError::InvalidPayload),
        ("4true", DecodeError::InvalidPayload),
        ("299999999999999999999999[\"x\"]", DecodeError::AckIdTooLong),
        // Attachments.
        ("5", DecodeError::IllegalAttachments),
        ("51", DecodeError::IllegalAttachments),
        (r#"51["a"]"#, DecodeError::IllegalAttachments),
        (r#"5["a"]"#, DecodeError::IllegalAttachments),
        (r#"5-["a"]"#, DecodeError::IllegalAttachments),
        (r#"50-["a"]"#, DecodeError::IllegalAttachments),
        (r#"600-["a"]"#, DecodeError::IllegalAttachments),
        (r#"5-1-["a"]"#, DecodeError::IllegalAttachments),
        (r#"51.5-["a"]"#, DecodeError::IllegalAttachments),
        (r#"5x-["a"]"#, DecodeError::IllegalAttachments),
        (r#"511-["a"]"#, DecodeError::TooManyAttachments),
        (r#"599999999999999999999999-["a"]"#, DecodeError::TooManyAttachments),
        ("61-{}", DecodeError::InvalidPayload),
    ];
    for (text, expected) in table {
        assert_eq!(decode(text, &LIMITS), Err(expected), "{text}");
    }
}

/// 2.1: names that clients must not send, however they are spelled.
#[test]
fn section_2_1_reserved_event_names() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        assert_eq!(decode(&format!(r#"2["{name}"]"#), &LIMITS), Err(DecodeError::ReservedEvent), "{name}");
        assert_eq!(
            decode(&format!(r#"51-["{name}",1]"#), &LIMITS),
            Err(DecodeError::ReservedEvent),
            "{name}"
        );
        assert!(decode(&format!(r#"2["{name}x"]"#), &LIMITS).is_ok(), "{name}x");
    }
    assert_eq!(decode(r#"2["\u0063onnect"]"#, &LIMITS), Err(DecodeError::ReservedEvent));
    // The server's own answers to a connection are not events.
    assert!(decode(r#"3["connect"]"#, &LIMITS).is_ok());
}

#[test]
fn namespaces_are_bounded() {
    let longest = format!("/{}", "n".repeat(63));
    assert!(decode(&format!("0{longest},"), &LIMITS).is_ok());
    assert!(decode(&format!("0{longest}"), &LIMITS).is_ok());
    assert_eq!(decode(&format!("0{longest}n,"), &LIMITS), Err(DecodeError::NamespaceTooLong));
}

/// Nesting as deep as a message can be must not exhaust the stack.
#[test]
fn deep_json_does_no_harm() {
    let depth = 400_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for prefix in ["2", "51-"] {
        let text = format!(r#"{prefix}["a",{deep}]"#);
        let payload = decode(&text, &LIMITS).unwrap().payload.unwrap();
        assert_eq!(Event::parse(payload).unwrap().args[0].get(), deep);
    }
}

/// 2.1: a name, and the arguments as they came.
#[test]
fn section_2_1_events_are_taken_apart() {
    let event = Event::parse(r#"["news", {"a": [1, "]"]}, "x\"y" ,null,-1.5e3]"#).unwrap();
    assert_eq!(event.name, EventName::Text(Cow::Borrowed("news")));
    let args: Vec<_> = event.args.iter().map(|arg| arg.get()).collect();
    assert_eq!(args, [r#"{"a": [1, "]"]}"#, r#""x\"y""#, "null", "-1.5e3"]);

    let names = [
        (r#"[""]"#, EventName::Text("".into())),
        (r#"["a\"b\u00e9"]"#, EventName::Text("a\"bé".into())),
        ("[1,2]", EventName::Number("1")),
        ("[-1.5]", EventName::Number("-1.5")),
    ];
    for (payload, expected) in names {
        assert_eq!(Event::parse(payload).unwrap().name, expected);
    }
    for (payload, expected) in [
        ("[]", DecodeError::InvalidPayload),
        ("{}", DecodeError::InvalidPayload),
        ("[null]", DecodeError::InvalidPayload),
        ("[", DecodeError::InvalidJson),
        (r#"["a\ud800"]"#, DecodeError::InvalidJson),
    ] {
        assert_eq!(Event::parse(payload).unwrap_err(), expected, "{payload}");
    }
}
