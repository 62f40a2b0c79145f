//! The checked form of the configuration, which the rest of the node is built from. Made once, by
//! [`super::load`], and never changed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use broadgate_adapter::RedisDriver;

use super::{AuthSettings, EdgeSettings, OpsSettings, Secret, TracesSettings};
use crate::{auth::Pattern, limits::Rate, net::Cidr};

/// Everything the node was told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// No config file was given: everything open, demo page on.
    pub development: bool,
    /// The public listener and the shards.
    pub server: ServerSettings,
    /// The listener for operators.
    pub ops: OpsSettings,
    /// Engine.IO and HTTP.
    pub engine: EngineSettings,
    /// Tokens and who signs them.
    pub auth: AuthSettings,
    /// The way to the other nodes.
    pub adapter: AdapterSettings,
    /// The namespaces that exist, at least one, each once.
    pub namespaces: Vec<NamespaceSettings>,
    /// Who may join and publish where; the first match wins, no match means no.
    pub rooms: Vec<RoomRule>,
    /// Every bound of the node.
    pub limits: Limits,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Tells one configuration from another: a digest of what `print-config` shows, without where values come from. So
    /// secrets, which are not shown, have no part in it.
    pub fingerprint: String,
    /// Which spans are recorded, and where they go.
    pub traces: TracesSettings,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Address of the public listener.
    pub listen: SocketAddr,
    /// TLS, and what is in front of the node.
    pub edge: EdgeSettings,
    /// Number of shards, 1 to 64; one per core unless set.
    pub shards: usize,
    /// How long the node goes on as before after SIGTERM, while it says that it is not ready.
    pub drain_delay: Duration,
    /// Over what time the sessions are closed then.
    pub drain_window: Duration,
    /// How long SIGTERM may take from signal to exit.
    pub shutdown_timeout: Duration,
}

/// `[engine]`
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Starts and ends with a slash.
    pub path: String,
    /// Between a pong and the next ping.
    pub ping_interval: Duration,
    /// How long a pong may take.
    pub ping_timeout: Duration,
    /// How long an upgrade may take from the WebSocket's arrival to the upgrade packet.
    pub upgrade_timeout: Duration,
    /// How long a session may live without having joined a namespace.
    pub connect_timeout: Duration,
    /// Largest message, POST body or WebSocket message; told to clients as `maxPayload`.
    pub max_payload_bytes: usize,
    /// Is HTTP long-polling on?
    pub polling: bool,
    /// Is WebSocket on?
    pub websocket: bool,
    /// Origins of pages that may connect, as [`crate::engineio::AllowedOrigins`] has them.
    pub allowed_origins: Vec<String>,
    /// Poll responses of at least this many bytes are compressed where the client accepts it; `None` turns it off.
    pub compression_threshold_bytes: Option<usize>,
}

/// `[adapter]`
#[derive(Debug, Clone)]
pub enum AdapterSettings {
    /// One node alone.
    Memory,
    /// `kind = "redis"`
    Redis(Box<RedisSettings>),
}

/// `[adapter.redis]`
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// How Redis is set up; says which of `url`, `urls` and `sentinel` hold.
    pub mode: RedisMode,
    /// Of the one server; may hold a password. Empty with other modes.
    pub url: Secret,
    /// The sentinels, or some servers of the cluster. Without passwords.
    pub urls: Vec<String>,
    /// Of the servers, where it is not in the URL.
    pub login: RedisLogin,
    /// What holds with sentinels.
    pub sentinel: SentinelSettings,
    /// What holds where a URL is `rediss://`.
    pub tls: RedisTlsSettings,
    /// Channel prefix, `socket.io` unless set.
    pub prefix: String,
    /// Channel of python-socketio that is read, too.
    pub python_channel: Option<String>,
    /// Which client library.
    pub driver: RedisDriver,
    /// How long a room that became empty stays subscribed.
    pub unsubscribe_delay: Duration,
    /// How long a join waits for its subscription before it is refused.
    pub subscribe_timeout: Duration,
    /// How long a publish waits for the server's answer.
    pub publish_timeout: Duration,
    /// How long other nodes may take to answer.
    pub answer_timeout: Duration,
    /// What becomes of a publish while the server is away.
    pub when_down: WhenDown,
    /// How old the newest message that is known to get through may be before the node is not ready. `None`: any age.
    pub probe_max_age: Option<Duration>,
}

impl AdapterSettings {
    /// What becomes of a publish while the other nodes can't be reached. A node alone has none.
    pub fn when_down(&self) -> WhenDown {
        match self {
            Self::Memory => WhenDown::default(),
            Self::Redis(redis) => redis.when_down,
        }
    }

    /// `adapter.redis.probe_max_age_ms`; `None`: any age will do.
    pub fn probe_max_age(&self) -> Option<Duration> {
        match self {
            Self::Memory => None,
            Self::Redis(redis) => redis.probe_max_age,
        }
    }
}

/// `adapter.redis.when_down`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// It is refused and goes nowhere.
    #[default]
    Fail,
    /// The members on this node get it, and the publisher is told that only they did.
    Local,
}

/// `adapter.redis.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Standalone,
    /// A master with replicas, watched by sentinels.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

impl RedisMode {
    pub(super) const NAMES: &[(&'static str, Self)] =
        &[("standalone", Self::Standalone), ("sentinel", Self::Sentinel), ("cluster", Self::Cluster)];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

/// As whom to log in.
#[derive(Debug, Clone, Default)]
pub struct RedisLogin {
    /// Without one, the default user.
    pub username: Option<String>,
    /// Without one there is no log-in. Where it is in a file, what that held at the start.
    pub password: Option<Secret>,
    /// Holds the password, and is read again for each connection.
    pub password_file: Option<PathBuf>,
}

/// `adapter.redis.sentinel_*`
#[derive(Debug, Clone)]
pub struct SentinelSettings {
    /// What the sentinels call the master.
    pub master: String,
    /// Of the sentinels themselves.
    pub login: RedisLogin,
    /// Is the master spoken to over TLS?
    pub master_tls: bool,
}

/// `adapter.redis.tls_*`
#[derive(Debug, Clone, Default)]
pub struct RedisTlsSettings {
    /// Authorities to trust; without, the system's.
    pub ca_file: Option<PathBuf>,
    /// The node's certificate. With its key, or neither of them.
    pub cert_file: Option<PathBuf>,
    /// The certificate's key.
    pub key_file: Option<PathBuf>,
    /// Whom the server's certificate must name.
    pub server_name: Option<String>,
}

/// `[[namespaces]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSettings {
    /// With its slash.
    pub name: String,
    /// Do its clients need a token?
    pub authentication: Authentication,
}

/// `authentication` of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// A client without a token is refused.
    Required,
    /// A client without a token is let in; one with a bad token is refused.
    Optional,
}

/// One entry of `[[rooms]]`.
#[derive(Debug, Clone)]
pub struct RoomRule {
    /// The namespace it speaks of.
    pub namespace: String,
    /// What the room's name is matched with.
    pub room: Pattern,
    /// Who may join.
    pub join: Access,
    /// Who may publish.
    pub publish: Access,
}

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every client.
    Anyone,
    /// Clients with a token.
    Authenticated,
    /// Clients whose token names the room.
    Token,
    /// No client.
    Nobody,
}

/// `[limits]`; each is a bound that the node never passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections and polling sessions of the node.
    pub max_connections: usize,
    /// Bytes queued for one client before volatile messages are dropped and then the client is cut.
    pub max_queued_bytes: usize,
    /// Rooms that one socket may be in, its own not counted.
    pub max_rooms_per_socket: usize,
    /// Length of a room's name.
    pub max_room_name_bytes: usize,
    /// Length of an event's name.
    pub max_event_name_bytes: usize,
    /// Messages that one connection may send in a second; 0 for any number.
    pub max_messages_per_second: usize,
    /// Bytes that one connection may send in a second; 0 for any number.
    pub max_received_bytes_per_second: usize,
    /// The time whose messages and bytes may come at once.
    pub rate_burst: Duration,
    /// HTTP connections, and sessions, of one client address; 0 for any number.
    pub max_connections_per_address: usize,
    /// Sessions that one client address may ask for in a second; 0 for any number.
    pub max_handshakes_per_second_per_address: usize,
    /// TLS handshakes that one client address may begin in a second; 0 for any number.
    pub max_tls_handshakes_per_second_per_address: usize,
    /// The time whose handshakes may come at once.
    pub handshake_burst: Duration,
    /// Addresses that are not counted.
    pub address_limit_exempt: Vec<Cidr>,
    /// Sessions of the node that have not joined a namespace yet.
    pub max_pending_connections: usize,
    /// Resident memory above which there are no new sessions; 0 for any; `None`: as the control group allows.
    pub max_memory_bytes: Option<usize>,
    /// Namespaces that one connection may be in.
    pub max_namespaces_per_connection: usize,
    /// Binary attachments of one packet.
    pub max_attachments: usize,
    /// Acks of joins and publishes that one connection may be waiting for.
    pub max_pending_acks: usize,
    /// Rooms named in one publish or broadcast request of the ops API.
    pub max_rooms_per_publish: usize,
    /// Bytes of messages that may wait for one shard.
    pub max_shard_inbox_bytes: usize,
    /// Bytes of clients' messages that are not complete yet, over the node.
    pub max_inbound_buffer_bytes: usize,
    /// HTTP connections that are not WebSockets, over the node.
    pub max_http_connections: usize,
    /// Seconds an idle HTTP connection or a request's head may take.
    pub http_header_timeout: Duration,
    /// How long a request's body may take.
    pub http_body_timeout: Duration,
    /// Connections that one user may have over all nodes; 0: they are not counted.
    pub max_connections_per_user: usize,
    /// Log lines about clients' faults per second.
    pub max_client_log_lines_per_second: u32,
}

impl Limits {
    /// What one connection may send.
    pub fn connection_rate(&self) -> Rate {
        Rate::new(self.max_messages_per_second, self.max_received_bytes_per_second, self.rate_burst)
    }

    /// How often one address may ask for a session.
    pub fn handshake_rate(&self) -> Rate {
        Rate::new(self.max_handshakes_per_second_per_address, 0, self.handshake_burst)
    }

    /// How often one address may begin a TLS handshake.
    pub fn tls_handshake_rate(&self) -> Rate {
        Rate::new(self.max_tls_handshakes_per_second_per_address, 0, self.handshake_burst)
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter directives as of `tracing`, for example `info` or `broadgate=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// For collectors.
    Json,
}
