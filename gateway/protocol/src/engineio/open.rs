//! The packet that opens a session (wire.md 1.4).

use serde::Serialize;

use super::Transport;

/// The server's handshake: five keys, neither more nor less, as clients and conformance checks expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPacket<'a> {
    /// The session's secret id.
    pub sid: &'a str,
    /// What the client may upgrade to: WebSocket on polling, nothing on WebSocket.
    pub upgrades: &'a [Transport],
    /// Time between a pong and the next ping, in milliseconds.
    #[serde(rename = "pingInterval")]
    pub ping_interval_ms: u64,
    /// Time that a client has for its pong, in milliseconds.
    #[serde(rename = "pingTimeout")]
    pub ping_timeout_ms: u64,
    /// Size limit of what the client sends, in bytes.
    #[serde(rename = "maxPayload")]
    pub max_payload_bytes: u64,
}

impl OpenPacket<'_> {
    /// The packet as text: `0` and JSON.
    pub fn encode(&self) -> String {
        let json = serde_json::to_string(self).expect("strings and numbers always serialise");
        format!("0{json}")
    }
}

impl Serialize for Transport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
