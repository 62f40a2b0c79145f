//! A raw Socket.IO client on WebSocket, in as many namespaces as it likes.

use broadgate_protocol::websocket::OpCode;
use serde_json::Value;

use super::{
    engineio::open_websocket,
    process::Server,
    websocket::{Received, Socket},
};

pub const PATH: &str = "/socket.io/";

/// See the module.
pub struct Client {
    pub socket: Socket,
    /// The session's id, a secret.
    pub session_id: String,
    /// The id of the socket that connected last.
    pub id: String,
}

impl Client {
    /// Opens a session that is in no namespace yet.
    pub fn open(server: &Server) -> Self {
        let (socket, handshake) = open_websocket(server.address, PATH);
        Self { socket, session_id: handshake["sid"].as_str().unwrap().to_owned(), id: String::new() }
    }

    /// Opens a session and joins `/`.
    pub fn connect(server: &Server) -> Self {
        let mut client = Self::open(server);
        client.join_namespace("/");
        client
    }

    /// CONNECT, which has to be accepted.
    pub fn join_namespace(&mut self, namespace: &str) {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("0{name}"));
        let answer = self.receive();
        let payload = answer.strip_prefix(&format!("0{name}")).expect("accepted");
        let payload: Value = serde_json::from_str(payload).unwrap();
        self.id = payload["sid"].as_str().unwrap().to_owned();
        assert_eq!(payload, serde_json::json!({ "sid": self.id }), "exactly this key");
    }

    /// Sends a packet; the `4` of Engine.IO comes by itself.
    pub fn send(&mut self, packet: &str) {
        self.socket.send_text(&format!("4{packet}"));
    }

    pub fn send_binary(&mut self, data: &[u8]) {
        self.socket.send(OpCode::Binary, data);
    }

    /// The next packet, without the `4`.
    pub fn receive(&mut self) -> String {
        let text = self.socket.receive_text();
        text.strip_prefix('4').unwrap_or_else(|| panic!("not a message: {text}")).to_owned()
    }

    pub fn receive_binary(&mut self) -> Vec<u8> {
        match self.socket.receive() {
            Received::Binary(data) => data,
            other => panic!("not binary: {other:?}"),
        }
    }

    /// Sends an event with an ack id; the one argument of its ack.
    pub fn ask(&mut self, event: &str) -> Value {
        self.send(&format!("27{event}"));
        self.ack("37")
    }

    /// The one argument of the ack that comes next.
    pub fn ack(&mut self, start: &str) -> Value {
        let ack = self.receive();
        let payload = ack.strip_prefix(start).unwrap_or_else(|| panic!("{ack} is not {start}[...]"));
        let payload: [Value; 1] = serde_json::from_str(payload).unwrap();
        let [answer] = payload;
        answer
    }

    pub fn join(&mut self, room: &str) {
        let answer = self.ask(&format!(r#"["join","{room}"]"#));
        assert_eq!(answer["ok"], true, "{answer}");
    }

    /// The connection works, and nothing else came before.
    pub fn assert_alive(&mut self) {
        let answer = self.ask(r#"["leave","no such room"]"#);
        assert_eq!(answer["ok"], true, "{answer}");
    }

    /// The server closes the connection as the reference does: an empty close frame (wire.md 2.4).
    pub fn assert_closed(&mut self, why: &str) {
        assert_eq!(self.socket.receive_all(), [Received::Close(None)], "{why}");
    }
}
