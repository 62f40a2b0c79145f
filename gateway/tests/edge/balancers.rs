//! Whose requests they are behind balancers. Seen by the bound on an address' sessions: here each may have one, and the
//! loopback addresses that the balancers of these tests have are not counted.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    POLLING, metric, node,
    support::{
        eventually,
        http::{Connection, Response},
        process::Server,
    },
};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const ONE_EACH: &str =
    "[limits]\nmax_connections_per_address = 1\naddress_limit_exempt = [\"127.0.0.0/8\"]\n";

fn behind_proxies(more: &str) -> Server {
    node(&format!("[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n{more}\n{ONE_EACH}"))
}

/// Opens a session on a connection that began with `header`, and waits until the node has seen the connection's end: it
/// counts for its client, too.
fn open_behind(server: &Server, header: &[u8], forwarded: &[&str]) -> Response {
    let mut connection = Connection::open(server.address);
    connection.write(header);
    let headers: Vec<_> = forwarded.iter().map(|value| ("X-Forwarded-For", *value)).collect();
    connection.send("GET", POLLING, &headers, b"");
    let response = connection.receive().expect("an answer");
    drop(connection);
    eventually("its place is free again", || metric(server, "broadgate_http_connections") == 0);
    response
}

fn open(server: &Server, forwarded: &[&str]) -> u16 {
    open_behind(server, b"", forwarded).status
}

#[test]
fn the_address_is_the_last_one_that_no_trusted_proxy_has() {
    let server = behind_proxies("");
    assert_eq!(open(&server, &["198.51.100.1"]), 200);
    assert_eq!(open(&server, &["198.51.100.1"]), 429, "it has its session");
    assert_eq!(
        open(&server, &["203.0.113.5, 198.51.100.1"]),
        429,
        "what a client writes itself is not believed"
    );
    assert_eq!(open(&server, &["203.0.113.5", "198.51.100.1", "10.0.0.9"]), 429, "by way of another proxy");
    assert_eq!(open(&server, &["198.51.100.1:4711, ::ffff:10.0.0.9"]), 429);
    assert_eq!(open(&server, &["198.51.100.2"]), 200, "another client");
    assert_eq!(open(&server, &["unknown"]), 200, "the proxy itself, which is not counted");
}

#[test]
fn who_is_no_proxy_is_not_believed() {
    let server = behind_proxies("");
    for _ in 0..2 {
        let mut connection = Connection::open_from(STRANGER, server.address);
        connection.send("GET", POLLING, &[("X-Forwarded-For", "198.51.100.1")], b"");
        assert_eq!(connection.receive().unwrap().status, 200);
    }
    let direct = node(ONE_EACH);
    assert_eq!(
        [open(&direct, &["198.51.100.1"]), open(&direct, &["198.51.100.1"])],
        [200, 200],
        "none is trusted"
    );
}

fn binary_header(command: u8, source: [u8; 4]) -> Vec<u8> {
    let addresses = [&source[..], &[192, 0, 2, 1, 0, 1, 0, 2]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, 0x11, 0, 12][..], &addresses].concat()
}

#[test]
fn a_proxy_header_says_who_is_connected() {
    let server = behind_proxies("proxy_protocol = true");
    let text = b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 443\r\n";
    assert_eq!(open_behind(&server, text, &[]).status, 200);
    assert_eq!(open_behind(&server, text, &[]).status, 429);
    assert_eq!(open_behind(&server, &binary_header(1, [198, 51, 100, 1]), &[]).status, 429);
    assert_eq!(open_behind(&server, &binary_header(1, [198, 51, 100, 2]), &[]).status, 200);
    assert_eq!(
        open_behind(&server, text, &["203.0.113.1"]).status,
        429,
        "whom the header names is no proxy that is to be believed"
    );
    let by_proxy = b"PROXY TCP4 10.0.0.7 192.0.2.1 4711 443\r\n";
    assert_eq!(open_behind(&server, by_proxy, &["203.0.113.1"]).status, 200, "here it is one");
    assert_eq!(open_behind(&server, by_proxy, &["203.0.113.1"]).status, 429);
    for own in [&b"PROXY UNKNOWN\r\n"[..], &binary_header(0, [198, 51, 100, 1])] {
        assert_eq!(open_behind(&server, own, &[]).status, 200, "the proxy itself, which is not counted");
    }
    assert_eq!(metric(&server, "broadgate_proxy_headers_total{result=\"ok\"}"), 9);
}

#[test]
fn a_proxy_header_may_come_in_pieces_and_right_before_the_request() {
    let server = behind_proxies("proxy_protocol = true");
    for header in
        [&b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 443\r\n"[..], &binary_header(1, [198, 51, 100, 2])]
    {
        let mut connection = Connection::open(server.address);
        for byte in header {
            connection.write(&[*byte]);
        }
        connection.send("GET", POLLING, &[], b"");
        assert_eq!(connection.receive().unwrap().status, 200);
    }
}

#[test]
fn without_a_right_proxy_header_the_connection_is_closed() {
    let server = behind_proxies("proxy_protocol = true");
    let ends = |mut connection: Connection, bytes: &[u8]| {
        connection.write(bytes);
        assert!(connection.is_ended(), "{bytes:?}");
    };
    ends(Connection::open(server.address), b"GET /socket.io/ HTTP/1.1\r\n\r\n");
    ends(Connection::open(server.address), b"PROXY TCP4 a b 1 2\r\n");
    ends(Connection::open(server.address), &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat());
    assert!(Connection::open_from(STRANGER, server.address).is_ended(), "not even its header is read");
    drop(Connection::open(server.address));
    let slow = Connection::open(server.address);
    for (result, count) in [("malformed", 3), ("untrusted", 1), ("closed", 1), ("timeout", 1), ("ok", 0)] {
        let sample = format!("broadgate_proxy_headers_total{{result=\"{result}\"}}");
        eventually(&sample, || metric(&server, &sample) == count);
    }
    drop(slow);
    eventually("their places are free again", || metric(&server, "broadgate_http_connections") == 0);
}
