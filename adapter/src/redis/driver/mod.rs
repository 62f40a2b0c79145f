//! The drivers: client libraries that connect to one Redis server and frame commands, answers and messages. Only the
//! modules below know them; what they can do is the same small set, and what more there is is made of it here.
//!
//! A driver does no more than frames: reconnecting, deadlines of subscriptions and what is subscribed are ours.

mod commands;
mod fred;
mod redis;
mod reply;
mod stream;

use std::time::Duration;

use tokio::task::AbortHandle;

use super::endpoint::Endpoint;
pub(crate) use commands::{Commands, executed};
pub(crate) use reply::Reply;

/// Which client library connects to Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedisDriver {
    /// The `redis` crate.
    #[default]
    Redis,
    /// The `fred` crate.
    Fred,
}

/// A driver's task, which owns the socket. It must end with the link: it would outlive whoever asked for the connection,
/// and what a server that hung sends later would still be delivered, beside what comes on the next link.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long one link waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For the connection, with its log-in.
    pub(crate) connect: Duration,
    /// For the answers to commands. Without it, whoever uses the link has deadlines of its own.
    pub(crate) response: Option<Duration>,
}

/// Why a command has no answer. Holds no secret: the drivers' errors name neither user nor password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

/// A connection; clones share it, and it is closed with the last of them.
#[derive(Clone)]
pub(crate) enum Link {
    Redis(redis::Link),
    Fred(fred::Link),
}

/// A message for one channel; or for two at one place in the order of everything that the server takes.
pub(crate) struct Outbound {
    pub(crate) channel: String,
    pub(crate) and_channel: Option<String>,
    pub(crate) payload: Vec<u8>,
}

impl RedisDriver {
    /// Connects and logs in. Channel and payload of what is published on a subscription go to `on_message`, in the order
    /// in which the server sent them, on the connection's reader: it must not block.
    pub(crate) async fn connect(
        self,
        endpoint: &Endpoint,
        timeouts: Timeouts,
        on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
    ) -> Result<Link, LinkError> {
        match self {
            Self::Redis => redis::connect(endpoint, timeouts, on_message).await.map(Link::Redis),
            Self::Fred => fred::connect(endpoint, timeouts, on_message).await.map(Link::Fred),
        }
    }
}

impl Link {
    /// Resolves when the connection is gone. For one waiter.
    pub(crate) async fn lost(&self) {
        match self {
            Self::Redis(link) => link.lost().await,
            Self::Fred(link) => link.lost().await,
        }
    }

    /// The answers to `commands`, one for each. The order of calls is that in which the futures are polled first, outside
    /// of tokio's budget.
    pub(crate) async fn send(&mut self, commands: &Commands<'_>) -> Result<Vec<Reply>, LinkError> {
        match self {
            Self::Redis(link) => link.send(commands).await,
            Self::Fred(link) => link.send(commands).await,
        }
    }

    /// Resolves when the server has confirmed every channel.
    pub(crate) async fn subscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        match self {
            Self::Redis(link) => link.subscribe(channels).await,
            Self::Fred(link) => link.subscribe(channels).await,
        }
    }

    /// Resolves when the server has confirmed every pattern.
    pub(crate) async fn subscribe_patterns(&mut self, patterns: Vec<String>) -> Result<(), LinkError> {
        match self {
            Self::Redis(link) => link.subscribe_patterns(patterns).await,
            Self::Fred(link) => link.subscribe_patterns(patterns).await,
        }
    }

    /// Resolves when the server has confirmed every channel.
    pub(crate) async fn unsubscribe(&mut self, channels: Vec<String>) -> Result<(), LinkError> {
        match self {
            Self::Redis(link) => link.unsubscribe(channels).await,
            Self::Fred(link) => link.unsubscribe(channels).await,
        }
    }

    /// Publishes a batch in one write. For each message the number of subscriptions of its (first) channel, or why the
    /// server refused it.
    pub(crate) async fn publish<'a>(
        &mut self,
        batch: impl Iterator<Item = &'a Outbound> + Clone,
    ) -> Result<Vec<Result<u64, String>>, LinkError> {
        let mut commands = Commands::default();
        for outbound in batch.clone() {
            outbound.push_commands(&mut commands);
        }
        let mut replies = self.send(&commands).await?.into_iter();
        Ok(batch.map(|outbound| outbound.outcome(&mut replies)).collect())
    }

    /// The answer to one command; what the server refuses is an answer, too.
    pub(crate) async fn query<const N: usize>(&mut self, words: [&str; N]) -> Result<Reply, LinkError> {
        let mut commands = Commands::default();
        commands.push(words.map(str::as_bytes));
        self.send(&commands).await?.pop().ok_or_else(|| unexpected(words[0]))
    }

    /// How many subscriptions a channel has (`PUBSUB NUMSUB`).
    pub(crate) async fn count_subscriptions(&mut self, channel: &str) -> Result<u64, LinkError> {
        // Pairs of channel and number.
        let pairs = match self.query(["PUBSUB", "NUMSUB", channel]).await? {
            Reply::Array(pairs) => pairs,
            Reply::Error(error) => return Err(LinkError::Failed(error)),
            _ => return Err(unexpected("PUBSUB NUMSUB")),
        };
        match pairs.as_slice() {
            [_, Reply::Int(count)] => Ok(count.unsigned_abs()),
            _ => Err(unexpected("PUBSUB NUMSUB")),
        }
    }

    /// Resolves when the server has answered.
    pub(crate) async fn ping(&mut self) -> Result<(), LinkError> {
        match self.query(["PING"]).await? {
            Reply::Text(text) if text == b"PONG" => Ok(()),
            Reply::Error(error) => Err(LinkError::Failed(error)),
            _ => Err(unexpected("PING")),
        }
    }
}

impl Outbound {
    /// For one channel.
    pub(crate) fn new(channel: String, payload: Vec<u8>) -> Self {
        Self { channel, and_channel: None, payload }
    }

    fn push_commands<'a>(&'a self, commands: &mut Commands<'a>) {
        let publish = |channel: &'a str| [b"PUBLISH".as_slice(), channel.as_bytes(), &self.payload];
        let Some(and_channel) = &self.and_channel else { return commands.push(publish(&self.channel)) };
        commands.push([b"MULTI"]);
        commands.push(publish(&self.channel));
        commands.push(publish(and_channel));
        commands.push([b"EXEC"]);
    }

    /// Takes the answers to its commands.
    fn outcome(&self, replies: &mut impl Iterator<Item = Reply>) -> Result<u64, String> {
        if self.and_channel.is_none() {
            return subscriptions(replies.next());
        }
        subscriptions(executed(replies, 2)?.into_iter().next())
    }
}

/// The answer to `PUBLISH`.
fn subscriptions(answer: Option<Reply>) -> Result<u64, String> {
    match answer {
        Some(Reply::Int(subscriptions)) => Ok(subscriptions.unsigned_abs()),
        Some(Reply::Error(error)) => Err(error),
        _ => Err("an answer that is no number".to_owned()),
    }
}

fn unexpected(command: &str) -> LinkError {
    LinkError::Failed(format!("{command} was answered with something else"))
}

#[cfg(test)]
mod tests;
