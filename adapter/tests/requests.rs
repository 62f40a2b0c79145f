//! Requests and answers on the wire (wire.md 3.1): tables of (input, expected), properties, and the state machine of
//! this node's own requests.

use std::{path::Path, sync::Arc};

use broadgate_adapter::{
    Answers, Broadcast, EventPacket, Flags, Request, RequestError, RequestKind, Response, SocketDetails,
    Stamp, Targets,
    requests::PendingRequests,
    wire::{
        Channels, InboundRequest, IncomingRequest, Limits, RequestChannel, decode_request, decode_response,
        encode_request, encode_response, response_request_id,
    },
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::value::RawValue;

fn limits() -> Limits {
    Limits::default()
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn targets(rooms: &[&str], except: &[&str]) -> Targets {
    Targets { rooms: names(rooms), except: names(except) }
}

fn read(payload: &[u8]) -> Result<InboundRequest, String> {
    decode_request(payload, "/", &Limits::default()).map_err(|error| error.to_string())
}

fn request(payload: &[u8]) -> IncomingRequest {
    match read(payload) {
        Ok(InboundRequest::Request(request)) => request,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(payload)),
    }
}

fn incoming(uid: Option<&str>, id: Option<&str>, kind: RequestKind) -> IncomingRequest {
    IncomingRequest {
        uid: uid.map(Into::into),
        request_id: id.map(Into::into),
        request: Request { namespace: "/".into(), kind },
    }
}

fn ask(json: &str, attachments: Vec<Bytes>) -> Broadcast {
    Broadcast {
        namespace: "/".into(),
        rooms: names(&["r"]),
        except: names(&["x"]),
        flags: Flags { volatile: true, no_compress: true },
        stamp: Stamp::default(),
        packet: EventPacket { json: json.into(), attachments },
    }
}

/// Each kind as Node's adapter writes it, and what it means.
fn rows() -> Vec<(&'static str, IncomingRequest)> {
    let both = || targets(&["a", "b"], &["c"]);
    vec![
        (
            r#"{"uid":"u","requestId":"i","type":0,"rooms":["a"]}"#,
            incoming(Some("u"), Some("i"), RequestKind::Sockets { rooms: names(&["a"]) }),
        ),
        (r#"{"uid":"u","requestId":"i","type":1}"#, incoming(Some("u"), Some("i"), RequestKind::AllRooms)),
        (
            r#"{"uid":"u","type":2,"opts":{"rooms":["a","b"],"except":["c"]},"rooms":["d"]}"#,
            incoming(Some("u"), None, RequestKind::Join { targets: both(), rooms: names(&["d"]) }),
        ),
        (
            r#"{"uid":"u","type":3,"opts":{"rooms":["a","b"],"except":["c"]},"rooms":["d"]}"#,
            incoming(Some("u"), None, RequestKind::Leave { targets: both(), rooms: names(&["d"]) }),
        ),
        (
            r#"{"uid":"u","type":4,"opts":{"rooms":["a","b"],"except":["c"]},"close":true}"#,
            incoming(Some("u"), None, RequestKind::Disconnect { targets: both(), close: true }),
        ),
        (
            r#"{"uid":"u","requestId":"i","type":5,"opts":{"rooms":["a","b"],"except":["c"]}}"#,
            incoming(Some("u"), Some("i"), RequestKind::Fetch { targets: both() }),
        ),
        (
            r#"{"uid":"u","type":6,"data":["hello",1,{"a":null}]}"#,
            incoming(
                Some("u"),
                None,
                RequestKind::ServerSideEmit { data: r#"["hello",1,{"a":null}]"#.into() },
            ),
        ),
    ]
}

#[test]
fn every_request_of_node_is_read_and_written_byte_by_byte() {
    for (json, expected) in rows() {
        assert_eq!(request(json.as_bytes()), expected, "{json}");
        let written =
            encode_request("u", expected.request_id.as_deref(), &expected.request, &limits()).expect("valid");
        assert_eq!(String::from_utf8(written).expect("JSON"), json);
    }
}

/// notepack 3 of `{uid, requestId, type: 7, packet: {type: 2, data: ["ask", <1>], nsp: "/"}, opts: {rooms: ["r"],
/// except: [], flags: {timeout: 1000}}}`.
const NODE_BROADCAST: &[u8] = b"\x85\xa3uid\xa1u\xa9requestId\xa1i\xa4type\x07\xa6packet\x83\xa4type\x02\xa4data\x92\
\xa3ask\xc4\x01\x07\xa3nsp\xa1/\xa4opts\x83\xa5rooms\x91\xa1r\xa6except\x90\xa5flags\x81\xa7timeout\xcd\x03\xe8";

#[test]
fn a_broadcast_with_acks_is_read_and_written_byte_by_byte() {
    let broadcast = Broadcast {
        except: Vec::new(),
        flags: Flags::default(),
        stamp: Stamp::default(),
        ..ask(r#"["ask",{"_placeholder":true,"num":0}]"#, vec![Bytes::from_static(&[7])])
    };
    let kind = RequestKind::Broadcast { broadcast: Arc::new(broadcast), timeout_ms: Some(1000) };
    let expected = incoming(Some("u"), Some("i"), kind);
    assert_eq!(request(NODE_BROADCAST), expected);
    assert_eq!(encode_request("u", Some("i"), &expected.request, &limits()).expect("valid"), NODE_BROADCAST);
}

#[test]
fn what_others_write_differently_is_taken() {
    let everyone = Targets::default;
    let join = |targets, rooms: &[&str]| RequestKind::Join { targets, rooms: names(rooms) };
    for (json, id, kind) in [
        // Emitters have no uid and wait for no answer; one of them sends a bare room.
        (r#"{"type":2,"opts":{"rooms":[],"except":[]},"rooms":"d"}"#, None, join(everyone(), &["d"])),
        (r#"{"type":2,"opts":{"rooms":[]},"rooms":[7]}"#, None, join(everyone(), &["7"])),
        (r#"{"type":2,"opts":{"rooms":"","except":null},"rooms":["d"]}"#, None, join(everyone(), &["d"])),
        (r#"{"type":2,"opts":{"rooms":"a"},"rooms":["d"]}"#, None, join(targets(&["a"], &[]), &["d"])),
        (r#"{"type":2,"opts":{},"rooms":["d"],"requestId":"i"}"#, None, join(everyone(), &["d"])),
        // The older shapes for one socket, which are answered.
        (r#"{"type":2,"requestId":"i","sid":"s","room":"d"}"#, Some("i"), join(targets(&["s"], &[]), &["d"])),
        (
            r#"{"type":3,"requestId":"i","sid":"s","room":"d"}"#,
            Some("i"),
            RequestKind::Leave { targets: targets(&["s"], &[]), rooms: names(&["d"]) },
        ),
        (
            r#"{"type":4,"requestId":"i","sid":"s","close":1}"#,
            Some("i"),
            RequestKind::Disconnect { targets: targets(&["s"], &[]), close: true },
        ),
        (
            r#"{"type":4,"opts":{"rooms":["a"]},"close":null,"new":{"key":[]}}"#,
            None,
            RequestKind::Disconnect { targets: targets(&["a"], &[]), close: false },
        ),
        (r#"{"type":0,"requestId":"i","rooms":null}"#, Some("i"), RequestKind::Sockets { rooms: Vec::new() }),
        (r#"{"type":1,"requestId":"i","uid":null}"#, Some("i"), RequestKind::AllRooms),
    ] {
        assert_eq!(request(json.as_bytes()), incoming(None, id, kind), "{json}");
    }
    for (flags, expected, timeout_ms) in [
        (
            r#"{"volatile":1,"compress":0,"timeout":5.0}"#,
            Flags { volatile: true, no_compress: true },
            Some(5),
        ),
        (r#"{"timeout":-1,"expectSingleResponse":true}"#, Flags::default(), None),
        (r#"{"timeout":1e300}"#, Flags::default(), None),
        (r#""""#, Flags::default(), None),
        ("null", Flags::default(), None),
        ("[]", Flags::default(), None),
    ] {
        let json = format!(
            r#"{{"type":7,"requestId":"i","packet":{{"type":5,"data":["e"]}},"opts":{{"flags":{flags}}}}}"#
        );
        let RequestKind::Broadcast { broadcast, timeout_ms: read } = request(json.as_bytes()).request.kind
        else {
            panic!("{json}")
        };
        assert_eq!((broadcast.flags, read), (expected, timeout_ms), "{flags}");
    }
}

#[test]
fn what_is_no_request_is_refused_and_says_why() {
    let long = "x".repeat(1025);
    let deep = format!(r#"{{"type":6,"data":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    let many = format!(r#"{{"type":0,"requestId":"i","rooms":[{}"a"]}}"#, "\"a\",".repeat(1024));
    for (payload, expected) in [
        ("", "ends in the middle"),
        ("junk", "bytes follow"),
        ("{", "not a JSON message"),
        ("{}", "missing field"),
        (r#"{"type":"5"}"#, "invalid type"),
        (r#"{"type":-1}"#, "invalid value"),
        (r#"{"type":0}"#, "requestId"),
        (r#"{"type":1,"requestId":5}"#, "invalid type"),
        (r#"{"type":5,"requestId":"i"}"#, "opts"),
        (r#"{"type":2,"rooms":["a"]}"#, "opts"),
        (r#"{"type":4,"close":true}"#, "opts"),
        (r#"{"type":4,"sid":"","close":true}"#, "sid"),
        (r#"{"type":2,"opts":{},"rooms":[]}"#, "no room"),
        (r#"{"type":2,"opts":{},"rooms":[{}]}"#, "a room or a list"),
        (r#"{"type":6,"data":"a"}"#, "array"),
        (r#"{"type":6}"#, "array"),
        (r#"{"type":7,"requestId":"i","opts":{}}"#, "packet"),
        (r#"{"type":7,"requestId":"i","packet":{"type":2,"data":["e"]}}"#, "opts"),
        (r#"{"type":7,"packet":{"type":2,"data":["e"]},"opts":{}}"#, "requestId"),
        (r#"{"type":7,"requestId":"i","packet":{"type":3,"data":["e"]},"opts":{}}"#, "packet type 3"),
        (r#"{"type":7,"requestId":"i","packet":{"type":2,"data":[]},"opts":{}}"#, "empty"),
        (r#"{"type":7,"requestId":"i","packet":{"type":2,"data":[1]},"opts":{}}"#, "text"),
        (r#"{"type":7,"requestId":"i","packet":{"type":2,"data":["connect"]},"opts":{}}"#, "reserved"),
        (&format!(r#"{{"type":0,"requestId":"i","rooms":["{long}"]}}"#), "longer than 1024"),
        (&many, "more than 1024 rooms"),
        (&deep, "nested"),
    ] {
        let refused = read(payload.as_bytes()).expect_err(payload);
        assert!(refused.contains(expected), "{payload}: {refused}");
    }
    let limits = Limits { max_message_bytes: 10, ..Limits::default() };
    assert!(decode_request(br#"{"type":1,"requestId":"i"}"#, "/", &limits).is_err());
    assert!(read(&[NODE_BROADCAST, b"\xc0"].concat()).is_err());
    for end in 0..NODE_BROADCAST.len() {
        assert!(read(&NODE_BROADCAST[..end]).is_err(), "{end}");
    }
}

#[test]
fn requests_of_an_unknown_type_are_told_apart() {
    for (payload, number) in [(&br#"{"type":8,"requestId":"i"}"#[..], 8), (b"\x81\xa4type\x63", 99)] {
        assert_eq!(read(payload), Ok(InboundRequest::Unknown(number)));
    }
}

fn socket(id: &str, rooms: &[&str]) -> SocketDetails {
    SocketDetails { id: id.into(), rooms: names(rooms), connected_at_ms: Some(1_795_262_362_000), data: None }
}

/// Each answer as it is written, and what it means to the one who asked for that kind.
#[test]
fn every_answer_is_written_as_node_reads_it() {
    for (kind, response, expected) in [
        (0, Response::Sockets(names(&["s", "\""])), r#"{"requestId":"i","sockets":["s","\""]}"#),
        (1, Response::Rooms(Vec::new()), r#"{"requestId":"i","rooms":[]}"#),
        (2, Response::Done, r#"{"requestId":"i"}"#),
        (
            5,
            Response::Fetched(vec![socket("s", &["s", "r"])]),
            r#"{"requestId":"i","sockets":[{"id":"s","handshake":{"headers":{},"time":"2026-11-21T11:59:22.000Z","issued":1795262362000,"address":"","xdomain":false,"secure":false,"url":"","query":{},"auth":{}},"rooms":["s","r"],"data":{}}]}"#,
        ),
        (6, Response::ServerSideAck(None), r#"{"requestId":"i","type":6}"#),
        (6, Response::ServerSideAck(Some("[1]".into())), r#"{"requestId":"i","type":6,"data":[1]}"#),
        (7, Response::ClientCount(0), r#"{"requestId":"i","type":8,"clientCount":0}"#),
    ] {
        let written = encode_response("i", &response, &limits()).expect("valid");
        assert_eq!((std::str::from_utf8(&written.payload), written.truncated), (Ok(expected), false));
        assert_eq!(
            response_request_id(&written.payload, &Limits::default()).expect("an object"),
            Some("i".into())
        );
        let mut read = decode_response(&written.payload, kind, &Limits::default()).expect(expected);
        if let Response::Fetched(sockets) = &mut read {
            assert_eq!(sockets[0].data.take().as_deref(), Some("{}"));
        }
        assert_eq!(read, response);
    }
}

#[test]
fn a_clients_answer_is_msgpack_with_its_binary() {
    let response = Response::ClientAck {
        json: Some(r#"{"a":[{"_placeholder":true,"num":0}]}"#.into()),
        attachments: vec![Bytes::from_static(&[1, 2])],
    };
    let written = encode_response("i", &response, &limits()).expect("valid").payload;
    assert_eq!(written, b"\x83\xa4type\x09\xa9requestId\xa1i\xa6packet\x81\xa1a\x91\xc4\x02\x01\x02");
    assert_eq!(decode_response(&written, 7, &Limits::default()).expect("an answer"), response);
    let nothing = Response::ClientAck { json: None, attachments: Vec::new() };
    let written = encode_response("i", &nothing, &limits()).expect("valid").payload;
    assert_eq!(written, b"\x82\xa4type\x09\xa9requestId\xa1i");
    assert_eq!(decode_response(&written, 7, &Limits::default()).expect("an answer"), nothing);
}

#[test]
fn an_answer_of_node_is_read_with_what_we_need_of_it() {
    let answer = br#"{"requestId":"i","sockets":[{"id":"s","handshake":{"headers":{"a":"b"},"issued":5,"auth":{"token":"t"}},"rooms":["s"],"data":{"user":1}},{"id":"t"}]}"#;
    let expected = Response::Fetched(vec![
        SocketDetails { connected_at_ms: Some(5), data: Some(r#"{"user":1}"#.into()), ..socket("s", &["s"]) },
        SocketDetails { connected_at_ms: None, ..socket("t", &[]) },
    ]);
    assert_eq!(decode_response(answer, 5, &Limits::default()).expect("an answer"), expected);
    for (kind, payload) in [
        (5, r#"{"requestId":"i"}"#),
        (5, r#"{"requestId":"i","sockets":[1]}"#),
        (0, r#"{"requestId":"i","sockets":[1]}"#),
        (1, r#"{"requestId":"i","rooms":"a"}"#),
        (7, r#"{"requestId":"i","type":8}"#),
        (7, r#"{"requestId":"i","type":8,"clientCount":-1}"#),
        (7, r#"{"requestId":"i"}"#),
        (1, "junk"),
    ] {
        assert!(decode_response(payload.as_bytes(), kind, &Limits::default()).is_err(), "{kind} {payload}");
    }
}

#[test]
fn an_answer_that_would_be_too_large_is_cut_and_stays_valid() {
    let rooms: Vec<Box<str>> = (0..1000).map(|number| format!("room {number}").into()).collect();
    let small = Limits { max_message_bytes: 2000, ..limits() };
    let written = encode_response("i", &Response::Rooms(rooms.clone()), &small).expect("valid");
    assert!(written.truncated && written.payload.len() <= 2000);
    let Ok(Response::Rooms(read)) = decode_response(&written.payload, 1, &Limits::default()) else {
        panic!("an answer")
    };
    assert!(!read.is_empty());
    assert_eq!(read, rooms[..read.len()]);
}

#[test]
fn channels_are_named_and_told_apart() {
    let channels = Channels::new("socket.io");
    for (name, expected) in [
        (channels.requests("/"), Some(RequestChannel::Requests("/"))),
        (channels.requests("/custom"), Some(RequestChannel::Requests("/custom"))),
        (channels.responses("/"), Some(RequestChannel::Responses("/"))),
        (channels.responses_to("/custom", "abcdef"), Some(RequestChannel::Responses("/custom"))),
        (channels.everyone("/"), None),
        ("socket.io-request#/".to_owned(), None),
        ("other-request#/#".to_owned(), None),
    ] {
        assert_eq!(channels.parse_request(&name), expected, "{name}");
        assert!(expected.is_none() || channels.parse(&name).is_none(), "{name}");
    }
    assert_eq!(channels.requests("/"), "socket.io-request#/#");
    assert_eq!(channels.responses("/custom"), "socket.io-response#/custom#");
    assert_eq!(channels.responses_to("/", "abcdef"), "socket.io-response#/#abcdef#");
}

fn fetch() -> Request {
    Request { namespace: "/".into(), kind: RequestKind::Fetch { targets: Targets::default() } }
}

#[test]
fn a_request_is_done_when_as_many_have_answered_as_were_counted() {
    let mut pending = PendingRequests::new(2);
    pending.begin("a", &fetch(), 2, "waker").expect("there is room");
    assert_eq!((pending.kind("a"), pending.kind("b")), (Some(5), None));
    assert_eq!(pending.answer("b", Response::Fetched(Vec::new())), None);
    assert_eq!(pending.answer("a", Response::Done), None, "no answer to this kind");
    assert_eq!(pending.answer("a", Response::Fetched(vec![socket("s", &[])])), None);
    assert_eq!(pending.answer("a", Response::Fetched(Vec::new())), Some(&"waker"));
    let answers = pending.finish("a").expect("it waited");
    assert!(answers.is_complete());
    assert_eq!((answers.expected, answers.answered, answers.responses.len()), (2, 2, 2));
    assert_eq!(pending.finish("a"), None);
}

#[test]
fn a_request_whose_time_is_up_has_what_was_answered() {
    let mut pending = PendingRequests::new(2);
    pending.begin("a", &fetch(), 3, ()).expect("there is room");
    pending.answer("a", Response::Fetched(vec![socket("s", &[])]));
    let answers = pending.finish("a").expect("it waits");
    let responses = vec![Response::Fetched(vec![socket("s", &[])])];
    assert!(!answers.is_complete());
    assert_eq!(answers, Answers { expected: 3, answered: 1, responses, truncated: false });
    assert_eq!(pending.answer("a", Response::Fetched(Vec::new())), None, "too late");
}

#[test]
fn the_number_of_requests_is_bounded() {
    let mut pending = PendingRequests::new(2);
    pending.begin("a", &fetch(), 1, ()).expect("there is room");
    pending.begin("b", &fetch(), 1, ()).expect("there is room");
    assert_eq!(pending.begin("c", &fetch(), 1, ()), Err(RequestError::TooManyPending));
    pending.finish("a");
    pending.begin("c", &fetch(), 1, ()).expect("there is room");
    assert_eq!(pending.len(), 2);
}

#[test]
fn a_broadcast_is_done_when_every_node_has_counted_and_every_client_answered() {
    let mut pending = PendingRequests::new(1);
    let broadcast = Arc::new(ask(r#"["e"]"#, Vec::new()));
    let kind = RequestKind::Broadcast { broadcast, timeout_ms: None };
    pending.begin("a", &Request { namespace: "/".into(), kind }, 2, ()).expect("there is room");
    let ack = || Response::ClientAck { json: None, attachments: Vec::new() };
    assert_eq!(pending.answer("a", ack()), None, "before its node's count");
    assert_eq!(pending.answer("a", Response::ClientCount(2)), None);
    assert_eq!(pending.answer("a", Response::ClientCount(0)), None);
    assert_eq!(pending.answer("a", ack()), Some(&()));
}

fn any_request() -> impl Strategy<Value = Request> {
    let rooms = || prop::collection::vec(".{0,12}".prop_map(String::into_boxed_str), 0..4);
    let some_rooms = || prop::collection::vec(".{1,12}".prop_map(String::into_boxed_str), 1..4);
    // A single "" stands for no room at all where a list is a bare text; in a list it is a name.
    let targets = move || (rooms(), rooms()).prop_map(|(rooms, except)| Targets { rooms, except });
    let kind = prop_oneof![
        rooms().prop_map(|rooms| RequestKind::Sockets { rooms }),
        Just(RequestKind::AllRooms),
        (targets(), some_rooms()).prop_map(|(targets, rooms)| RequestKind::Join { targets, rooms }),
        (targets(), some_rooms()).prop_map(|(targets, rooms)| RequestKind::Leave { targets, rooms }),
        (targets(), any::<bool>()).prop_map(|(targets, close)| RequestKind::Disconnect { targets, close }),
        targets().prop_map(|targets| RequestKind::Fetch { targets }),
        (targets(), any::<(bool, bool)>(), any::<Option<u32>>(), ".*").prop_map(
            |(targets, (volatile, no_compress), timeout_ms, text)| {
                let broadcast = Broadcast {
                    namespace: "/".into(),
                    rooms: targets.rooms,
                    except: targets.except,
                    flags: Flags { volatile, no_compress },
                    stamp: Stamp::default(),
                    packet: EventPacket {
                        json: serde_json::json!(["e", text, 1.5]).to_string().into(),
                        attachments: Vec::new(),
                    },
                };
                let timeout_ms = timeout_ms.map(u64::from);
                RequestKind::Broadcast { broadcast: Arc::new(broadcast), timeout_ms }
            }
        ),
    ];
    kind.prop_map(|kind| Request { namespace: "/".into(), kind })
}

/// The fuzz target's corpus, so that what fuzzing once found stays found.
#[test]
fn the_fuzz_corpus_is_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let mut requests = 0;
    for file in std::fs::read_dir(corpus).expect("the corpus is there") {
        let payload = std::fs::read(file.expect("it can be listed").path()).expect("it can be read");
        requests += usize::from(check_any(&payload));
    }
    assert!(requests >= 8, "the corpus holds every kind of request");
}

/// Whatever is taken for a request or an answer can be sent on and means the same. True for a request.
fn check_any(payload: &[u8]) -> bool {
    let limits = Limits::default();
    let _ = response_request_id(payload, &limits);
    for kind in 0..9 {
        let Ok(response) = decode_response(payload, kind, &limits) else { continue };
        // JSON allows numbers and escapes that Rust has no values for: 1e999, half of a surrogate pair.
        let Ok(encoded) = encode_response("id", &response, &limits) else { continue };
        if encoded.payload.first() == Some(&b'{') {
            serde_json::from_slice::<&RawValue>(&encoded.payload).expect("valid JSON");
        }
    }
    let Ok(InboundRequest::Request(first)) = decode_request(payload, "/", &limits) else { return false };
    let id = first.request_id.as_deref().unwrap_or("id");
    if let Ok(sent_on) = encode_request("uid", Some(id), &first.request, &limits) {
        assert_eq!(request(&sent_on).request.kind.number(), first.request.kind.number());
    }
    true
}

proptest! {
    #[test]
    fn a_request_survives_the_wire(sent in any_request(), id in "[A-Za-z0-9_-]{6}") {
        let id = (!sent.kind.is_command()).then_some(id);
        let payload = encode_request("uid", id.as_deref(), &sent, &limits()).expect("it is valid");
        let expected = IncomingRequest { uid: Some("uid".into()), request_id: id.map(Into::into), request: sent };
        prop_assert_eq!(read(&payload), Ok(InboundRequest::Request(expected)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        check_any(&payload);
    }

    #[test]
    fn any_object_is_read_or_refused(
        fields in prop::collection::hash_map(
            prop::sample::select(vec!["type", "uid", "requestId", "opts", "rooms", "close", "sid", "room", "data", "packet", "sockets"]),
            prop::sample::select(vec!["0", "2", "4", "5", "7", "null", "true", "\"a\"", "[]", "{}", "[\"a\",1]", "{\"rooms\":[],\"flags\":1}", "{\"type\":2,\"data\":[\"e\",1e999]}", "[{\"id\":\"a\"}]"]),
            0..9,
        )
    ) {
        let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        check_any(format!("{{{}}}", fields.join(",")).as_bytes());
    }

    #[test]
    fn a_damaged_request_is_read_or_refused(at in 0..NODE_BROADCAST.len(), byte in any::<u8>()) {
        let mut payload = NODE_BROADCAST.to_vec();
        payload[at] = byte;
        check_any(&payload);
    }
}
