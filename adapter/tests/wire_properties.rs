//! Properties of the wire format over generated input, and the committed corpora of the fuzz targets.

use std::path::Path;

use broadgate_adapter::{
    Broadcast, EventPacket, Flags, Stamp, TraceParent,
    wire::{
        ChannelName, DecodeError, Inbound, Limits, decode, decode_json_message, decode_tuple, encode_tuple,
    },
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};

/// Any JSON value, with placeholders for `attachments` to be put in by number.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        // An integral double is written as an integer, as JavaScript does, so it is generated as one above.
        any::<f64>()
            .prop_filter("a fraction", |number| number.is_finite() && number.fract() != 0.0)
            .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::hash_map("[a-z\u{e9}\\\\\"]{0,40}", inner, 0..20)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    let trace = any::<([u8; 16], [u8; 8], bool)>();
    (prop::option::of(1..1_u64 << 53), prop::option::of(trace)).prop_map(|(us, trace)| Stamp {
        published_at_us: us.and_then(|us| us.try_into().ok()),
        trace: trace.and_then(|(trace_id, span_id, sampled)| TraceParent::new(trace_id, span_id, sampled)),
    })
}

fn broadcast() -> impl Strategy<Value = Broadcast> {
    (
        prop::collection::vec(json_value(), 0..5),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        prop::collection::vec(".{0,20}", 0..4),
        prop::collection::vec(".{0,20}", 0..4),
        any::<(bool, bool)>(),
        stamp(),
    )
        .prop_map(|(args, attachments, rooms, except, (volatile, no_compress), stamp)| {
            let mut items = vec![json!("event")];
            items.extend(args);
            for number in 0..attachments.len() {
                items.push(json!({ "binary": [{ "_placeholder": true, "num": number }] }));
            }
            Broadcast {
                namespace: "/chat".into(),
                rooms: rooms.into_iter().map(String::into_boxed_str).collect(),
                except: except.into_iter().map(String::into_boxed_str).collect(),
                flags: Flags { volatile, no_compress },
                stamp,
                packet: EventPacket {
                    json: Value::Array(items).to_string().into_boxed_str(),
                    attachments: attachments.into_iter().map(Bytes::from).collect(),
                },
            }
        })
}

proptest! {
    #[test]
    fn a_broadcast_survives_the_wire(sent in broadcast()) {
        let payload = encode_tuple("sender", &sent, &Limits::default()).expect("it is valid");
        let received = decode_tuple(&payload, "receiver", "/chat", &Limits::default());
        let Ok(Inbound::Broadcast(received, _)) = received else { panic!("{received:?}") };
        let value = |packet: &EventPacket| serde_json::from_str::<Value>(&packet.json).expect("valid JSON");
        prop_assert_eq!(value(&received.packet), value(&sent.packet));
        prop_assert_eq!(&received.packet.attachments, &sent.packet.attachments);
        prop_assert_eq!((received.rooms, received.except), (sent.rooms, sent.except));
        prop_assert_eq!((received.flags, received.stamp), (sent.flags, sent.stamp));
    }

    #[test]
    fn what_is_read_as_a_traceparent_is_written_the_same(text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?") {
        if let Ok(read) = TraceParent::parse(text.as_bytes()) {
            prop_assert_eq!(TraceParent::parse(&read.to_text()), Ok(read));
            prop_assert_eq!(&read.to_string()[2..52], &text[2..52]);
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        check_any(&payload);
        check_any(&[b"\x93\xa1x\x82\xa4type\x02\xa4data".as_slice(), &payload].concat());
        check_any(&[b"\x93\xa1x\x82\xa4type\x02\xa4data\x91\xa1e".as_slice(), &payload].concat());
        let stamped = b"\x93\xa1x\x82\xa4type\x02\xa4data\x91\xa1e\x82\xadpublishedAtUs";
        check_any(&[stamped.as_slice(), &payload].concat());
        check_any(&[stamped.as_slice(), b"\x01\xabtraceparent", &payload].concat());
    }

    #[test]
    fn a_damaged_message_is_decoded_or_refused(sent in broadcast(), damage in any::<(prop::sample::Index, u8)>()) {
        let mut payload = encode_tuple("sender", &sent, &Limits::default()).expect("it is valid");
        *damage.0.get_mut(&mut payload) = damage.1;
        check_any(&payload);
    }

    #[test]
    fn the_json_form_says_what_it_says(data in json_value(), rooms in prop::collection::vec(".{0,20}", 0..4)) {
        let text = json!({ "event": "e", "data": data, "rooms": rooms, "volatile": true }).to_string();
        let channel = ChannelName { namespace: "/", room: None };
        let broadcast = decode_json_message(text.as_bytes(), channel, &Limits::default()).expect("it is valid");
        prop_assert_eq!(serde_json::from_str::<Value>(&broadcast.packet.json).expect("valid JSON"), json!(["e", data]));
        prop_assert_eq!(broadcast.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), rooms);
    }

    #[test]
    fn arbitrary_text_is_a_json_message_or_refused(text in "\\{[\\[\\]{}\":,a-z0-9\\\\ ]{0,80}\\}") {
        check_any(text.as_bytes());
    }
}

/// Whatever is taken for an event is one: valid JSON that starts with a name, and that can be sent on.
fn check_any(payload: &[u8]) {
    for room in [None, Some("room")] {
        let channel = ChannelName { namespace: "/", room };
        let inbound: Result<Inbound, DecodeError> = decode(payload, "own", channel, &Limits::default());
        let Ok(Inbound::Broadcast(broadcast, _)) = inbound else { continue };
        let items: Vec<&RawValue> = serde_json::from_str(&broadcast.packet.json).expect("valid JSON");
        assert!(serde_json::from_str::<String>(items[0].get()).is_ok(), "the name is text");
        // JSON allows numbers and escapes that Rust has no values for: 1e999, half of a surrogate pair.
        if serde_json::from_str::<Value>(&broadcast.packet.json).is_ok() {
            encode_tuple("next", &broadcast, &Limits::default()).expect("it can be sent on");
        }
    }
}

/// The fuzz targets' corpora, so that what fuzzing once found stays found.
#[test]
fn the_fuzz_corpora_are_decoded_or_refused() {
    for target in ["broadcast_tuple", "json_message"] {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files = 0;
        for file in std::fs::read_dir(corpus).expect("the corpus is there") {
            check_any(&std::fs::read(file.expect("it can be listed").path()).expect("it can be read"));
            files += 1;
        }
        assert!(files >= 5, "the corpus of {target} is nearly empty");
    }
}
