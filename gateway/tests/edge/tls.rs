//! TLS on the public listener: HTTP, WebSockets in the shard's set, and what goes wrong.

use std::{io::Write, net::Shutdown, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, ProtocolVersion,
    version::{TLS12, TLS13},
};

use super::{
    POLLING,
    certificates::{Files, secure_node},
    metric,
    support::{eventually, http::Connection, process::Server},
    tls_client::{Authority, TlsClient, text_frame},
};

const LARGE: &str = "[engine]\nmax_payload_bytes = 4000000\n[limits]\nmax_messages_per_second = 0\nmax_received_bytes_per_second = 0\n";

fn setup(more: &str) -> (Server, Arc<ClientConfig>) {
    let authority = Authority::new();
    let files = Files::new(&authority.issue(2040));
    let server = secure_node(&files, more);
    (server, authority.any_client())
}

fn member(server: &Server, config: &Arc<ClientConfig>) -> TlsClient {
    let mut client = TlsClient::socketio(server.address, config);
    assert!(client.ask(r#"["join","room"]"#).starts_with(r#"430[{"ok":true"#));
    client
}

#[test]
fn both_versions_carry_polling_websockets_and_upgrades() {
    let authority = Authority::new();
    let server = secure_node(&Files::new(&authority.issue(2040)), "");
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let config = authority.client(&[version]);
        let mut polling = TlsClient::connect(server.address, &config);
        assert_eq!(polling.version(), name);
        let (status, open) = polling.request("GET", POLLING, &[], b"");
        assert_eq!(status, 200);
        let sid = open.split('"').nth(3).unwrap().to_owned();
        let target = format!("{POLLING}&sid={sid}");
        assert_eq!(polling.request("POST", &target, &[], b"40"), (200, "ok".to_owned()));
        assert!(polling.request("GET", &target, &[], b"").1.starts_with("40{"));

        let mut upgraded = TlsClient::connect(server.address, &config);
        upgraded.upgrade(&target.replace("polling", "websocket"), b"");
        upgraded.send("2probe");
        assert_eq!(upgraded.receive(), "3probe");
        upgraded.send("5");
        assert!(upgraded.ask(r#"["join","room"]"#).starts_with(r#"430[{"ok":true"#));
    }
    assert_eq!(metric(&server, "broadgate_tls_handshakes_total{result=\"ok\"}"), 4);
}

#[test]
fn a_second_connection_resumes_the_session() {
    let authority = Authority::new();
    let server = secure_node(&Files::new(&authority.issue(2040)), "");
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);
        for is_resumed in [false, true] {
            let mut client = TlsClient::connect(server.address, &config);
            assert_eq!(client.request("GET", POLLING, &[], b"").0, 200);
            assert_eq!(client.was_resumed(), is_resumed);
        }
    }
}

#[test]
fn large_messages_go_both_ways() {
    let (server, config) = setup(LARGE);
    let (mut reader, mut writer) = (member(&server, &config), member(&server, &config));
    for bytes in [1, 1000, 16_384, 16_385, 70_000, 1_500_000, 3_900_000] {
        let data: String = ('a'..='z').cycle().take(bytes).collect();
        assert!(
            writer.ask(&format!(r#"["publish","room","data","{data}"]"#)).starts_with(r#"430[{"ok":true"#)
        );
        assert_eq!(reader.receive(), format!(r#"42["data","{data}"]"#), "{bytes}");
    }
    for number in 0..2000 {
        writer.send(&format!(r#"42["publish","room","n",{number}]"#));
    }
    for number in 0..2000 {
        assert_eq!(reader.receive(), format!(r#"42["n",{number}]"#));
    }
}

/// What comes behind the request, however much, and records of any size.
#[test]
fn frames_and_records_need_not_fit_each_other() {
    let (server, config) = setup(LARGE);
    let mut client = TlsClient::connect(server.address, &config);
    let join = text_frame(r#"420["join","room"]"#);
    client.upgrade(super::tls_client::WEBSOCKET, &[text_frame("40"), join].concat());
    assert!(client.receive().starts_with('0'));
    assert!(client.receive().starts_with("40{"));
    assert!(client.receive().starts_with("430["));
    for byte in text_frame(r#"421["join","other"]"#) {
        client.write(&[byte]);
    }
    assert!(client.receive().starts_with("431["));
    let many: Vec<u8> =
        (0..5000).flat_map(|number| text_frame(&format!(r#"42{number}["leave","x"]"#))).collect();
    assert!(many.len() > 100_000);
    client.stream.conn.set_buffer_limit(None);
    client.write(&many);
    for number in 0..5000 {
        assert!(client.receive().starts_with(&format!("43{number}[")));
    }
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let (server, config) = setup(
        "[limits]\nmax_queued_bytes = 2000000\nmax_messages_per_second = 0\nmax_received_bytes_per_second = 0\n",
    );
    let (mut stuck, mut writer) = (member(&server, &config), TlsClient::socketio(server.address, &config));
    let data = "x".repeat(100_000);
    let cut = "broadgate_connections_closed_total{reason=\"slow_consumer\"}";
    let mut published = 0;
    while metric(&server, cut) == 0 {
        assert!(published < 1000, "the bound is never met");
        writer.ask(&format!(r#"["publish","room","data","{data}"]"#));
        published += 1;
    }
    assert!(metric(&server, "broadgate_messages_dropped_total{reason=\"connection_closed\"}") > 0);
    // What was on its way to it is still there, and then the connection ends.
    while stuck.try_receive().is_some() {}
    assert!(writer.ask(r#"["join","room"]"#).starts_with("430["), "others are served");
}

#[test]
fn a_client_that_says_goodbye_is_gone_at_once_though_its_socket_stays() {
    let (server, config) = setup("");
    let mut client = member(&server, &config);
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    let closed = "broadgate_connections_closed_total{reason=\"transport_close\"}";
    eventually(closed, || metric(&server, closed) == 1);
    assert_eq!(client.try_receive(), None);
}

#[test]
fn garbage_in_a_session_ends_it_alone() {
    let (server, config) = setup("");
    let (mut client, mut other) = (member(&server, &config), member(&server, &config));
    client.stream.sock.write_all(&[0x17, 3, 3, 0, 40]).unwrap();
    client.stream.sock.write_all(&[0; 40]).unwrap();
    let closed = "broadgate_connections_closed_total{reason=\"transport_error\"}";
    eventually(closed, || metric(&server, closed) == 1);
    assert!(other.ask(r#"["join","more"]"#).starts_with("430["));
}

#[test]
fn failed_handshakes_are_counted_by_reason() {
    let (server, config) = setup("[limits]\nhttp_header_timeout_ms = 3000\n");
    let mut plain = Connection::open(server.address);
    plain.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut stranger = Authority::new().any_client();
    Arc::get_mut(&mut stranger).unwrap().alpn_protocols = vec![b"h2".to_vec()];
    for (untrusting, gone) in [(Authority::new().any_client(), false), (config, true)] {
        let socket = std::net::TcpStream::connect(server.address).unwrap();
        let name = "localhost".try_into().unwrap();
        let mut connection = tokio_rustls::rustls::ClientConnection::new(untrusting, name).unwrap();
        let mut socket = socket;
        if gone {
            connection.write_tls(&mut socket).unwrap();
            socket.shutdown(Shutdown::Both).unwrap();
        } else {
            while connection.complete_io(&mut socket).is_ok() {}
        }
    }
    let slow = Connection::open(server.address);
    for result in ["no_tls", "refused_by_client", "closed", "timeout"] {
        let sample = format!("broadgate_tls_handshakes_total{{result=\"{result}\"}}");
        eventually(&sample, || metric(&server, &sample) == 1);
    }
    drop(slow);
    eventually("their places are free again", || metric(&server, "broadgate_http_connections") == 0);
}
