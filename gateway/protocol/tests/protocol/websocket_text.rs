//! RFC 6455 section 8.1: text is UTF-8, across fragments, and found to be otherwise early (Autobahn group 6).

use broadgate_protocol::websocket::{
    OpCode::{Continuation, Ping, Text},
    Violation,
};

use super::stream::{Seen, decode, frame, frames, text};

/// The ends of each length of character and of the planes, and the borders of the surrogates.
const VALID: [&str; 10] = [
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\u{0}\u{7f}",
    "\u{80}\u{7ff}",
    "\u{800}\u{ffff}",
    "\u{10000}\u{10ffff}",
    "\u{d7ff}\u{e000}",
    "\u{fffd}\u{fffe}\u{1fffe}",
    "😀€é1",
];

/// Bytes that no text may hold, and where the first byte lies that shows it.
const INVALID: [(&str, &[u8], usize); 18] = [
    ("continuation alone", b"\x80", 0),
    ("continuation alone, last", b"\xbf", 0),
    ("overlong 2", b"\xc0\xaf", 0),
    ("overlong 2, largest", b"\xc1\xbf", 0),
    ("overlong 3", b"\xe0\x80\xaf", 1),
    ("overlong 3, largest", b"\xe0\x9f\xbf", 1),
    ("overlong 4", b"\xf0\x80\x80\xaf", 1),
    ("overlong 4, largest", b"\xf0\x8f\xbf\xbf", 1),
    ("surrogate d800", b"\xed\xa0\x80", 1),
    ("surrogate dfff", b"\xed\xbf\xbf", 1),
    ("surrogate pair", b"\xed\xa0\x80\xed\xb0\x80", 1),
    ("above 10ffff", b"\xf4\x90\x80\x80", 1),
    ("lead of 4 that cannot be", b"\xf5\x80\x80\x80", 0),
    ("lead of 5", b"\xf8\x88\x80\x80\x80", 0),
    ("lead of 6", b"\xfc\x84\x80\x80\x80\x80", 0),
    ("fe", b"\xfe", 0),
    ("cut off by a letter", b"\xe2\x82x", 2),
    ("after valid text", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 12),
];

/// Autobahn 6.1, 6.2 and 6.5 to 6.7: also with every character cut by fragments.
#[test]
fn valid_text_comes_through() {
    for sent in VALID {
        assert_eq!(decode(&frame(Text, true, sent.as_bytes())), (vec![text(sent)], None), "{sent}");

        let mut bytes = frame(Text, false, b"");
        for byte in sent.bytes() {
            bytes.extend(frame(Continuation, false, &[byte]));
        }
        bytes.extend(frame(Continuation, true, b""));
        assert_eq!(decode(&bytes), (vec![text(sent)], None), "{sent}, a byte in each fragment");
    }
}

/// Autobahn 6.3 and 6.8 to 6.21.
#[test]
fn invalid_text_is_refused() {
    for (name, sent, _) in INVALID {
        assert_eq!(decode(&frame(Text, true, sent)), (vec![], Some(Violation::InvalidUtf8)), "{name}");
        for cut in 0..=sent.len() {
            let (head, tail) = sent.split_at(cut);
            let bytes = frames(&[(Text, false, head), (Continuation, true, tail)]);
            assert_eq!(decode(&bytes), (vec![], Some(Violation::InvalidUtf8)), "{name}, cut at {cut}");
        }
    }
}

/// Autobahn 6.4: the first impossible byte fails, in an unfinished fragment or frame, without waiting for more.
#[test]
fn invalid_text_fails_fast() {
    for (name, sent, bad_at) in INVALID {
        let until_bad = &sent[..=bad_at];
        let fragment = frame(Text, false, until_bad);
        assert_eq!(decode(&fragment), (vec![], Some(Violation::InvalidUtf8)), "{name}: fragment");

        let announced = [until_bad, &[b'x'; 200]].concat();
        let unfinished = frame(Text, true, &announced);
        let header_bytes = unfinished.len() - announced.len();
        let part = &unfinished[..header_bytes + until_bad.len()];
        assert_eq!(decode(part), (vec![], Some(Violation::InvalidUtf8)), "{name}: unfinished frame");

        let before_bad = &unfinished[..header_bytes + bad_at];
        assert_eq!(decode(before_bad), (vec![], None), "{name}: nothing wrong before the bad byte");
    }
}

#[test]
fn a_message_must_not_end_inside_a_character() {
    for cut in 1..4 {
        let part = &"😀".as_bytes()[..cut];
        assert_eq!(decode(&frame(Text, true, part)), (vec![], Some(Violation::InvalidUtf8)));
        let bytes = frames(&[(Text, false, part), (Continuation, true, b"")]);
        assert_eq!(decode(&bytes), (vec![], Some(Violation::InvalidUtf8)));
    }
}

#[test]
fn a_ping_may_come_inside_a_character() {
    let smile = "😀".as_bytes();
    let bytes =
        frames(&[(Text, false, &smile[..2]), (Ping, true, b"\xff"), (Continuation, true, &smile[2..])]);
    assert_eq!(decode(&bytes), (vec![Seen::Ping(vec![0xff]), text("😀")], None));
}
