//! Heads of requests that are too large, or that two servers would read in two ways.

use std::io::Read;

use super::{
    Neighbours, POLLING, metric, node,
    support::{engineio::Polling, eventually, http::Connection, process::Server, socketio::PATH},
};

/// All that the node says until it ends the connection.
fn answers(server: &Server, bytes: &[u8]) -> String {
    let mut connection = Connection::open(server.address);
    connection.write(bytes);
    let mut answers = Vec::new();
    // A reset where something was left unread; what was said came before it.
    let _reset = connection.stream.read_to_end(&mut answers);
    String::from_utf8(answers).unwrap()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect()
}

#[test]
fn heads_that_are_too_large() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    let long = "x".repeat(20_000);
    let many = (0..200).map(|number| format!("X-{number}: x\r\n")).collect::<String>();
    for (what, request, expected) in [
        ("a header", format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\nCookie: {long}\r\n\r\n"), "431"),
        ("many headers", format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
        ("a target", format!("GET {POLLING}&{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "431"),
        ("a method", format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"), "431"),
    ] {
        assert_eq!(statuses(&answers(&server, request.as_bytes())), [expected], "{what}");
    }
    eventually("no connection is left", || metric(&server, "broadgate_http_connections") == 0);
    neighbours.assert_well();
}

/// What follows on the connection is never taken for a request of its own (RFC 9112 section 11.2).
#[test]
fn heads_with_two_meanings() {
    let server = node("");
    let mut neighbours = Neighbours::connect(&server);
    let smuggled = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n\r\n");
    // The body is what the chunks say, and whoever saw another one finds the connection closed (section 6.1).
    let chunked = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ];
    let heads = [
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: -1\r\n",
        "X: a\r\n b\r\n",
        "X\r\n",
        "X: \u{0}\r\n",
    ];
    for (head, status) in chunked.map(|head| (head, "200")).into_iter().chain(heads.map(|head| (head, "400")))
    {
        let (session, _) = Polling::open_at(server.address, PATH);
        let before = metric(&server, "broadgate_connections_opened_total{transport=\"polling\"}");
        let request =
            format!("POST {} HTTP/1.1\r\nHost: a\r\n{head}\r\n0\r\n\r\n{smuggled}", session.target());
        let answers = answers(&server, request.as_bytes());
        assert_eq!(statuses(&answers), [status], "{head:?}: {answers}");
        let after = metric(&server, "broadgate_connections_opened_total{transport=\"polling\"}");
        assert_eq!(before, after, "{head:?}");
    }
    neighbours.assert_well();
}
