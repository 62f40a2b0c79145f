//! Echoes every Engine.IO message, text or binary: for conformance checks of the Engine.IO layer alone.
//!
//!     cargo run --release --example engineio_echo -- --listen 127.0.0.1:3000 --ping-interval-ms 300 --ping-timeout-ms 200
#![allow(clippy::print_stderr, reason = "where it listens is all that it says")]

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use broadgate::{
    config::{EngineSettings, Settings},
    engineio::{
        AllowedOrigins, Application, CloseReason, Cors, Elsewhere, EngineIo, EngineMessage, EngineSpec,
        Handshake, HttpContext, IdKey, NodeId, Outgoing, Server, SessionId,
    },
    limits::{Admission, Rate},
    runtime::{HttpSettings, Inbox, Places, ShardSpec, accept, inboxes, spawn},
    telemetry::ShardCounters,
};
use clap::Parser;
use hyper::{Request, Response, StatusCode, body::Incoming};

#[derive(Parser)]
#[command(about = "Serves /engine.io/ and echoes every message, text or binary")]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Milliseconds between a pong and the next ping
    #[arg(long, default_value_t = 25_000)]
    ping_interval_ms: u64,
    /// Milliseconds that a pong may take
    #[arg(long, default_value_t = 20_000)]
    ping_timeout_ms: u64,
    /// Milliseconds that an upgrade may take
    #[arg(long, default_value_t = 10_000)]
    upgrade_timeout_ms: u64,
    /// Threads among which the connections are dealt
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    shards: u8,
    /// Origin whose pages may connect, or "*"; may be repeated
    #[arg(long)]
    allowed_origin: Vec<String>,
}

struct Echo;

impl Application for Echo {
    type Message = ();

    fn on_text(&mut self, io: &mut EngineIo, session: SessionId, text: &str, _now_ms: u64) {
        io.send(session, &Outgoing::text(text.to_owned()), false);
    }

    fn on_binary(&mut self, io: &mut EngineIo, session: SessionId, data: &[u8], _now_ms: u64) {
        io.send(session, &Outgoing::binary(data.to_vec()), false);
    }

    fn respond(&self, _request: Request<Incoming>) -> Elsewhere {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Box::pin(async { response })
    }

    fn on_open(&mut self, _io: &mut EngineIo, _session: SessionId, _handshake: Handshake, _now_ms: u64) {}
    fn on_close(&mut self, _io: &mut EngineIo, _session: SessionId, _reason: CloseReason, _now_ms: u64) {}
    fn on_deadline(&mut self, _io: &mut EngineIo, _session: SessionId, _now_ms: u64) {}
    fn on_messages(&mut self, _io: &mut EngineIo, _messages: &mut Vec<()>, _now_ms: u64) {}
    fn on_timers(&mut self, _io: &mut EngineIo, _now_ms: u64) {}
    fn next_timer_ms(&self) -> Option<u64> {
        None
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut settings = Settings::development().engine;
    settings.path = "/engine.io/".to_owned();
    settings.ping_interval = Duration::from_millis(arguments.ping_interval_ms);
    settings.ping_timeout = Duration::from_millis(arguments.ping_timeout_ms);
    settings.upgrade_timeout = Duration::from_millis(arguments.upgrade_timeout_ms);
    settings.allowed_origins = arguments.allowed_origin;
    let settings = Arc::new(settings);
    let node = NodeId::random().map_err(io::Error::other)?;
    let (inboxes, mailboxes) = inboxes(usize::from(arguments.shards), 1 << 20);
    for (shard, mailbox) in (0..arguments.shards).zip(mailboxes) {
        let (settings, shards) = (Arc::clone(&settings), Arc::clone(&inboxes));
        let spec = ShardSpec { number: usize::from(shard), http: HttpSettings::new(Duration::from_secs(30)) };
        spawn(spec, mailbox, move || server(settings, node, shard, shards))?;
    }
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    eprintln!("echoing Engine.IO messages on http://{}/engine.io/", listener.local_addr()?);
    accept(listener, inboxes, Arc::new(Places::new(10_000, 19_000, Arc::default())), || 0).await;
    Ok(())
}

fn server(
    settings: Arc<EngineSettings>,
    node: NodeId,
    shard: u8,
    shards: Arc<[Inbox<EngineMessage<()>>]>,
) -> io::Result<Server<Echo>> {
    let counters = Arc::new(ShardCounters::default());
    let admission = Arc::new(Admission::default());
    let http = HttpContext {
        peers: None,
        settings: Arc::clone(&settings),
        cors: Cors::new(AllowedOrigins::new(&settings.allowed_origins)),
        tokens: None,
        body_timeout: Duration::from_secs(30),
        max_inbound_buffer_bytes: 1 << 30,
        shard,
        shards,
        admission: Arc::clone(&admission),
        counters: Arc::clone(&counters),
    };
    let spec = EngineSpec {
        settings,
        node,
        id_key: IdKey::random()?,
        shard,
        max_sessions: 10_000,
        max_pending: 10_000,
        rate: Rate::OFF,
        admission,
        max_queued_bytes: 8 << 20,
        max_inbound_buffer_bytes: 1 << 30,
        counters,
    };
    Server::new(spec, Arc::new(http), Echo)
}
