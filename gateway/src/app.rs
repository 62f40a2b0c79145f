//! The composition root: builds the shards, the adapter and the listeners from the settings, and takes them down in
//! order.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::Router;
use broadgate_adapter::{
    Engine, EventSink, MemoryBus, MemoryEngine, RedisConfig, RedisEngine,
    redis::{Login, Servers, TlsIdentity, TlsSettings},
    wire,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    cluster::Gatherer,
    config::{
        AdapterSettings, EdgeSettings, Limits, RedisLogin, RedisMode, RedisSettings, RedisTlsSettings,
        Settings,
    },
    demo,
    engineio::{
        AllowedOrigins, Cors, EngineMessage, EngineSpec, HttpContext, IdKey, NodeId, Peers, Server,
        TokenSources,
    },
    hub::{Hub, HubMessage, HubSpec, Policy},
    limits::{AddressBounds, Admission, MemoryWatermark, default_max_memory_bytes},
    net::{CertificateError, CertificateFiles, ListenerTls, Proxies},
    node::{Learnt, Node, ShardSink},
    ops,
    public_listener::{LISTEN_BACKLOG, bind, open_when_linked},
    runtime::{HttpSettings, Mailbox, Places, ShardSpec, ShardThread, accept, inboxes, spawn},
    telemetry::{Exporter, LogFilter, ShardCounters, start_traces},
};

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

/// Arrays and objects inside each other in one event: what the JSON parser takes.
const MAX_JSON_DEPTH: usize = 128;

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
    let ops = bind(settings.ops.listen).and_then(|ops| Ok(ops.listen(LISTEN_BACKLOG)?));
    let ops = ops.context("the ops listener (ops.listen)")?;
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
            tracing::info!("stopped before clients were let in");
            return Ok(());
        }
    };
    let counted = Arc::clone(&node);
    let acceptor =
        tokio::spawn(accept(public, inboxes, Arc::clone(&node.places), move || counted.websockets()));
    announce(&settings, node_id, addresses);

    tokio::select! {
        () = stop.received() => {}
        () = first_to_end(&threads) => anyhow::bail!("a shard ended by itself; the node can't go on without it"),
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
        max_addresses: limits.max_connections + limits.max_http_connections,
    };
    let max_memory_bytes =
        limits.max_memory_bytes.map_or_else(default_max_memory_bytes, |bytes| bytes as u64);
    let memory = MemoryWatermark::new(max_memory_bytes);
    let admission = Admission::new(bounds, limits.address_limit_exempt.clone(), memory);
    Arc::new(admission.with_trusted_proxies(&settings.server.edge.trusted_proxies))
}

fn start_engine(
    settings: &Settings,
    (node, id_key): (NodeId, IdKey),
    sink: Arc<dyn EventSink>,
) -> anyhow::Result<Arc<dyn Engine>> {
    match &settings.adapter {
        AdapterSettings::Memory => {
            let bus = MemoryBus::with_limits(message_limits(settings));
            Ok(MemoryEngine::start(&bus, node.as_str(), sink))
        }
        AdapterSettings::Redis(redis) => {
            let mut config = redis_config(settings, redis, node);
            config.id_key = id_key.0;
            Ok(RedisEngine::start(config, sink).context("the adapter (adapter.redis)")?)
        }
    }
}

/// What a node would connect to Redis with, under a name that no node has.
pub(crate) fn redis_config_for_doctor(settings: &Settings, redis: &RedisSettings) -> io::Result<RedisConfig> {
    let node = NodeId::random().map_err(io::Error::other)?;
    Ok(redis_config(settings, redis, node))
}

fn redis_config(settings: &Settings, redis: &RedisSettings, node: NodeId) -> RedisConfig {
    let mut config = RedisConfig::new(redis.url.expose(), node.as_str(), node.as_str());
    config.servers = redis_servers(redis);
    config.login = redis_login(&redis.login);
    config.tls = redis_tls(&redis.tls);
    config.driver = redis.driver;
    env!("CARGO_PKG_VERSION").clone_into(&mut config.version);
    config.prefix.clone_from(&redis.prefix);
    config.python_channel.clone_from(&redis.python_channel);
    config.namespaces = settings.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
    config.unsubscribe_delay = redis.unsubscribe_delay;
    config.publish_timeout = redis.publish_timeout;
    config.answer_timeout = redis.answer_timeout;
    config.limits = message_limits(settings);
    config
}

fn redis_servers(redis: &RedisSettings) -> Servers {
    let urls = redis.urls.clone();
    match redis.mode {
        RedisMode::Standalone => Servers::Standalone { url: redis.url.expose().to_owned() },
        RedisMode::Sentinel => Servers::Sentinel {
            urls,
            master: redis.sentinel.master.clone(),
            login: redis_login(&redis.sentinel.login),
            master_tls: redis.sentinel.master_tls,
        },
        RedisMode::Cluster => Servers::Cluster { urls },
    }
}

fn redis_login(login: &RedisLogin) -> Option<Login> {
    let password = login.password.as_ref()?.expose().to_owned();
    Some(Login { user: login.username.clone(), password, password_file: login.password_file.clone() })
}

fn redis_tls(tls: &RedisTlsSettings) -> TlsSettings {
    let identity = tls.cert_file.clone().zip(tls.key_file.clone());
    TlsSettings {
        ca_file: tls.ca_file.clone(),
        identity: identity.map(|(certificate_file, key_file)| TlsIdentity { certificate_file, key_file }),
        server_name: tls.server_name.clone(),
    }
}

/// Never narrower than what clients and the ops API may publish, or one node would deliver what the others refuse.
fn message_limits(settings: &Settings) -> wire::Limits {
    let (defaults, limits) = (wire::Limits::default(), &settings.limits);
    // Numbers as doubles, escapes and the envelope may make a message of the largest payload bigger.
    let max_message_bytes =
        defaults.max_message_bytes.max(settings.engine.max_payload_bytes.saturating_mul(4));
    wire::Limits {
        max_message_bytes,
        max_json_bytes: max_message_bytes.saturating_mul(2),
        max_depth: MAX_JSON_DEPTH,
        max_attachments: defaults.max_attachments.max(limits.max_attachments),
        // The ops API's `room` comes on top of its `rooms`.
        max_rooms: defaults.max_rooms.max(limits.max_rooms_per_publish + 1),
        max_room_bytes: defaults.max_room_bytes.max(limits.max_room_name_bytes),
    }
}

fn start_shards(
    node: &Arc<Node>,
    names: (NodeId, IdKey),
    mailboxes: Vec<Mailbox<EngineMessage<HubMessage>>>,
) -> anyhow::Result<Vec<ShardThread<EngineMessage<HubMessage>>>> {
    let policy = Arc::new(Policy::new(node.settings.rooms.clone()));
    let site = if node.settings.development { demo::router() } else { Router::new() };
    let edge = &node.settings.server.edge;
    let proxies =
        Proxies { trusted: edge.trusted_proxies.clone().into(), expects_header: edge.proxy_protocol };
    let http = HttpSettings {
        header_timeout: node.settings.limits.http_header_timeout,
        proxies: Arc::new(proxies),
        tls: node.tls.clone(),
        max_log_lines_per_second: node.settings.limits.max_client_log_lines_per_second,
    };
    (mailboxes.into_iter().zip(0_u8..))
        .map(|(mailbox, number)| {
            let spec = ShardSpec { number: usize::from(number), http: http.clone() };
            let (node, policy, site) = (Arc::clone(node), Arc::clone(&policy), site.clone());
            let build = move || build_shard(&node, names, number, policy, site);
            spawn(spec, mailbox, build).context("cannot start a shard")
        })
        .collect()
}

fn build_shard(
    node: &Node,
    (node_id, id_key): (NodeId, IdKey),
    shard: u8,
    policy: Arc<Policy>,
    site: Router,
) -> io::Result<Server<Hub>> {
    let settings = &node.settings;
    let counters = Arc::clone(&node.counters[usize::from(shard)]);
    let engine_settings = Arc::new(settings.engine.clone());
    let peers = match &settings.adapter {
        AdapterSettings::Memory => None,
        AdapterSettings::Redis(redis) => Some(Arc::new(Peers {
            node: node_id,
            engine: Arc::clone(&node.engine),
            order: Arc::clone(&node.publish_order),
            answer_timeout: redis.answer_timeout,
        })),
    };
    let max_inbound_buffer_bytes = settings.limits.max_inbound_buffer_bytes / node.shards.len();
    let http = HttpContext {
        settings: Arc::clone(&engine_settings),
        cors: Cors::new(AllowedOrigins::new(&settings.engine.allowed_origins)),
        tokens: TokenSources::new(&settings.auth),
        peers: peers.clone(),
        body_timeout: settings.limits.http_body_timeout,
        max_inbound_buffer_bytes,
        shard,
        shards: Arc::clone(&node.shards),
        admission: Arc::clone(node.places.admission()),
        counters: Arc::clone(&counters),
    };
    let spec = EngineSpec {
        settings: engine_settings,
        node: node_id,
        id_key,
        shard,
        max_sessions: settings.limits.max_connections.div_ceil(node.shards.len()),
        max_pending: settings.limits.max_pending_connections.div_ceil(node.shards.len()),
        rate: settings.limits.connection_rate(),
        admission: Arc::clone(node.places.admission()),
        max_queued_bytes: settings.limits.max_queued_bytes,
        max_inbound_buffer_bytes,
        counters,
    };
    let subscribe_timeout = match &settings.adapter {
        AdapterSettings::Memory => Duration::from_secs(5),
        AdapterSettings::Redis(redis) => redis.subscribe_timeout,
    };
    let hub = Hub::new(HubSpec {
        authenticator: Arc::clone(&node.authenticator),
        tokens: (&settings.auth).into(),
        node: node_id,
        shard,
        namespaces: settings.namespaces.clone().into(),
        policy,
        limits: settings.limits.clone(),
        connect_timeout_ms: millis(settings.engine.connect_timeout),
        subscribe_timeout_ms: millis(subscribe_timeout),
        engine: Arc::clone(&node.engine),
        when_down: settings.adapter.when_down(),
        revocations: Arc::clone(&node.learnt.revocations),
        users: Arc::clone(&node.users),
        publish_order: Arc::clone(&node.publish_order),
        peers,
        shards: Arc::clone(&node.shards),
        traces: node.traces.clone(),
        site,
    });
    Server::new(spec, Arc::new(http), hub)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_that_clients_may_publish_is_beyond_what_other_nodes_take() {
        let mut settings = Settings::development();
        settings.engine.max_payload_bytes = 100 << 20;
        settings.limits.max_attachments = 1000;
        settings.limits.max_room_name_bytes = 65_536;
        settings.limits.max_rooms_per_publish = 100_000;
        let wide = message_limits(&settings);
        assert!(wide.max_message_bytes >= 400 << 20 && wide.max_json_bytes >= 800 << 20);
        assert_eq!((wide.max_attachments, wide.max_room_bytes, wide.max_rooms), (1000, 65_536, 100_001));
        assert_eq!(wide.max_depth, 128);
        // Other publishers are not bound by this node's clients.
        settings.limits.max_attachments = 0;
        settings.limits.max_room_name_bytes = 1;
        let narrow = message_limits(&settings);
        let defaults = wire::Limits::default();
        assert_eq!(narrow.max_attachments, defaults.max_attachments);
        assert_eq!(narrow.max_room_bytes, defaults.max_room_bytes);
    }
}
