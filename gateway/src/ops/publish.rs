//! `POST /api/v1/publish`: one event to rooms, for backends without a Socket.IO library.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use broadgate_adapter::{Broadcast, EventPacket, Flags, PublishError, Stamp};
use broadgate_protocol::socketio::is_reserved_event;
use serde::{Deserialize, Deserializer};
use serde_json::{json, value::RawValue};

use super::tracing_context::RequestTrace;
use crate::{
    config::{Limits, Settings},
    node::{Node, Published},
};

/// The body. No room at all means everyone in the namespace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "root")]
    namespace: String,
    #[serde(default)]
    room: Option<String>,
    #[serde(default)]
    rooms: Vec<String>,
    event: String,
    /// The single argument, or:
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    /// all arguments.
    #[serde(default)]
    args: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    volatile: bool,
}

fn root() -> String {
    "/".to_owned()
}

/// `"data": null` is an argument too.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

/// Why a request is refused; the text names the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the body is not a publish request: {0}")]
    Json(String),
    #[error("namespace {0:?} does not exist")]
    Namespace(String),
    #[error("a room in \"{0}\" is empty or longer than limits.max_room_name_bytes")]
    RoomName(&'static str),
    #[error("more rooms than limits.max_rooms_per_publish")]
    TooManyRooms,
    #[error("the event's name is empty, reserved by Socket.IO, or longer than limits.max_event_name_bytes")]
    Event,
    #[error("give either \"data\" (the single argument) or \"args\" (a list), not both")]
    DataAndArgs,
}

pub(super) async fn publish(
    State(node): State<Arc<Node>>,
    RequestTrace(trace): RequestTrace,
    body: Bytes,
) -> Response {
    let stamp = Stamp::at(SystemTime::now()).in_trace(trace);
    let broadcast = match read(&body, stamp, &node.settings) {
        Ok(broadcast) => broadcast,
        Err(refusal) => {
            if matches!(refusal, Refusal::TooManyRooms) {
                node.refused_publishes.fetch_add(1, Ordering::Relaxed);
            }
            let answer = json!({ "ok": false, "error": "invalid_argument", "message": refusal.to_string() });
            return (StatusCode::BAD_REQUEST, Json(answer)).into_response();
        }
    };
    match node.publish(broadcast).await {
        Published::Everywhere { delivered } => {
            Json(json!({ "ok": true, "delivered": delivered })).into_response()
        }
        Published::HereOnly { delivered } => {
            Json(json!({ "ok": true, "delivered": delivered, "local_only": true })).into_response()
        }
        Published::Nowhere(error @ PublishError::Invalid(_)) => {
            let answer = json!({ "ok": false, "error": "invalid_argument", "message": error.to_string() });
            (StatusCode::BAD_REQUEST, Json(answer)).into_response()
        }
        Published::Nowhere(error) => unavailable(&format!("{error}; nobody got it"), 0),
        Published::MaybeElsewhere { delivered, error } => {
            unavailable(&format!("{error}; members on this node got it, others may not have"), delivered)
        }
    }
}

fn unavailable(message: &str, delivered: usize) -> Response {
    let answer = json!({
        "ok": false,
        "error": "adapter_unavailable",
        "message": message,
        "delivered": delivered,
    });
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
}

fn read(body: &[u8], stamp: Stamp, settings: &Settings) -> Result<Broadcast, Refusal> {
    let request: Request = serde_json::from_slice(body).map_err(|error| Refusal::Json(error.to_string()))?;
    if !settings.namespaces.iter().any(|namespace| namespace.name == request.namespace) {
        return Err(Refusal::Namespace(request.namespace));
    }
    if request.data.is_some() && request.args.is_some() {
        return Err(Refusal::DataAndArgs);
    }
    check_names(&request, &settings.limits)?;
    let args = request.args.unwrap_or_else(|| request.data.into_iter().collect());
    let rooms = request.rooms.into_iter().chain(request.room).map(Into::into).collect();
    Ok(Broadcast {
        namespace: request.namespace.into(),
        rooms,
        except: request.except.into_iter().map(Into::into).collect(),
        flags: Flags { volatile: request.volatile, no_compress: false },
        stamp,
        packet: EventPacket { json: event_json(&request.event, &args), attachments: Vec::new() },
    })
}

fn check_names(request: &Request, limits: &Limits) -> Result<(), Refusal> {
    let event = &request.event;
    if event.is_empty() || event.len() > limits.max_event_name_bytes || is_reserved_event(event) {
        return Err(Refusal::Event);
    }
    if request.rooms.len() + request.except.len() > limits.max_rooms_per_publish {
        return Err(Refusal::TooManyRooms);
    }
    let is_bad = |room: &String| room.is_empty() || room.len() > limits.max_room_name_bytes;
    for (field, bad) in [
        ("room", request.room.iter().any(is_bad)),
        ("rooms", request.rooms.iter().any(is_bad)),
        ("except", request.except.iter().any(is_bad)),
    ] {
        if bad {
            return Err(Refusal::RoomName(field));
        }
    }
    Ok(())
}

fn event_json(event: &str, args: &[Box<RawValue>]) -> Box<str> {
    let mut json = format!("[{}", serde_json::Value::from(event));
    for arg in args {
        json.push(',');
        json.push_str(arg.get());
    }
    json.push(']');
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(body: &str) -> Result<Broadcast, String> {
        read(body.as_bytes(), Stamp::default(), &Settings::development())
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_request_becomes_one_broadcast() {
        let broadcast = read_text(
            r#"{"rooms":["a","b"],"room":"c","event":"he\"y","args":[1, {"x": [true]}],"except":["d"],"volatile":true}"#,
        );
        let broadcast = broadcast.unwrap();
        assert_eq!(&*broadcast.packet.json, r#"["he\"y",1,{"x": [true]}]"#);
        assert_eq!(broadcast.rooms, ["a".into(), "b".into(), Box::<str>::from("c")]);
        assert_eq!(broadcast.except, [Box::<str>::from("d")]);
        assert!(broadcast.flags.volatile);
        assert_eq!(&*read_text(r#"{"event":"a","data":{"k":1}}"#).unwrap().packet.json, r#"["a",{"k":1}]"#);
        assert_eq!(&*read_text(r#"{"event":"a","data":null}"#).unwrap().packet.json, r#"["a",null]"#);
        assert_eq!(&*read_text(r#"{"event":"a"}"#).unwrap().packet.json, r#"["a"]"#);
    }

    #[test]
    fn a_refusal_names_what_is_wrong() {
        let long = "x".repeat(300);
        for (body, expected) in [
            ("{", "not a publish request"),
            (r#"{"room":"a"}"#, "missing field `event`"),
            (r#"{"event":"a","rom":"b"}"#, "unknown field `rom`"),
            (r#"{"event":"a","namespace":"/x"}"#, "namespace \"/x\" does not exist"),
            (r#"{"event":"connect","room":"a"}"#, "reserved"),
            (r#"{"event":"","room":"a"}"#, "empty"),
            (r#"{"event":"a","room":""}"#, "\"room\""),
            (&format!(r#"{{"event":"a","except":["{long}"]}}"#), "\"except\""),
            (r#"{"event":"a","data":1,"args":[]}"#, "not both"),
            (&format!(r#"{{"event":"a","rooms":[{}"a"]}}"#, "\"r\",".repeat(100)), "max_rooms_per_publish"),
        ] {
            let refusal = read_text(body).unwrap_err();
            assert!(refusal.contains(expected), "{body}: {refusal}");
        }
    }
}
