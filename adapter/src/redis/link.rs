//! One connection to Redis. The only module that knows the driver, so that another can take its place.
//!
//! The driver does no more than frames: reconnecting, deadlines of subscriptions and what is subscribed are ours.

use std::{sync::Arc, time::Duration};

use ::redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError,
    Value,
    aio::{MultiplexedConnection, SendError},
};

use tokio::sync::Notify;

use super::StartError;

/// Where and as whom to connect.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
}

/// A message for one channel; or for two at one place in the order of everything that the server takes.
pub(crate) struct Outbound {
    pub(crate) channel: String,
    pub(crate) and_channel: Option<String>,
    pub(crate) payload: Vec<u8>,
}

impl Outbound {
    /// For one channel.
    pub(crate) fn new(channel: String, payload: Vec<u8>) -> Self {
        Self { channel, and_channel: None, payload }
    }
}

/// Why a command has no answer. Holds no secret: the driver's errors name neither user nor password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

/// A connection; clones share it, and it is closed with the last of them.
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
}

impl Server {
    /// Reads a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, StartError> {
        if url.starts_with("rediss:") {
            return Err(StartError::Tls);
        }
        // The driver's reasons may quote the URL.
        let info = url.into_connection_info().map_err(|_| StartError::Url)?;
        // The driver leaves Nagle's algorithm on: small writes would wait for the acknowledgement of the one before.
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        // RESP3 alone carries messages beside answers.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_tcp_settings(tcp).set_redis_settings(settings);
        Ok(Self { client: Client::open(info).map_err(|_| StartError::Url)? })
    }

    /// For the log: host and port alone.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Connects and logs in. Channel and payload of what is published on a subscription go to `on_message`, on the
    /// connection's reader: it must not block. Without a `response_timeout` the caller has deadlines of its own.
    pub(crate) async fn connect(
        &self,
        connect_timeout: Duration,
        response_timeout: Option<Duration>,
        on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
    ) -> Result<Link, LinkError> {
        let lost = Arc::new(Notify::new());
        let on_lost = Arc::clone(&lost);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout(response_timeout)
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
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link { connection, lost })
    }
}

impl Link {
    /// Resolves when the connection is gone. For one waiter.
    pub(crate) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Publishes a batch in one write. For each message the number of subscriptions of its (first) channel, or why
    /// the server refused it.
    pub(crate) async fn publish<'p>(
        &mut self,
        messages: impl Iterator<Item = &'p Outbound> + Clone,
    ) -> Result<Vec<Result<u64, String>>, LinkError> {
        let mut pipeline = ::redis::Pipeline::new();
        for Outbound { channel, and_channel, payload } in messages.clone() {
            match and_channel {
                None => {
                    pipeline.cmd("PUBLISH").arg(channel).arg(payload);
                }
                Some(and_channel) => {
                    pipeline.cmd("MULTI");
                    pipeline.cmd("PUBLISH").arg(channel).arg(payload);
                    pipeline.cmd("PUBLISH").arg(and_channel).arg(payload);
                    pipeline.cmd("EXEC");
                }
            }
        }
        let count = pipeline.len();
        let mut answers = self.connection.send_packed_commands(&pipeline, 0, count).await?.into_iter();
        let answer_to = |outbound: &Outbound| match outbound.and_channel {
            None => answers.next().map_or_else(no_number, subscriptions),
            // What MULTI and the commands inside say comes again in the answer to EXEC, an error of them included.
            Some(_) => match answers.nth(3) {
                Some(Value::Array(of_each)) => {
                    of_each.into_iter().next().map_or_else(no_number, subscriptions)
                }
                other => other.map_or_else(no_number, subscriptions),
            },
        };
        Ok(messages.map(answer_to).collect())
    }

    /// Resolves when the server has confirmed every channel.
    pub(crate) async fn subscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        Ok(self.connection.subscribe(channels).await?)
    }

    /// Resolves when the server has confirmed every pattern.
    pub(crate) async fn subscribe_patterns(&mut self, patterns: Vec<String>) -> Result<(), LinkError> {
        Ok(self.connection.psubscribe(patterns).await?)
    }

    /// Resolves when the server has confirmed every channel.
    pub(crate) async fn unsubscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        Ok(self.connection.unsubscribe(channels).await?)
    }

    /// How many subscriptions a channel has (`PUBSUB NUMSUB`).
    pub(crate) async fn count_subscriptions(&mut self, channel: &str) -> Result<u64, LinkError> {
        let mut command = ::redis::cmd("PUBSUB");
        command.arg("NUMSUB").arg(channel);
        // Pairs of channel and number; a map where the server speaks RESP3 fully.
        let count = match self.connection.send_packed_command(&command).await? {
            Value::Array(items) => items.into_iter().nth(1),
            Value::Map(entries) => entries.into_iter().next().map(|(_, count)| count),
            _ => None,
        };
        match count {
            Some(Value::Int(count)) => Ok(count.unsigned_abs()),
            _ => Err(LinkError::Failed("NUMSUB was not answered with a number".to_owned())),
        }
    }

    /// Resolves when the server has answered.
    pub(crate) async fn ping(&mut self) -> Result<(), LinkError> {
        match self.connection.send_packed_command(&::redis::cmd("PING")).await? {
            Value::ServerError(error) => Err(LinkError::Failed(error.to_string())),
            _ => Ok(()),
        }
    }
}

/// The answer to PUBLISH.
fn subscriptions(answer: Value) -> Result<u64, String> {
    match answer {
        Value::Int(subscriptions) => Ok(subscriptions.unsigned_abs()),
        Value::ServerError(error) => Err(error.to_string()),
        _ => no_number(),
    }
}

fn no_number() -> Result<u64, String> {
    Err("an answer that is no number".to_owned())
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Failed(error.to_string()) }
    }
}
