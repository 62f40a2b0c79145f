//! The message that a Socket.IO emitter publishes to Redis (wire.md 3.1): `[uid, packet, options]` in MessagePack.
//! Written by hand, for it has one shape only.

use crate::message;

/// The emitter's tuple for one message of `size_bytes` to one room, with sequence number 0.
pub(super) fn encode(room: &str, size_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_bytes + room.len() + 128);
    array(&mut out, 3);
    text(&mut out, "emitter");
    map(&mut out, 3);
    text(&mut out, "type");
    out.push(2);
    text(&mut out, "data");
    array(&mut out, 2);
    text(&mut out, message::EVENT);
    text(&mut out, &message::argument(size_bytes, 0));
    text(&mut out, "nsp");
    text(&mut out, "/");
    map(&mut out, 3);
    text(&mut out, "rooms");
    array(&mut out, 1);
    text(&mut out, room);
    text(&mut out, "except");
    array(&mut out, 0);
    text(&mut out, "flags");
    map(&mut out, 0);
    out
}

/// The channel of a broadcast to exactly one room of `/`.
pub(super) fn channel(room: &str) -> String {
    format!("socket.io#/#{room}#")
}

fn array(out: &mut Vec<u8>, items: u8) {
    out.push(0x90 | items);
}

fn map(out: &mut Vec<u8>, entries: u8) {
    out.push(0x80 | entries);
}

/// The shortest form, as emitters write it.
fn text(out: &mut Vec<u8>, text: &str) {
    let length = text.len();
    match (u8::try_from(length), u16::try_from(length), u32::try_from(length)) {
        (Ok(length @ ..=31), ..) => out.push(0xa0 | length),
        (Ok(length), ..) => out.extend([0xd9, length]),
        (_, Ok(length), _) => {
            out.push(0xda);
            out.extend(length.to_be_bytes());
        }
        (.., length) => {
            out.push(0xdb);
            out.extend(length.unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tuple_is_the_emitters() {
        let expected = b"\x93\xa7emitter\x83\xa4type\x02\xa4data\x92\xa1m\xac000000000000\xa3nsp\xa1/\
            \x83\xa5rooms\x91\xa4news\xa6except\x90\xa5flags\x80";
        assert_eq!(encode("news", 12), expected);
        assert_eq!(channel("news"), "socket.io#/#news#");
    }

    #[test]
    fn texts_take_the_shortest_form() {
        for (length, header) in [
            (0, vec![0xa0]),
            (31, vec![0xbf]),
            (32, vec![0xd9, 32]),
            (255, vec![0xd9, 255]),
            (256, vec![0xda, 1, 0]),
            (65_536, vec![0xdb, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            text(&mut out, &"x".repeat(length));
            assert_eq!(out[..header.len()], header, "{length}");
            assert_eq!(out.len(), header.len() + length);
        }
    }
}
