//! The driver `redis`: the crate of that name.

use std::sync::Arc;

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::sync::Notify;

use super::{Commands, LinkError, Reply, Timeouts};
use crate::redis::endpoint::{Address, Endpoint};

/// See [`super::Link`].
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
}

pub(super) async fn connect(
    endpoint: &Endpoint,
    timeouts: Timeouts,
    on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
) -> Result<Link, LinkError> {
    let client = client(endpoint)?;
    let lost = Arc::new(Notify::new());
    let on_lost = Arc::clone(&lost);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeouts.connect))
        .set_response_timeout(timeouts.response)
        .set_push_sender(move |push: PushInfo| {
            match (&push.kind, push.data.as_slice()) {
                (PushKind::Message, [Value::BulkString(channel), Value::BulkString(payload)])
                | (PushKind::PMessage, [_, Value::BulkString(channel), Value::BulkString(payload)]) => {
                    on_message(channel, payload);
                }
                (PushKind::Disconnection, _) => on_lost.notify_one(),
                _ => {}
            }
            Ok::<(), SendError>(())
        });
    let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    Ok(Link { connection, lost })
}

fn client(endpoint: &Endpoint) -> Result<Client, LinkError> {
    if endpoint.tls {
        return Err(LinkError::Failed("TLS is not built in".to_owned()));
    }
    let address = match &endpoint.address {
        Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    // RESP3 alone carries messages beside answers.
    let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
    if let Some(login) = &endpoint.login {
        settings = settings.set_password(&login.password);
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
    }
    let info = address.into_connection_info()?.set_redis_settings(settings);
    // The driver leaves Nagle's algorithm on: small writes would wait for the acknowledgement of the one before.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(Client::open(info.set_tcp_settings(tcp))?)
}

impl Link {
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    pub(super) async fn send(&mut self, commands: &Commands<'_>) -> Result<Vec<Reply>, LinkError> {
        let count = commands.iter().len();
        let mut pipeline = Pipeline::with_capacity(count);
        for words in commands.iter() {
            let mut command = Cmd::with_capacity(words.len(), words.iter().map(|word| word.len()).sum());
            command.arg(words);
            pipeline.add_command(command);
        }
        let answers = self.connection.send_packed_commands(&pipeline, 0, count).await?;
        Ok(answers.into_iter().map(Reply::from).collect())
    }

    pub(super) async fn subscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        Ok(self.connection.subscribe(channels).await?)
    }

    pub(super) async fn subscribe_patterns(&mut self, patterns: Vec<String>) -> Result<(), LinkError> {
        Ok(self.connection.psubscribe(patterns).await?)
    }

    pub(super) async fn unsubscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        Ok(self.connection.unsubscribe(channels).await?)
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => Self::Int(number),
            Value::BulkString(bytes) => Self::Text(bytes),
            Value::SimpleString(text) | Value::VerbatimString { text, .. } => Self::Text(text.into_bytes()),
            Value::Okay => Self::Text(b"OK".to_vec()),
            Value::Double(number) => Self::Text(number.to_string().into_bytes()),
            Value::Boolean(yes) => Self::Int(yes.into()),
            Value::Array(items) | Value::Set(items) => {
                Self::Array(items.into_iter().map(Self::from).collect())
            }
            Value::Map(entries) => {
                let flat = entries.into_iter().flat_map(|(key, value)| [key, value]);
                Self::Array(flat.map(Self::from).collect())
            }
            Value::Attribute { data, .. } => Self::from(*data),
            // As the server wrote it; `Display` has names of the crate's own for some codes.
            Value::ServerError(error) => Self::Error(match error.details() {
                Some(details) => format!("{} {details}", error.code()),
                None => error.code().to_owned(),
            }),
            // Pushes are no answers, and nothing here asks for a number beyond 64 bits.
            _ => Self::Nil,
        }
    }
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Failed(error.to_string()) }
    }
}
