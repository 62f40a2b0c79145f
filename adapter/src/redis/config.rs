//! What a [`super::RedisEngine`] is started with.

use std::{fmt, time::Duration};

use super::{
    driver::RedisDriver,
    endpoint::{EndpointError, Login},
    tls::{TlsError, TlsSettings},
    topology::Servers,
};
use crate::{is_node_name, wire::Limits};

/// Settings of the Redis engine. [`RedisConfig::new`] fills in what has a sensible default.
#[derive(Clone)]
pub struct RedisConfig {
    /// Where Redis is.
    pub servers: Servers,
    /// As whom to log in to the servers whose URLs don't say.
    pub login: Option<Login>,
    /// What holds where a URL asks for TLS.
    pub tls: TlsSettings,
    /// Which client library.
    pub driver: RedisDriver,
    /// What all channels start with; `key` in Node's adapter and emitter.
    pub prefix: String,
    /// The channel of python-socketio (`socketio` by its default) and Flask-SocketIO that is read, too, so that such
    /// backends can publish.
    pub python_channel: Option<String>,
    /// The node's name, see [`is_node_name`]: in what it publishes, so that it knows its own messages, and in the channel
    /// by which others send to it.
    pub uid: String,
    /// The version of the node's software, for the others: plain text of at most 64 characters.
    pub version: String,
    /// How often the node says hello; one that is not heard for three turns is lost. The same on every node.
    pub hello_interval: Duration,
    /// What the ids of this node's sockets start with: one pattern serves the unicasts to all of them. Empty: none.
    pub node_prefix: String,
    /// What the ids of this node's sessions are keyed with; other nodes are told. 0: nothing.
    pub id_key: u128,
    /// The namespaces of the node, with their slash.
    pub namespaces: Vec<String>,
    /// How long a room stays subscribed after the last one left.
    pub unsubscribe_delay: Duration,
    /// Rooms that may stay subscribed so; beyond it, those that were left first are unsubscribed at once.
    pub max_idle_subscriptions: usize,
    /// How long Redis may take to answer a publish.
    pub publish_timeout: Duration,
    /// How long Redis may take to confirm a batch of subscriptions.
    pub subscribe_timeout: Duration,
    /// How long Redis may take to count the nodes of a namespace.
    pub count_timeout: Duration,
    /// How long other nodes may take to answer a request of this one; what is there then is the answer.
    pub answer_timeout: Duration,
    /// How long a connection may take to be made, with its log-in.
    pub connect_timeout: Duration,
    /// How often a link that has nothing else to say is checked.
    pub ping_interval: Duration,
    /// How long Redis may take to answer such a check.
    pub ping_timeout: Duration,
    /// What a received or published message may hold at most; the same on every node, or what one publishes another
    /// refuses.
    pub limits: Limits,
    /// Bytes that wait for Redis to take them at most; beyond, a publish fails.
    pub max_publish_queue_bytes: usize,
}

impl RedisConfig {
    /// A configuration with the defaults: prefix `socket.io`, namespace `/`.
    #[must_use]
    pub fn new(url: impl Into<String>, uid: impl Into<String>, node_prefix: impl Into<String>) -> Self {
        Self {
            servers: Servers::Standalone { url: url.into() },
            login: None,
            tls: TlsSettings::default(),
            driver: RedisDriver::default(),
            prefix: "socket.io".to_owned(),
            python_channel: None,
            uid: uid.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hello_interval: Duration::from_secs(2),
            node_prefix: node_prefix.into(),
            id_key: 0,
            namespaces: vec!["/".to_owned()],
            unsubscribe_delay: Duration::from_secs(10),
            max_idle_subscriptions: 10_000,
            publish_timeout: Duration::from_secs(3),
            subscribe_timeout: Duration::from_secs(10),
            count_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(3),
            limits: Limits::default(),
            max_publish_queue_bytes: 64 << 20,
        }
    }

    pub(super) fn check(&self) -> Result<(), StartError> {
        if let Some(namespace) =
            self.namespaces.iter().find(|name| !name.starts_with('/') || name.contains('#'))
        {
            return Err(StartError::Namespace(namespace.clone()));
        }
        if self.python_channel.as_ref().is_some_and(|name| name.is_empty() || name.contains('#')) {
            return Err(StartError::PythonChannel);
        }
        if self.prefix.contains('#') {
            return Err(StartError::Prefix);
        }
        if !is_node_name(&self.uid) {
            return Err(StartError::Uid);
        }
        Ok(())
    }
}

/// Nothing that may hold a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisConfig")
            .field("servers", &self.servers)
            .field("driver", &self.driver)
            .field("prefix", &self.prefix)
            .field("uid", &self.uid)
            .field("node_prefix", &self.node_prefix)
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

/// Why an engine can't be started at all. That Redis is away is no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The URL can't be used. Does not repeat it, as it may hold a password.
    #[error("the Redis URL can't be used: {0}")]
    Url(#[from] EndpointError),
    /// A URL asks for TLS, which can't be.
    #[error("TLS to Redis can't be used: {0}")]
    Tls(#[from] TlsError),
    /// Sentinels or a cluster, and not one of them named.
    #[error("there is no Redis URL")]
    NoServers,
    /// Sentinels or a cluster, some with TLS and some without.
    #[error("the Redis URLs must all ask for TLS (rediss://), or none of them")]
    MixedTls,
    /// Sentinels or a cluster tell each other's addresses, and a socket's path is none.
    #[error("sentinels and the servers of a cluster can't be on Unix sockets")]
    UnixSocket,
    /// Its channels would be mistaken for those of another namespace.
    #[error("the namespace {0:?} must start with / and not contain #")]
    Namespace(String),
    /// The node would take the messages of others for its own, or could not be sent to.
    #[error("the uid must be 1 to 32 letters, digits, - or _, and neither \"emitter\" nor \"revocations\"")]
    Uid,
    /// It would be mistaken for a channel of nodes.
    #[error("the channel of python-socketio must not be empty or contain #")]
    PythonChannel,
    /// Its channels would be mistaken for those of another prefix.
    #[error("the prefix must not contain #")]
    Prefix,
}
