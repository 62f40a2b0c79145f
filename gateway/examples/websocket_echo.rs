//! Echoes every WebSocket message, on the codec and the connection code of the node: for conformance checks of RFC 6455.
//!
//!     cargo run --release --example websocket_echo -- --listen 127.0.0.1:9001
#![allow(clippy::print_stderr, reason = "where it listens is all that it says")]

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use broadgate::{
    net::{CloseCause, ConnectionId, Enqueued, Frame, SocketLimits, SocketSet, http},
    runtime::{HttpSettings, Places, Service, Shard, ShardSpec, accept, feed, inboxes, spawn},
    telemetry::ShardCounters,
};
use broadgate_protocol::websocket::{Event, OpCode, push_frame};
use clap::Parser;
use hyper::{Request, Response, body::Incoming};

const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[derive(Parser)]
#[command(about = "Echoes every WebSocket message of up to 16 MiB")]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
}

struct Echo {
    sockets: SocketSet,
}

impl Service for Echo {
    type Message = ();
    type Refusal = Infallible;

    fn sockets(&mut self) -> &mut SocketSet {
        &mut self.sockets
    }

    fn on_event(&mut self, id: ConnectionId, _tag: u32, event: Event<'_>, now_ms: u64) {
        let (opcode, payload) = match event {
            Event::Text(text) => (OpCode::Text, text.as_bytes()),
            Event::Binary(data) => (OpCode::Binary, data),
            Event::Ping(data) => (OpCode::Pong, data),
            Event::Pong(_) => return,
            Event::Close(code) => return self.sockets.close(id, code.map(|(code, _)| code), now_ms),
        };
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        push_frame(&mut bytes, opcode, payload);
        if self.sockets.enqueue(id, &Frame::new(bytes, 1), false) == Enqueued::Full {
            self.sockets.abort(id);
        }
    }

    async fn respond(
        shard: Shard<Self>,
        mut request: Request<Incoming>,
        _peer: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let accept = match http::check_handshake(&request) {
            Ok(accept) => accept,
            Err(refusal) => return Ok(*refusal),
        };
        let on_upgrade = hyper::upgrade::on(&mut request);
        tokio::task::spawn_local(async move {
            let Some((socket, early)) = http::upgraded(on_upgrade).await else { return };
            shard.with(|echo, now_ms| match echo.sockets.insert(socket, 0) {
                Ok(id) => feed(echo, id, early, now_ms),
                Err(error) => tracing::error!(%error, "cannot watch a connection"),
            });
        });
        Ok(http::switching_protocols(&accept))
    }

    fn on_closed(&mut self, _id: ConnectionId, _tag: u32, _cause: CloseCause, _now_ms: u64) {}
    fn on_messages(&mut self, _messages: &mut Vec<()>, _now_ms: u64) {}
    fn on_timers(&mut self, _now_ms: u64) {}
    fn on_turn_end(&mut self, _now_ms: u64) {}
    fn next_timer_ms(&self) -> Option<u64> {
        None
    }
    fn is_drained(&mut self) -> bool {
        self.sockets.is_empty()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let spec = ShardSpec { number: 0, http: HttpSettings::new(Duration::from_secs(10)) };
    let limits = SocketLimits {
        max_message_bytes: MAX_MESSAGE_BYTES,
        max_queued_bytes: 4 * MAX_MESSAGE_BYTES,
        max_inbound_buffer_bytes: 1 << 30,
    };
    let (inboxes, mut mailboxes) = inboxes(1, 1 << 20);
    let _shard = spawn(spec, mailboxes.remove(0), move || {
        Ok(Echo { sockets: SocketSet::new(limits, Arc::new(ShardCounters::default()))? })
    })?;
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    eprintln!("echoing WebSocket messages on ws://{}", listener.local_addr()?);
    accept(listener, inboxes, Arc::new(Places::new(1_000, 19_000, Arc::default())), || 0).await;
    Ok(())
}
