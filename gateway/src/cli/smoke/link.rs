//! Engine.IO as its clients speak it (wire.md 1): packets as text, over a WebSocket or by polling. Owns the connection.

use anyhow::{Context, anyhow, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use broadgate_protocol::websocket::{self, Decoder, Event, OpCode, Role, handshake};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Transport, random, target::Target};

/// More than what a client is sent here by far.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const CLOSE_NORMAL: [u8; 2] = 1000u16.to_be_bytes();
/// Between the packets of a poll's answer.
const SEPARATOR: char = '\u{1e}';

/// A session's transport.
pub(super) enum Link<'t> {
    WebSocket(WebSocket),
    Polling { target: &'t Target, sid: Option<String> },
}

pub(super) struct WebSocket {
    stream: TokioIo<Upgraded>,
    decoder: Decoder,
}

impl<'t> Link<'t> {
    /// Opens it; the session's first packet is still to be received.
    pub(super) async fn open(target: &'t Target, transport: Transport) -> anyhow::Result<Self> {
        match transport {
            Transport::Websocket => Ok(Self::WebSocket(WebSocket::open(target).await?)),
            Transport::Polling => Ok(Self::Polling { target, sid: None }),
        }
    }

    /// Requests that come are for this session.
    pub(super) fn set_sid(&mut self, new: &str) {
        if let Self::Polling { sid, .. } = self {
            *sid = Some(new.to_owned());
        }
    }

    pub(super) async fn send(&mut self, packet: String) -> anyhow::Result<()> {
        match self {
            Self::WebSocket(socket) => socket.send(OpCode::Text, packet.as_bytes()).await,
            Self::Polling { target, sid } => {
                poll(target, sid.as_deref(), Some(packet)).await?;
                Ok(())
            }
        }
    }

    /// Ends the session, so that the node need not wait for a client that is gone.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::WebSocket(socket) => socket.send(OpCode::Close, &CLOSE_NORMAL).await,
            Self::Polling { .. } => self.send("1".to_owned()).await,
        }
    }

    /// What comes next: one packet or several.
    pub(super) async fn receive(&mut self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::WebSocket(socket) => socket.receive().await,
            Self::Polling { target, sid } => {
                let body = poll(target, sid.as_deref(), None).await?;
                Ok(body.split(SEPARATOR).map(str::to_owned).collect())
            }
        }
    }
}

impl WebSocket {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        let key = STANDARD.encode(random::<16>());
        let request = request(target, Method::GET, "websocket", None)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .body(Full::default())?;
        let response = exchange(target, request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (status, body) = answer(response).await?;
            bail!("no WebSocket: {} {body}", status.as_u16());
        }
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        let expected = handshake::accept_key(&key);
        ensure!(accepted.is_some_and(|value| value == &*expected), "Sec-WebSocket-Accept is wrong");
        let stream = TokioIo::new(hyper::upgrade::on(response).await?);
        Ok(Self { stream, decoder: Decoder::new() })
    }

    async fn send(&mut self, opcode: OpCode, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::new();
        websocket::push_masked_frame(&mut frame, opcode, random(), payload);
        self.stream.write_all(&frame).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> anyhow::Result<Vec<String>> {
        let mut chunk = [0; 8192];
        let (mut packets, mut pongs) = (Vec::new(), Vec::new());
        while packets.is_empty() {
            let read = self.stream.read(&mut chunk).await?;
            ensure!(read > 0, "the connection ended");
            let mut input = &mut chunk[..read];
            while let Some(event) = self.decoder.next(Role::Client, MAX_ANSWER_BYTES, &mut input)? {
                match event {
                    Event::Text(packet) => packets.push(packet.to_owned()),
                    Event::Ping(payload) => pongs.push(payload.to_vec()),
                    Event::Close(_) => bail!("the WebSocket was closed"),
                    _ => {}
                }
            }
            for payload in pongs.drain(..) {
                self.send(OpCode::Pong, &payload).await?;
            }
        }
        Ok(packets)
    }
}

/// One poll, or the POST of a packet.
async fn poll(target: &Target, sid: Option<&str>, packet: Option<String>) -> anyhow::Result<String> {
    let method = if packet.is_some() { Method::POST } else { Method::GET };
    let request = request(target, method, "polling", sid)
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "text/plain;charset=UTF-8")
        .body(Full::from(packet.unwrap_or_default()))?;
    let (status, body) = answer(exchange(target, request).await?).await?;
    ensure!(status == StatusCode::OK, "{} {body}", status.as_u16());
    Ok(body)
}

fn request(target: &Target, method: Method, transport: &str, sid: Option<&str>) -> http::request::Builder {
    let sid = sid.map_or_else(String::new, |sid| format!("&sid={sid}"));
    let uri = format!("{}?EIO=4&transport={transport}{sid}", target.path());
    let agent = concat!("broadgate-smoke/", env!("CARGO_PKG_VERSION"));
    let host = (header::HOST, target.authority());
    Request::builder().method(method).uri(uri).header(host.0, host.1).header(header::USER_AGENT, agent)
}

async fn exchange(target: &Target, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
    let stream = target.connect().await.context("cannot connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, and with the runtime at the latest. Its error is the answer's as well.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

async fn answer(response: Response<Incoming>) -> anyhow::Result<(StatusCode, String)> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| anyhow!("the answer {} broke off: {error}", status.as_u16()))?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}
