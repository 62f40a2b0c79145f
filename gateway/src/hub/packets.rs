//! Socket.IO packets that the node sends: events, answers to CONNECT, acks (wire.md 2.1 to 2.3).

use std::rc::Rc;

use broadgate_adapter::EventPacket;
use broadgate_protocol::socketio::{Packet, PacketType, push_packet};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::engineio::{Outgoing, Part};

/// The answer to a request of a client, as the one argument of its ack.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer<'a> {
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<&'a str>,
    /// Of a join: false where the socket was in the room already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) joined: Option<bool>,
    /// Of a leave: false where the socket was not in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<bool>,
    /// Of a publish: members on this node that it was queued for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delivered: Option<usize>,
    /// Of a publish: the other nodes can't be reached, and do not have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) local_only: bool,
    /// Of a fresh token: when it expires, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at_s: Option<u64>,
    /// A stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'a str>,
}

pub(super) fn ack(namespace: &str, ack_id: &str, answer: &Answer<'_>) -> Rc<Outgoing> {
    let payload = serde_json::to_string(&[answer]).expect("strings, numbers and booleans");
    text(PacketType::Ack, namespace, Some(ack_id), Some(&payload))
}

/// What a client answers: Node takes the first argument alone.
pub(super) fn first_argument<'p>(packet: &Packet<'p>) -> Option<&'p RawValue> {
    let arguments: Vec<&RawValue> = serde_json::from_str(packet.payload?).ok()?;
    arguments.first().copied()
}

/// The server ends a namespace: the client does not connect again by itself (wire.md 2.5).
pub(super) fn disconnect(namespace: &str) -> Rc<Outgoing> {
    text(PacketType::Disconnect, namespace, None, None)
}

/// CONNECT accepted: the payload has exactly `sid` (wire.md 2.2).
pub(super) fn connected(namespace: &str, sid: &str) -> Rc<Outgoing> {
    text(PacketType::Connect, namespace, None, Some(&format!("{{\"sid\":\"{sid}\"}}")))
}

pub(super) fn connect_error(namespace: &str, message: &str) -> Rc<Outgoing> {
    let payload = serde_json::json!({ "message": message }).to_string();
    text(PacketType::ConnectError, namespace, None, Some(&payload))
}

/// The same, with a code for programs.
pub(super) fn connect_refused(namespace: &str, message: &str, code: &str) -> Rc<Outgoing> {
    let payload = serde_json::json!({ "message": message, "data": { "code": code } }).to_string();
    text(PacketType::ConnectError, namespace, None, Some(&payload))
}

/// The client's token has expired; so long it may take to send another one.
pub(super) fn token_expired(namespace: &str, grace_ms: u64) -> Rc<Outgoing> {
    let payload = format!(r#"["token_expired",{{"grace_ms":{grace_ms}}}]"#);
    text(PacketType::Event, namespace, None, Some(&payload))
}

/// Events of one namespace that go out together; each with its attachments right behind it (wire.md 2.9).
pub(super) fn events<'a>(
    namespace: &str,
    packets: impl Iterator<Item = &'a EventPacket>,
    compress: bool,
) -> Rc<Outgoing> {
    let (mut parts, mut messages) = (Vec::new(), 0);
    for packet in packets {
        messages += 1;
        push_event(&mut parts, namespace, packet, None);
    }
    Outgoing::new(parts, messages, compress)
}

/// An event that its receivers are to answer.
pub(super) fn event_with_ack(
    namespace: &str,
    packet: &EventPacket,
    ack_id: &str,
    compress: bool,
) -> Rc<Outgoing> {
    let mut parts = Vec::with_capacity(1 + packet.attachments.len());
    push_event(&mut parts, namespace, packet, Some(ack_id));
    Outgoing::new(parts, 1, compress)
}

fn push_event(parts: &mut Vec<Part>, namespace: &str, packet: &EventPacket, ack_id: Option<&str>) {
    let kind = if packet.attachments.is_empty() { PacketType::Event } else { PacketType::BinaryEvent };
    let mut bytes = Vec::with_capacity(packet.json.len() + namespace.len() + 8);
    let attachments = packet.attachments.len();
    push_packet(&mut bytes, &Packet { kind, attachments, namespace, ack_id, payload: Some(&packet.json) });
    parts.push(Part::Text(bytes.into()));
    parts.extend(packet.attachments.iter().map(|attachment| Part::Binary(Bytes::clone(attachment))));
}

fn text(kind: PacketType, namespace: &str, ack_id: Option<&str>, payload: Option<&str>) -> Rc<Outgoing> {
    let mut bytes = Vec::with_capacity(64);
    push_packet(&mut bytes, &Packet { kind, attachments: 0, namespace, ack_id, payload });
    Outgoing::text(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(outgoing: &Outgoing) -> String {
        String::from_utf8_lossy(outgoing.chunk()).into_owned()
    }

    #[test]
    fn packets_are_those_of_the_reference() {
        let ok = Answer { ok: true, room: Some("n\"1"), joined: Some(true), ..Answer::default() };
        let no = Answer { error: Some("forbidden"), message: Some("no"), ..Answer::default() };
        let plain = EventPacket { json: r#"["a",1]"#.into(), attachments: vec![] };
        let json = r#"["b",{"_placeholder":true,"num":0}]"#;
        let binary = EventPacket { json: json.into(), attachments: vec![Bytes::from_static(&[1])] };
        for (outgoing, expected) in [
            (ack("/", "12", &ok), r#"4312[{"ok":true,"room":"n\"1","joined":true}]"#),
            (ack("/chat", "0", &no), r#"43/chat,0[{"ok":false,"error":"forbidden","message":"no"}]"#),
            (disconnect("/"), "41"),
            (disconnect("/chat"), "41/chat,"),
            (event_with_ack("/", &plain, "7", true), r#"427["a",1]"#),
            (
                event_with_ack("/chat", &binary, "10", true),
                "451-/chat,10[\"b\",{\"_placeholder\":true,\"num\":0}]\x1ebAQ==",
            ),
            (connected("/", "abc"), r#"40{"sid":"abc"}"#),
            (connected("/chat", "abc"), r#"40/chat,{"sid":"abc"}"#),
            (connect_error("/nope", "Invalid namespace"), r#"44/nope,{"message":"Invalid namespace"}"#),
            (events("/", [&plain].into_iter(), true), r#"42["a",1]"#),
            (
                events("/chat", [&plain, &binary, &plain].into_iter(), true),
                "42/chat,[\"a\",1]\x1e451-/chat,[\"b\",{\"_placeholder\":true,\"num\":0}]\x1ebAQ==\x1e42/chat,[\"a\",1]",
            ),
        ] {
            assert_eq!(payload(&outgoing), expected);
        }
    }
}
