//! wire.md 1.2 and 1.3: the query, the order of checks, the errors.

use broadgate_protocol::engineio::RequestError::{
    BadHandshakeMethod, BadRequest, Forbidden, SessionUnknown, TransportUnknown, UnsupportedProtocolVersion,
};
use broadgate_protocol::engineio::Transport::{Polling, WebSocket};
use broadgate_protocol::engineio::{Query, RequestError, RequestFacts, Target, check_request, check_session};

#[test]
fn section_1_2_query() {
    let query = |eio4, transport, sid: Option<&str>| Query { eio4, transport, sid: sid.map(str::to_owned) };
    let table = [
        (None, query(false, None, None)),
        (Some(""), query(false, None, None)),
        (Some("EIO=4&transport=polling&t=abc"), query(true, Some(Polling), None)),
        (Some("EIO=4&transport=websocket&sid=abc_-1"), query(true, Some(WebSocket), Some("abc_-1"))),
        (Some("EIO=3&transport=polling"), query(false, Some(Polling), None)),
        (Some("EIO=5"), query(false, None, None)),
        (Some("EIO=04"), query(false, None, None)),
        (Some("EIO"), query(false, None, None)),
        (Some("eio=4&Transport=polling"), query(false, None, None)),
        (Some("transport=Polling"), query(false, None, None)),
        (Some("transport=webtransport"), query(false, None, None)),
        // The last of a repeated key wins.
        (Some("EIO=4&EIO=3&sid=a&sid=b"), query(false, None, Some("b"))),
        (Some("transport=polling&transport=nope"), query(false, None, None)),
        (Some("sid=a&sid="), query(false, None, None)),
        // Escapes in keys and values; `+` is a space; what is no escape stays.
        (Some("E%49O=%34&%74ransport=web%73ocket"), query(true, Some(WebSocket), None)),
        (Some("sid=a%20b+c%2Bd"), query(false, None, Some("a b c+d"))),
        (Some("sid=%c3%A9"), query(false, None, Some("é"))),
        (Some("sid=%&sid=%zz%4"), query(false, None, Some("%zz%4"))),
        (Some("sid=%ff"), query(false, None, Some("\u{fffd}"))),
        (Some("&&=&=x&sid=a=b&"), query(false, None, Some("a=b"))),
    ];
    for (text, expected) in table {
        assert_eq!(Query::parse(text), expected, "{text:?}");
    }
}

#[test]
fn a_long_sid_is_bounded_and_cannot_become_a_known_one() {
    for long in ["x".repeat(100_000), "é".repeat(1000)] {
        let sid = Query::parse(Some(&format!("sid={long}"))).sid.unwrap();
        assert!(sid.len() > 20 && sid.len() <= 64);
    }
}

/// A handshake over polling that is fine, to be changed.
fn facts(query: &Query) -> RequestFacts<'_> {
    RequestFacts {
        query,
        is_get: true,
        is_upgrade: false,
        origin: Some(b"https://example.com"),
        polling_enabled: true,
        websocket_enabled: true,
    }
}

/// 1.3: each row breaks one rule more than the next one, so the order shows.
#[test]
fn section_1_3_order_of_checks_without_sid() {
    let wrong = Query::parse(Some("EIO=3&transport=nope"));
    let websocket = Query::parse(Some("EIO=3&transport=websocket"));
    let good = Query::parse(Some("EIO=4&transport=websocket"));
    let bad_origin = Some(&b"https://\x01"[..]);
    let (post, upgrade) = (false, true);
    let row = |query, origin, is_get, is_upgrade| RequestFacts { origin, is_get, is_upgrade, ..facts(query) };
    let table = [
        (row(&wrong, bad_origin, post, false), Err(TransportUnknown)),
        (row(&websocket, bad_origin, post, false), Err(BadRequest)),
        (row(&websocket, None, post, false), Err(BadHandshakeMethod)),
        (row(&websocket, None, true, false), Err(BadRequest)),
        (row(&websocket, None, true, upgrade), Err(UnsupportedProtocolVersion)),
        (row(&good, None, true, upgrade), Ok(Target::NewSession(WebSocket))),
    ];
    for (facts, expected) in table {
        assert_eq!(check_request(&facts), expected, "{facts:?}");
    }
}

#[test]
fn section_1_3_polling_handshakes() {
    let good = Query::parse(Some("EIO=4&transport=polling"));
    let old = Query::parse(Some("transport=polling"));
    assert_eq!(check_request(&facts(&good)), Ok(Target::NewSession(Polling)));
    assert_eq!(check_request(&facts(&old)), Err(UnsupportedProtocolVersion));
    assert_eq!(check_request(&RequestFacts { is_get: false, ..facts(&good) }), Err(BadHandshakeMethod));
    // The transport's own part: the upgrade is completed and closed.
    assert_eq!(
        check_request(&RequestFacts { is_upgrade: true, ..facts(&good) }),
        Ok(Target::NewSession(Polling))
    );
}

/// 1.3, item 1.
#[test]
fn section_1_3_transports_that_are_not_enabled() {
    for (name, polling_enabled, websocket_enabled) in [("polling", false, true), ("websocket", true, false)] {
        let query = Query::parse(Some(&format!("EIO=4&transport={name}&sid=x")));
        let facts = RequestFacts { polling_enabled, websocket_enabled, ..facts(&query) };
        assert_eq!(check_request(&facts), Err(TransportUnknown), "{name}");
    }
}

/// 1.3, item 2: as Node, which allows a tab and what is beyond ASCII.
#[test]
fn section_1_3_origin() {
    let query = Query::parse(Some("EIO=4&transport=polling"));
    for byte in 0..=255_u8 {
        let origin = [b'a', byte];
        let facts = RequestFacts { origin: Some(&origin), ..facts(&query) };
        let is_legal = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        assert_eq!(check_request(&facts).is_ok(), is_legal, "{byte:#x}");
    }
}

/// 1.3, item 3: with a sid, method and revision are not looked at here.
#[test]
fn section_1_3_requests_of_a_session() {
    let query = Query::parse(Some("transport=polling&sid=abc"));
    let facts = RequestFacts { is_get: false, ..facts(&query) };
    assert_eq!(check_request(&facts), Ok(Target::Session { sid: "abc", transport: Polling }));
}

/// 1.3, item 3, and "Newer than the snapshot" (a).
#[test]
fn section_1_3_checks_at_the_session() {
    let table = [
        (None, Polling, false, true, Err(SessionUnknown)),
        (None, WebSocket, true, false, Err(SessionUnknown)),
        (Some(Polling), Polling, false, true, Ok(())),
        // Only an upgrade has its revision checked.
        (Some(Polling), Polling, false, false, Ok(())),
        (Some(WebSocket), Polling, false, true, Err(BadRequest)),
        (Some(Polling), WebSocket, false, true, Err(BadRequest)),
        (Some(Polling), WebSocket, true, true, Ok(())),
        (Some(Polling), WebSocket, true, false, Err(BadRequest)),
        // A second WebSocket is for the session to refuse (completed, then closed).
        (Some(WebSocket), WebSocket, true, true, Ok(())),
    ];
    for (session, requested, is_upgrade, eio4, expected) in table {
        let seen = check_session(session, requested, is_upgrade, eio4);
        assert_eq!(seen, expected, "{session:?} {requested:?} {is_upgrade} {eio4}");
    }
}

/// 1.3: the table of errors.
#[test]
fn section_1_3_errors() {
    let table: [(RequestError, u8, &str, u16); 6] = [
        (TransportUnknown, 0, "Transport unknown", 400),
        (SessionUnknown, 1, "Session ID unknown", 400),
        (BadHandshakeMethod, 2, "Bad handshake method", 400),
        (BadRequest, 3, "Bad request", 400),
        (Forbidden, 4, "Forbidden", 403),
        (UnsupportedProtocolVersion, 5, "Unsupported protocol version", 400),
    ];
    for (error, code, message, status) in table {
        assert_eq!((error.code(), error.message(), error.http_status()), (code, message, status));
        assert_eq!(error.json_body(), format!(r#"{{"code":{code},"message":"{message}"}}"#));
        assert_eq!(error.to_string(), message);
    }
}
