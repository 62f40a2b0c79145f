//! A node that wants tokens, the tokens, and clients that bring them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::support::{
    engineio::handshake,
    http::request,
    process::Server,
    socketio::{Client, PATH},
    websocket::Socket,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A node with two namespaces, of which one lets clients in without a token; `more` are keys of `[auth]` and whatever
/// is below it.
pub(super) fn node(more: &str) -> Server {
    let config = format!(
        r#"
[server]
shards = 3
[[namespaces]]
name = "/"
[[namespaces]]
name = "/open"
authentication = "optional"
[auth]
leeway_ms = 0
cookie = "session"
query_key = "token"
{more}
[[auth.issuers]]
key = "{KEY}"
"#
    );
    Server::node(Some(&config))
}

/// `[[rooms]]` for the main namespace.
pub(super) fn rule(pattern: &str, join: &str, publish: &str) -> String {
    format!("[[rooms]]\nmatch = \"{pattern}\"\njoin = \"{join}\"\npublish = \"{publish}\"\n")
}

pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token with these claims; it lasts for an hour unless they say something else.
pub(super) fn token(mut claims: Value) -> String {
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now_s() + 3600);
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(KEY.as_bytes())).unwrap()
}

pub(super) fn token_of(user: &str) -> String {
    token(json!({ "sub": user }))
}

/// Opens a session whose first request has more to its query, and these headers.
pub(super) fn open_with(server: &Server, query: &str, headers: &[(&str, &str)]) -> Client {
    let target = format!("{PATH}?EIO=4&transport=websocket{query}");
    let (mut socket, _) = Socket::connect_with(server.address, &target, headers, &[]);
    let handshake = handshake(&socket.receive_text());
    Client { socket, session_id: handshake["sid"].as_str().unwrap().to_owned(), id: String::new() }
}

/// CONNECT with this token; what comes back.
pub(super) fn connect_to(client: &mut Client, namespace: &str, token: &str) -> Value {
    let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
    client.send(&format!("0{name}{}", json!({ "token": token })));
    connect_answer(client, namespace)
}

/// `{"sid":...}`, or `{"message":...,"data":{"code":...}}`.
pub(super) fn connect_answer(client: &mut Client, namespace: &str) -> Value {
    let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
    let answer = client.receive();
    let payload =
        answer.strip_prefix(&format!("0{name}")).or_else(|| answer.strip_prefix(&format!("4{name}")));
    let payload: Value = serde_json::from_str(payload.expect("an answer to CONNECT")).unwrap();
    if let Some(id) = payload["sid"].as_str() {
        client.id = id.to_owned();
    }
    payload
}

/// A client that has connected with this token.
pub(super) fn connected(server: &Server, token: &str) -> Client {
    let mut client = Client::open(server);
    let answer = connect_to(&mut client, "/", token);
    assert!(answer["sid"].is_string(), "{answer}");
    client
}

/// Is this a line of the node's metrics page?
pub(super) fn metric(server: &Server, line: &str) -> bool {
    request(server.ops_address.unwrap(), "GET", "/metrics", &[], b"").text().contains(&format!("{line}\n"))
}
