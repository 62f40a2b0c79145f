//! wire.md 1.3: requests that are refused, in the order of the checks, with their exact answers.

use std::time::Duration;

use super::{
    on_each_layout,
    support::{
        engineio::{BAD_REQUEST, Polling, UNKNOWN_SESSION, open_websocket},
        http::{Connection, head, request},
        process::Server,
        websocket::{Received, Socket, UPGRADE},
    },
};

const UNKNOWN_TRANSPORT: (u16, &str) = (400, r#"{"code":0,"message":"Transport unknown"}"#);
const BAD_METHOD: (u16, &str) = (400, r#"{"code":2,"message":"Bad handshake method"}"#);
const UNSUPPORTED_VERSION: (u16, &str) = (400, r#"{"code":5,"message":"Unsupported protocol version"}"#);

/// A session on each transport, for requests that name them.
struct Sessions {
    polling: Polling,
    websocket: String,
    _socket: Socket,
}

impl Sessions {
    fn open(server: &Server) -> Self {
        let (socket, handshake) = open_websocket(server.address, "/engine.io/");
        Self {
            polling: Polling::open(server.address),
            websocket: handshake["sid"].as_str().unwrap().to_owned(),
            _socket: socket,
        }
    }

    fn target(&self, query: &str) -> String {
        let query = query.replace("<polling>", &self.polling.sid).replace("<websocket>", &self.websocket);
        format!("/engine.io/?{query}")
    }
}

#[test]
fn requests_are_refused_by_the_first_check_that_fails() {
    let table = [
        // 1. The transport.
        ("GET", "EIO=4", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=abc", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=webtransport", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=Polling", UNKNOWN_TRANSPORT),
        ("GET", "EIO=4&transport=constructor", UNKNOWN_TRANSPORT),
        ("POST", "EIO=3&transport=abc&sid=abc", UNKNOWN_TRANSPORT),
        // 3. The session, before the method and the version.
        ("GET", "EIO=4&transport=polling&sid=abc", UNKNOWN_SESSION),
        ("POST", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", UNKNOWN_SESSION),
        ("GET", "EIO=4&transport=polling&sid=<polling>A", UNKNOWN_SESSION),
        ("GET", "EIO=4&transport=polling&sid=%00%ff%0d%0a", UNKNOWN_SESSION),
        ("PUT", "EIO=3&transport=polling&sid=abc", UNKNOWN_SESSION),
        ("GET", "EIO=4&transport=websocket&sid=abc", UNKNOWN_SESSION),
        // 3. Its transport is another one.
        ("GET", "EIO=4&transport=websocket&sid=<polling>", BAD_REQUEST),
        ("POST", "EIO=4&transport=websocket&sid=<polling>", BAD_REQUEST),
        ("GET", "EIO=4&transport=polling&sid=<websocket>", BAD_REQUEST),
        ("POST", "EIO=4&transport=polling&sid=<websocket>", BAD_REQUEST),
        ("DELETE", "EIO=4&transport=polling&sid=<websocket>", BAD_REQUEST),
        ("GET", "EIO=4&transport=websocket&sid=<websocket>", BAD_REQUEST),
        // 4. The method, and a WebSocket without an upgrade.
        ("POST", "EIO=4&transport=polling", BAD_METHOD),
        ("PUT", "EIO=4&transport=polling", BAD_METHOD),
        ("DELETE", "EIO=4&transport=polling", BAD_METHOD),
        ("PATCH", "EIO=4&transport=polling", BAD_METHOD),
        ("OPTIONS", "EIO=4&transport=polling", BAD_METHOD),
        ("POST", "EIO=3&transport=websocket", BAD_METHOD),
        ("GET", "EIO=4&transport=websocket", BAD_REQUEST),
        ("GET", "EIO=3&transport=websocket", BAD_REQUEST),
        // 5. The version.
        ("GET", "EIO=3&transport=polling", UNSUPPORTED_VERSION),
        ("GET", "EIO=5&transport=polling", UNSUPPORTED_VERSION),
        ("GET", "EIO=abc&transport=polling", UNSUPPORTED_VERSION),
        ("GET", "transport=polling", UNSUPPORTED_VERSION),
    ];
    on_each_layout(|server| {
        let sessions = Sessions::open(server);
        for (method, query, expected) in table {
            let response = request(server.address, method, &sessions.target(query), &[], b"");
            assert_eq!((response.status, response.text()), expected, "{method} {query}");
            assert_eq!(response.header("content-type"), "application/json", "{method} {query}");
        }
        let head = request(server.address, "HEAD", "/engine.io/?EIO=4&transport=polling", &[], b"");
        assert_eq!((head.status, head.body.len()), (400, 0));
        sessions.polling.assert_alive();
    });
}

/// 2. A control character in `Origin`: hyper refuses the whole request before we see it.
#[test]
fn an_illegal_origin_is_a_bad_request() {
    on_each_layout(|server| {
        let mut connection = Connection::open(server.address);
        connection
            .write(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nOrigin: a\x01b\r\n\r\n");
        assert_eq!(connection.receive().unwrap().status, 400);
    });
}

/// A refused upgrade is bare text; [`Socket::ask`] sees that the connection ends.
#[test]
fn refused_upgrades_are_raw_text() {
    let table = [
        ("EIO=4", "Transport unknown"),
        ("EIO=4&transport=abc", "Transport unknown"),
        ("EIO=4&transport=websocket&sid=abc", "Session ID unknown"),
        ("EIO=4&transport=polling&sid=abc", "Session ID unknown"),
        ("EIO=3&transport=websocket&sid=<polling>", "Bad request"),
        ("EIO=3&transport=websocket", "Unsupported protocol version"),
        ("transport=websocket", "Unsupported protocol version"),
    ];
    on_each_layout(|server| {
        let sessions = Sessions::open(server);
        for (query, text) in table {
            let (socket, response) = Socket::ask(server.address, &sessions.target(query), &[], b"");
            assert!(socket.is_none(), "{query}");
            assert_eq!((response.status, response.text()), (400, text), "{query}");
            assert_eq!(response.header("content-type"), "text/html", "{query}");
            assert_eq!(response.header("connection"), "close", "{query}");
        }
        sessions.polling.assert_alive();
    });
}

/// Closing a connection on bytes that were not read would reset it, and the refusal with it.
#[test]
fn a_client_that_is_still_writing_reads_why_it_is_refused() {
    on_each_layout(|server| {
        let own = Polling::open(server.address);
        let other_end = if own.sid.ends_with('A') { 'B' } else { 'A' };
        let gone = Polling { sid: format!("{}{other_end}", &own.sid[..19]), ..own.clone() };
        let half = "x".repeat(100_000);
        let mut connection = Connection::open(server.address);
        connection.write(&head("POST", &gone.target(), &[], Some(2 * half.len())));
        connection.write(half.as_bytes());
        assert!(connection.is_silent_for(Duration::from_millis(50)), "it waits for the other half");
        connection.write(half.as_bytes());
        let response = connection.receive().unwrap();
        assert_eq!((response.status, response.text()), UNKNOWN_SESSION);
        own.assert_alive();
    });
}

#[test]
fn an_upgrade_with_the_polling_transport_is_accepted_and_closed() {
    on_each_layout(|server| {
        let sessions = Sessions::open(server);
        for query in ["EIO=4&transport=polling", "EIO=4&transport=polling&sid=<polling>"] {
            let mut socket = Socket::connect(server.address, &sessions.target(query));
            assert_eq!(socket.receive_all(), [Received::Close(None)], "{query}");
        }
        sessions.polling.assert_alive();
    });
}

/// RFC 6455 section 4.2, on requests that pass the checks of Engine.IO.
#[test]
fn bad_websocket_handshakes_are_refused() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let targets = ["/engine.io/?EIO=4&transport=websocket".to_owned(), session.target_for("websocket")];
        for target in &targets {
            for (changed, status) in [("Sec-WebSocket-Version", 426), ("Sec-WebSocket-Key", 400)] {
                let headers = UPGRADE.map(|(name, value)| (name, if name == changed { "x" } else { value }));
                let mut connection = Connection::open(server.address);
                connection.send("GET", target, &headers, b"");
                assert_eq!(connection.receive().unwrap().status, status, "{target} {changed}");
                assert!(connection.is_ended());
            }
        }
        session.assert_alive();
    });
}
