//! wire.md 1.4 and 1.5: packets, payloads and the open packet.

use std::borrow::Cow;

use broadgate_protocol::engineio::{OpenPacket, Packet, ParseError, Transport, payload};

fn binary(bytes: &[u8]) -> Packet<'static> {
    Packet::Binary(Cow::Owned(bytes.to_vec()))
}

/// 1.5: a digit and data, or `b` and base64.
#[test]
fn section_1_5_packets() {
    let table = [
        (r#"0{"sid":"x"}"#, Packet::Open(r#"{"sid":"x"}"#)),
        ("1", Packet::Close),
        ("1ignored", Packet::Close),
        ("2", Packet::Ping("")),
        ("2probe", Packet::Ping("probe")),
        ("3", Packet::Pong("")),
        ("3probe", Packet::Pong("probe")),
        ("4", Packet::Message("")),
        ("4hello", Packet::Message("hello")),
        ("4€😀", Packet::Message("€😀")),
        ("5", Packet::Upgrade),
        ("6", Packet::Noop),
        ("b", binary(b"")),
        ("bAQIDBA==", binary(&[1, 2, 3, 4])),
        // Short padding is read, as by Node.
        ("bAQIDBA", binary(&[1, 2, 3, 4])),
        ("bAQIDBAU=", binary(&[1, 2, 3, 4, 5])),
        ("b+/+/", binary(&[0xfb, 0xff, 0xbf])),
    ];
    for (text, expected) in table {
        assert_eq!(Packet::decode(text), Ok(expected), "{text}");
    }
}

/// 1.5 and 1.10: a bad first character, an empty string, broken base64.
#[test]
fn section_1_5_parse_errors() {
    for text in ["", "7", "9abc", "abc", "B", " 4", "é", "€", "😀", "\u{0}", "\x1e", "b*", "bA", "bé"] {
        assert_eq!(Packet::decode(text), Err(ParseError), "{text:?}");
    }
}

/// 1.5: packets joined with 0x1E.
#[test]
fn section_1_5_payloads() {
    let packets: Vec<_> = payload::decode("4hello\u{1e}2\u{1e}4€\u{1e}bAQIDBA==").collect();
    let expected =
        [Packet::Message("hello"), Packet::Ping(""), Packet::Message("€"), binary(&[1, 2, 3, 4])].map(Ok);
    assert_eq!(packets, expected);
    assert_eq!(payload::SEPARATOR, 0x1e);
}

/// 1.6: what is before the bad packet counts, nothing after it does.
#[test]
fn section_1_6_decoding_stops_at_the_first_bad_packet() {
    let table: [(&str, &[Result<Packet<'_>, ParseError>]); 5] = [
        ("", &[Err(ParseError)]),
        ("abc", &[Err(ParseError)]),
        ("4a\u{1e}7\u{1e}4b", &[Ok(Packet::Message("a")), Err(ParseError)]),
        ("4a\u{1e}", &[Ok(Packet::Message("a")), Err(ParseError)]),
        ("\u{1e}4a", &[Err(ParseError)]),
    ];
    for (body, expected) in table {
        let mut packets = payload::decode(body);
        let seen: Vec<_> = packets.by_ref().collect();
        assert_eq!(seen, expected, "{body:?}");
        assert_eq!(packets.next(), None, "it stays at its end");
    }
}

/// 1.5: `b` and standard padded base64.
#[test]
fn section_1_5_binary_in_payloads() {
    let table: [(&[u8], &str); 5] = [
        (b"", "b"),
        (&[1], "bAQ=="),
        (&[1, 2], "bAQI="),
        (&[1, 2, 3], "bAQID"),
        (&[0xfb, 0xff, 0xbf, 0], "b+/+/AA=="),
    ];
    for (data, expected) in table {
        let mut out = b"4x\x1e".to_vec();
        payload::push_binary(&mut out, data);
        assert_eq!(std::str::from_utf8(&out), Ok(format!("4x\u{1e}{expected}").as_str()));
    }
}

/// 1.4: exactly five keys.
#[test]
fn section_1_4_open_packet() {
    let mut open = OpenPacket {
        sid: "lv_VI97HAXpY6yYWAAAC",
        upgrades: &[Transport::WebSocket],
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        max_payload_bytes: 1_000_000,
    };
    assert_eq!(
        open.encode(),
        r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
    );
    open.upgrades = &[];
    assert!(open.encode().contains(r#""upgrades":[],"#));
}
