//! What python-socketio and Flask-SocketIO publish on their one channel (wire.md 4): a JSON object with a `method`, since
//! python-socketio 5.14. Before, it was a pickle, which can run any code where it is read; it is refused unread.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    DecodeError, Limits,
    json_message::{event_json, is_nested_at_most},
    msgpack::Reader,
    requests::{Name, Names, room_list},
    to_json,
    to_msgpack::push_json,
};
use crate::{Broadcast, EventPacket, Flags, Request, RequestKind, Stamp, Targets};

/// What a message on the channel asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonMessage {
    /// `emit`. A callback is ignored: the Python server that wants one hears of its own clients only.
    Emit(Broadcast),
    /// `enter_room`, `leave_room`, `close_room`, `disconnect`.
    Command(Request),
    /// It concerns no socket of this node: a callback between Python servers, or an `emit` to an empty list of rooms.
    Nothing,
    /// A method that this version does not know.
    Unknown,
}

/// Keys that are not known are left alone, as Python does.
#[derive(Deserialize)]
#[serde(expecting = "an object with a method")]
struct Message<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    event: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    binary: Option<bool>,
    namespace: Option<Box<str>>,
    room: Option<Names>,
    skip_sid: Option<Names>,
    sid: Option<Name>,
}

/// Reads a message.
///
/// # Errors
/// If it is no such object, or can't be carried out.
pub fn decode_python(payload: &[u8], limits: &Limits) -> Result<PythonMessage, DecodeError> {
    DecodeError::check_message_bytes(payload, limits)?;
    // The second protocol of pickle and all later ones begin with this byte, which is no JSON.
    if payload.first() == Some(&0x80) {
        return Err(DecodeError::Python("a pickle, as before python-socketio 5.14; it is never read"));
    }
    let text = std::str::from_utf8(payload).map_err(|_| DecodeError::Utf8("the message"))?;
    if !is_nested_at_most(text, limits.max_depth) {
        return Err(DecodeError::TooDeep(limits.max_depth));
    }
    let message: Message<'_> = serde_json::from_str(text)?;
    let namespace = message.namespace.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "/".into());
    let kind = match &*message.method {
        "emit" => return emit(message, namespace, limits),
        "disconnect" => RequestKind::Disconnect { targets: socket(message.sid, limits)?, close: false },
        "enter_room" => RequestKind::Join {
            targets: socket(message.sid, limits)?,
            rooms: one_room(message.room, limits)?,
        },
        "leave_room" => RequestKind::Leave {
            targets: socket(message.sid, limits)?,
            rooms: one_room(message.room, limits)?,
        },
        "close_room" => {
            let rooms = one_room(message.room, limits)?;
            RequestKind::Leave { targets: Targets { rooms: rooms.clone(), except: Vec::new() }, rooms }
        }
        "callback" => return Ok(PythonMessage::Nothing),
        _ => return Ok(PythonMessage::Unknown),
    };
    Ok(PythonMessage::Command(Request { namespace, kind }))
}

fn emit(message: Message<'_>, namespace: Box<str>, limits: &Limits) -> Result<PythonMessage, DecodeError> {
    let event = message.event.ok_or(DecodeError::Python("emit without an event"))?;
    to_json::check_event_name(event.as_bytes())?;
    let data = message.data.map_or("[]", RawValue::get);
    let packet = if message.binary == Some(true) {
        binary_packet(&event, data, limits)?
    } else {
        EventPacket { json: event_json(&event, &arguments(data)?), attachments: Vec::new() }
    };
    let rooms = match message.room {
        None => Vec::new(),
        // No room here means nobody, and not everyone.
        Some(Names::Many(names)) if names.is_empty() => return Ok(PythonMessage::Nothing),
        Some(names) => rooms(names, limits)?,
    };
    let except = room_list(message.skip_sid, limits)?;
    let (flags, stamp) = (Flags::default(), Stamp::default());
    Ok(PythonMessage::Emit(Broadcast { namespace, rooms, except, flags, stamp, packet }))
}

/// Python sends a list of the arguments; a single None is no argument.
fn arguments(data: &str) -> Result<Vec<&RawValue>, DecodeError> {
    if !data.starts_with('[') {
        return Err(DecodeError::Python("data must be an array"));
    }
    let arguments: Vec<&RawValue> = serde_json::from_str(data)?;
    Ok(if matches!(arguments.as_slice(), [only] if only.get() == "null") { Vec::new() } else { arguments })
}

/// `[[argument with placeholders, ...], "attachment in Base64", ...]`. It goes through msgpack, which puts the
/// attachments to their placeholders and holds every bound on the way: clients end on a placeholder without one.
fn binary_packet(event: &str, data: &str, limits: &Limits) -> Result<EventPacket, DecodeError> {
    if !data.starts_with('[') {
        return Err(DecodeError::Python("data must be an array"));
    }
    let parts: Vec<&RawValue> = serde_json::from_str(data)?;
    let (first, attachments) = parts.split_first().ok_or(DecodeError::Python("binary data is empty"))?;
    if attachments.len() > limits.max_attachments {
        return Err(DecodeError::TooManyAttachments(limits.max_attachments));
    }
    let attachments =
        attachments.iter().map(|attachment| from_base64(attachment)).collect::<Result<Vec<_>, _>>()?;
    let json = event_json(event, &arguments(first.get())?);
    let mut msgpack = Vec::with_capacity(json.len().min(limits.max_message_bytes));
    push_json(&mut msgpack, &json, &attachments, limits).map_err(DecodeError::from)?;
    to_json::event_packet(&mut Reader::new(&msgpack), limits)
}

fn from_base64(attachment: &RawValue) -> Result<Bytes, DecodeError> {
    let text: Cow<'_, str> = serde_json::from_str(attachment.get())?;
    let bytes = STANDARD.decode(text.as_bytes());
    bytes.map(Bytes::from).map_err(|_| DecodeError::Python("an attachment is not Base64"))
}

/// The one socket of a command; without a name it would be everyone.
fn socket(sid: Option<Name>, limits: &Limits) -> Result<Targets, DecodeError> {
    let sid = sid.ok_or(DecodeError::Python("sid is missing"))?;
    Ok(Targets { rooms: rooms(Names::One(sid), limits)?, except: Vec::new() })
}

fn one_room(room: Option<Names>, limits: &Limits) -> Result<Vec<Box<str>>, DecodeError> {
    match room {
        Some(name @ Names::One(_)) => rooms(name, limits),
        _ => Err(DecodeError::Python("room must be one room")),
    }
}

/// At least one, and none without a name.
fn rooms(names: Names, limits: &Limits) -> Result<Vec<Box<str>>, DecodeError> {
    let rooms = room_list(Some(names), limits)?;
    if rooms.is_empty() || rooms.iter().any(|room| room.is_empty()) {
        return Err(DecodeError::Python("a room or sid is empty"));
    }
    Ok(rooms)
}
