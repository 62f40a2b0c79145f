//! The bodies of the fuzz targets. Also a module of the ordinary tests, which run them over the committed corpora.
//!
//! Each asserts what must hold for every input; a panic is a finding.

use broadgate_protocol::engineio::{
    self, Query, RequestFacts, Transport, check_request, check_session, payload,
};
use broadgate_protocol::socketio::{self, Assembler, DecodeLimits, PacketType};
use broadgate_protocol::websocket::{Decoder, Role};

const MAX_MESSAGE_BYTES: usize = 1 << 16;

/// What a decoder may keep beside a message: a header, and the payload of a control frame.
const MAX_KEPT_BESIDE_BYTES: usize = 14 + 125;

/// A stream gives the same events and ends the same, whole and in pieces; what is kept is bounded.
///
/// The first byte chooses: its lowest bit the role, the others the size of the pieces.
pub fn ws_decoder(data: &[u8]) {
    let Some((choice, stream)) = data.split_first() else { return };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let piece_bytes = usize::from(choice >> 1) + 1;
    assert_eq!(decoded(role, stream, piece_bytes), decoded(role, stream, stream.len().max(1)));
}

/// Events in their `Debug` form, as the last line the violation, if any.
fn decoded(role: Role, stream: &[u8], piece_bytes: usize) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.next(role, MAX_MESSAGE_BYTES, &mut input) {
                Ok(Some(event)) => seen.push(format!("{event:?}")),
                Ok(None) => break,
                Err(violation) => {
                    assert!(matches!(violation.close_code(), 1002 | 1007 | 1009));
                    seen.push(format!("{violation:?}"));
                    return seen;
                }
            }
        }
        assert!(decoder.buffered_bytes() <= MAX_MESSAGE_BYTES + MAX_KEPT_BESIDE_BYTES);
    }
    seen
}

/// A payload ends with its first error, and binary packets survive being written again.
pub fn eio_payload(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let mut packets = payload::decode(body);
    let mut failed = false;
    for packet in packets.by_ref() {
        assert!(!failed, "a packet after an error");
        failed = packet.is_err();
        if let Ok(engineio::Packet::Binary(bytes)) = packet {
            let mut written = Vec::new();
            payload::push_binary(&mut written, &bytes);
            let written = String::from_utf8(written).expect("base64 is text");
            assert_eq!(engineio::Packet::decode(&written), Ok(engineio::Packet::Binary(bytes)));
        }
    }
    assert!(packets.next().is_none());
}

/// A query is read without failing, keeps little, and leads to a target or an error that can be answered.
pub fn eio_query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let query = Query::parse(Some(&text));
    assert!(query.sid.as_deref().is_none_or(|sid| !sid.is_empty() && sid.len() <= 64));
    for bits in 0..16_u8 {
        let bit = |index: u8| bits >> index & 1 == 1;
        let facts = RequestFacts {
            query: &query,
            is_get: bit(0),
            is_upgrade: bit(1),
            origin: bit(2).then_some(data),
            polling_enabled: true,
            websocket_enabled: bit(3),
        };
        if let Err(error) = check_request(&facts) {
            assert!(error.json_body().contains(error.message()));
        }
    }
    let Some(requested) = query.transport else { return };
    for session in [None, Some(Transport::Polling), Some(Transport::WebSocket)] {
        let checked = check_session(session, requested, false, query.eio4);
        assert_eq!(checked.is_ok(), session == Some(requested));
    }
}

/// A packet that is accepted can be written and read again, and an event taken apart.
pub fn sio_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = DecodeLimits { max_attachments: 10, max_namespace_bytes: 128 };
    let Ok(packet) = socketio::decode(text, &limits) else { return };
    assert!(packet.namespace.starts_with('/') && packet.namespace.len() <= limits.max_namespace_bytes);
    assert_eq!(packet.attachments > 0, packet.kind.is_binary());
    assert!(packet.attachments <= limits.max_attachments);

    let mut written = Vec::new();
    socketio::push_packet(&mut written, &packet);
    let written = String::from_utf8(written).expect("a packet is text");
    assert_eq!(socketio::decode(&written, &limits), Ok(packet));

    if matches!(packet.kind, PacketType::Event | PacketType::BinaryEvent)
        && let Some(payload) = packet.payload
    {
        socketio::Event::parse(payload).expect("an accepted event can be taken apart");
    }
    let assembler = Assembler::new(&packet);
    assert_eq!(assembler.packet(), packet);
    assert!(assembler.buffered_bytes() <= text.len() + 1);
}
