//! RFC 6455 section 5.4: fragments and their order (Autobahn group 5), and the size limit on whole messages.

use broadgate_protocol::websocket::{
    OpCode::{Binary, Continuation, Ping, Text},
    Role, Violation,
};

use super::stream::{Seen, binary, decode, decode_as, frame, frames, text};

/// Autobahn 5.3 to 5.5 and 5.19.
#[test]
fn fragments_make_one_message() {
    let two = frames(&[(Text, false, b"frag"), (Continuation, true, b"ment")]);
    assert_eq!(decode(&two), (vec![text("fragment")], None));

    let empty = frames(&[(Text, false, b""), (Continuation, false, b""), (Continuation, true, b"")]);
    assert_eq!(decode(&empty), (vec![text("")], None));

    let middle = frames(&[(Binary, false, b""), (Continuation, false, b"x"), (Continuation, true, b"")]);
    assert_eq!(decode(&middle), (vec![binary(b"x")], None));

    let mut many = frame(Binary, false, b"a");
    for _ in 0..1000 {
        many.extend(frame(Continuation, false, b"b"));
    }
    many.extend(frame(Continuation, true, b"c"));
    assert_eq!(decode(&many), (vec![binary(&[b"a", &[b'b'; 1000][..], b"c"].concat())], None));
}

/// Autobahn 5.9 to 5.14.
#[test]
fn a_continuation_needs_a_message() {
    for fin in [false, true] {
        let first = frames(&[(Continuation, fin, b"non-continuation"), (Text, true, b"hello")]);
        assert_eq!(decode(&first), (vec![], Some(Violation::UnexpectedContinuation)), "fin {fin}");

        let after = frames(&[(Text, false, b"a"), (Continuation, true, b"b"), (Continuation, fin, b"c")]);
        assert_eq!(decode(&after), (vec![text("ab")], Some(Violation::UnexpectedContinuation)), "fin {fin}");

        let after_whole = frames(&[(Binary, true, b"a"), (Continuation, fin, b"c")]);
        assert_eq!(
            decode(&after_whole),
            (vec![binary(b"a")], Some(Violation::UnexpectedContinuation)),
            "fin {fin}"
        );
    }
}

/// Autobahn 5.15 to 5.18.
#[test]
fn a_new_message_must_wait_for_the_end_of_the_open_one() {
    for (opcode, fin) in [(Text, true), (Text, false), (Binary, true), (Binary, false)] {
        let bytes = frames(&[(Text, false, b"open"), (Ping, true, b""), (opcode, fin, b"new")]);
        let expected = (vec![Seen::Ping(vec![])], Some(Violation::ExpectedContinuation));
        assert_eq!(decode(&bytes), expected, "{opcode:?} fin {fin}");
    }
}

/// wire.md 1.7: above the limit is 1009; the limit itself is allowed, and counts over all fragments.
#[test]
fn the_limit_is_on_the_whole_message() {
    let limit = 10;
    let table: [(&str, Vec<u8>, _); 6] = [
        ("at the limit", frame(Binary, true, &[1; 10]), None),
        ("above it", frame(Binary, true, &[1; 11]), Some(Violation::TooBig)),
        ("fragments at it", frames(&[(Binary, false, &[1; 4]), (Continuation, true, &[1; 6])]), None),
        (
            "fragments above it",
            frames(&[(Binary, false, &[1; 4]), (Continuation, true, &[1; 7])]),
            Some(Violation::TooBig),
        ),
        (
            "a ping between fragments does not count",
            frames(&[(Binary, false, &[1; 10]), (Ping, true, &[1; 100]), (Continuation, true, b"")]),
            None,
        ),
        (
            "messages are counted each alone",
            frames(&[(Binary, true, &[1; 10]), (Binary, true, &[1; 10])]),
            None,
        ),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(decode_as(Role::Server, limit, &bytes).1, expected, "{name}");
    }
}

#[test]
fn the_limit_is_checked_from_the_header() {
    let announced = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    assert_eq!(decode(&announced), (vec![], Some(Violation::TooBig)));
    let overflowing = [&frame(Binary, false, b"x")[..], &[0x80], &announced[1..]].concat();
    assert_eq!(decode_as(Role::Server, usize::MAX, &overflowing), {
        // On 64 bits an absurd length is within an absurd limit: nothing is allocated for it, more is awaited.
        (vec![], (usize::BITS < 64).then_some(Violation::TooBig))
    });
}
