//! The composition root: builds the shards, the adapter and the listeners from the settings, and takes them down in
//! order.

mod engine;
mod shards;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

pub(crate) use self::engine::redis_config_for_doctor;
use self::{engine::start_engine, shards::start_shards};
use crate::{
    cluster::Gatherer,
    config::{AdapterSettings, EdgeSettings, Limits, Settings},
    engineio::{EngineMessage, IdKey, NodeId},
    hub::HubMessage,
    limits::{AddressBounds, Admission, MemoryWatermark, default_max_memory_bytes},
    net::{CertificateError, CertificateFiles, ListenerTls},
    node::{Learnt, Node, ShardSink},
    ops,
    public_listener::{bind, listen, open_when_linked},
    runtime::{Places, ShardThread, accept, inboxes},
    telemetry::{Exporter, LogFilter, ShardCounters, start_traces},
};

const SHARD_ENDED: &str = "a shard ended by itself; the node can't go on without it";
/// How long clients that were closed last may take to notice it, behind the window.
const LAST_CLIENTS_TIMEOUT: Duration = Duration::from_secs(1);
/// What is kept of the time for shutting down after a drain.
const SHUTDOWN_TIME: Duration = Duration::from_millis(500);
/// How long the adapter may take to send what waits, after the clients are gone: a part of `server.shutdown_timeout_ms`,
/// a tenth of it at most.
const ENGINE_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last spans may take, at most; a tenth of `server.shutdown_timeout_ms`, too.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Descriptors that are not clients': listeners, epoll sets, links to Redis, files, and up to 256 of operators.
const RESERVED_DESCRIPTORS: usize = 320;

/// Runs a node until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// It could not start: an address is in use, a thread or descriptor was refused, the adapter's settings are unusable.
pub fn run(settings: Settings, log_filter: LogFilter) -> anyhow::Result<()> {
    // Acceptor, adapter and ops share the main thread; the shards have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(settings, log_filter))
}

async fn serve(mut settings: Settings, log_filter: LogFilter) -> anyhow::Result<()> {
    let descriptors = available_descriptors();
    bound_connections(&mut settings.limits, descriptors);
    let settings = Arc::new(settings);
    let mut stop = StopSignals::listen().context("cannot listen for signals")?;
    let tls = listener_tls(&settings.server.edge).context("the public listener")?;
    let public = bind(settings.server.listen).context("the public listener (server.listen)")?;
    let ops = bind(settings.ops.listen).and_then(listen).context("the ops listener (ops.listen)")?;
    let addresses = (public.local_addr()?, ops.local_addr()?);

    let node_id = NodeId::random().map_err(io::Error::other).context("no random source")?;
    let id_key = IdKey::random().map_err(io::Error::other).context("no random source")?;
    let (inboxes, mailboxes) = inboxes(settings.server.shards, settings.limits.max_shard_inbox_bytes);
    let gatherer = Arc::new(Gatherer::new(Arc::clone(&inboxes)));
    let learnt = Learnt::default();
    let sink = ShardSink {
        shards: Arc::clone(&inboxes),
        gatherer: Arc::clone(&gatherer),
        node_id,
        learnt: learnt.clone(),
    };
    let engine = start_engine(&settings, (node_id, id_key), Arc::new(sink))?;
    let namespaces = settings.namespaces.len();
    let counters = inboxes.iter().map(|_| Arc::new(ShardCounters::for_namespaces(namespaces))).collect();
    let places = Places::new(settings.limits.max_http_connections, descriptors, admission(&settings));
    let places = Arc::new(places);
    let node =
        Node::new(Arc::clone(&settings), engine, Arc::clone(&inboxes), gatherer, counters, places, learnt);
    let (traces, exporter) =
        start_traces(&settings.traces, node_id.as_str()).context("cannot start the exporter of traces")?;
    let node = Arc::new(Node { tls, traces, log_filter: Arc::new(log_filter), ..node });
    let threads = start_shards(&node, (node_id, id_key), mailboxes)?;

    let watched = Arc::clone(&node);
    let watch = tokio::spawn(async move { watched.places.admission().watch().await });
    let ops_server = tokio::spawn(ops::serve(ops, Arc::clone(&node)));
    let key_refresh = tokio::spawn(node.authenticator.keep_keys_fresh(&node.traces));
    let users = Arc::clone(&node.users);
    let user_counts = tokio::spawn(async move { users.run().await });
    let certificate = tokio::spawn(watch_certificate(node.tls.clone()));
    let public = tokio::select! {
        public = open_when_linked(public, &node) => public.context("the public listener (server.listen)")?,
        () = stop.received() => {
            // The other nodes may know it already.
            let _late = tokio::time::timeout(ENGINE_SHUTDOWN_TIMEOUT, node.engine.shutdown()).await;
            tracing::info!("stopped before clients were let in");
            return Ok(());
        }
        () = first_to_end(&threads) => anyhow::bail!(SHARD_ENDED),
    };
    let counted = Arc::clone(&node);
    let acceptor =
        tokio::spawn(accept(public, inboxes, Arc::clone(&node.places), move || counted.websockets()));
    announce(&settings, node_id, addresses);

    tokio::select! {
        () = stop.received() => {}
        () = first_to_end(&threads) => anyhow::bail!(SHARD_ENDED),
    }
    // Clients that do not go must not take the adapter's time, too.
    let engine_timeout = ENGINE_SHUTDOWN_TIMEOUT.min(settings.server.shutdown_timeout / 10);
    let export_timeout = match exporter {
        Some(_) => EXPORT_TIMEOUT.min(settings.server.shutdown_timeout / 10),
        None => Duration::ZERO,
    };
    let deadline =
        node.drain.begin(settings.server.shutdown_timeout.saturating_sub(engine_timeout + export_timeout));
    tokio::select! {
        () = drain(&node, &threads, deadline) => {}
        () = stop.received() => tracing::info!("told to stop again: the rest is closed at once"),
    }
    acceptor.abort();
    let drained = tokio::select! {
        drained = shut_down(&threads, deadline) => drained,
        () = stop.received() => false,
    };
    // Also where a client held up the rest: what clients published is still to go out.
    let published = tokio::time::timeout(engine_timeout, node.engine.shutdown()).await.is_ok();
    let exported = export_rest(exporter, export_timeout).await;
    ops_server.abort();
    key_refresh.abort();
    user_counts.abort();
    certificate.abort();
    watch.abort();
    if !drained || !published || !exported {
        tracing::warn!(drained, published, exported, "not everything was brought to an end in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// The last spans. Traces must not take long to keep a node from its end.
async fn export_rest(exporter: Option<Exporter>, timeout: Duration) -> bool {
    let Some(exporter) = exporter else { return true };
    exporter.shut_down(timeout).await
}

/// Readiness has failed. Everything goes on until balancers have seen that; then the shards close their sessions over the
/// window, and this waits until none is left, or for little more than the window.
async fn drain(node: &Node, threads: &[ShardThread<EngineMessage<HubMessage>>], deadline: Instant) {
    let server = &node.settings.server;
    let (delay_ms, window_ms) = (millis(server.drain_delay), millis(server.drain_window));
    tracing::info!(delay_ms, window_ms, sessions = node.sessions(), "draining");
    tokio::time::sleep(server.drain_delay).await;
    if server.drain_window.is_zero() {
        return;
    }
    let all = threads.iter().map(|thread| {
        let (drained, all_closed) = oneshot::channel();
        thread.inbox.send(EngineMessage::Drain { window_ms, drained });
        all_closed
    });
    let all = futures_util::future::join_all(all);
    let latest = deadline.checked_sub(SHUTDOWN_TIME).unwrap_or(deadline);
    let until = latest.min(Instant::now() + server.drain_window + LAST_CLIENTS_TIMEOUT);
    let in_time = tokio::time::timeout_at(until.into(), all).await.is_ok();
    tracing::info!(in_time, seconds = node.drain.seconds(), "drained");
}

/// Closes all that is still open, in a way that makes clients reconnect by themselves (wire.md 1.11); then the shards end.
/// False: the time was up before.
async fn shut_down(threads: &[ShardThread<EngineMessage<HubMessage>>], deadline: Instant) -> bool {
    for thread in threads {
        thread.inbox.send(EngineMessage::Shutdown);
        thread.stop();
    }
    while threads.iter().any(|thread| !thread.is_finished()) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// A shard that panicked takes its part of the clients with it: better that all of them find another node.
async fn first_to_end(threads: &[ShardThread<EngineMessage<HubMessage>>]) {
    while !threads.iter().any(ShardThread::is_finished) {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn admission(settings: &Settings) -> Arc<Admission> {
    let limits = &settings.limits;
    let bounds = AddressBounds {
        max_connections: limits.max_connections_per_address,
        handshakes: limits.handshake_rate(),
        tls_handshakes: limits.tls_handshake_rate(),
        max_addresses: limits.max_connections + limits.max_http_connections,
    };
    let max_memory_bytes =
        limits.max_memory_bytes.map_or_else(default_max_memory_bytes, |bytes| bytes as u64);
    let memory = MemoryWatermark::new(max_memory_bytes);
    let admission = Admission::new(bounds, limits.address_limit_exempt.clone(), memory);
    Arc::new(admission.with_trusted_proxies(&settings.server.edge.trusted_proxies))
}

/// The certificate of the public listener, if it speaks TLS.
fn listener_tls(edge: &EdgeSettings) -> Result<Option<Arc<ListenerTls>>, CertificateError> {
    let files = edge.tls_cert_file.clone().zip(edge.tls_key_file.clone());
    let Some((certificate_file, key_file)) = files else { return Ok(None) };
    ListenerTls::load(CertificateFiles { certificate_file, key_file }).map(Arc::new).map(Some)
}

async fn watch_certificate(tls: Option<Arc<ListenerTls>>) {
    if let Some(tls) = tls {
        tls.watch_files().await;
    }
}

/// Takes all descriptors that the system gives; returns how many there are for clients' connections of any kind.
fn available_descriptors() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!("cannot raise the limit on open files");
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(RESERVED_DESCRIPTORS).max(1)
}

/// No more connections than there are descriptors for.
fn bound_connections(limits: &mut Limits, descriptors: usize) {
    if descriptors < limits.max_connections {
        tracing::warn!(
            max_connections = limits.max_connections,
            descriptors,
            "limits.max_connections is more than the limit on open files allows; it is lowered to that",
        );
        limits.max_connections = descriptors;
    }
}

fn announce(settings: &Settings, node: NodeId, (public, ops): (SocketAddr, SocketAddr)) {
    let adapter = match &settings.adapter {
        AdapterSettings::Memory => "memory",
        AdapterSettings::Redis(_) => "redis",
    };
    let shards = settings.server.shards;
    tracing::info!(%public, %ops, ?node, shards, adapter, path = settings.engine.path, "listening");
    if settings.development {
        tracing::warn!(
            "development mode: no config file, so every client may join and publish everywhere, and the ops API \
             needs no key. Open http://{public}/ \
             in a browser; give --config before anyone else can reach this node"
        );
    }
}

/// SIGTERM from an orchestrator, SIGINT from a terminal.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
