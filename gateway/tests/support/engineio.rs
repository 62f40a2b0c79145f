//! An Engine.IO client on long-polling that makes one request at a time, each on a connection of its own: on a server
//! with several shards each reaches another one.

use std::net::SocketAddr;

use serde_json::Value;

use super::{
    http::{Connection, Response, request, try_request},
    websocket::Socket,
};

/// Stands between the packets of a payload (wire.md 1.5).
pub const SEPARATOR: char = '\u{1e}';
pub const OK: &str = "ok";
const TEXT: (&str, &str) = ("Content-Type", "text/plain;charset=UTF-8");
pub const UNKNOWN_SESSION: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);
pub const BAD_REQUEST: (u16, &str) = (400, r#"{"code":3,"message":"Bad request"}"#);

/// A session on polling.
#[derive(Clone)]
pub struct Polling {
    pub address: SocketAddr,
    pub path: &'static str,
    pub sid: String,
}

impl Polling {
    /// Opens a session; also gives the handshake.
    pub fn open_at(address: SocketAddr, path: &'static str) -> (Self, Value) {
        let response = request(address, "GET", &format!("{path}?EIO=4&transport=polling"), &[], b"");
        assert_eq!(response.status, 200, "{response:?}");
        let handshake = handshake(response.text());
        let sid = handshake["sid"].as_str().unwrap().to_owned();
        (Self { address, path, sid }, handshake)
    }

    /// Opens a session on `/engine.io/`.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_at(address, "/engine.io/").0
    }

    /// The target of this session's requests.
    pub fn target(&self) -> String {
        self.target_for("polling")
    }

    pub fn target_for(&self, transport: &str) -> String {
        format!("{}?EIO=4&transport={transport}&sid={}", self.path, self.sid)
    }

    pub fn request(&self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        request(self.address, method, &self.target(), headers, body)
    }

    pub fn get(&self) -> Response {
        self.request("GET", &[], b"")
    }

    pub fn post(&self, body: impl AsRef<[u8]>) -> Response {
        self.request("POST", &[TEXT], body.as_ref())
    }

    /// The same where the server may end the session meanwhile. `None`: it cut the connection.
    pub fn try_post(&self, body: impl AsRef<[u8]>) -> Option<Response> {
        try_request(self.address, "POST", &self.target(), &[TEXT], body.as_ref())
    }

    /// Starts a poll that is left waiting.
    pub fn begin_get(&self) -> Connection {
        let mut connection = Connection::open(self.address);
        connection.send("GET", &self.target(), &[], b"");
        connection
    }

    /// Sends packets.
    pub fn push(&self, body: &str) {
        let response = self.post(body);
        assert_eq!((response.status, response.text()), (200, OK), "{body:?}");
    }

    /// Takes what waits; the packets of the answer.
    pub fn poll(&self) -> Vec<String> {
        packets(&self.get())
    }

    /// Sends a message and sees it come back: the session lives.
    pub fn assert_alive(&self) {
        self.push("4alive?");
        assert_eq!(self.poll(), ["4alive?"]);
    }

    /// Nobody knows the session any more.
    pub fn assert_gone(&self) {
        let response = self.post("4x");
        assert_eq!((response.status, response.text()), UNKNOWN_SESSION);
    }

    /// Opens a WebSocket for this session.
    pub fn websocket(&self) -> Socket {
        Socket::connect(self.address, &self.target_for("websocket"))
    }

    /// Opens a WebSocket and gets as far as the answer to the probe.
    pub fn probing_websocket(&self) -> Socket {
        let mut socket = self.websocket();
        socket.send_text("2probe");
        assert_eq!(socket.receive_text(), "3probe");
        socket
    }
}

/// The packets of a poll's answer.
pub fn packets(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{response:?}");
    response.text().split(SEPARATOR).map(str::to_owned).collect()
}

/// The handshake in an open packet.
pub fn handshake(packet: &str) -> Value {
    serde_json::from_str(packet.strip_prefix('0').expect("an open packet")).unwrap()
}

/// A session on WebSocket, past its open packet.
pub fn open_websocket(address: SocketAddr, path: &str) -> (Socket, Value) {
    let mut socket = Socket::connect(address, &format!("{path}?EIO=4&transport=websocket"));
    let handshake = handshake(&socket.receive_text());
    (socket, handshake)
}
