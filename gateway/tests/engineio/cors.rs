//! wire.md 1.12: who may read answers from another origin. Not as in the reference: an origin that is not listed gets
//! no permission instead of that of another one.

use super::{
    on_each_layout, on_each_layout_with,
    support::{
        engineio::Polling,
        http::{Response, request},
        process::Server,
        websocket::Socket,
    },
};

const SITE: &str = "https://app.example";
const OTHER: &str = "https://other.example";

/// Answers of every kind to a page of `origin`: a handshake, an error, a poll, a POST, a 101, a refused upgrade.
fn answers(server: &Server, origin: &str) -> Vec<(&'static str, Response)> {
    let headers = [("Origin", origin)];
    let session = Polling::open(server.address);
    let post = session.request("POST", &headers, b"4x");
    vec![
        ("handshake", request(server.address, "GET", "/engine.io/?EIO=4&transport=polling", &headers, b"")),
        ("error", request(server.address, "GET", "/engine.io/?EIO=4&transport=abc", &headers, b"")),
        ("post", post),
        ("poll", session.request("GET", &headers, b"")),
        ("too large", session.request("POST", &headers, &[b'4'; 1_000_001])),
        ("other method", session.request("PUT", &headers, b"")),
        ("101", Socket::ask(server.address, "/engine.io/?EIO=4&transport=websocket", &headers, b"").1),
        ("refused upgrade", Socket::ask(server.address, "/engine.io/?EIO=4&transport=abc", &headers, b"").1),
    ]
}

fn assert_permission(server: &Server, origin: &str, permission: [&str; 3]) {
    for (name, response) in answers(server, origin) {
        let headers = ["access-control-allow-origin", "access-control-allow-credentials", "vary"];
        assert_eq!(headers.map(|header| response.header(header)), permission, "{name} to {origin}");
    }
}

#[test]
fn with_any_origin_everybody_may_read_everything() {
    on_each_layout_with(&["--cors-origin", "*"], |server| assert_permission(server, SITE, ["*", "", ""]));
}

#[test]
fn with_listed_origins_those_may_read_with_credentials() {
    on_each_layout_with(&["--cors-origin", SITE, "--cors-origin", "https://two.example"], |server| {
        assert_permission(server, SITE, [SITE, "true", "origin"]);
        assert_permission(server, OTHER, ["", "", "origin"]);
    });
}

#[test]
fn without_cors_there_are_no_such_headers() {
    on_each_layout(|server| assert_permission(server, SITE, ["", "", ""]));
}

/// Before all other checks: a preflight has no session. No origin is refused, only not permitted to read.
#[test]
fn a_preflight_is_answered_before_all_checks() {
    on_each_layout_with(&["--cors-origin", SITE], |server| {
        let asked = [
            ("Origin", SITE),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "x-token, content-type"),
        ];
        for target in ["/engine.io/?EIO=4&transport=polling", "/engine.io/?sid=abc", "/engine.io/"] {
            let response = request(server.address, "OPTIONS", target, &asked, b"");
            assert_eq!((response.status, response.text()), (204, ""), "{target}");
            for (name, value) in [
                ("access-control-allow-origin", SITE),
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-methods", "GET,HEAD,PUT,PATCH,POST,DELETE"),
                ("access-control-allow-headers", "x-token, content-type"),
                ("vary", "Access-Control-Request-Headers, origin"),
            ] {
                assert_eq!(response.header(name), value, "{name}");
            }
        }
    });
}
