//! The classic adapter's broadcast, `[uid, packet, opts]` in msgpack (wire.md 3.1), with every tolerance that emitters
//! in other languages need (wire.md 4).
//!
//! `opts` may hold two keys of ours beside `rooms`, `except` and `flags`; the Node.js adapter looks at none that it does
//! not know:
//!
//! - `publishedAtUs`: when it was published, in microseconds since 1970, as an integer or a double;
//! - `traceparent`: the span that published it, as text (W3C Trace Context, section 3.2).
//!
//! One that makes no sense counts as missing, and the message is delivered all the same.

use std::borrow::Cow;

use super::{
    DecodeError, EncodeError, Limits,
    msgpack::{Reader, Token},
    to_json,
    to_msgpack::{push_array_head, push_json, push_map_head, push_text, push_unsigned},
};
use crate::{
    Broadcast, EventPacket, Flags, Origin, Stamp, TraceParent,
    stamp::{published_at_us, published_at_us_of_float},
};

const PUBLISHED_AT_US: &str = "publishedAtUs";
const TRACEPARENT: &str = "traceparent";

const PACKET_TYPE_EVENT: u8 = 2;
/// Old emitters send it for binary or for text outside ASCII, with the bytes inside; read as 2, both work.
const PACKET_TYPE_BINARY_EVENT: u8 = 5;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Published by this node: it has been delivered already.
    Own,
    /// The packet names another namespace than the channel; Node ignores it, too.
    OtherNamespace,
    /// To be delivered.
    Broadcast(Broadcast, Origin),
}

/// Writes `broadcast` as the node `uid` publishes it, byte by byte what `@socket.io/redis-adapter` writes, and behind
/// that what the stamp says. Takes no more memory than [`Limits::max_message_bytes`] and what a vector reserves when it grows.
///
/// # Errors
/// If the event is no valid JSON, names an attachment that is not there, or is refused by [`decode_tuple`] with the
/// same limits.
pub fn encode_tuple(uid: &str, broadcast: &Broadcast, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let packet = &broadcast.packet;
    let attachments: usize = packet.attachments.iter().map(|data| data.len() + 5).sum();
    let rooms: usize = broadcast.rooms.iter().chain(&broadcast.except).map(|room| room.len() + 5).sum();
    limits.check_rooms(&broadcast.rooms)?;
    limits.check_rooms(&broadcast.except)?;
    let bytes = 192 + broadcast.namespace.len() + packet.json.len() + attachments + rooms;
    let mut out = Vec::with_capacity(bytes.min(limits.max_message_bytes));
    push_array_head(&mut out, 3);
    push_text(&mut out, uid);

    push_map_head(&mut out, 3);
    push_text(&mut out, "type");
    out.push(PACKET_TYPE_EVENT);
    push_text(&mut out, "data");
    let data = out.len();
    let binaries = push_json(&mut out, &packet.json, &packet.attachments, limits)?;
    check_data(&out[data..], binaries, limits)?;
    let names = broadcast.rooms.iter().chain(&broadcast.except);
    limits.check_message_bytes(out.len() + names.map(|name| name.len()).sum::<usize>())?;
    push_text(&mut out, "nsp");
    push_text(&mut out, &broadcast.namespace);

    let Stamp { published_at_us, trace } = broadcast.stamp;
    push_map_head(&mut out, 3 + u8::from(published_at_us.is_some()) + u8::from(trace.is_some()));
    push_text(&mut out, "rooms");
    push_rooms(&mut out, &broadcast.rooms);
    push_text(&mut out, "except");
    push_rooms(&mut out, &broadcast.except);
    push_text(&mut out, "flags");
    push_flags(&mut out, broadcast.flags);
    if let Some(us) = published_at_us {
        push_text(&mut out, PUBLISHED_AT_US);
        push_unsigned(&mut out, us.get());
    }
    if let Some(trace) = trace {
        push_text(&mut out, TRACEPARENT);
        push_text(&mut out, &trace.to_string());
    }
    limits.check_message_bytes(out.len())?;
    Ok(out)
}

/// What [`to_json::event_packet`] checks beside what [`push_json`] has seen to.
fn check_data(data: &[u8], binaries: usize, limits: &Limits) -> Result<(), DecodeError> {
    to_json::event_name(&mut Reader::new(data))?;
    // An upper bound, as most messages are far below the limit: six bytes (`false,`) for each, and the placeholders.
    if data.len().saturating_mul(6) + binaries * 64 > limits.max_json_bytes {
        to_json::event_packet(&mut Reader::new(data), limits)?;
    }
    Ok(())
}

/// Reads a broadcast that arrived on a channel of `namespace`.
///
/// # Errors
/// If it is anything but one event; see [`DecodeError`].
pub fn decode_tuple(
    payload: &[u8],
    own_uid: &str,
    namespace: &str,
    limits: &Limits,
) -> Result<Inbound, DecodeError> {
    DecodeError::check_message_bytes(payload, limits)?;
    let mut reader = Reader::new(payload);
    match reader.next()? {
        Token::Array(3) => {}
        Token::Array(2) => return Err(DecodeError::Shape("two items are the form of socket.io-redis 0.x")),
        _ => return Err(DecodeError::Shape("an array of three is needed")),
    }
    let origin = match reader.next()? {
        Token::Text(uid) if uid == own_uid.as_bytes() => return Ok(Inbound::Own),
        Token::Text(uid) => Origin::of_bytes(uid),
        _ => return Err(DecodeError::Shape("uid must be text")),
    };
    let Some(packet) = read_packet(&mut reader, namespace, limits)? else {
        return Ok(Inbound::OtherNamespace);
    };
    let options = read_options(&mut reader, limits)?;
    if reader.remaining_bytes() > 0 {
        return Err(DecodeError::TrailingBytes(reader.remaining_bytes()));
    }
    let broadcast = Broadcast {
        namespace: namespace.into(),
        rooms: options.rooms,
        except: options.except,
        flags: options.flags,
        stamp: options.stamp,
        packet,
    };
    Ok(Inbound::Broadcast(broadcast, origin))
}

/// `None` if the packet is for another namespace.
fn read_packet(
    reader: &mut Reader<'_>,
    namespace: &str,
    limits: &Limits,
) -> Result<Option<EventPacket>, DecodeError> {
    let Token::Map(length) = reader.next()? else { return Err(DecodeError::Shape("packet must be a map")) };
    let (mut kind, mut data, mut same_namespace) = (None, None, true);
    for _ in 0..length {
        match read_key(reader)? {
            b"type" => kind = Some(read_packet_type(reader)?),
            b"data" => data = Some(to_json::event_packet(reader, limits)?),
            b"nsp" => same_namespace = read_namespace(reader)? == namespace.as_bytes(),
            _ => reader.skip()?,
        }
    }
    kind.ok_or(DecodeError::Shape("packet has no type"))?;
    let data = data.ok_or(DecodeError::Shape("packet has no data"))?;
    Ok(same_namespace.then_some(data))
}

fn read_packet_type(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let Token::Unsigned(kind) = reader.next()? else {
        return Err(DecodeError::Shape("packet type must be a number"));
    };
    match u8::try_from(kind) {
        Ok(PACKET_TYPE_EVENT | PACKET_TYPE_BINARY_EVENT) => Ok(()),
        _ => Err(DecodeError::PacketType(kind)),
    }
}

/// Nothing, nil and `""` mean `/`.
fn read_namespace<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    match reader.next()? {
        Token::Nil | Token::Undefined | Token::Text(b"") => Ok(b"/"),
        Token::Text(name) => Ok(name),
        _ => Err(DecodeError::Shape("nsp must be text")),
    }
}

#[derive(Default)]
struct Options {
    rooms: Vec<Box<str>>,
    except: Vec<Box<str>>,
    flags: Flags,
    stamp: Stamp,
}

fn read_options(reader: &mut Reader<'_>, limits: &Limits) -> Result<Options, DecodeError> {
    let mut options = Options::default();
    for _ in 0..read_map_length(reader, "opts must be a map")? {
        match read_key(reader)? {
            b"rooms" => options.rooms = read_rooms(reader, limits)?,
            b"except" => options.except = read_rooms(reader, limits)?,
            b"flags" => options.flags = read_flags(reader)?,
            key if key == PUBLISHED_AT_US.as_bytes() => {
                options.stamp.published_at_us = match peek(reader)? {
                    Token::Unsigned(us) => published_at_us(us),
                    Token::Float(us) => published_at_us_of_float(us),
                    _ => None,
                };
                reader.skip()?;
            }
            key if key == TRACEPARENT.as_bytes() => {
                options.stamp.trace = match peek(reader)? {
                    Token::Text(text) => TraceParent::parse(text).ok(),
                    _ => None,
                };
                reader.skip()?;
            }
            _ => reader.skip()?,
        }
    }
    Ok(options)
}

/// PHP writes an empty map as an empty array.
fn read_map_length(reader: &mut Reader<'_>, otherwise: &'static str) -> Result<usize, DecodeError> {
    match reader.next()? {
        Token::Map(length) => Ok(length),
        Token::Array(0) => Ok(0),
        _ => Err(DecodeError::Shape(otherwise)),
    }
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    match reader.next()? {
        Token::Text(key) => Ok(key),
        _ => Err(DecodeError::Shape("the keys of packet, opts and flags must be text")),
    }
}

/// A list of rooms; nil and `""` are none, one text is one room.
fn read_rooms(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<Box<str>>, DecodeError> {
    let length = match reader.next()? {
        Token::Nil | Token::Undefined | Token::Text(b"") | Token::Map(0) => return Ok(Vec::new()),
        room @ Token::Text(_) => return Ok(vec![room_name(room, limits)?]),
        Token::Array(length) => length,
        _ => return Err(DecodeError::Shape("rooms and except must be arrays")),
    };
    if length > limits.max_rooms {
        return Err(DecodeError::TooManyRooms(limits.max_rooms));
    }
    let mut rooms = Vec::with_capacity(length);
    for _ in 0..length {
        rooms.push(room_name(reader.next()?, limits)?);
    }
    Ok(rooms)
}

/// Rooms that are integers are taken as their decimal text, which Node can't do.
fn room_name(token: Token<'_>, limits: &Limits) -> Result<Box<str>, DecodeError> {
    let name: Cow<'_, str> = match token {
        Token::Text(name) => {
            std::str::from_utf8(name).map_err(|_| DecodeError::Utf8("a room's name"))?.into()
        }
        Token::Unsigned(number) => number.to_string().into(),
        Token::Negative(number) => number.to_string().into(),
        _ => return Err(DecodeError::Shape("a room must be text or an integer")),
    };
    if name.len() > limits.max_room_bytes {
        return Err(DecodeError::RoomTooLong(limits.max_room_bytes));
    }
    Ok(name.into())
}

/// Nil and `""` are none. A flag may be the integer 1 or 0 for true or false.
fn read_flags(reader: &mut Reader<'_>) -> Result<Flags, DecodeError> {
    let mut flags = Flags::default();
    let length = match reader.next()? {
        Token::Nil | Token::Undefined | Token::Text(b"") | Token::Array(0) => 0,
        Token::Map(length) => length,
        _ => return Err(DecodeError::Shape("flags must be a map")),
    };
    for _ in 0..length {
        match read_key(reader)? {
            b"volatile" => flags.volatile = read_bool(reader)? == Some(true),
            b"compress" => flags.no_compress = read_bool(reader)? == Some(false),
            _ => reader.skip()?,
        }
    }
    Ok(flags)
}

/// `None` for what is neither a boolean nor an integer.
fn read_bool(reader: &mut Reader<'_>) -> Result<Option<bool>, DecodeError> {
    let value = match peek(reader)? {
        Token::Bool(value) => Some(value),
        Token::Unsigned(number) => Some(number != 0),
        _ => None,
    };
    reader.skip()?;
    Ok(value)
}

/// The next value, or the head of it, which is not taken.
fn peek<'a>(reader: &Reader<'a>) -> Result<Token<'a>, DecodeError> {
    Reader::new(reader.rest()).next()
}

fn push_rooms(out: &mut Vec<u8>, rooms: &[Box<str>]) {
    push_array_head(out, rooms.len());
    rooms.iter().for_each(|room| push_text(out, room));
}

fn push_flags(out: &mut Vec<u8>, flags: Flags) {
    push_map_head(out, u8::from(flags.volatile) + u8::from(flags.no_compress));
    if flags.volatile {
        push_text(out, "volatile");
        out.push(0xc3);
    }
    if flags.no_compress {
        push_text(out, "compress");
        out.push(0xc2);
    }
}
