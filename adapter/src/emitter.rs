//! For backends written in Rust, and for command lines: publishing to a cluster without being a node of it.

use std::time::Duration;

use crate::{
    Broadcast,
    redis::{Endpoint, EndpointError, LinkError, Outbound, RedisDriver, Timeouts},
    wire::{self, Channels, EncodeError, Limits},
};

/// What emitters call themselves instead of a node's uid, so that no node takes their messages for its own.
pub const EMITTER_UID: &str = "emitter";

/// How long [`publish_once`] takes at most to connect, and again to be answered.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What to `PUBLISH` where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The channel's name.
    pub channel: String,
    /// The message, as `@socket.io/redis-emitter` writes it but for the order of the options and the stamp.
    pub payload: Vec<u8>,
}

/// Why [`publish_once`] failed. Never repeats the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The URL can't be used.
    #[error("the Redis URL can't be used: {0}")]
    Url(#[from] EndpointError),
    /// The event can't be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Redis could not be reached, or refused.
    #[error("Redis did not take the message: {0}")]
    Redis(String),
}

/// Writes a broadcast for any client of Redis to publish. `prefix` is the cluster's, `socket.io` by default. When it is
/// published is said by [`Broadcast::stamp`]; nodes measure their latency from there.
///
/// # Errors
/// If the event is no valid JSON, names an attachment that is not there, or is beyond what nodes take by default.
pub fn encode(prefix: &str, broadcast: &Broadcast) -> Result<Publication, EncodeError> {
    // Node.js servers have no bound on the depth, and Broadgate nodes none that JSON from here could pass.
    let limits = Limits { max_depth: 128, ..Limits::default() };
    Ok(Publication {
        channel: Channels::new(prefix).publish(&broadcast.namespace, &broadcast.rooms),
        payload: wire::encode_tuple(EMITTER_UID, broadcast, &limits)?,
    })
}

/// Connects, publishes one broadcast and disconnects. Gives the number of subscriptions that Redis handed it to: those
/// of Broadgate nodes with members, and every Node.js server's.
///
/// # Errors
/// If the URL or the event is unusable, or Redis does not answer in time.
pub async fn publish_once(url: &str, prefix: &str, broadcast: &Broadcast) -> Result<u64, EmitError> {
    let publication = encode(prefix, broadcast)?;
    let endpoint = Endpoint::parse(url)?;
    let timeouts = Timeouts { connect: TIMEOUT, response: Some(TIMEOUT) };
    let redis = |error: LinkError| EmitError::Redis(error.to_string());
    let mut link = RedisDriver::default().connect(&endpoint, timeouts, |_, _| {}).await.map_err(redis)?;
    let message = Outbound::new(publication.channel, publication.payload);
    let answers = link.publish(std::iter::once(&message)).await.map_err(redis)?;
    answers.into_iter().next().unwrap_or(Ok(0)).map_err(EmitError::Redis)
}
