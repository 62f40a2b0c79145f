//! RFC 6455 sections 5.5.1 and 7.4: close frames (Autobahn group 7).

use broadgate_protocol::websocket::{OpCode, Role, Violation, push_close};

use super::stream::{MAX_MESSAGE_BYTES, Seen, decode, decode_as, frame, frames};

type Close<'a> = Option<(u16, &'a str)>;

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(OpCode::Close, true, &[&code.to_be_bytes(), reason].concat())
}

/// Autobahn 7.3.1 to 7.3.5.
#[test]
fn close_with_and_without_code_and_reason() {
    let longest = "*".repeat(123);
    let table: [(Vec<u8>, Close<'_>); 4] = [
        (frame(OpCode::Close, true, b""), None),
        (close_frame(1000, b""), Some((1000, ""))),
        (close_frame(1000, "Adiós".as_bytes()), Some((1000, "Adiós"))),
        (close_frame(1001, longest.as_bytes()), Some((1001, &longest))),
    ];
    for (bytes, close) in table {
        let expected = Seen::Close(close.map(|(code, reason)| (code, reason.to_owned())));
        assert_eq!(decode(&bytes), (vec![expected], None), "{close:?}");
    }
}

/// Autobahn 7.3.2 and 7.3.6.
#[test]
fn close_payloads_of_the_wrong_size() {
    assert_eq!(decode(&frame(OpCode::Close, true, b"a")), (vec![], Some(Violation::ClosePayload)));
    assert_eq!(decode(&close_frame(1000, &[b'*'; 124])), (vec![], Some(Violation::ControlTooLong)));
}

/// Autobahn 7.7 and 7.9, and IANA's registry for 1012 to 1014.
#[test]
fn close_codes() {
    let valid =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    for code in valid {
        assert_eq!(decode(&close_frame(code, b"why")), (vec![Seen::Close(Some((code, "why".into())))], None));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(decode(&close_frame(code, b"")), (vec![], Some(Violation::CloseCode(code))), "{code}");
    }
}

/// Autobahn 7.5.1.
#[test]
fn a_reason_that_is_not_utf8() {
    for reason in [&b"\xff"[..], b"ok\xed\xa0\x80", b"\xe2\x82"] {
        assert_eq!(decode(&close_frame(1000, reason)), (vec![], Some(Violation::InvalidUtf8)));
    }
}

/// Autobahn 7.1.4 and 7.1.6: a close may come in the middle of a message.
#[test]
fn close_inside_a_fragmented_message() {
    let bytes = frames(&[(OpCode::Text, false, b"fragment"), (OpCode::Close, true, b"")]);
    assert_eq!(decode(&bytes), (vec![Seen::Close(None)], None));
}

#[test]
fn close_frames_written() {
    let table: [(Close<'_>, &[u8]); 3] = [
        (None, &[0x88, 0]),
        (Some((1000, "")), &[0x88, 2, 0x03, 0xe8]),
        (Some((1009, "big")), &[0x88, 5, 0x03, 0xf1, b'b', b'i', b'g']),
    ];
    for (close, expected) in table {
        let mut out = Vec::new();
        push_close(&mut out, close);
        assert_eq!(out, expected);
    }
}

/// 5.5: a control frame has at most 125 bytes, two of them for the code.
#[test]
fn long_reasons_are_cut_between_characters() {
    let table =
        [("x".repeat(123), 123), ("x".repeat(124), 123), ("é".repeat(62), 122), ("😀".repeat(40), 120)];
    for (reason, kept) in table {
        let mut out = Vec::new();
        push_close(&mut out, Some((4000, &reason)));
        let expected = Seen::Close(Some((4000, reason[..kept].to_owned())));
        assert_eq!(decode_as(Role::Client, MAX_MESSAGE_BYTES, &out), (vec![expected], None));
    }
}
