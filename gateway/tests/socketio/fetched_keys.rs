//! CONNECTs whose tokens wait for keys, which the test hands out when it likes.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::json;

use super::{
    support::{eventually, process::Server, websocket::Received},
    tokens::{connect_to, metric, now_s, open_with},
};

const ISSUER: &str = "https://login.example.com/";

/// Where the node fetches the keys of its issuer; nothing is answered before [`Provider::answer`].
struct Provider {
    listener: TcpListener,
    /// On the curve P-256.
    key: KeyPair,
}

impl Provider {
    fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), key: KeyPair::generate().unwrap() }
    }

    fn token_of(&self, user: &str) -> String {
        let claims = json!({ "iss": ISSUER, "sub": user, "exp": now_s() + 3600 });
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap()
    }

    /// A node that asks this provider.
    fn node(&self) -> Server {
        let port = self.listener.local_addr().unwrap().port();
        Server::node(Some(&format!(
            r#"
[server]
shards = 2
[[namespaces]]
name = "/"
[[namespaces]]
name = "/more"
[auth]
[[auth.issuers]]
issuer = "{ISSUER}"
jwks_url = "http://127.0.0.1:{port}/keys"
"#
        )))
    }

    /// Answers the request that waits, or the next one.
    fn answer(&self) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().unwrap().unwrap().is_empty() {}
        // An uncompressed point: 4, x, y.
        let (x, y) = self.key.der_bytes()[1..].split_at(32);
        let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y));
        let keys = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y }] }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", keys.len());
        (&stream).write_all(format!("{head}{keys}").as_bytes()).unwrap();
    }
}

#[test]
fn two_namespaces_that_wait_for_the_same_keys_are_both_answered() {
    let provider = Provider::bind();
    let server = provider.node();
    let bearer = format!("Bearer {}", provider.token_of("ada"));
    let mut client = open_with(&server, "", &[("Authorization", &bearer)]);
    client.send("0");
    client.send("0/more,");
    assert!(client.socket.is_silent_for(Duration::from_millis(100)), "the keys are not there");
    provider.answer();
    // Both wait for themselves, so either answer may be the first.
    let mut answers = [client.receive(), client.receive()];
    answers.sort_unstable();
    for (answer, start) in answers.iter().zip([r#"0/more,{"sid":"#, r#"0{"sid":"#]) {
        assert!(answer.starts_with(start), "{answers:?}");
    }
    client.assert_alive();
}

/// A client that is refused stays away; one whose connection ends comes back.
#[test]
fn a_client_whose_keys_can_not_be_fetched_is_sent_away_without_a_refusal() {
    let provider = Provider::bind();
    let server = provider.node();
    let token = provider.token_of("ada");
    drop(provider);
    let mut client = open_with(&server, "", &[]);
    client.send(&format!("0{}", json!({ "token": token })));
    assert_eq!(client.socket.receive_all(), [Received::Close(None)]);
    eventually("its end is counted", || {
        metric(&server, r#"broadgate_connections_closed_total{reason="keys_unavailable"} 1"#)
            && metric(&server, r#"broadgate_connects_total{result="keys_unavailable"} 1"#)
    });
}

/// The keys come while a client waits that goes away: nothing of it is left.
#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing() {
    let provider = Provider::bind();
    let server = provider.node();
    let mut client = open_with(&server, "", &[]);
    client.send(&format!("0{}", json!({ "token": provider.token_of("ada") })));
    eventually("its token waits", || !metric(&server, "broadgate_inbound_buffer_bytes 0"));
    drop(client);
    eventually("its session is gone", || {
        metric(&server, r#"broadgate_connections{transport="websocket"} 0"#)
    });
    assert!(metric(&server, "broadgate_inbound_buffer_bytes 0"), "its token is forgotten");
    provider.answer();
    let mut other = open_with(&server, "", &[]);
    assert!(connect_to(&mut other, "/", &provider.token_of("bob"))["sid"].is_string());
}
