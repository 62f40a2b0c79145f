//! RFC 6455 section 5.5: pings and pongs (Autobahn group 2).

use broadgate_protocol::websocket::{OpCode, Violation};

use super::stream::{Seen, binary, decode, frame, frames, text};

/// Autobahn 2.1 to 2.4 and 2.7 to 2.9.
#[test]
fn pings_and_pongs_carry_up_to_125_bytes() {
    for length in [0, 1, 8, 124, 125] {
        let payload = vec![0xfe; length];
        assert_eq!(decode(&frame(OpCode::Ping, true, &payload)), (vec![Seen::Ping(payload.clone())], None));
        assert_eq!(decode(&frame(OpCode::Pong, true, &payload)), (vec![Seen::Pong(payload)], None));
    }
}

/// Autobahn 2.5: refused from the header, and for a close as well.
#[test]
fn longer_control_frames_are_refused() {
    for opcode in [OpCode::Close, OpCode::Ping, OpCode::Pong] {
        for length in [126, 127, 65_536] {
            let bytes = frame(opcode, true, &vec![0xfe; length]);
            for part in [&bytes[..2], &bytes] {
                assert_eq!(decode(part), (vec![], Some(Violation::ControlTooLong)), "{opcode:?} of {length}");
            }
        }
    }
}

/// Autobahn 5.1 and 5.2; 5.5 for close.
#[test]
fn fragmented_control_frames_are_refused() {
    for opcode in [OpCode::Close, OpCode::Ping, OpCode::Pong] {
        let bytes = frames(&[(opcode, false, b"frag"), (OpCode::Continuation, true, b"ment")]);
        assert_eq!(decode(&bytes), (vec![], Some(Violation::FragmentedControl)), "{opcode:?}");
    }
}

/// Autobahn 2.10 and 2.11.
#[test]
fn pings_come_out_in_their_order() {
    let payloads: Vec<Vec<u8>> = (0..10).map(|i| format!("payload-{i}").into_bytes()).collect();
    let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(OpCode::Ping, true, payload)).collect();
    let expected = payloads.into_iter().map(Seen::Ping).collect();
    assert_eq!(decode(&bytes), (expected, None));
}

/// Autobahn 5.6 to 5.8: control frames may come between the fragments of a message.
#[test]
fn control_frames_between_fragments_do_not_disturb_the_message() {
    let bytes = frames(&[
        (OpCode::Text, false, b"frag"),
        (OpCode::Ping, true, b"one"),
        (OpCode::Continuation, false, b"men"),
        (OpCode::Pong, true, b""),
        (OpCode::Ping, true, b"two"),
        (OpCode::Continuation, true, b"t"),
        (OpCode::Binary, true, b"next"),
    ]);
    let expected = vec![
        Seen::Ping(b"one".to_vec()),
        Seen::Pong(vec![]),
        Seen::Ping(b"two".to_vec()),
        text("fragment"),
        binary(b"next"),
    ];
    assert_eq!(decode(&bytes), (expected, None));
}
