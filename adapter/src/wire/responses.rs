//! The answers to requests (wire.md 3.1): an object in JSON; what a client answered to a broadcast in msgpack.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    DecodeError, EncodeError, Limits,
    requests::object_json,
    timestamp,
    to_json::push_json_string,
    to_msgpack::{push_json, push_map_head, push_text},
};
use crate::{Response, SocketDetails};

/// What stands around the items of an answer, at most.
const ENVELOPE_BYTES: usize = 256;

/// An answer that is ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResponse {
    /// The message.
    pub payload: Vec<u8>,
    /// Sockets or rooms were left out, since the message would be larger than it may be.
    pub truncated: bool,
}

/// Writes an answer within [`Limits::max_message_bytes`]: items that do not fit are left out, because an answer that does not come
/// keeps a Node.js server waiting for five seconds.
///
/// # Errors
/// If a client's answer is no valid JSON, or too large.
pub fn encode_response(
    request_id: &str,
    response: &Response,
    limits: &Limits,
) -> Result<EncodedResponse, EncodeError> {
    let mut json = String::from("{\"requestId\":");
    push_json_string(&mut json, request_id);
    let max_bytes = limits.max_message_bytes.saturating_sub(ENVELOPE_BYTES);
    let whole = match response {
        Response::Sockets(ids) => {
            push_items(&mut json, "sockets", ids, max_bytes, |json, id| push_json_string(json, id))
        }
        Response::Rooms(names) => {
            push_items(&mut json, "rooms", names, max_bytes, |json, name| push_json_string(json, name))
        }
        Response::Fetched(sockets) => push_items(&mut json, "sockets", sockets, max_bytes, push_socket),
        Response::Done => true,
        Response::ServerSideAck(data) => {
            json.push_str(",\"type\":6");
            if let Some(data) = data {
                json.push_str(",\"data\":");
                json.push_str(data);
            }
            true
        }
        Response::ClientCount(count) => {
            write!(json, ",\"type\":8,\"clientCount\":{count}").expect("writing to a String does not fail");
            true
        }
        Response::ClientAck { json: argument, attachments } => {
            let mut out = Vec::with_capacity(64 + argument.as_deref().map_or(0, str::len));
            push_map_head(&mut out, 2 + u8::from(argument.is_some()));
            push_text(&mut out, "type");
            out.push(9);
            push_text(&mut out, "requestId");
            push_text(&mut out, request_id);
            if let Some(argument) = argument {
                push_text(&mut out, "packet");
                push_json(&mut out, argument, attachments, limits)?;
            }
            return Ok(EncodedResponse { payload: out, truncated: false });
        }
    };
    json.push('}');
    Ok(EncodedResponse { payload: json.into_bytes(), truncated: !whole })
}

/// False: not all of them fit.
fn push_items<T>(
    json: &mut String,
    key: &str,
    items: &[T],
    max_bytes: usize,
    push: fn(&mut String, &T),
) -> bool {
    write!(json, ",\"{key}\":[").expect("writing to a String does not fail");
    let mut whole = true;
    for (index, item) in items.iter().enumerate() {
        let before = json.len();
        if index > 0 {
            json.push(',');
        }
        push(json, item);
        if json.len() > max_bytes {
            json.truncate(before);
            whole = false;
            break;
        }
    }
    json.push(']');
    whole
}

/// Of the handshake that Node.js shares, there is what a node keeps: the time. Headers, query and authentication data
/// are not kept with idle connections (and would hand every node everybody's cookies), so they are empty; address and
/// URL, too.
fn push_socket(json: &mut String, socket: &SocketDetails) {
    json.push_str("{\"id\":");
    push_json_string(json, &socket.id);
    json.push_str(",\"handshake\":{\"headers\":{}");
    if let Some(milliseconds) = socket.connected_at_ms {
        json.push_str(",\"time\":");
        timestamp::push_json(json, milliseconds.into());
        write!(json, ",\"issued\":{milliseconds}").expect("writing to a String does not fail");
    }
    json.push_str(
        ",\"address\":\"\",\"xdomain\":false,\"secure\":false,\"url\":\"\",\"query\":{},\"auth\":{}}",
    );
    json.push_str(",\"rooms\":[");
    for (index, room) in socket.rooms.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_json_string(json, room);
    }
    json.push_str("],\"data\":");
    json.push_str(socket.data.as_deref().unwrap_or("{}"));
    json.push('}');
}

/// The id of the request that a message on a response channel answers, without reading the rest. `None`: it has none.
///
/// # Errors
/// If it is no object, or too large.
pub fn response_request_id(payload: &[u8], limits: &Limits) -> Result<Option<Box<str>>, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        request_id: Option<Box<str>>,
    }
    let head: Head = serde_json::from_str(&object_json(payload, limits)?.json)?;
    Ok(head.request_id)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Message<'a> {
    r#type: Option<u64>,
    #[serde(borrow)]
    sockets: Option<Vec<&'a RawValue>>,
    rooms: Option<Vec<Box<str>>>,
    client_count: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Socket<'a> {
    id: Box<str>,
    #[serde(default)]
    rooms: Vec<Box<str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    handshake: Option<Handshake>,
}

#[derive(Deserialize)]
struct Handshake {
    #[serde(default)]
    issued: Option<serde_json::Value>,
}

/// Reads an answer to a request whose kind has this number.
///
/// # Errors
/// If it is none.
pub fn decode_response(payload: &[u8], kind: u8, limits: &Limits) -> Result<Response, DecodeError> {
    let packet = object_json(payload, limits)?;
    let message: Message<'_> = serde_json::from_str(&packet.json)?;
    match (kind, message.r#type) {
        (0, _) => {
            let ids = message.sockets.ok_or(DecodeError::Request("sockets is missing"))?;
            let ids = ids.into_iter().map(|id| serde_json::from_str(id.get()));
            Ok(Response::Sockets(ids.collect::<Result<_, _>>()?))
        }
        (1, _) => Ok(Response::Rooms(message.rooms.ok_or(DecodeError::Request("rooms is missing"))?)),
        (2..=4, _) => Ok(Response::Done),
        (5, _) => {
            let sockets = message.sockets.ok_or(DecodeError::Request("sockets is missing"))?;
            let sockets = sockets.into_iter().map(|socket| serde_json::from_str(socket.get()).map(details));
            Ok(Response::Fetched(sockets.collect::<Result<_, _>>()?))
        }
        (6, _) => Ok(Response::ServerSideAck(message.data.map(|data| data.get().into()))),
        (7, Some(8)) => {
            let count = message.client_count.ok_or(DecodeError::Request("clientCount is missing"))?;
            Ok(Response::ClientCount(count))
        }
        (7, Some(9)) => Ok(Response::ClientAck {
            json: message.packet.map(|packet| packet.get().into()),
            attachments: packet.attachments,
        }),
        _ => Err(DecodeError::Request("not an answer to this request")),
    }
}

fn details(socket: Socket<'_>) -> SocketDetails {
    SocketDetails {
        id: socket.id,
        rooms: socket.rooms,
        connected_at_ms: socket.handshake.and_then(|handshake| handshake.issued?.as_u64()),
        data: socket.data.map(|data| data.get().into()),
    }
}
