//! The driver `redis`: the crate of that name.

use std::sync::Arc;

use ::redis::{
    AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::sync::Notify;

use super::{AbortOnDrop, Commands, LinkError, Reply, Timeouts, stream};
use crate::redis::endpoint::Endpoint;

/// See [`super::Link`].
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
    _reader: Arc<AbortOnDrop>,
}

pub(super) async fn connect(
    endpoint: &Endpoint,
    timeouts: Timeouts,
    on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
) -> Result<Link, LinkError> {
    let lost = Arc::new(Notify::new());
    let on_lost = Arc::clone(&lost);
    let config = AsyncConnectionConfig::new().set_response_timeout(timeouts.response).set_push_sender(
        move |push: PushInfo| {
            match (&push.kind, push.data.as_slice()) {
                (PushKind::Message, [Value::BulkString(channel), Value::BulkString(payload)])
                | (PushKind::PMessage, [_, Value::BulkString(channel), Value::BulkString(payload)]) => {
                    on_message(channel, payload);
                }
                (PushKind::Disconnection, _) => on_lost.notify_one(),
                _ => {}
            }
            Ok::<(), SendError>(())
        },
    );
    let login = login(endpoint).await;
    let connected = tokio::time::timeout(timeouts.connect, async {
        let stream = stream::open(endpoint).await?;
        Ok::<_, LinkError>(MultiplexedConnection::new_with_config(&login, stream, config).await?)
    });
    let (connection, reader) = connected.await.map_err(|_| LinkError::Timeout)??;
    Ok(Link { connection, lost, _reader: Arc::new(AbortOnDrop(tokio::spawn(reader).abort_handle())) })
}

async fn login(endpoint: &Endpoint) -> RedisConnectionInfo {
    // RESP3 alone carries messages beside answers.
    let mut info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
    if let Some(login) = &endpoint.login {
        info = info.set_password(stream::password(login).await);
        if let Some(user) = &login.user {
            info = info.set_username(user);
        }
    }
    info
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
