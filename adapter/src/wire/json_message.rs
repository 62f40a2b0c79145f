//! The plain JSON form of a broadcast, for people without an emitter library:
//! `redis-cli PUBLISH 'socket.io#/#news#' '{"event":"headline","data":{"title":"hi"}}'`.
//!
//! It shares the channels with the msgpack tuple; the first byte `{` tells them apart, as no tuple starts with it.

use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{ChannelName, DecodeError, Limits, to_json};
use crate::{
    Broadcast, EventPacket, Flags, Stamp, TraceParent,
    stamp::{published_at_us, published_at_us_of_float},
};

/// What the object may hold. An unknown key is refused, so that a misspelt one does not go unnoticed.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with the keys event, data or args, rooms, except, volatile, published_at_us, traceparent"
)]
struct Message<'a> {
    event: String,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<Vec<&'a RawValue>>,
    rooms: Option<Names>,
    except: Option<Names>,
    volatile: Option<bool>,
    #[serde(borrow)]
    published_at_us: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
}

/// `"data": null` is the argument `null`, not the lack of an argument.
fn present<'a, 'de: 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a name or a list of names")]
enum Names {
    One(Box<str>),
    Many(Vec<Box<str>>),
}

/// Whether the payload is meant to be the JSON form.
#[must_use]
pub fn is_json_message(payload: &[u8]) -> bool {
    payload.first() == Some(&b'{')
}

/// Reads a JSON message that arrived on `channel`.
///
/// Keys: `event` (required), `data` (the single argument) or `args` (the list of arguments; neither: none), `rooms`
/// (only on the channel of the whole namespace; a room's channel is its room), `except`, `volatile`. `rooms` and
/// `except` are a name or a list of names. `published_at_us` (microseconds since 1970) and `traceparent` say what they say
/// in the tuple; one that makes no sense counts as missing.
///
/// # Errors
/// If it is anything else; the reason says what.
pub fn decode_json_message(
    payload: &[u8],
    channel: ChannelName<'_>,
    limits: &Limits,
) -> Result<Broadcast, DecodeError> {
    DecodeError::check_message_bytes(payload, limits)?;
    let text = std::str::from_utf8(payload).map_err(|_| DecodeError::Utf8("the JSON message"))?;
    if !is_nested_at_most(text, limits.max_depth) {
        return Err(DecodeError::TooDeep(limits.max_depth));
    }
    let message: Message<'_> = serde_json::from_str(text)?;
    to_json::check_event_name(message.event.as_bytes())?;
    let rooms = match (channel.room, message.rooms) {
        (Some(_), Some(_)) => {
            return Err(DecodeError::JsonMessage(
                "\"rooms\" on a room's channel, which says the room itself",
            ));
        }
        (Some(room), None) => room_list(Some(Names::One(room.into())), limits)?,
        (None, rooms) => room_list(rooms, limits)?,
    };
    let args = match (message.data, message.args) {
        (Some(_), Some(_)) => return Err(DecodeError::JsonMessage("either \"data\" or \"args\", not both")),
        (Some(data), None) => vec![data],
        (None, args) => args.unwrap_or_default(),
    };
    Ok(Broadcast {
        namespace: channel.namespace.into(),
        rooms,
        except: room_list(message.except, limits)?,
        flags: Flags { volatile: message.volatile.unwrap_or(false), no_compress: false },
        stamp: Stamp {
            published_at_us: message.published_at_us.and_then(microseconds),
            trace: message.traceparent.and_then(trace_parent),
        },
        packet: EventPacket { json: event_json(&message.event, &args), attachments: Vec::new() },
    })
}

fn microseconds(value: &RawValue) -> Option<NonZeroU64> {
    match serde_json::from_str(value.get()) {
        Ok(us) => published_at_us(us),
        Err(_) => published_at_us_of_float(serde_json::from_str(value.get()).ok()?),
    }
}

fn trace_parent(value: &RawValue) -> Option<TraceParent> {
    // None of its characters needs an escape.
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    TraceParent::parse(text.as_bytes()).ok()
}

pub(super) fn event_json(event: &str, args: &[&RawValue]) -> Box<str> {
    let bytes: usize = args.iter().map(|arg| arg.get().len() + 1).sum();
    let mut json = String::with_capacity(bytes + event.len() + 4);
    json.push('[');
    to_json::push_json_string(&mut json, event);
    for arg in args {
        json.push(',');
        json.push_str(arg.get());
    }
    json.push(']');
    json.into_boxed_str()
}

fn room_list(names: Option<Names>, limits: &Limits) -> Result<Vec<Box<str>>, DecodeError> {
    let names = match names {
        None => Vec::new(),
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
    };
    limits.check_rooms(&names)?;
    Ok(names)
}

/// The arguments are passed on as they are, so nothing else bounds their depth.
pub(super) fn is_nested_at_most(json: &str, max_depth: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max_depth {
            return false;
        }
    }
    true
}
