//! One client as a state machine without I/O: HTTP upgrade, Engine.IO open, Socket.IO CONNECT, join, then messages.
//! Bytes go in, replies come out. Owned by the fleet.

use broadgate_protocol::websocket::{self, Decoder, Event, OpCode, Role, handshake};

use crate::{message, plan::Endpoint};

/// Largest answer to the upgrade request and largest message that is accepted.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The example key of RFC 6455 1.3; a fixed one spares the clients work and is as good against a server under test.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Not zero, so that the server has to unmask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Io(#[from] rustix::io::Errno),
    #[error("the server closed the connection")]
    Closed,
    #[error("the upgrade was answered with: {0}")]
    Upgrade(String),
    #[error("WebSocket: {0}")]
    WebSocket(String),
    #[error("expected {expected}, got: {got}")]
    Packet { expected: &'static str, got: String },
    #[error("not finished in time")]
    TimedOut,
}

/// What every client says, made once for all of them.
#[derive(Debug)]
pub(crate) struct Script {
    upgrade: Vec<u8>,
    accept: String,
    connect: Vec<u8>,
    join: Vec<u8>,
    pong: Vec<u8>,
}

impl Script {
    /// Clients that join `room` at `endpoint`.
    pub(crate) fn new(endpoint: &Endpoint, room: &str) -> Self {
        let upgrade = format!(
            "GET {}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            endpoint.path, endpoint.host,
        );
        let join = format!("420{}", serde_json::json!(["join", room]));
        Self {
            upgrade: upgrade.into_bytes(),
            accept: handshake::accept_key(KEY),
            connect: client_frame(b"40"),
            join: client_frame(join.as_bytes()),
            pong: client_frame(b"3"),
        }
    }
}

fn client_frame(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    websocket::push_masked_frame(&mut frame, OpCode::Text, MASK, text);
    frame
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    AwaitingOpen,
    AwaitingConnect,
    AwaitingJoin,
    Joined,
}

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Connection {
    stage: Stage,
    decoder: Decoder,
    /// The part of the HTTP answer that has arrived.
    head: Vec<u8>,
}

impl Connection {
    /// A client that has to speak all protocols, and what it says first.
    pub(crate) fn upgrading(script: &Script) -> (Self, &[u8]) {
        (Self { stage: Stage::Upgrading, decoder: Decoder::new(), head: Vec::new() }, &script.upgrade)
    }

    /// A client of the bare loop, which receives frames at once.
    pub(crate) const fn bare() -> Self {
        Self { stage: Stage::Joined, decoder: Decoder::new(), head: Vec::new() }
    }

    /// Is it in its room?
    pub(crate) fn is_joined(&self) -> bool {
        self.stage == Stage::Joined
    }

    /// Takes in what was read. Appends what is to be sent to `replies`; calls `deliver` with the sequence number of
    /// each message.
    ///
    /// # Errors
    /// Whatever the server does that ends this client's part in the test.
    pub(crate) fn receive(
        &mut self,
        script: Option<&Script>,
        input: &mut [u8],
        replies: &mut Vec<u8>,
        deliver: impl FnMut(u64),
    ) -> Result<(), Fault> {
        if self.stage != Stage::Upgrading {
            return self.receive_frames(script, input, replies, deliver);
        }
        let Some(script) = script else { return Ok(()) };
        self.head.extend_from_slice(input);
        let Some(head_bytes) = upgrade_head_bytes(&self.head, &script.accept)? else { return Ok(()) };
        self.stage = Stage::AwaitingOpen;
        let mut head = std::mem::take(&mut self.head);
        self.receive_frames(Some(script), &mut head[head_bytes..], replies, deliver)
    }

    fn receive_frames(
        &mut self,
        script: Option<&Script>,
        mut input: &mut [u8],
        replies: &mut Vec<u8>,
        mut deliver: impl FnMut(u64),
    ) -> Result<(), Fault> {
        let Self { stage, decoder, .. } = self;
        loop {
            let event = decoder
                .next(Role::Client, MAX_MESSAGE_BYTES, &mut input)
                .map_err(|violation| Fault::WebSocket(violation.to_string()))?;
            match event {
                None => return Ok(()),
                Some(Event::Text(packet)) => match message::sequence_of(packet) {
                    Some(sequence) => deliver(sequence),
                    None => answer(stage, packet, script, replies)?,
                },
                Some(Event::Ping(data)) => websocket::push_masked_frame(replies, OpCode::Pong, MASK, data),
                Some(Event::Close(_)) => return Err(Fault::Closed),
                Some(Event::Binary(_) | Event::Pong(_)) => {}
            }
        }
    }
}

/// Length of the HTTP answer, if it is there as a whole.
fn upgrade_head_bytes(head: &[u8], accept: &str) -> Result<Option<usize>, Fault> {
    let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if head.len() > MAX_HEAD_BYTES {
            Err(Fault::Upgrade("a head without an end".to_owned()))
        } else {
            Ok(None)
        };
    };
    let text = String::from_utf8_lossy(&head[..end]);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101 ") {
        return Err(Fault::Upgrade(status.to_owned()));
    }
    let accepted = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept);
    if !accepted {
        return Err(Fault::Upgrade("no or a wrong Sec-WebSocket-Accept".to_owned()));
    }
    Ok(Some(end + 4))
}

/// The reaction to a packet that is not one of the test's messages.
fn answer(
    stage: &mut Stage,
    packet: &str,
    script: Option<&Script>,
    replies: &mut Vec<u8>,
) -> Result<(), Fault> {
    let Some(script) = script else { return Err(unexpected("a message of the test", packet)) };
    match (packet.as_bytes(), *stage) {
        (b"2", _) => replies.extend_from_slice(&script.pong),
        ([b'1', ..] | [b'4', b'1', ..], _) => return Err(Fault::Closed),
        ([b'0', b'{', ..], Stage::AwaitingOpen) => {
            replies.extend_from_slice(&script.connect);
            *stage = Stage::AwaitingConnect;
        }
        ([b'4', b'0', ..], Stage::AwaitingConnect) => {
            replies.extend_from_slice(&script.join);
            *stage = Stage::AwaitingJoin;
        }
        ([b'4', b'3', b'0', ack @ ..], Stage::AwaitingJoin) => {
            if !is_ok(ack) {
                return Err(unexpected("the ack of a join with \"ok\":true", packet));
            }
            *stage = Stage::Joined;
        }
        // Other people's events in the room are none of the test's business.
        ([b'4', b'2', ..], Stage::AwaitingJoin | Stage::Joined) | ([b'6'], _) => {}
        (_, Stage::Upgrading | Stage::AwaitingOpen) => return Err(unexpected("the open packet", packet)),
        (_, Stage::AwaitingConnect) => return Err(unexpected("the answer to CONNECT", packet)),
        (_, Stage::AwaitingJoin) => return Err(unexpected("the ack of the join", packet)),
        (_, Stage::Joined) => return Err(unexpected("an event or a ping", packet)),
    }
    Ok(())
}

fn is_ok(ack: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(ack).is_ok_and(|args| args[0]["ok"] == true)
}

fn unexpected(expected: &'static str, packet: &str) -> Fault {
    Fault::Packet { expected, got: packet.chars().take(200).collect() }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
