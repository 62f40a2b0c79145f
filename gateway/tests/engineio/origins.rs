//! Pages of origins that are not allowed are refused on every transport, before a session or an upgrade begins, and those
//! of allowed ones may read all answers. Not as in the reference, which refuses none and permits only one (wire.md 1.12).

use super::{
    on_each_layout, on_each_layout_with,
    support::{
        engineio::{Polling, open_websocket},
        http::{Response, request},
        process::Server,
        websocket::Socket,
    },
};

const SITE: &str = "https://app.example";
const OTHER: &str = "https://other.example";
const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";
const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;

/// What a page of `origin` gets: a handshake, an error, a POST, a poll, other methods, WebSockets. `session` is
/// somebody's who knows its id.
fn answers(server: &Server, session: &Polling, origin: &str) -> Vec<(&'static str, Response)> {
    let headers = [("Origin", origin)];
    vec![
        ("handshake", request(server.address, "GET", POLLING, &headers, b"")),
        ("error", request(server.address, "GET", "/engine.io/?EIO=4&transport=abc", &headers, b"")),
        ("post", session.request("POST", &headers, b"4x")),
        ("poll", session.request("GET", &headers, b"")),
        ("other method", session.request("PUT", &headers, b"")),
        ("websocket", Socket::ask(server.address, WEBSOCKET, &headers, b"").1),
        (
            "refused websocket",
            Socket::ask(server.address, "/engine.io/?EIO=4&transport=abc", &headers, b"").1,
        ),
        ("upgrade", Socket::ask(server.address, &session.target_for("websocket"), &headers, b"").1),
    ]
}

fn assert_permission(server: &Server, origin: &str, permission: [&str; 3]) {
    let session = Polling::open(server.address);
    let too_large = session.request("POST", &[("Origin", origin)], &[b'4'; 1_000_001]);
    for (name, response) in [vec![("too large", too_large)], answers(server, &session, origin)].concat() {
        let headers = ["access-control-allow-origin", "access-control-allow-credentials", "vary"];
        assert_eq!(headers.map(|header| response.header(header)), permission, "{name} to {origin}");
        assert_ne!(response.status, 403, "{name} to {origin}");
    }
}

fn assert_refused(server: &Server, origin: &str, vary: &str) {
    let session = Polling::open(server.address);
    for (name, response) in answers(server, &session, origin) {
        let is_websocket = name.contains("websocket") || name == "upgrade";
        let body = if is_websocket { "Forbidden" } else { FORBIDDEN };
        assert_eq!((response.status, response.text()), (403, body), "{name} to {origin}");
        let headers = ["access-control-allow-origin", "access-control-allow-credentials", "vary"];
        assert_eq!(headers.map(|header| response.header(header)), ["", "", vary], "{name} to {origin}");
    }
    // Nothing of it reached the session.
    session.assert_alive();
}

#[test]
fn with_any_origin_everybody_may_read_everything_without_credentials() {
    on_each_layout_with(&["--allowed-origin", "*"], |server| {
        assert_permission(server, SITE, ["*", "", ""]);
        assert_permission(server, "null", ["*", "", ""]);
    });
}

#[test]
fn with_listed_origins_those_may_read_with_credentials_and_others_are_refused() {
    let listed = ["--allowed-origin", SITE, "--allowed-origin", "https://*.two.example:*"];
    on_each_layout_with(&listed, |server| {
        assert_permission(server, SITE, [SITE, "true", "origin"]);
        assert_permission(
            server,
            "https://a.b.two.example:8443",
            ["https://a.b.two.example:8443", "true", "origin"],
        );
        for origin in [OTHER, "https://two.example", "http://app.example", "null", "http://localhost"] {
            assert_refused(server, origin, "origin");
        }
    });
}

/// The `Host` of these requests is `localhost`.
#[test]
fn without_a_list_only_pages_of_the_same_host_and_port_are_allowed() {
    on_each_layout(|server| {
        assert_permission(server, "http://localhost", ["", "", ""]);
        for origin in [SITE, "http://localhost:8080", "http://localhost.example", "null"] {
            assert_refused(server, origin, "");
        }
    });
}

#[test]
fn who_sends_no_origin_is_not_a_page() {
    on_each_layout_with(&["--allowed-origin", SITE], |server| {
        Polling::open(server.address).assert_alive();
        let (mut socket, _) = open_websocket(server.address, "/engine.io/");
        socket.send_text("4x");
        assert_eq!(socket.receive_text(), "4x");
    });
}

#[test]
fn a_preflight_is_answered_before_all_other_checks() {
    on_each_layout_with(&["--allowed-origin", SITE], |server| {
        let asked = [
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "x-token, content-type"),
        ];
        for target in [POLLING, "/engine.io/?sid=abc", "/engine.io/"] {
            let ask = |origin| {
                request(server.address, "OPTIONS", target, &[&[("Origin", origin)], &asked[..]].concat(), b"")
            };
            let response = ask(SITE);
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
            let refused = ask(OTHER);
            assert_eq!((refused.status, refused.text()), (403, FORBIDDEN), "{target}");
            let allowed = refused.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(allowed, None, "{target}");
        }
    });
}
