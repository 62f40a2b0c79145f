//! One address that makes TLS handshakes as fast as it can. Each costs the node far more than the client that drops it
//! right after, so beyond a rate its connections are closed before they begin.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, TcpStream},
    sync::Arc,
    time::Instant,
};

use tokio_rustls::rustls::ClientConfig;

use super::{
    POLLING,
    certificates::{Files, secure_node},
    metric, node,
    support::{DEADLINE, eventually, http::Connection, process::Server},
    tls_client::{Authority, TlsClient},
};

const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Handshakes that an address may make at once.
const BURST: u64 = 20;
/// One in a second, for long.
const SLOWLY: &str = "max_tls_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 20000\n";
const REFUSED: &str = "broadgate_tls_handshakes_total{result=\"address_rate\"}";
const REACHED: &str = "broadgate_limit_reached_total{limit=\"max_tls_handshakes_per_second_per_address\"}";

fn setup(server: &str, limits: &str) -> (Server, Arc<ClientConfig>) {
    let authority = Authority::new();
    let server = secure_node(&Files::new(&authority.issue(2040)), &format!("{server}\n[limits]\n{limits}"));
    (server, authority.any_client())
}

/// A connection from an address that begins with these bytes.
fn connection(server: &Server, source: IpAddr, header: &[u8]) -> TcpStream {
    let mut connection = Connection::open_from(source, server.address);
    if !header.is_empty() {
        connection.write(header);
    }
    connection.stream.into_inner()
}

/// `None`: the node closed the connection before the handshake was done.
fn shake_hands(socket: TcpStream, config: &Arc<ClientConfig>) -> Option<TlsClient> {
    match TlsClient::over(socket, config) {
        Ok(client) => Some(client),
        Err(error) => {
            let is_closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof]
                .contains(&error.kind());
            assert!(is_closed, "{error:?}");
            None
        }
    }
}

/// Makes handshakes and drops them until so many were refused, and sees that as many were done as may be. One may have
/// been done before.
fn flood(refusals: u64, mut attempt: impl FnMut() -> Option<TlsClient>) {
    let started = Instant::now();
    let (mut done, mut refused) = (0, 0);
    while refused < refusals {
        assert!(started.elapsed() < DEADLINE, "{done} done, {refused} refused");
        let counter = if attempt().is_some() { &mut done } else { &mut refused };
        *counter += 1;
    }
    assert!(done + 1 >= BURST, "{done}");
    let seconds = started.elapsed().as_secs() + 1;
    assert!(done <= BURST + seconds, "{done} in {seconds} seconds");
}

fn assert_works(client: &mut TlsClient) {
    assert!(client.ask(r#"["join","room"]"#).starts_with(r#"430[{"ok":true"#));
}

#[test]
fn handshakes_that_are_dropped_right_after() {
    let (server, config) = setup("", &format!("address_limit_exempt = []\n{SLOWLY}"));
    let mut neighbour = TlsClient::socketio(server.address, &config);
    let from = |source| shake_hands(connection(&server, source, b""), &config);
    let mut earlier = from(ATTACKER).expect("its first").into_socketio();
    flood(100, || from(ATTACKER));
    assert_works(&mut neighbour);
    assert_works(&mut earlier);
    assert_works(&mut from(NEIGHBOUR).expect("another address connects as before").into_socketio());
    for sample in [REFUSED, REACHED] {
        eventually(sample, || metric(&server, sample) == 100);
    }
    assert_eq!(metric(&server, "broadgate_accept_refused_total"), 0, "it has few connections");
    eventually("its next one is paid off", || from(ATTACKER).is_some());
    eventually("no places are held", || metric(&server, "broadgate_http_connections") == 0);
}

/// Those who send nothing are closed as well, without having to time out.
#[test]
fn connections_that_do_not_even_begin() {
    let (server, config) = setup("", &format!("address_limit_exempt = []\n{SLOWLY}"));
    let mut held = Vec::new();
    eventually("the bound is reached", || {
        held.push(connection(&server, ATTACKER, b""));
        metric(&server, REFUSED) >= 20
    });
    assert!(held.len() as u64 >= BURST + 20);
    assert!(shake_hands(connection(&server, NEIGHBOUR, b""), &config).is_some());
}

#[test]
fn behind_a_balancer_it_is_the_client_that_a_proxy_header_names() {
    let balancer = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let (server, config) = setup(balancer, &format!("address_limit_exempt = []\n{SLOWLY}"));
    let of = |header: &str| shake_hands(connection(&server, NEIGHBOUR, header.as_bytes()), &config);
    flood(10, || of("PROXY TCP4 198.51.100.1 192.0.2.1 4711 443\r\n"));
    assert!(of("PROXY TCP4 198.51.100.2 192.0.2.1 4711 443\r\n").is_some(), "another client");
    for _ in 0..2 * BURST {
        assert!(of("PROXY UNKNOWN\r\n").is_some(), "the balancer itself");
    }
    eventually(REFUSED, || metric(&server, REFUSED) == 10);
}

#[test]
fn who_may_make_any_number() {
    const STRICTLY: &str = "max_tls_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 1000\n";
    for (case, server, limits) in [
        ("a private network's address", "", STRICTLY.to_owned()),
        (
            "a trusted proxy",
            "trusted_proxies = [\"127.0.0.2\"]",
            format!("address_limit_exempt = []\n{STRICTLY}"),
        ),
        (
            "anybody without a bound",
            "",
            "address_limit_exempt = []\nmax_tls_handshakes_per_second_per_address = 0\n".to_owned(),
        ),
        (
            "anybody where handshakes have no bound",
            "",
            "address_limit_exempt = []\nmax_handshakes_per_second_per_address = 0\n".to_owned(),
        ),
    ] {
        let (server, config) = setup(server, &limits);
        for _ in 0..30 {
            assert!(shake_hands(connection(&server, ATTACKER, b""), &config).is_some(), "{case}");
        }
        assert_eq!(metric(&server, REFUSED), 0, "{case}");
    }
}

#[test]
fn without_tls_there_is_nothing_to_bound() {
    let server = node(
        "[limits]\naddress_limit_exempt = []\nmax_tls_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 1000\n",
    );
    for _ in 0..30 {
        let mut connection = Connection::open_from(ATTACKER, server.address);
        connection.send("GET", POLLING, &[], b"");
        assert_eq!(connection.receive().expect("an answer").status, 200);
    }
    assert_eq!((metric(&server, REFUSED), metric(&server, REACHED)), (0, 0));
}
