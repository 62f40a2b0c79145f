//! Properties of the codecs over generated input.

use std::borrow::Cow;

use broadgate_protocol::engineio::{self, payload};
use broadgate_protocol::socketio::{Event, Packet, PacketType, decode, push_packet};
use broadgate_protocol::websocket::{OpCode, Role, push_fragment};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::corpora::bodies;
use super::socketio_packets::LIMITS;
use super::stream::{MAX_MESSAGE_BYTES, Seen, decode_pieces};

/// What a peer does: the frames of it and what is to be seen of it.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Text(String, Vec<usize>),
    Binary(Vec<u8>, Vec<usize>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

/// Messages in fragments (cut at the given places), with control frames before them.
pub(crate) fn sent() -> impl Strategy<Value = Sent> {
    let cuts = || vec(0..400_usize, 0..4);
    prop_oneof![
        3 => ("\\PC{0,80}", cuts()).prop_map(|(text, cuts)| Sent::Text(text, cuts)),
        3 => (vec(any::<u8>(), 0..400), cuts()).prop_map(|(bytes, cuts)| Sent::Binary(bytes, cuts)),
        1 => (65_530..65_545_usize, any::<u8>()).prop_map(|(size, byte)| Sent::Binary(vec![byte; size], vec![])),
        1 => vec(any::<u8>(), 0..=125).prop_map(Sent::Ping),
        1 => vec(any::<u8>(), 0..=125).prop_map(Sent::Pong),
    ]
}

impl Sent {
    pub(crate) fn seen(&self) -> Seen {
        match self {
            Self::Text(text, _) => Seen::Text(text.clone()),
            Self::Binary(bytes, _) => Seen::Binary(bytes.clone()),
            Self::Ping(bytes) => Seen::Ping(bytes.clone()),
            Self::Pong(bytes) => Seen::Pong(bytes.clone()),
        }
    }

    /// Each frame as (opcode, FIN, payload).
    pub(crate) fn frames(&self) -> Vec<(OpCode, bool, &[u8])> {
        match self {
            Self::Text(text, cuts) => fragments(OpCode::Text, text.as_bytes(), cuts),
            Self::Binary(bytes, cuts) => fragments(OpCode::Binary, bytes, cuts),
            Self::Ping(bytes) => vec![(OpCode::Ping, true, bytes)],
            Self::Pong(bytes) => vec![(OpCode::Pong, true, bytes)],
        }
    }
}

fn fragments<'a>(opcode: OpCode, payload: &'a [u8], cuts: &[usize]) -> Vec<(OpCode, bool, &'a [u8])> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&payload.len())).collect();
    cuts.sort_unstable();
    cuts.push(payload.len());
    let mut start = 0;
    let mut frames = Vec::new();
    for end in &cuts {
        let opcode = if frames.is_empty() { opcode } else { OpCode::Continuation };
        frames.push((opcode, frames.len() + 1 == cuts.len(), &payload[start..*end]));
        start = *end;
    }
    frames
}

/// The stream of what was sent, each frame with its own mask.
pub(crate) fn stream(sent: &[Sent], masked: bool, seed: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let frames = sent.iter().flat_map(Sent::frames);
    for (index, (opcode, fin, payload)) in (0_u32..).zip(frames) {
        let mask = masked.then(|| seed.wrapping_mul(index.wrapping_add(0x9e37_79b9)).to_be_bytes());
        push_fragment(&mut out, opcode, fin, mask, payload);
    }
    out
}

/// `bytes` in pieces of the given sizes, over and over.
fn pieces<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, after) = rest.split_at_checked(*size).unwrap_or((rest, &[]));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(serde_json::json!({"_placeholder": true, "num": 0})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

proptest! {
    #[test]
    fn any_split_of_a_websocket_stream_gives_what_was_sent(
        sent in vec(sent(), 0..6),
        from_client in any::<bool>(),
        seed in any::<u32>(),
        sizes in vec(1..200_usize, 1..8),
    ) {
        let role = if from_client { Role::Server } else { Role::Client };
        let bytes = stream(&sent, from_client, seed);
        let expected = (sent.iter().map(Sent::seen).collect(), None);
        prop_assert_eq!(&decode_pieces(role, MAX_MESSAGE_BYTES, [&bytes[..]]), &expected);
        prop_assert_eq!(&decode_pieces(role, MAX_MESSAGE_BYTES, pieces(&bytes, &sizes)), &expected);
    }

    #[test]
    fn any_split_of_a_damaged_websocket_stream_ends_the_same(
        sent in vec(sent(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sizes in vec(1..50_usize, 1..8),
    ) {
        let mut bytes = stream(&sent, true, 7);
        for (index, byte) in damage {
            let at = index.index(bytes.len().min(60));
            bytes[at] = byte;
        }
        let whole = decode_pieces(Role::Server, 1000, [&bytes[..]]);
        prop_assert_eq!(decode_pieces(Role::Server, 1000, pieces(&bytes, &sizes)), whole);
    }

    #[test]
    fn arbitrary_bytes_never_break_a_decoder(bytes in vec(any::<u8>(), 0..300)) {
        bodies::ws_decoder(&bytes);
        bodies::eio_payload(&bytes);
        bodies::eio_query(&bytes);
        bodies::sio_text(&bytes);
    }

    #[test]
    fn arbitrary_text_never_breaks_a_decoder(
        payload in "[0-9b\\x1eA-C=é]{0,20}",
        query in "(EIO|sid|transport|[a-z%+]{0,3})=[0-9a-z%+&=é]{0,20}",
        packet in "[0-7]([0-9]{0,3}-)?(/[a-z]{0,3},?)?[0-9]{0,3}[\\[\\]{}\"a-c\\\\,:0-9 ]{0,20}",
    ) {
        bodies::eio_payload(payload.as_bytes());
        bodies::eio_query(query.as_bytes());
        bodies::sio_text(packet.as_bytes());
    }

    #[test]
    fn engineio_payloads_come_back(messages in vec(prop_oneof![
        "[^\\x1e]{0,30}".prop_map(Ok),
        vec(any::<u8>(), 0..60).prop_map(Err),
    ], 1..6)) {
        let mut body = Vec::new();
        for message in &messages {
            if !body.is_empty() {
                body.push(payload::SEPARATOR);
            }
            match message {
                Ok(text) => body.extend_from_slice(format!("4{text}").as_bytes()),
                Err(bytes) => payload::push_binary(&mut body, bytes),
            }
        }
        let body = String::from_utf8(body).expect("a payload is text");
        let packets: Result<Vec<_>, _> = payload::decode(&body).collect();
        let expected = messages.iter().map(|message| match message {
            Ok(text) => engineio::Packet::Message(text),
            Err(bytes) => engineio::Packet::Binary(Cow::Borrowed(bytes)),
        });
        prop_assert_eq!(packets, Ok(expected.collect()));
    }

    #[test]
    fn socketio_events_come_back(
        binary in any::<bool>(),
        attachments in 1..=10_usize,
        namespace in "/[a-z0-9?=_-]{0,12}",
        ack_id in proptest::option::of("[0-9]{1,20}"),
        name in "[^\\x00]{0,12}x",
        args in vec(json(), 0..4),
    ) {
        let payload = serde_json::Value::from_iter(
            std::iter::once(serde_json::Value::from(name.as_str())).chain(args.iter().cloned()),
        ).to_string();
        let packet = Packet {
            kind: if binary { PacketType::BinaryEvent } else { PacketType::Event },
            attachments: if binary { attachments } else { 0 },
            namespace: &namespace,
            ack_id: ack_id.as_deref(),
            payload: Some(&payload),
        };
        let mut text = Vec::new();
        push_packet(&mut text, &packet);
        let text = String::from_utf8(text).expect("a packet is text");
        prop_assert_eq!(decode(&text, &LIMITS), Ok(packet));

        let event = Event::parse(&payload).expect("an event");
        prop_assert_eq!(event.name, broadgate_protocol::socketio::EventName::Text(name.into()));
        let seen: Vec<serde_json::Value> =
            event.args.iter().map(|arg| serde_json::from_str(arg.get()).expect("JSON")).collect();
        prop_assert_eq!(seen, args);
    }

    #[test]
    fn socketio_other_packets_come_back(
        kind in select(vec![PacketType::Connect, PacketType::Disconnect, PacketType::Ack, PacketType::ConnectError]),
        namespace in "/[a-z]{0,12}",
        ack_id in "[0-9]{1,20}",
        value in json(),
    ) {
        let payload = match kind {
            PacketType::Ack => serde_json::json!([value]).to_string(),
            _ => serde_json::json!({ "value": value }).to_string(),
        };
        let packet = Packet {
            kind,
            attachments: 0,
            namespace: &namespace,
            ack_id: (kind == PacketType::Ack).then_some(&ack_id),
            payload: (kind != PacketType::Disconnect).then_some(&payload),
        };
        let mut text = Vec::new();
        push_packet(&mut text, &packet);
        let text = String::from_utf8(text).expect("a packet is text");
        prop_assert_eq!(decode(&text, &LIMITS), Ok(packet));
    }
}
