//! One client's way to a WebSocket, with each answer checked: handshake, CONNECT, poll, upgrade with a poll held
//! meanwhile, an event and its ack over the WebSocket, close (wire.md 1.5 to 1.8).

use std::{
    collections::VecDeque,
    io::{self, Write},
    net::TcpStream,
};

use broadgate_protocol::websocket::{self, Decoder, Event, OpCode, Role, handshake};

use super::{
    http::{Response, Upstreams, head_bytes, read_more},
    socket,
};
use crate::plan::Endpoint;

const POLLING: &str = "?EIO=4&transport=polling";
const MAX_MESSAGE_BYTES: usize = 1 << 16;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The example key of RFC 6455 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Answered by the node itself, and changes nothing.
const EVENT: &str = r#"420["leave","handshake"]"#;
const ACK: &str = r#"430[{"ok":true,"#;
const CLOSE_NORMAL: [u8; 2] = 1000u16.to_be_bytes();

/// Why a handshake failed: at which step.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{step}: {error}")]
    Io { step: &'static str, error: io::Error },
    #[error("{step} was answered with: {got}")]
    Answer { step: &'static str, got: String },
    #[error("{step}: WebSocket: {text}")]
    WebSocket { step: &'static str, text: String },
}

/// A client that connects again and again.
#[derive(Debug)]
pub(super) struct Client<'a> {
    endpoints: &'a [Endpoint],
    upstreams: Upstreams<'a>,
}

impl<'a> Client<'a> {
    pub(super) fn new(endpoints: &'a [Endpoint]) -> Self {
        Self { endpoints, upstreams: Upstreams::new(endpoints) }
    }

    /// One whole handshake, number `index` of the run; `node` names the node for each request.
    pub(super) fn connect(&mut self, index: usize, mut node: impl FnMut() -> usize) -> Result<(), Fault> {
        let opened =
            self.ask("the handshake", node(), index, POLLING, None, |body| body.starts_with("0{"))?;
        let sid =
            sid_of(&opened).ok_or_else(|| Fault::Answer { step: "the handshake", got: opened.clone() })?;
        let session = format!("{POLLING}&sid={sid}");
        self.ask("the POST of CONNECT", node(), index, &session, Some("40"), |body| body == "ok")?;
        self.ask("the poll for CONNECT", node(), index, &session, None, |body| {
            body.starts_with(r#"40{"sid":""#)
        })?;

        let step = "the poll during the upgrade";
        let held =
            self.upstreams.send(node(), index, &session, None).map_err(|error| Fault::Io { step, error })?;
        let mut socket = WebSocket::upgrade(&self.endpoints[node()], index, &sid)?;
        socket.send(&["2probe"])?;
        socket.expect("the probe", |packet| packet == "3probe")?;
        let answer = self.upstreams.receive(held).map_err(|error| Fault::Io { step, error })?;
        check(step, answer, |body| body == "6")?;
        socket.send(&["5", EVENT])?;
        socket.expect("the event after the upgrade", |packet| packet.starts_with(ACK))?;
        socket.close()
    }

    fn ask(
        &mut self,
        step: &'static str,
        node: usize,
        index: usize,
        query: &str,
        body: Option<&str>,
        is_right: impl Fn(&str) -> bool,
    ) -> Result<String, Fault> {
        let pending = self.upstreams.send(node, index, query, body);
        let response = pending.and_then(|pending| self.upstreams.receive(pending));
        check(step, response.map_err(|error| Fault::Io { step, error })?, is_right)
    }
}

/// The body of an answer that must be 200 and right.
fn check(step: &'static str, response: Response, is_right: impl Fn(&str) -> bool) -> Result<String, Fault> {
    let Response { status, body } = response;
    let body = String::from_utf8_lossy(&body).into_owned();
    if status == 200 && is_right(&body) {
        return Ok(body);
    }
    Err(Fault::Answer { step, got: format!("{status} {}", shortened(&body)) })
}

fn sid_of(open: &str) -> Option<String> {
    let fields: serde_json::Value = serde_json::from_str(open.strip_prefix('0')?).ok()?;
    Some(fields["sid"].as_str()?.to_owned())
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The client's side of a WebSocket.
#[derive(Debug)]
struct WebSocket {
    stream: TcpStream,
    decoder: Decoder,
    /// Received and not yet asked for.
    packets: VecDeque<String>,
}

impl WebSocket {
    fn upgrade(endpoint: &Endpoint, index: usize, sid: &str) -> Result<Self, Fault> {
        const STEP: &str = "the upgrade";
        let io = |error| Fault::Io { step: STEP, error };
        let mut stream = socket::connect(endpoint, index).map_err(io)?;
        let Endpoint { path, host, .. } = endpoint;
        let request = format!(
            "GET {path}?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).map_err(io)?;
        let mut input = Vec::new();
        let head = loop {
            if let Some(head) = head_bytes(&input).map_err(io)? {
                break head;
            }
            read_more(&mut stream, &mut input).map_err(io)?;
        };
        let text = String::from_utf8_lossy(&input[..head]).into_owned();
        let is_accepted = text.starts_with("HTTP/1.1 101 ") && text.contains(&handshake::accept_key(KEY));
        if !is_accepted {
            return Err(Fault::Answer { step: STEP, got: shortened(&text) });
        }
        let mut socket = Self { stream, decoder: Decoder::new(), packets: VecDeque::new() };
        socket.decode(STEP, &mut input[head..])?;
        Ok(socket)
    }

    fn send(&mut self, packets: &[&str]) -> Result<(), Fault> {
        let mut frames = Vec::new();
        for packet in packets {
            websocket::push_masked_frame(&mut frames, OpCode::Text, MASK, packet.as_bytes());
        }
        self.stream.write_all(&frames).map_err(|error| Fault::Io { step: "sending a packet", error })
    }

    /// Waits for the next packet, which must be the right one.
    fn expect(&mut self, step: &'static str, is_right: impl Fn(&str) -> bool) -> Result<(), Fault> {
        loop {
            match self.packets.pop_front() {
                Some(packet) if is_right(&packet) => return Ok(()),
                Some(packet) => return Err(Fault::Answer { step, got: shortened(&packet) }),
                None => {
                    let mut input = Vec::new();
                    read_more(&mut self.stream, &mut input).map_err(|error| Fault::Io { step, error })?;
                    self.decode(step, &mut input)?;
                }
            }
        }
    }

    fn decode(&mut self, step: &'static str, mut input: &mut [u8]) -> Result<(), Fault> {
        let wrong = |text: String| Fault::WebSocket { step, text };
        loop {
            let event = self.decoder.next(Role::Client, MAX_MESSAGE_BYTES, &mut input);
            match event.map_err(|violation| wrong(violation.to_string()))? {
                None => return Ok(()),
                Some(Event::Text(packet)) => self.packets.push_back(packet.to_owned()),
                Some(other) => return Err(wrong(format!("{other:?} where a packet was due"))),
            }
        }
    }

    fn close(mut self) -> Result<(), Fault> {
        let mut frame = Vec::new();
        websocket::push_masked_frame(&mut frame, OpCode::Close, MASK, &CLOSE_NORMAL);
        self.stream.write_all(&frame).map_err(|error| Fault::Io { step: "the close", error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_be_200_and_right() {
        let response = |status, body: &str| Response { status, body: body.into() };
        assert_eq!(check("a", response(200, "ok"), |body| body == "ok").expect("right"), "ok");
        for (status, body, expected) in [
            (200, "6", "a was answered with: 200 6"),
            (400, r#"{"code":1}"#, r#"a was answered with: 400 {"code":1}"#),
        ] {
            let fault = check("a", response(status, body), |body| body == "ok").expect_err("wrong");
            assert_eq!(fault.to_string(), expected);
        }
    }

    #[test]
    fn the_session_is_read_from_the_open_packet() {
        for (body, expected) in [
            (r#"0{"sid":"abc","upgrades":["websocket"]}"#, Some("abc")),
            (r#"0{"upgrades":[]}"#, None),
            (r#"{"sid":"abc"}"#, None),
            ("0{", None),
        ] {
            assert_eq!(sid_of(body).as_deref(), expected, "{body}");
        }
    }
}
