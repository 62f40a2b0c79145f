//! `/api/v1/sockets`: who is connected in the whole cluster, and joins, leaves and disconnects by the server.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use broadgate_adapter::{Request, RequestKind, SocketDetails, Targets};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::tracing_context::RequestTrace;
use crate::{
    config::{Limits, Settings},
    node::{Fetched, Node},
};

/// Sockets of one answer, unless `limit` says otherwise, and at most.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 100_000;

/// Why a request is refused; the text names the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the body is not a request for sockets: {0}")]
    Json(String),
    #[error("unknown query key {0:?}; there are namespace, room, except and limit")]
    Key(String),
    #[error("limit must be a number from 1 to {MAX_LIMIT}")]
    Limit,
    #[error("namespace {0:?} does not exist")]
    Namespace(String),
    #[error("a room in \"{0}\" is empty or longer than limits.max_room_name_bytes")]
    RoomName(&'static str),
    #[error("more rooms than limits.max_rooms_per_publish")]
    TooManyRooms,
    #[error("name the sockets by \"rooms\" (a socket's id is a room, too), or say \"everyone\": true")]
    NoTarget,
    #[error("name the rooms to {0} in \"{0}\"")]
    NoRoom(&'static str),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer = json!({ "ok": false, "error": "invalid_argument", "message": self.to_string() });
        (StatusCode::BAD_REQUEST, Json(answer)).into_response()
    }
}

/// The query of a look-up. Rooms may be named more than once; none means everyone.
#[derive(Debug, PartialEq, Eq)]
struct Lookup {
    request: Request,
    limit: usize,
}

/// What an operator is told of a socket.
#[derive(Serialize)]
struct Socket<'a> {
    id: &'a str,
    rooms: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Found<'a> {
    ok: bool,
    /// False: some node did not answer in time, or could not be asked.
    complete: bool,
    expected: usize,
    answers: usize,
    /// Of all sockets that were found.
    total: usize,
    sockets: Vec<Socket<'a>>,
}

/// `GET /api/v1/sockets?namespace=/&room=news`
pub(super) async fn fetch(
    State(node): State<Arc<Node>>,
    RequestTrace(trace): RequestTrace,
    RawQuery(query): RawQuery,
) -> Response {
    let lookup = match read_query(query.as_deref().unwrap_or_default(), &node.settings) {
        Ok(lookup) => lookup,
        Err(refusal) => return refusal.into_response(),
    };
    let Fetched { sockets, expected, answers, complete } = node.fetch(lookup.request, trace).await;
    Json(Found {
        ok: true,
        complete,
        expected,
        answers,
        total: sockets.len(),
        sockets: sockets.iter().take(lookup.limit).map(described).collect(),
    })
    .into_response()
}

fn described(socket: &SocketDetails) -> Socket<'_> {
    let data = socket.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
    Socket { id: &socket.id, rooms: &socket.rooms, connected_at_ms: socket.connected_at_ms, data }
}

fn read_query(query: &str, settings: &Settings) -> Result<Lookup, Refusal> {
    let (mut namespace, mut targets, mut limit) = ("/".to_owned(), Targets::default(), DEFAULT_LIMIT);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "namespace" => namespace = value.into_owned(),
            "room" => targets.rooms.push(value.into()),
            "except" => targets.except.push(value.into()),
            "limit" => {
                let number = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                limit = number.ok_or(Refusal::Limit)?;
            }
            _ => return Err(Refusal::Key(key.into_owned())),
        }
    }
    check_namespace(&namespace, settings)?;
    check_rooms(&[("room", &targets.rooms), ("except", &targets.except)], &settings.limits)?;
    let kind = RequestKind::Fetch { targets };
    Ok(Lookup { request: Request { namespace: namespace.into(), kind }, limit })
}

/// The body of a command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(default = "root")]
    namespace: String,
    #[serde(default)]
    rooms: Vec<Box<str>>,
    #[serde(default)]
    except: Vec<Box<str>>,
    /// Must be said where no room is named, so that nobody disconnects everyone by leaving something out.
    #[serde(default)]
    everyone: bool,
    #[serde(default)]
    join: Vec<Box<str>>,
    #[serde(default)]
    leave: Vec<Box<str>>,
    #[serde(default)]
    close: bool,
}

fn root() -> String {
    "/".to_owned()
}

/// `POST /api/v1/sockets/join`
pub(super) async fn join(State(node): State<Arc<Node>>, trace: RequestTrace, body: Bytes) -> Response {
    carry_out(&node, trace, &body, |command, targets| match command.join.is_empty() {
        true => Err(Refusal::NoRoom("join")),
        false => Ok(RequestKind::Join { targets, rooms: command.join }),
    })
    .await
}

/// `POST /api/v1/sockets/leave`
pub(super) async fn leave(State(node): State<Arc<Node>>, trace: RequestTrace, body: Bytes) -> Response {
    carry_out(&node, trace, &body, |command, targets| match command.leave.is_empty() {
        true => Err(Refusal::NoRoom("leave")),
        false => Ok(RequestKind::Leave { targets, rooms: command.leave }),
    })
    .await
}

/// `POST /api/v1/sockets/disconnect`
pub(super) async fn disconnect(State(node): State<Arc<Node>>, trace: RequestTrace, body: Bytes) -> Response {
    carry_out(&node, trace, &body, |command, targets| {
        Ok(RequestKind::Disconnect { targets, close: command.close })
    })
    .await
}

async fn carry_out(
    node: &Node,
    RequestTrace(trace): RequestTrace,
    body: &[u8],
    kind: impl FnOnce(Command, Targets) -> Result<RequestKind, Refusal>,
) -> Response {
    let request = match read_command(body, &node.settings, kind) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    match node.command(request, trace).await {
        Ok(()) => Json(json!({ "ok": true })).into_response(),
        Err(error) => {
            let message = format!("{error}; nothing was done");
            let answer = json!({ "ok": false, "error": "adapter_unavailable", "message": message });
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
        }
    }
}

fn read_command(
    body: &[u8],
    settings: &Settings,
    kind: impl FnOnce(Command, Targets) -> Result<RequestKind, Refusal>,
) -> Result<Request, Refusal> {
    let mut command: Command =
        serde_json::from_slice(body).map_err(|error| Refusal::Json(error.to_string()))?;
    check_namespace(&command.namespace, settings)?;
    let targets =
        Targets { rooms: std::mem::take(&mut command.rooms), except: std::mem::take(&mut command.except) };
    if targets.rooms.is_empty() != command.everyone {
        return Err(Refusal::NoTarget);
    }
    let lists: [(&'static str, &[Box<str>]); 4] = [
        ("rooms", &targets.rooms),
        ("except", &targets.except),
        ("join", &command.join),
        ("leave", &command.leave),
    ];
    check_rooms(&lists, &settings.limits)?;
    let namespace = command.namespace.as_str().into();
    Ok(Request { namespace, kind: kind(command, targets)? })
}

fn check_namespace(name: &str, settings: &Settings) -> Result<(), Refusal> {
    if settings.namespaces.iter().any(|namespace| namespace.name == name) {
        return Ok(());
    }
    Err(Refusal::Namespace(name.to_owned()))
}

fn check_rooms(lists: &[(&'static str, &[Box<str>])], limits: &Limits) -> Result<(), Refusal> {
    if lists.iter().map(|(_, rooms)| rooms.len()).sum::<usize>() > limits.max_rooms_per_publish {
        return Err(Refusal::TooManyRooms);
    }
    let is_bad = |room: &str| room.is_empty() || room.len() > limits.max_room_name_bytes;
    match lists.iter().find(|(_, rooms)| rooms.iter().any(|room| is_bad(room))) {
        Some((field, _)) => Err(Refusal::RoomName(field)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn a_query_names_namespace_and_rooms() {
        let settings = Settings::development();
        let lookup = read_query("namespace=%2F&room=a&room=b%20c&except=d&limit=5", &settings).unwrap();
        let targets = Targets { rooms: names(&["a", "b c"]), except: names(&["d"]) };
        let request = Request { namespace: "/".into(), kind: RequestKind::Fetch { targets } };
        assert_eq!(lookup, Lookup { request, limit: 5 });
        assert_eq!(read_query("", &settings).unwrap().limit, DEFAULT_LIMIT);
    }

    #[test]
    fn a_bad_query_is_refused_by_name() {
        for (query, expected) in [
            ("rooms=a", "\"rooms\""),
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("namespace=/x", "\"/x\""),
            ("room=", "\"room\""),
            (&"room=a&".repeat(101), "max_rooms_per_publish"),
        ] {
            let refusal = read_query(query, &Settings::development()).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{query}: {refusal}");
        }
    }

    #[test]
    fn a_bad_command_is_refused_by_name() {
        for (body, expected) in [
            ("{", "not a request"),
            ("{}", "everyone"),
            (r#"{"everyone":true,"rooms":["a"]}"#, "everyone"),
            (r#"{"rooms":["a"],"closed":true}"#, "closed"),
            (r#"{"rooms":["a"],"except":[""]}"#, "\"except\""),
            (r#"{"rooms":["a"],"namespace":"/x"}"#, "\"/x\""),
        ] {
            let disconnect =
                |command: Command, targets| Ok(RequestKind::Disconnect { targets, close: command.close });
            let refusal = read_command(body.as_bytes(), &Settings::development(), disconnect);
            let refusal = refusal.unwrap_err().to_string();
            assert!(refusal.contains(expected), "{body}: {refusal}");
        }
    }
}
