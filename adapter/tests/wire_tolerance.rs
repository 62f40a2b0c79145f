//! What is read from emitters in any language (wire.md 3.1 and 4), and what is refused. Tables of (input, expected).
#![allow(clippy::type_complexity, reason = "the tables say their types")]

use broadgate_adapter::{
    Broadcast, EventPacket, Flags, Stamp,
    wire::{
        ChannelName, Channels, DecodeError, EncodeError, Inbound, Limits, decode, decode_tuple, encode_tuple,
    },
};

const EVERYONE: ChannelName<'_> = ChannelName { namespace: "/", room: None };
const NEWS: ChannelName<'_> = ChannelName { namespace: "/", room: Some("news") };

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn stamp(published_at_us: Option<u64>, trace: Option<&str>) -> Stamp {
    Stamp {
        published_at_us: published_at_us.map(|us| us.try_into().expect("not 0")),
        trace: trace.map(|text| text.parse().expect("a traceparent")),
    }
}

/// `["x", packet, opts]`
fn message(packet: &[u8], opts: &[u8]) -> Vec<u8> {
    [b"\x93\xa1x".as_slice(), packet, opts].concat()
}

/// An event with one argument; `argument` is its msgpack.
fn with_argument(argument: &[u8]) -> Vec<u8> {
    message(&[b"\x82\xa4type\x02\xa4data\x92\xa1e".as_slice(), argument].concat(), b"\x80")
}

/// The plain event `["e"]` with these options.
fn with_options(opts: &[u8]) -> Vec<u8> {
    message(b"\x82\xa4type\x02\xa4data\x91\xa1e", opts)
}

fn read(payload: &[u8]) -> Result<Broadcast, DecodeError> {
    match decode(payload, "own", EVERYONE, &Limits::default())? {
        Inbound::Broadcast(broadcast, _) => Ok(broadcast),
        other => panic!("{other:?}"),
    }
}

fn refused(payload: &[u8]) -> String {
    read(payload).expect_err("it is refused").to_string()
}

#[test]
fn values_become_what_json_stringify_makes_of_them() {
    let rows: &[(&[u8], &str)] = &[
        (b"\xc0", "null"),
        (b"\xc2", "false"),
        (b"\xc3", "true"),
        (b"\x7f", "127"),
        (b"\xe0", "-32"),
        (b"\xcc\xff", "255"),
        (b"\xcd\xff\xff", "65535"),
        (b"\xce\xff\xff\xff\xff", "4294967295"),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", "9007199254740991"),
        // Node would lose the last digits.
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd0\x80", "-128"),
        (b"\xd0\x05", "5"),
        (b"\xd1\x80\x00", "-32768"),
        (b"\xd2\x80\x00\x00\x00", "-2147483648"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xca\x3f\x80\x00\x00", "1"),
        (b"\xca\x3d\xcc\xcc\xcd", "0.10000000149011612"),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
        (b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50", "1e+21"),
        (b"\xcb\x3e\x7a\xd7\xf2\x9a\xbc\xaf\x48", "1e-7"),
        (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "0"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xa0", "\"\""),
        (b"\xd9\x03a\"\\", r#""a\"\\""#),
        (b"\xda\x00\x06\x08\x0c\n\r\t\x01", r#""\b\f\n\r\t\u0001""#),
        (b"\xdb\x00\x00\x00\x02\xc3\xa9", "\"é\""),
        (b"\xa2\xff\xc3", "\"\u{fffd}\u{fffd}\""),
        (b"\x90", "[]"),
        (b"\xdc\x00\x02\x01\x02", "[1,2]"),
        (b"\xdd\x00\x00\x00\x01\x01", "[1]"),
        (b"\x80", "{}"),
        (b"\x82\xa1a\x01\xa1b\x90", r#"{"a":1,"b":[]}"#),
        (b"\xde\x00\x01\xa1a\x01", r#"{"a":1}"#),
        (b"\xdf\x00\x00\x00\x01\xa1a\x01", r#"{"a":1}"#),
        // Keys that are not text.
        (
            b"\x87\x01\x01\xe0\x02\xc0\x03\xc3\x04\xc2\x05\xca\x3f\x00\x00\x00\x06\xcb\x7f\xf8\0\0\0\0\0\0\x07",
            r#"{"1":1,"-32":2,"null":3,"true":4,"false":5,"0.5":6,"NaN":7}"#,
        ),
        // undefined, as notepack 2.x wrote it.
        (b"\xd4\x00\x00", "null"),
        (b"\x92\xd4\x00\x00\x01", "[null,1]"),
        (b"\x83\xa1a\xd4\x00\x00\xa1b\x01\xa1c\xd4\x00\x00", r#"{"b":1}"#),
        (b"\x81\xa1a\xd4\x00\x00", "{}"),
        // Dates: timestamps of 32, 64 and 96 bits, and notepack 2.x's.
        (b"\xd6\xff\x65\x53\xf1\x00", "\"2023-11-14T22:13:20.000Z\""),
        (b"\xd7\xff\x1d\x53\x53\x00\x65\x53\xf1\x00", "\"2023-11-14T22:13:20.123Z\""),
        (b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\"1969-12-31T23:59:59.000Z\""),
        (b"\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b", "\"2023-11-14T22:13:20.123Z\""),
        (b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "null"),
        (b"\xc7\x0c\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", "null"),
    ];
    for (argument, expected) in rows {
        let broadcast = read(&with_argument(argument)).unwrap_or_else(|error| panic!("{expected}: {error}"));
        assert_eq!(&*broadcast.packet.json, format!("[\"e\",{expected}]"));
        assert!(broadcast.packet.attachments.is_empty());
    }
}

#[test]
fn binary_becomes_attachments_in_order() {
    let placeholder = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    let rows: &[(&[u8], String, &[&[u8]])] = &[
        (b"\xc4\x02\x01\x02", placeholder(0), &[b"\x01\x02"]),
        (b"\xc5\x00\x00", placeholder(0), &[b""]),
        (b"\xc6\x00\x00\x00\x01\x09", placeholder(0), &[b"\x09"]),
        (
            b"\x82\xa1a\xc4\x01\x01\xa1b\x91\xc4\x01\x02",
            format!(r#"{{"a":{},"b":[{}]}}"#, placeholder(0), placeholder(1)),
            &[b"\x01", b"\x02"],
        ),
        // ArrayBuffer, as notepack 2.x wrote it.
        (b"\xc7\x02\x00\x07\x08", placeholder(0), &[b"\x07\x08"]),
        (b"\xc8\x00\x01\x00\x07", placeholder(0), &[b"\x07"]),
        (b"\xc9\x00\x00\x00\x01\x00\x07", placeholder(0), &[b"\x07"]),
        // Any other extension is [type, bytes] to notepack.
        (b"\xd5\x05\x01\x02", format!("[5,{}]", placeholder(0)), &[b"\x01\x02"]),
        (b"\xc7\x01\xfe\x01", format!("[-2,{}]", placeholder(0)), &[b"\x01"]),
    ];
    for (argument, expected, attachments) in rows {
        let packet = read(&with_argument(argument)).expect(expected).packet;
        assert_eq!(&*packet.json, format!("[\"e\",{expected}]"));
        assert_eq!(packet.attachments, *attachments);
    }
}

#[test]
fn packets_of_type_5_are_read_as_type_2() {
    let rows: &[(&[u8], &str, usize)] = &[
        (b"\x82\xa4type\x05\xa4data\x92\xa1e\xc4\x01\x01", r#"["e",{"_placeholder":true,"num":0}]"#, 1),
        (b"\x82\xa4type\x05\xa4data\x92\xa1e\xa2\xc3\xa9", r#"["e","é"]"#, 0),
    ];
    for (packet, json, attachments) in rows {
        let packet = read(&message(packet, b"\x80")).expect(json).packet;
        assert_eq!((&*packet.json, packet.attachments.len()), (*json, *attachments));
    }
}

#[test]
fn options_may_be_missing_empty_or_odd() {
    let volatile = Flags { volatile: true, no_compress: false };
    let no_compress = Flags { volatile: false, no_compress: true };
    let none = Flags::default();
    let rows: &[(&[u8], &[&str], &[&str], Flags)] = &[
        (b"\x80", &[], &[], none),
        (b"\x90", &[], &[], none),
        (b"\x82\xa5rooms\xa0\xa5flags\xa0", &[], &[], none),
        (b"\x83\xa5rooms\xc0\xa6except\xc0\xa5flags\xc0", &[], &[], none),
        (b"\x83\xa5rooms\x80\xa6except\x90\xa5flags\x90", &[], &[], none),
        (b"\x82\xa5rooms\x92\xa1a\xa1b\xa6except\x91\xa1c", &["a", "b"], &["c"], none),
        (b"\x81\xa5rooms\x93\x05\xcd\x01\x00\xff", &["5", "256", "-1"], &[], none),
        (b"\x81\xa5rooms\xa4news", &["news"], &[], none),
        (b"\x81\xa5flags\x81\xa8volatile\xc3", &[], &[], volatile),
        (b"\x81\xa5flags\x81\xa8volatile\x01", &[], &[], volatile),
        (b"\x81\xa5flags\x81\xa8volatile\x00", &[], &[], none),
        (b"\x81\xa5flags\x81\xa8volatile\xc0", &[], &[], none),
        (b"\x81\xa5flags\x81\xa8compress\xc2", &[], &[], no_compress),
        (b"\x81\xa5flags\x81\xa8compress\xc3", &[], &[], none),
        (b"\x81\xa5flags\x83\xa7timeout\xcd\x10\x00\xa4json\xc3\xa9broadcast\x91\x01", &[], &[], none),
        (b"\x81\xa7unknown\x82\xa1a\x90\xa1b\xc4\x01\x00", &[], &[], none),
    ];
    for (opts, rooms, except, flags) in rows {
        let broadcast = read(&with_options(opts)).unwrap_or_else(|error| panic!("{opts:02x?}: {error}"));
        assert_eq!(broadcast.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), *rooms);
        assert_eq!(broadcast.except.iter().map(|room| &**room).collect::<Vec<_>>(), *except);
        assert_eq!(broadcast.flags, *flags);
    }
}

#[test]
fn the_packets_namespace_must_be_the_channels() {
    let read = |nsp: &[u8], namespace| {
        let packet = [b"\x83\xa3nsp".as_slice(), nsp, b"\xa4type\x02\xa4data\x91\xa1e"].concat();
        decode_tuple(&message(&packet, b"\x80"), "own", namespace, &Limits::default()).expect("it is valid")
    };
    for (nsp, namespace, delivered) in [
        (b"\xa1/".as_slice(), "/", true),
        (b"\xc0", "/", true),
        (b"\xa0", "/", true),
        (b"\xa5/chat", "/chat", true),
        (b"\xa5/chat", "/", false),
        (b"\xa1/", "/chat", false),
    ] {
        assert_eq!(matches!(read(nsp, namespace), Inbound::Broadcast(..)), delivered, "{namespace}");
    }
    let without = decode_tuple(&with_options(b"\x80"), "own", "/chat", &Limits::default());
    assert!(matches!(without, Ok(Inbound::Broadcast(..))), "it names none");
}

#[test]
fn other_shapes_are_refused() {
    let event = b"\x82\xa4type\x02\xa4data\x91\xa1e";
    let rows: &[(Vec<u8>, &str)] = &[
        (b"".to_vec(), "ends in the middle"),
        (b"\x80".to_vec(), "an array of three"),
        (b"\x01".to_vec(), "an array of three"),
        (b"\x92\x80\x80".to_vec(), "0.x"),
        (b"\x94\xa1x\x80\x80\x80".to_vec(), "an array of three"),
        (b"\x93\x01\x80\x80".to_vec(), "uid"),
        (message(b"\xc0", b"\x80"), "packet must be a map"),
        (message(b"\x81\xa4type\x02", b"\x80"), "no data"),
        (message(b"\x81\xa4data\x91\xa1e", b"\x80"), "no type"),
        (message(b"\x82\xa4type\x03\xa4data\x91\xa1e", b"\x80"), "packet type 3"),
        (message(b"\x82\xa4type\xa12\xa4data\x91\xa1e", b"\x80"), "packet type must be a number"),
        (message(b"\x82\xa4type\x02\xa4data\x90", b"\x80"), "non-empty array"),
        (message(b"\x82\xa4type\x02\xa4data\xa1e", b"\x80"), "non-empty array"),
        (message(b"\x82\xa4type\x02\xa4data\x91\x01", b"\x80"), "the event name must be text"),
        (message(b"\x82\xa4type\x02\xa4data\x91\xc4\x01e", b"\x80"), "the event name must be text"),
        (message(event, b"\xc0"), "opts must be a map"),
        (message(event, b"\xa0"), "opts must be a map"),
        (with_options(b"\x81\xa5rooms\x01"), "must be arrays"),
        (with_options(b"\x81\xa5rooms\x91\x90"), "text or an integer"),
        (with_options(b"\x81\xa5rooms\x91\xa2\xff\xff"), "a room's name is not valid UTF-8"),
        (with_options(b"\x81\xa5flags\x01"), "flags must be a map"),
        (with_options(b"\x81\x01\x01"), "keys"),
        ([with_options(b"\x80"), b"\x00".to_vec()].concat(), "1 bytes follow"),
        (with_argument(b"\xc1"), "0xc1"),
        (with_argument(b"\xdd\xff\xff\xff\xff"), "ends in the middle"),
        (with_argument(b"\xc6\xff\xff\xff\xff\x00"), "ends in the middle"),
        (with_argument(b"\x81\xc4\x01a\x01"), "a map key"),
        (with_argument(b"\x81\x90\x01"), "a map key"),
    ];
    for (payload, reason) in rows {
        let text = refused(payload);
        assert!(text.contains(reason), "{payload:02x?}: {text}, not {reason}");
    }
}

/// A stamp that makes no sense is as good as none: the message is delivered all the same.
#[test]
fn stamps_are_read_where_they_make_sense() {
    let time = |value: &[u8]| [b"\x81\xadpublishedAtUs".as_slice(), value].concat();
    let trace = |value: &[u8]| [b"\x81\xabtraceparent".as_slice(), value].concat();
    let text = |text: &str| [&[0xd9, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let us = Some(1_767_225_600_000_000);
    let rows: &[(Vec<u8>, Stamp)] = &[
        (time(b"\xcf\x00\x06\x47\x48\x46\x20\x40\x00"), stamp(us, None)),
        (time(b"\xcb\x43\x19\x1d\x21\x18\x81\x00\x00"), stamp(us, None)),
        (time(b"\x01"), stamp(Some(1), None)),
        (time(b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff"), stamp(Some((1 << 53) - 1), None)),
        (time(b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00"), stamp(None, None)),
        (time(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), stamp(None, None)),
        (time(b"\x00"), stamp(None, None)),
        (time(b"\xff"), stamp(None, None)),
        (time(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), stamp(None, None)),
        (time(b"\xc0"), stamp(None, None)),
        (time(&text("1767225600000000")), stamp(None, None)),
        (time(b"\x92\x01\x81\xa1a\x02"), stamp(None, None)),
        (trace(&text(TRACEPARENT)), stamp(None, Some(TRACEPARENT))),
        (trace(&text(&TRACEPARENT.to_uppercase())), stamp(None, None)),
        (trace(&text(&"0".repeat(200))), stamp(None, None)),
        (trace(&[b"\xc4\x37", TRACEPARENT.as_bytes()].concat()), stamp(None, None)),
        (trace(b"\xa0"), stamp(None, None)),
        (trace(b"\x01"), stamp(None, None)),
        (trace(b"\x91\x81\xa1a\xc0"), stamp(None, None)),
    ];
    for (opts, expected) in rows {
        let broadcast = read(&with_options(opts)).expect("it is delivered");
        assert_eq!((broadcast.stamp, &*broadcast.packet.json), (*expected, "[\"e\"]"), "{opts:02x?}");
    }
    assert!(refused(&with_options(&trace(b"\xd9\x37"))).contains("ends in the middle"));
    let rows = [
        (r#""published_at_us":1767225600000000"#.to_owned(), stamp(us, None)),
        (r#""published_at_us":1.7672256e15"#.to_owned(), stamp(us, None)),
        (r#""published_at_us":-1"#.to_owned(), stamp(None, None)),
        (r#""published_at_us":1e999"#.to_owned(), stamp(None, None)),
        (r#""published_at_us":99999999999999999999"#.to_owned(), stamp(None, None)),
        (r#""published_at_us":"1767225600000000""#.to_owned(), stamp(None, None)),
        (r#""published_at_us":null,"traceparent":null"#.to_owned(), stamp(None, None)),
        (format!(r#""published_at_us":7,"traceparent":"{TRACEPARENT}""#), stamp(Some(7), Some(TRACEPARENT))),
        (format!(r#""traceparent":["{TRACEPARENT}"]"#), stamp(None, None)),
        (format!(r#""traceparent":"{}""#, "0".repeat(100_000)), stamp(None, None)),
    ];
    for (keys, expected) in rows {
        let broadcast = read(format!(r#"{{"event":"e",{keys}}}"#).as_bytes()).expect("it is delivered");
        assert_eq!(broadcast.stamp, expected, "{keys}");
    }
}

/// What a stamp adds to a message. Without one the message is what Node.js writes.
#[test]
fn a_stamp_is_written_behind_the_options_of_node() {
    let mut broadcast = event("[\"e\"]", &[], &["news"]);
    let bare = encode_tuple("x", &broadcast, &Limits::default()).expect("it is valid");
    broadcast.stamp = stamp(Some(1_767_225_600_000_000), None);
    let timed = encode_tuple("x", &broadcast, &Limits::default()).expect("it is valid");
    broadcast.stamp = stamp(Some(1_767_225_600_000_000), Some(TRACEPARENT));
    let traced = encode_tuple("x", &broadcast, &Limits::default()).expect("it is valid");
    assert!(timed.ends_with(b"\x80\xadpublishedAtUs\xcf\x00\x06\x47\x48\x46\x20\x40\x00"), "{timed:02x?}");
    assert!(
        traced.ends_with(&[b"\xabtraceparent\xd9\x37", TRACEPARENT.as_bytes()].concat()),
        "{traced:02x?}"
    );
    assert_eq!((timed.len() - bare.len(), traced.len() - timed.len()), (23, 69));
}

#[test]
fn every_beginning_of_a_message_is_refused() {
    let broadcast = Broadcast {
        namespace: "/".into(),
        rooms: vec!["news".into()],
        except: vec!["x".into()],
        flags: Flags { volatile: true, no_compress: true },
        stamp: stamp(Some(1_767_225_600_000_000), Some(TRACEPARENT)),
        packet: EventPacket {
            json: r#"["e",{"_placeholder":true,"num":0},[1,"é",{"a":300}]]"#.into(),
            attachments: vec![vec![1, 2, 3].into()],
        },
    };
    let payload = encode_tuple("x", &broadcast, &Limits::default()).expect("it is valid");
    assert_eq!(read(&payload).expect("it is whole"), broadcast);
    for length in 0..payload.len() {
        refused(&payload[..length]);
    }
}

#[test]
fn event_names_that_close_clients_are_refused() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        let data =
            [&[0x82][..], b"\xa4type\x02\xa4data\x91", &[0xa0 + name.len() as u8], name.as_bytes()].concat();
        assert!(refused(&message(&data, b"\x80")).contains("reserved"), "{name}");
        assert!(refused(format!("{{\"event\":\"{name}\"}}").as_bytes()).contains("reserved"), "{name}");
    }
}

#[test]
fn a_placeholder_in_the_data_is_no_attachment() {
    let map = b"\x82\xac_placeholder\xc3\xa3num\x00".as_slice();
    let alone = read(&with_argument(map)).expect("plain data");
    assert_eq!(&*alone.packet.json, r#"["e",{"_placeholder":true,"num":0}]"#);
    // Beside real binary, clients would take it for one.
    let beside = [b"\x92".as_slice(), map, b"\xc4\x01\x00"].concat();
    assert!(refused(&with_argument(&beside)).contains("_placeholder"));
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits {
        max_message_bytes: 200,
        max_json_bytes: 100,
        max_depth: 4,
        max_attachments: 2,
        max_rooms: 2,
        max_room_bytes: 4,
    };
    let read = |payload: &[u8]| decode(payload, "own", EVERYONE, &limits).map_err(|error| error.to_string());
    let ok: &[Vec<u8>] = &[
        with_argument(b"\x91\x91\x90"),
        with_argument(b"\x92\xc4\x00\xc4\x00"),
        with_options(b"\x81\xa5rooms\x92\xa4abcd\xa1b"),
        br#"{"event":"e","data":[[1]]}"#.to_vec(),
        br#"{"event":"e","data":"[[[[[[[[\"[["}"#.to_vec(),
    ];
    for payload in ok {
        assert!(read(payload).is_ok(), "{payload:02x?}");
    }
    let many_nils = [b"\xdc\x00\x32".as_slice(), &[0xc0; 50]].concat();
    let refused: &[(Vec<u8>, &str)] = &[
        (vec![0x93; 201], "larger than 200 bytes"),
        (with_argument(&many_nils), "larger than 100 bytes as JSON"),
        (with_argument(b"\x91\x91\x91\x90"), "deeper than 4"),
        (with_argument(b"\x93\xc4\x00\xc4\x00\xc4\x00"), "more than 2 binary"),
        (with_options(b"\x81\xa5rooms\x93\xa1a\xa1b\xa1c"), "more than 2 rooms"),
        (with_options(b"\x81\xa6except\x91\xa5abcde"), "longer than 4 bytes"),
        (br#"{"event":"e","data":[[[[1]]]]}"#.to_vec(), "deeper than 4"),
        (br#"{"event":"e","rooms":["a","b","c"]}"#.to_vec(), "more than 2 rooms"),
        (br#"{"event":"e","except":"abcde"}"#.to_vec(), "longer than 4 bytes"),
        (vec![b'{'; 201], "larger than 200 bytes"),
    ];
    for (payload, reason) in refused {
        let text = read(payload).expect_err(reason);
        assert!(text.contains(reason), "{text}, not {reason}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let limits = Limits::default();
    for bytes in [vec![0x91; 1_000_000], vec![0x81; 1_000_000], vec![b'['; 1_000_000], vec![b'{'; 1_000_000]]
    {
        assert!(decode(&with_argument(&bytes), "own", EVERYONE, &limits).is_err());
        assert!(decode(&with_options(&bytes), "own", EVERYONE, &limits).is_err());
        assert!(decode(&bytes, "own", EVERYONE, &limits).is_err());
    }
    let skipped = [b"\x81\xa7unknown".as_slice(), &[0x91; 100_000], b"\x90"].concat();
    assert!(read(&with_options(&skipped)).is_ok(), "what is skipped needs no stack");
}

#[test]
fn the_plain_json_form() {
    let read = |channel, text: &str| match decode(text.as_bytes(), "own", channel, &Limits::default()) {
        Ok(Inbound::Broadcast(broadcast, _)) => Ok(broadcast),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let rows: &[(ChannelName<'_>, &str, &str, &[&str], &[&str])] = &[
        (
            NEWS,
            r#"{"event":"headline","data":{"title":"hi"}}"#,
            r#"["headline",{"title":"hi"}]"#,
            &["news"],
            &[],
        ),
        (EVERYONE, r#"{"event":"e"}"#, r#"["e"]"#, &[], &[]),
        (EVERYONE, r#"{"event":"e","data":null}"#, r#"["e",null]"#, &[], &[]),
        (EVERYONE, r#"{"event":"e","data":[1,2]}"#, r#"["e",[1,2]]"#, &[], &[]),
        (EVERYONE, r#"{"event":"e","args":[1,{"a":2}]}"#, r#"["e",1,{"a":2}]"#, &[], &[]),
        (EVERYONE, r#"{"event":"e","args":[]}"#, r#"["e"]"#, &[], &[]),
        (EVERYONE, r#"{"event":"a\"\n","data":1.50}"#, r#"["a\"\n",1.50]"#, &[], &[]),
        (EVERYONE, r#"{"event":"e","rooms":["a","b"]}"#, r#"["e"]"#, &["a", "b"], &[]),
        (EVERYONE, r#"{"event":"e","rooms":"a","except":["b","c"]}"#, r#"["e"]"#, &["a"], &["b", "c"]),
        (NEWS, r#"{"event":"e","except":"b"}"#, r#"["e"]"#, &["news"], &["b"]),
        (NEWS, "{ \"event\" : \"e\" }\n", r#"["e"]"#, &["news"], &[]),
    ];
    for (channel, text, json, rooms, except) in rows {
        let broadcast = read(*channel, text).expect(text);
        assert_eq!(&*broadcast.packet.json, *json);
        assert_eq!(broadcast.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), *rooms, "{text}");
        assert_eq!(broadcast.except.iter().map(|room| &**room).collect::<Vec<_>>(), *except, "{text}");
    }
    assert!(read(NEWS, r#"{"event":"e","volatile":true}"#).expect("valid").flags.volatile);

    for (channel, text, reason) in [
        (NEWS, "{", "EOF"),
        (NEWS, "{}", "missing field `event`"),
        (NEWS, r#"{"event":1}"#, "expected a string"),
        (NEWS, r#"{"evnt":"e"}"#, "unknown field `evnt`, expected one of `event`"),
        (NEWS, r#"{"event":"e","data":1,"args":[1]}"#, "not both"),
        (NEWS, r#"{"event":"e","args":{}}"#, "expected a sequence"),
        (NEWS, r#"{"event":"e","rooms":["a"]}"#, "on a room's channel"),
        (NEWS, r#"{"event":"e","except":5}"#, "a name or a list of names"),
        (NEWS, r#"{"event":"e","volatile":1}"#, "expected a boolean"),
        (NEWS, r#"{"event":"e","event":"e"}"#, "duplicate field"),
        (NEWS, r#"{"event":"e"} {}"#, "trailing characters"),
        (NEWS, r#"{"event":"e","data":[}"#, "expected value"),
    ] {
        let text_of_error = read(channel, text).expect_err(text);
        assert!(text_of_error.contains(reason), "{text}: {text_of_error}");
    }
}

#[test]
fn json_becomes_the_smallest_msgpack() {
    let rows: &[(&str, &[u8])] = &[
        ("1.0", b"\x01"),
        ("-0", b"\x00"),
        ("-1e0", b"\xff"),
        ("1e2", b"\x64"),
        ("9007199254740993.0", b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00"),
        ("1e21", b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("99999999999999999999", b"\xcb\x44\x15\xaf\x1d\x78\xb5\x8c\x40"),
        (r#""\u00e9\ud83d\ude00""#, b"\xa6\xc3\xa9\xf0\x9f\x98\x80"),
        (" [ 1 , { } ] ", b"\x92\x01\x80"),
    ];
    for (json, msgpack) in rows {
        let broadcast = Broadcast {
            namespace: "/".into(),
            rooms: Vec::new(),
            except: Vec::new(),
            flags: Flags::default(),
            stamp: Stamp::default(),
            packet: EventPacket { json: format!("[\"e\",{json}]").into(), attachments: Vec::new() },
        };
        let written = encode_tuple("x", &broadcast, &Limits::default()).expect(json);
        let expected =
            [b"\x93\xa1x\x83\xa4type\x02\xa4data\x92\xa1e".as_slice(), msgpack, b"\xa3nsp\xa1/"].concat();
        assert!(written.starts_with(&expected), "{json}: {written:02x?}");
    }
}

#[test]
fn events_that_cannot_be_written_are_refused() {
    for (json, attachments) in [
        ("", 0),
        ("[\"e\"", 0),
        ("[\"e\"] x", 0),
        (r#"["e",{"_placeholder":true,"num":1}]"#, 1),
        (r#"["e",{"_placeholder":true}]"#, 1),
        (&"[".repeat(1000), 0),
    ] {
        let packet = EventPacket { json: json.into(), attachments: vec![vec![1].into(); attachments] };
        let broadcast = Broadcast {
            namespace: "/".into(),
            rooms: Vec::new(),
            except: Vec::new(),
            flags: Flags::default(),
            stamp: Stamp::default(),
            packet,
        };
        assert!(encode_tuple("x", &broadcast, &Limits::default()).is_err(), "{json}");
    }
}

/// An event in `/` with the rooms `rooms`.
fn event(json: &str, attachments: &[&[u8]], rooms: &[&str]) -> Broadcast {
    Broadcast {
        namespace: "/".into(),
        rooms: rooms.iter().map(|&room| room.into()).collect(),
        except: Vec::new(),
        flags: Flags::default(),
        stamp: Stamp::default(),
        packet: EventPacket {
            json: json.into(),
            attachments: attachments.iter().map(|data| data.to_vec().into()).collect(),
        },
    }
}

#[test]
fn what_a_peer_would_refuse_is_not_written() {
    let limits = Limits {
        max_message_bytes: 300,
        max_json_bytes: 300,
        max_depth: 3,
        max_attachments: 2,
        max_rooms: 2,
        max_room_bytes: 4,
    };
    let write = |json: &str, attachments: &[&[u8]], rooms: &[&str]| {
        let written = encode_tuple("x", &event(json, attachments, rooms), &limits)?;
        let read = decode_tuple(&written, "own", "/", &limits);
        assert!(matches!(read, Ok(Inbound::Broadcast(..))), "{json}: {read:?}");
        Ok::<_, EncodeError>(())
    };
    let two = r#"["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#;
    let rows: &[(&str, &[&[u8]], &[&str])] = &[
        (r#"["e",[[1]],{"a":{}}]"#, &[], &["abcd", ""]),
        (two, &[b"1"], &[]),
        // A placeholder is no object to a receiver.
        (r#"["e",[[{"_placeholder":true,"num":0}]]]"#, &[b"1"], &[]),
        (r#"["e",{"_placeholder":true,"num":0,"a":{"_placeholder":true,"num":0}},[]]"#, &[b"1"], &[]),
        (r#"["e",{"_placeholder":true,"num":0,"a":{"_placeholder":0}}]"#, &[b"1"], &[]),
        (r#"["e",{"_placeholder":true,"num":9}]"#, &[], &[]),
        // No attachment is referred to, so none is written.
        (r#"["e",{"_placeholder":1}]"#, &[b"1"], &[]),
        (&format!(r#"["e","{}"]"#, r"\u0001".repeat(48)), &[], &[]),
    ];
    for (json, attachments, rooms) in rows {
        write(json, attachments, rooms).expect(json);
    }
    let rows: &[(&str, &[&[u8]], &[&str], &str)] = &[
        (r#"["e",[[[]]]]"#, &[], &[], "deeper than 3"),
        (r#"["e",[[{}]]]"#, &[], &[], "deeper than 3"),
        (r#"["e",[[{"_placeholder":true,"num":0}]]]"#, &[], &[], "deeper than 3"),
        (&two.replace(']', r#",{"_placeholder":true,"num":0}]"#), &[b"1"], &[], "more than 2 binary"),
        (r#"["e",{"_placeholder":true,"num":0},{"_placeholder":1}]"#, &[b"1"], &[], "_placeholder"),
        (r#"["e",{"\u005fplaceholder":1},{"_placeholder":true,"num":0}]"#, &[b"1"], &[], "_placeholder"),
        (r#"["e"]"#, &[], &["a", "b", "c"], "more than 2 rooms"),
        (r#"["e"]"#, &[], &["abcde"], "longer than 4 bytes"),
        (&format!(r#"["e","{}"]"#, "x".repeat(300)), &[], &[], "larger than 300 bytes"),
        (&format!(r#"["e",{{"{}":1}}]"#, "x".repeat(300)), &[], &[], "larger than 300 bytes"),
        (&format!(r#"["e"{}]"#, ",0".repeat(300)), &[], &[], "larger than 300 bytes"),
        (&format!(r#"["e"{}]"#, ",1e20".repeat(14)), &[], &[], "larger than 300 bytes as JSON"),
        (&format!(r#"["e","{}"]"#, r"\u0001".repeat(49)), &[], &[], "larger than 300 bytes as JSON"),
        (two, &[&[0; 200]], &[], "larger than 300 bytes"),
        (r#"["disconnect"]"#, &[], &[], "reserved"),
        ("[]", &[], &[], "non-empty array"),
        ("{}", &[], &[], "non-empty array"),
        ("[1]", &[], &[], "name must be text"),
    ];
    for (json, attachments, rooms, reason) in rows {
        let text = write(json, attachments, rooms).expect_err(json).to_string();
        assert!(text.contains(reason), "{json}: {text}, not {reason}");
    }
}

/// One attachment that many placeholders stand for would take memory many times over. The damage after the limit shows
/// that nothing is written any more from there on.
#[test]
fn writing_and_reading_end_where_the_limit_is_passed() {
    let limits = Limits { max_attachments: usize::MAX, ..Limits::default() };
    let placeholders = r#",{"_placeholder":true,"num":0}"#.repeat(20);
    let json = format!(r#"["e"{placeholders} no JSON"#);
    let written = encode_tuple("x", &event(&json, &[&[0; 900_000]], &[]), &limits);
    let Err(EncodeError::Refused(DecodeError::TooBig { .. })) = written else { panic!("{written:?}") };

    let limits = Limits { max_json_bytes: 1_000_000, ..Limits::default() };
    let control_characters = [b"\xdb\x00\x04\x00\x00".as_slice(), &[1; 0x4_0000]].concat();
    let not_utf8 = [b"\xdb\x00\x08\x00\x00".as_slice(), &[0xff; 0x8_0000]].concat();
    for text in [control_characters, not_utf8] {
        for argument in [[b"\x92".as_slice(), &text, b"\xc1"].concat(), [b"\x81", &*text, b"\xc1"].concat()] {
            let read = decode(&with_argument(&argument), "own", EVERYONE, &limits);
            assert!(matches!(read, Err(DecodeError::JsonTooBig { .. })), "{read:?}");
        }
    }
}

#[test]
fn channels_without_the_last_separator_are_no_channels() {
    assert_eq!(Channels::new("socket.io").parse("socket.io#/#room"), None);
}
