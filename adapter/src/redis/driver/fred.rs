//! The driver `fred`: the crate of that name, used for one connection. Its pools, its reconnecting, its tracking of
//! subscriptions and its check for unresponsive servers are left off.
//!
//! What it does not promise, and what is done about it:
//! - Messages come out of a ring that overwrites the oldest when the receiver is late. Here the receiver is never late:
//!   see [`reader`].
//! - `SUBSCRIBE` resolves when it is written, and the server's confirmations are thrown away. So a `PING` follows in the
//!   same pipeline, and its answer, which comes after the confirmations, is the confirmation. A pipeline, because fred
//!   reads nothing before all of it is written: a refusal of the subscription then finds the `PING` waiting, is taken for
//!   its answer, and ends the link. It would be thrown away, too, if nothing waited.
//! - Of other commands, a pipeline is flushed after each. Those that are queued one by one are flushed together, so that is
//!   how they are sent; a lock keeps those of one call together.
//! - Commands wait in a queue that is looked at when nothing is left to be read. A node that is behind with what it
//!   receives, by more than one read, is behind with its commands, too; so messages count as signs of life beside PING.

mod reader;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::fred::{
    clients::{Client, Pipeline},
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{
        ClusterHash, CustomCommand, Resp3Frame, RespVersion, Value,
        config::{
            Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig, TcpConfig, TlsConfig,
            TlsConnector,
        },
    },
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{AbortOnDrop, Commands, LinkError, Reply, Timeouts, stream};
use crate::redis::endpoint::{Address, Endpoint};

/// More than is ever in flight; beyond it a command fails, and with it the link.
const MAX_QUEUED_COMMANDS: usize = 1 << 15;

type Answer = BoxFuture<'static, Result<Resp3Frame, Error>>;

/// See [`super::Link`].
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    response_timeout: Option<Duration>,
    /// Held while the commands of one call are queued.
    queueing: Mutex<()>,
    confirmations: AtomicU64,
    /// True once fred's task has ended: what waits for an answer then waits for ever.
    lost: watch::Receiver<bool>,
    _connection: AbortOnDrop,
}

pub(super) async fn connect(
    endpoint: &Endpoint,
    timeouts: Timeouts,
    on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
) -> Result<Link, LinkError> {
    let client = client(endpoint, timeouts).await?;
    let mut connected = {
        let client = client.clone();
        async move { client.wait_for_connect().await }.boxed()
    };
    // It listens from its first poll on.
    let _not_yet = (&mut connected).now_or_never();
    let task = client.connect();
    let connection = AbortOnDrop(task.abort_handle());
    tokio::time::timeout(timeouts.connect, connected).await.map_err(|_| LinkError::Timeout)??;

    reader::spawn_in_waker(client.message_rx(), on_message, task.abort_handle());
    let (on_lost, lost) = watch::channel(false);
    tokio::spawn(async move {
        // However it ended: without a policy it does not reconnect.
        let _ended = task.await;
        on_lost.send_replace(true);
    });
    let shared = Shared {
        client,
        response_timeout: timeouts.response,
        queueing: Mutex::new(()),
        confirmations: AtomicU64::new(0),
        lost,
        _connection: connection,
    };
    Ok(Link { shared: Arc::new(shared) })
}

async fn client(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Client, LinkError> {
    let (server, tls) = match &endpoint.address {
        Address::Unix(path) => (ServerConfig::Unix { path: path.clone() }, None),
        Address::Tcp { host, port } => {
            let mut server = Server::new(host.as_str(), *port);
            let mut tls = None;
            if let Some(settings) = &endpoint.tls {
                server.tls_server_name = Some(settings.server_name(host)?.to_str().as_ref().into());
                let connector = tokio_rustls::TlsConnector::from(stream::load(settings.clone()).await?);
                tls = Some(TlsConfig::from(TlsConnector::Rustls(connector)));
            }
            (ServerConfig::Centralized { server }, tls)
        }
    };
    let (username, password) = match &endpoint.login {
        Some(login) => (login.user.clone(), Some(stream::password(login).await)),
        None => (None, None),
    };
    let config = Config { server, tls, version: RespVersion::RESP3, username, password, ..Config::default() };
    // Deadlines of answers are ours, one for all commands of a call.
    let performance =
        PerformanceConfig { default_command_timeout: Duration::ZERO, ..PerformanceConfig::default() };
    let connection = ConnectionConfig {
        connection_timeout: timeouts.connect,
        internal_command_timeout: timeouts.connect,
        max_command_attempts: 1,
        max_command_buffer_len: MAX_QUEUED_COMMANDS,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    };
    Ok(Client::new(config, Some(performance), Some(connection), None))
}

impl Link {
    pub(super) async fn lost(&self) {
        // An error means that the task which could say so is gone, and fred's with it.
        let _gone = self.shared.lost.clone().wait_for(|lost| *lost).await.is_err();
    }

    pub(super) async fn send(&mut self, commands: &Commands<'_>) -> Result<Vec<Reply>, LinkError> {
        let answers: Vec<Answer> = {
            let _queueing = self.shared.queueing.lock();
            commands.iter().map(|words| self.queue(words)).collect()
        };
        self.in_time(async {
            let mut replies = Vec::with_capacity(answers.len());
            for answer in answers {
                replies.push(Reply::from(answer.await?));
            }
            Ok(replies)
        })
        .await
    }

    pub(super) async fn subscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        let pipeline = self.shared.client.pipeline();
        pipeline.subscribe(channels).await?;
        self.confirmed(pipeline).await
    }

    pub(super) async fn subscribe_patterns(&mut self, patterns: Vec<String>) -> Result<(), LinkError> {
        let pipeline = self.shared.client.pipeline();
        pipeline.psubscribe(patterns).await?;
        self.confirmed(pipeline).await
    }

    pub(super) async fn unsubscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        let pipeline = self.shared.client.pipeline();
        pipeline.unsubscribe(channels).await?;
        self.confirmed(pipeline).await
    }

    /// Sends a command whose answers fred throws away, and resolves when the server has carried it out.
    async fn confirmed(&self, pipeline: Pipeline<Client>) -> Result<(), LinkError> {
        let mark = self.shared.confirmations.fetch_add(1, Ordering::Relaxed).to_string();
        let ping = CustomCommand::new_static("PING", ClusterHash::FirstKey, false);
        pipeline.custom::<(), _>(ping, vec![mark.as_str()]).await?;
        let answer = {
            let _queueing = self.shared.queueing.lock();
            queued(async move { pipeline.last::<Value>().await }.boxed())
        };
        let answer = self.in_time(answer).await?;
        if answer.as_bytes() == Some(mark.as_bytes()) {
            return Ok(());
        }
        Err(LinkError::Failed("the confirmation is an answer to something else".to_owned()))
    }

    /// Queues one command, with the lock held.
    fn queue(&self, words: &[&[u8]]) -> Answer {
        let client = self.shared.client.clone();
        let [name, args @ ..] = words else { unreachable!("a command has a name") };
        let name = String::from_utf8_lossy(name).into_owned();
        let args: Vec<Value> = args.iter().map(|arg| Value::Bytes(arg.to_vec().into())).collect();
        let command = CustomCommand::new(name, ClusterHash::FirstKey, false);
        queued(async move { client.custom_raw(command, args).await }.boxed())
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, LinkError> {
        let answer = async {
            tokio::select! {
                // What was answered before the end counts.
                biased;
                answer = answer => Ok(answer?),
                () = self.lost() => Err(LinkError::Failed("the connection has ended".to_owned())),
            }
        };
        let Some(timeout) = self.shared.response_timeout else { return answer.await };
        tokio::time::timeout(timeout, answer).await.map_err(|_| LinkError::Timeout)?
    }
}

/// The first poll is what puts a command into fred's queue.
fn queued<T: Send + 'static>(mut answer: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
    match (&mut answer).now_or_never() {
        Some(answered) => ready(answered).boxed(),
        None => answer,
    }
}

impl From<Resp3Frame> for Reply {
    fn from(frame: Resp3Frame) -> Self {
        match frame {
            Resp3Frame::Number { data, .. } => Self::Int(data),
            Resp3Frame::BlobString { data, .. }
            | Resp3Frame::SimpleString { data, .. }
            | Resp3Frame::VerbatimString { data, .. }
            | Resp3Frame::BigNumber { data, .. } => Self::Text(data.to_vec()),
            Resp3Frame::Double { data, .. } => Self::Text(data.to_string().into_bytes()),
            Resp3Frame::Boolean { data, .. } => Self::Int(data.into()),
            Resp3Frame::Array { data, .. } => Self::Array(data.into_iter().map(Self::from).collect()),
            Resp3Frame::Set { data, .. } => Self::Array(data.into_iter().map(Self::from).collect()),
            Resp3Frame::Map { data, .. } => {
                let flat = data.into_iter().flat_map(|(key, value)| [key, value]);
                Self::Array(flat.map(Self::from).collect())
            }
            Resp3Frame::SimpleError { data, .. } => Self::Error(data.to_string()),
            Resp3Frame::BlobError { data, .. } => Self::Error(String::from_utf8_lossy(&data).into_owned()),
            _ => Self::Nil,
        }
    }
}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        if *error.kind() == ErrorKind::Timeout { Self::Timeout } else { Self::Failed(error.to_string()) }
    }
}
