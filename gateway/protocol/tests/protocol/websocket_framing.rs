//! RFC 6455 section 5.2: lengths, reserved bits and opcodes, masks (Autobahn groups 1, 3, 4).

use broadgate_protocol::websocket::{
    MAX_HEADER_BYTES, OpCode, Role, Violation, push_fragment, push_frame, push_header, push_masked_frame,
};

use super::stream::{MASK, MAX_MESSAGE_BYTES, binary, decode, decode_as, frame, text};

/// Autobahn 1.1 and 1.2.
#[test]
fn messages_of_every_length_form() {
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let payload = vec![b'*'; length];
        let sent_text = frame(OpCode::Text, true, &payload);
        let expected = text(std::str::from_utf8(&payload).unwrap());
        assert_eq!(decode(&sent_text), (vec![expected], None), "text of {length}");

        let payload = vec![0xfe; length];
        let sent_binary = frame(OpCode::Binary, true, &payload);
        assert_eq!(decode(&sent_binary), (vec![binary(&payload)], None), "binary of {length}");
    }
}

/// 5.2: 7 bits, 7+16 bits, 7+64 bits, each only where the shorter form does not do.
#[test]
fn headers_are_written_in_their_shortest_form() {
    let table: [(usize, &[u8]); 7] = [
        (0, &[0x81, 0]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (127, &[0x81, 126, 0, 127]),
        (128, &[0x81, 126, 0, 128]),
        (65_535, &[0x81, 126, 0xff, 0xff]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ];
    for (length, expected) in table {
        let mut header = Vec::new();
        push_header(&mut header, OpCode::Text, length);
        assert_eq!(header, expected, "{length}");
        assert!(header.len() <= MAX_HEADER_BYTES);
    }
}

/// 5.7: the RFC's own examples.
#[test]
fn section_5_7_examples() {
    let mut out = Vec::new();
    push_frame(&mut out, OpCode::Text, b"Hello");
    assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);

    out.clear();
    push_masked_frame(&mut out, OpCode::Text, MASK, b"Hello");
    assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    assert_eq!(decode(&out), (vec![text("Hello")], None));

    out.clear();
    push_fragment(&mut out, OpCode::Text, false, None, b"Hel");
    push_fragment(&mut out, OpCode::Continuation, true, None, b"lo");
    assert_eq!(out, [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]);
    assert_eq!(decode_as(Role::Client, 5, &out), (vec![text("Hello")], None));
}

/// 5.2: no mask bits of a payload survive, whatever the mask.
#[test]
fn every_mask_is_taken_off() {
    for mask in [[0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [1, 2, 3, 4], [0, 0, 0, 1]] {
        let payload: Vec<u8> = (0..=255).cycle().take(1021).collect();
        let mut out = Vec::new();
        push_masked_frame(&mut out, OpCode::Binary, mask, &payload);
        assert_eq!(decode(&out), (vec![binary(&payload)], None), "{mask:?}");
    }
}

/// Autobahn 3.1 to 3.7, with the events before the violation kept.
#[test]
fn reserved_bits_are_refused() {
    for bits in 1..=7_u8 {
        for opcode in [OpCode::Text, OpCode::Binary, OpCode::Close, OpCode::Ping, OpCode::Pong] {
            let mut bytes = frame(OpCode::Text, true, b"before");
            let mut bad = frame(opcode, true, b"");
            bad[0] |= bits << 4;
            bytes.extend(bad);
            assert_eq!(
                decode(&bytes),
                (vec![text("before")], Some(Violation::ReservedBits)),
                "{bits} {opcode:?}"
            );
        }
    }
}

/// Autobahn 4.1 and 4.2.
#[test]
fn reserved_opcodes_are_refused() {
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"payload"] {
            let mut bytes = frame(OpCode::Text, true, b"before");
            let mut bad = frame(OpCode::Text, true, payload);
            bad[0] = 0x80 | opcode;
            bytes.extend(bad);
            let expected = (vec![text("before")], Some(Violation::ReservedOpCode(opcode)));
            assert_eq!(decode(&bytes), expected, "{opcode}");
        }
    }
}

/// 5.2: the minimal number of bytes must be used.
#[test]
fn lengths_that_are_not_minimal_are_refused() {
    let table: [(&str, &[u8]); 6] = [
        ("0 in 16 bits", &[0x82, 0xfe, 0, 0]),
        ("125 in 16 bits", &[0x82, 0xfe, 0, 125]),
        ("0 in 64 bits", &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("125 in 64 bits", &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 125]),
        ("126 in 64 bits", &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 126]),
        ("65535 in 64 bits", &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
    ];
    for (name, bytes) in table {
        assert_eq!(decode(bytes), (vec![], Some(Violation::LengthNotMinimal)), "{name}");
    }
}

/// 5.2: the most significant bit of a 64-bit length must be 0.
#[test]
fn a_length_with_the_top_bit_set_is_refused() {
    for top in [0x80, 0xff] {
        let bytes = [0x82, 0xff, top, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(decode(&bytes), (vec![], Some(Violation::LengthTopBit)));
    }
}

/// 5.1: who masks and who must not.
#[test]
fn masks_depend_on_the_side() {
    let mut unmasked = Vec::new();
    push_frame(&mut unmasked, OpCode::Text, b"hi");
    let masked = frame(OpCode::Text, true, b"hi");
    let table = [
        (Role::Server, &masked, (vec![text("hi")], None)),
        (Role::Server, &unmasked, (vec![], Some(Violation::Unmasked))),
        (Role::Client, &unmasked, (vec![text("hi")], None)),
        (Role::Client, &masked, (vec![], Some(Violation::Masked))),
    ];
    for (role, bytes, expected) in table {
        assert_eq!(decode_as(role, MAX_MESSAGE_BYTES, bytes), expected, "{role:?}");
    }
}

/// 7.4.1: every violation knows its close code.
#[test]
fn violations_carry_their_close_code() {
    let protocol_errors = [
        Violation::ReservedBits,
        Violation::ReservedOpCode(3),
        Violation::FragmentedControl,
        Violation::ControlTooLong,
        Violation::Unmasked,
        Violation::Masked,
        Violation::LengthNotMinimal,
        Violation::LengthTopBit,
        Violation::UnexpectedContinuation,
        Violation::ExpectedContinuation,
        Violation::ClosePayload,
        Violation::CloseCode(0),
    ];
    for violation in protocol_errors {
        assert_eq!(violation.close_code(), 1002, "{violation:?}");
        assert!(violation.to_string().contains("RFC 6455, "), "{violation}");
    }
    assert_eq!(Violation::InvalidUtf8.close_code(), 1007);
    assert_eq!(Violation::TooBig.close_code(), 1009);
}
