//! What the decoder keeps, copies and frees.

use broadgate_protocol::websocket::{Decoder, Event, OpCode, Role};

use super::stream::{MAX_MESSAGE_BYTES, Outcome, Seen, binary, feed, frame, frames};

fn feed_ok(decoder: &mut Decoder, piece: &[u8]) -> Vec<Seen> {
    let mut outcome = Outcome::default();
    assert!(feed(decoder, Role::Server, MAX_MESSAGE_BYTES, piece, &mut outcome), "{:?}", outcome.1);
    outcome.0
}

#[test]
fn an_idle_decoder_has_eight_bytes() {
    assert_eq!(size_of::<Decoder>(), 8);
}

#[test]
fn a_whole_message_is_handed_out_from_where_it_lies() {
    for (opcode, payload) in
        [(OpCode::Text, &b"zero copy"[..]), (OpCode::Binary, &[7; 5000]), (OpCode::Ping, b"p")]
    {
        let mut bytes = frame(opcode, true, payload);
        let lies_in = bytes.as_ptr_range();
        let mut decoder = Decoder::new();
        let mut input = &mut bytes[..];
        let event = decoder.next(Role::Server, MAX_MESSAGE_BYTES, &mut input).unwrap().unwrap();
        let handed_out = match event {
            Event::Text(text) => text.as_bytes(),
            Event::Binary(bytes) | Event::Ping(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(handed_out, payload);
        assert!(lies_in.contains(&handed_out.as_ptr()));
        assert!(input.is_empty());
    }
}

#[test]
fn several_messages_in_one_read_need_no_buffer() {
    let mut bytes = frames(&[(OpCode::Text, true, b"one"), (OpCode::Binary, true, b"two")]);
    let mut decoder = Decoder::new();
    let mut input = &mut bytes[..];
    for expected in [Event::Text("one"), Event::Binary(b"two")] {
        assert_eq!(decoder.next(Role::Server, MAX_MESSAGE_BYTES, &mut input), Ok(Some(expected)));
        assert_eq!(decoder.buffered_bytes(), 0);
    }
    assert_eq!(decoder.next(Role::Server, MAX_MESSAGE_BYTES, &mut input), Ok(None));
}

#[test]
fn an_incomplete_tail_is_kept_and_counted_and_freed() {
    let bytes = frame(OpCode::Binary, true, &[9; 300]);
    let header_bytes = bytes.len() - 300;
    let mut decoder = Decoder::new();
    assert_eq!(feed_ok(&mut decoder, &bytes[..3]), []);
    assert_eq!(decoder.buffered_bytes(), 3, "a part of the header");
    assert_eq!(feed_ok(&mut decoder, &bytes[3..header_bytes + 100]), []);
    assert_eq!(decoder.buffered_bytes(), 100, "a part of the payload");
    assert_eq!(feed_ok(&mut decoder, &bytes[header_bytes + 100..]), [binary(&[9; 300])]);
    assert_eq!(decoder.buffered_bytes(), 0);
    assert_eq!(format!("{decoder:?}"), "Decoder { partial: None }", "the box is freed");
}

#[test]
fn an_open_message_is_kept_between_its_fragments() {
    let mut decoder = Decoder::new();
    assert_eq!(feed_ok(&mut decoder, &frame(OpCode::Text, false, b"abc")), []);
    assert_eq!(decoder.buffered_bytes(), 3);
    assert_eq!(feed_ok(&mut decoder, &frame(OpCode::Ping, true, b"?")), [Seen::Ping(b"?".to_vec())]);
    assert_eq!(decoder.buffered_bytes(), 3);
    assert_eq!(feed_ok(&mut decoder, &frame(OpCode::Continuation, true, b"d")), [Seen::Text("abcd".into())]);
    assert_eq!(format!("{decoder:?}"), "Decoder { partial: None }");
}

#[test]
fn a_frame_whose_header_was_cut_leaves_nothing_behind() {
    let bytes = frame(OpCode::Text, true, b"hello");
    let mut decoder = Decoder::new();
    assert_eq!(feed_ok(&mut decoder, &bytes[..1]), []);
    assert_eq!(feed_ok(&mut decoder, &bytes[1..]), [Seen::Text("hello".into())]);
    assert_eq!(format!("{decoder:?}"), "Decoder { partial: None }");
}
