//! The requests of the classic adapter (wire.md 3.1): an object in JSON, or the same in msgpack.
//!
//! msgpack is turned into JSON first, by the rules that Node.js follows, and then read like JSON: one reader, with the
//! same tolerance, for both. Tolerated are a missing `uid` (emitters), a single room instead of a list, rooms that are
//! integers, `""` or null for "none", and the older shapes of join, leave and disconnect for one socket.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    DecodeError, EncodeError, Limits,
    json_message::is_nested_at_most,
    msgpack::Reader,
    to_json,
    to_msgpack::{push_array_head, push_json, push_map_head, push_text, push_unsigned},
};
use crate::{Broadcast, EventPacket, Flags, Request, RequestKind, Stamp, Targets};

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingRequest {
    /// Who asks; emitters leave it out.
    pub uid: Option<Box<str>>,
    /// What the answers must repeat. `None`: nobody waits for one.
    pub request_id: Option<Box<str>>,
    /// What is asked.
    pub request: Request,
}

/// What a message on the request channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundRequest {
    /// One of the table.
    Request(IncomingRequest),
    /// Of a type that this version does not know; ignored, as Node does.
    Unknown(u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with a type")]
struct Message<'a> {
    r#type: u64,
    uid: Option<Box<str>>,
    request_id: Option<Box<str>>,
    opts: Option<Options>,
    rooms: Option<Names>,
    #[serde(default, deserialize_with = "truthy")]
    close: bool,
    sid: Option<Box<str>>,
    room: Option<Names>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<Packet<'a>>,
}

#[derive(Deserialize)]
struct Packet<'a> {
    r#type: u64,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Options {
    rooms: Option<Names>,
    except: Option<Names>,
    flags: Option<FlagsOrNone>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FlagsOrNone {
    Some {
        #[serde(default, deserialize_with = "truthy")]
        volatile: bool,
        #[serde(default = "yes", deserialize_with = "truthy")]
        compress: bool,
        #[serde(default)]
        timeout: Option<f64>,
    },
    /// `""`, null, or PHP's empty array.
    None(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a room or a list of rooms")]
pub(super) enum Names {
    One(Name),
    Many(Vec<Name>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a room is text or an integer")]
pub(super) enum Name {
    Text(Box<str>),
    Integer(i64),
}

fn yes() -> bool {
    true
}

/// A boolean, or a number that is not 0 for true; anything else is false.
fn truthy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Truth {
        Bool(bool),
        Number(f64),
        Other(IgnoredAny),
    }
    Ok(match Truth::deserialize(deserializer)? {
        Truth::Bool(value) => value,
        Truth::Number(value) => value != 0.0,
        Truth::Other(_) => false,
    })
}

/// Reads a message that arrived on the request channel of `namespace`.
///
/// # Errors
/// If it is no request of a known type that can be carried out.
pub fn decode_request(
    payload: &[u8],
    namespace: &str,
    limits: &Limits,
) -> Result<InboundRequest, DecodeError> {
    let packet = object_json(payload, limits)?;
    let message: Message<'_> = serde_json::from_str(&packet.json)?;
    let kind = match message.r#type {
        0 => RequestKind::Sockets { rooms: room_list(message.rooms, limits)? },
        1 => RequestKind::AllRooms,
        2..=4 => return command(message, namespace, limits),
        5 => RequestKind::Fetch { targets: targets(message.opts.ok_or(NO_OPTS)?, limits)? },
        6 => RequestKind::ServerSideEmit { data: event_array(message.data)?.into() },
        7 => broadcast(message.packet, message.opts, packet.attachments, namespace, limits)?,
        other => return Ok(InboundRequest::Unknown(other)),
    };
    if message.request_id.is_none() && message.r#type != 6 {
        return Err(DecodeError::Request("requestId is missing"));
    }
    let request = Request { namespace: namespace.into(), kind };
    Ok(InboundRequest::Request(IncomingRequest { uid: message.uid, request_id: message.request_id, request }))
}

const NO_OPTS: DecodeError = DecodeError::Request("opts is missing");

/// Join, leave, disconnect. Only the older shape, for one socket, is answered.
fn command(message: Message<'_>, namespace: &str, limits: &Limits) -> Result<InboundRequest, DecodeError> {
    let (targets, rooms, request_id) = match (message.opts, message.sid) {
        (Some(opts), _) => (targets(opts, limits)?, message.rooms, None),
        (None, Some(sid)) => {
            let rooms = room_list(Some(Names::One(Name::Text(sid))), limits)?;
            if rooms.is_empty() {
                return Err(DecodeError::Request("sid is empty"));
            }
            (Targets { rooms, except: Vec::new() }, message.room, message.request_id)
        }
        (None, None) => return Err(NO_OPTS),
    };
    let rooms = room_list(rooms, limits)?;
    if message.r#type != 4 && rooms.is_empty() {
        return Err(DecodeError::Request("no room to join or leave"));
    }
    let kind = match message.r#type {
        2 => RequestKind::Join { targets, rooms },
        3 => RequestKind::Leave { targets, rooms },
        _ => RequestKind::Disconnect { targets, close: message.close },
    };
    let request = Request { namespace: namespace.into(), kind };
    Ok(InboundRequest::Request(IncomingRequest { uid: message.uid, request_id, request }))
}

fn broadcast(
    packet: Option<Packet<'_>>,
    opts: Option<Options>,
    attachments: Vec<bytes::Bytes>,
    namespace: &str,
    limits: &Limits,
) -> Result<RequestKind, DecodeError> {
    let packet = packet.ok_or(DecodeError::Request("packet is missing"))?;
    if !matches!(packet.r#type, 2 | 5) {
        return Err(DecodeError::PacketType(packet.r#type));
    }
    let name = packet.data.first().ok_or(DecodeError::Request("packet.data is empty"))?;
    let name: String =
        serde_json::from_str(name.get()).map_err(|_| DecodeError::Request("the event name must be text"))?;
    to_json::check_event_name(name.as_bytes())?;
    let mut opts = opts.ok_or(NO_OPTS)?;
    let (flags, timeout_ms) = match opts.flags.take() {
        Some(FlagsOrNone::Some { volatile, compress, timeout }) => {
            (Flags { volatile, no_compress: !compress }, timeout.and_then(milliseconds))
        }
        Some(FlagsOrNone::None(_)) | None => (Flags::default(), None),
    };
    let Targets { rooms, except } = targets(opts, limits)?;
    let packet = EventPacket { json: to_json::array_of(&packet.data), attachments };
    let namespace = namespace.into();
    let broadcast = Arc::new(Broadcast { namespace, rooms, except, flags, stamp: Stamp::default(), packet });
    Ok(RequestKind::Broadcast { broadcast, timeout_ms })
}

/// Times that make no sense are as good as none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn milliseconds(timeout: f64) -> Option<u64> {
    (0.0..=f64::from(u32::MAX)).contains(&timeout).then_some(timeout as u64)
}

fn event_array(data: Option<&RawValue>) -> Result<&str, DecodeError> {
    match data.map(RawValue::get) {
        Some(json) if json.starts_with('[') => Ok(json),
        _ => Err(DecodeError::Request("data must be an array")),
    }
}

fn targets(opts: Options, limits: &Limits) -> Result<Targets, DecodeError> {
    Ok(Targets { rooms: room_list(opts.rooms, limits)?, except: room_list(opts.except, limits)? })
}

pub(super) fn room_list(names: Option<Names>, limits: &Limits) -> Result<Vec<Box<str>>, DecodeError> {
    let names = match names {
        None => return Ok(Vec::new()),
        Some(Names::One(Name::Text(name))) if name.is_empty() => return Ok(Vec::new()),
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
    };
    let text = |name| match name {
        Name::Text(name) => name,
        Name::Integer(number) => number.to_string().into(),
    };
    let names: Vec<Box<str>> = names.into_iter().map(text).collect();
    limits.check_rooms(&names)?;
    Ok(names)
}

/// The object of any message of requests and answers, as JSON.
pub(super) fn object_json(payload: &[u8], limits: &Limits) -> Result<EventPacket, DecodeError> {
    DecodeError::check_message_bytes(payload, limits)?;
    if payload.first() != Some(&b'{') {
        let mut reader = Reader::new(payload);
        let packet = to_json::value(&mut reader, limits)?;
        if reader.remaining_bytes() > 0 {
            return Err(DecodeError::TrailingBytes(reader.remaining_bytes()));
        }
        return Ok(packet);
    }
    let json = std::str::from_utf8(payload).map_err(|_| DecodeError::Utf8("the JSON message"))?;
    if !is_nested_at_most(json, limits.max_depth) {
        return Err(DecodeError::TooDeep(limits.max_depth));
    }
    Ok(EventPacket { json: json.into(), attachments: Vec::new() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    r#type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<WrittenTargets<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [Box<str>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct WrittenTargets<'a> {
    rooms: &'a [Box<str>],
    except: &'a [Box<str>],
}

/// Writes a request as Node's adapter does: in JSON, a broadcast in msgpack.
///
/// # Errors
/// If its event or data is no valid JSON, or a receiver with the same limits would refuse it.
pub fn encode_request(
    uid: &str,
    request_id: Option<&str>,
    request: &Request,
    limits: &Limits,
) -> Result<Vec<u8>, EncodeError> {
    let mut written = Written {
        uid,
        request_id,
        r#type: request.kind.number(),
        opts: None,
        rooms: None,
        close: None,
        data: None,
    };
    fn opts(targets: &Targets) -> Option<WrittenTargets<'_>> {
        Some(WrittenTargets { rooms: &targets.rooms, except: &targets.except })
    }
    match &request.kind {
        RequestKind::Sockets { rooms } => written.rooms = Some(rooms),
        RequestKind::AllRooms => {}
        RequestKind::Join { targets, rooms } | RequestKind::Leave { targets, rooms } => {
            written.opts = opts(targets);
            written.rooms = Some(rooms);
        }
        RequestKind::Disconnect { targets, close } => {
            (written.opts, written.close) = (opts(targets), Some(*close));
        }
        RequestKind::Fetch { targets } => written.opts = opts(targets),
        RequestKind::ServerSideEmit { data } => written.data = Some(serde_json::from_str(data)?),
        RequestKind::Broadcast { broadcast, timeout_ms } => {
            return encode_broadcast(uid, request_id, broadcast, *timeout_ms, limits);
        }
    }
    let json = serde_json::to_vec(&written)?;
    limits.check_message_bytes(json.len())?;
    Ok(json)
}

fn encode_broadcast(
    uid: &str,
    request_id: Option<&str>,
    broadcast: &Broadcast,
    timeout_ms: Option<u64>,
    limits: &Limits,
) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(128 + broadcast.packet.json.len());
    push_map_head(&mut out, 4 + u8::from(request_id.is_some()));
    push_text(&mut out, "uid");
    push_text(&mut out, uid);
    if let Some(request_id) = request_id {
        push_text(&mut out, "requestId");
        push_text(&mut out, request_id);
    }
    push_text(&mut out, "type");
    out.push(7);
    push_text(&mut out, "packet");
    push_map_head(&mut out, 3);
    push_text(&mut out, "type");
    out.push(2);
    push_text(&mut out, "data");
    push_json(&mut out, &broadcast.packet.json, &broadcast.packet.attachments, limits)?;
    push_text(&mut out, "nsp");
    push_text(&mut out, &broadcast.namespace);
    push_text(&mut out, "opts");
    push_map_head(&mut out, 3);
    for (key, rooms) in [("rooms", &broadcast.rooms), ("except", &broadcast.except)] {
        push_text(&mut out, key);
        push_array_head(&mut out, rooms.len());
        rooms.iter().for_each(|room| push_text(&mut out, room));
    }
    push_text(&mut out, "flags");
    let Flags { volatile, no_compress } = broadcast.flags;
    push_map_head(&mut out, u8::from(volatile) + u8::from(no_compress) + u8::from(timeout_ms.is_some()));
    if volatile {
        push_text(&mut out, "volatile");
        out.push(0xc3);
    }
    if no_compress {
        push_text(&mut out, "compress");
        out.push(0xc2);
    }
    if let Some(timeout_ms) = timeout_ms {
        push_text(&mut out, "timeout");
        push_unsigned(&mut out, timeout_ms);
    }
    limits.check_message_bytes(out.len())?;
    Ok(out)
}
