//! Echoes every Engine.IO message, text or binary: for conformance checks of the Engine.IO layer alone.
//!
//!     cargo run --release --example engineio_echo -- --listen 127.0.0.1:3000 --ping-interval-ms 300 --ping-timeout-ms 200

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use broadgate::{
    config::Settings,
    engineio::{
        Application, CloseReason, Cors, Elsewhere, EngineIo, EngineSpec, HttpContext, NodeId, Outgoing,
        Server, SessionId,
    },
    runtime::{AcceptorSettings, HttpSettings, ShardSpec, accept, inboxes, spawn},
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

    fn on_open(&mut self, _io: &mut EngineIo, _session: SessionId, _now_ms: u64) {}
    fn on_close(&mut self, _io: &mut EngineIo, _session: SessionId, _reason: CloseReason) {}
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
    let settings = Arc::new(settings);
    let node = NodeId::random().map_err(io::Error::other)?;
    let spec = ShardSpec { number: 0, http: HttpSettings { header_timeout: Duration::from_secs(30) } };
    let (inboxes, mut mailboxes) = inboxes(1, 1 << 20);
    let shards = Arc::clone(&inboxes);
    let _shard = spawn(spec, mailboxes.remove(0), move || {
        let counters = Arc::new(ShardCounters::default());
        let http = HttpContext {
            settings: Arc::clone(&settings),
            cors: Cors::new(&settings.cors_origins),
            body_timeout: Duration::from_secs(30),
            shard: 0,
            shards,
            counters: Arc::clone(&counters),
        };
        let spec = EngineSpec {
            settings,
            node,
            shard: 0,
            max_sessions: 10_000,
            max_queued_bytes: 8 << 20,
            counters,
        };
        Server::new(spec, Arc::new(http), Echo)
    })?;
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    eprintln!("echoing Engine.IO messages on http://{}/engine.io/", listener.local_addr()?);
    accept(listener, inboxes, AcceptorSettings { max_http_connections: 10_000 }).await;
    Ok(())
}
