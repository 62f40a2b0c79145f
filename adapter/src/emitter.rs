//! For backends written in Rust, and for command lines: publishing to a cluster without being a node of it.

use std::time::Duration;

use ::redis::Value;

use crate::{
    Broadcast,
    redis::{StartError, client, connection_config},
    wire::{self, Channels, EncodeError},
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
    /// The message, as `@socket.io/redis-emitter` writes it but for the order of the options.
    pub payload: Vec<u8>,
}

/// Why [`publish_once`] failed. Never repeats the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The URL can't be used.
    #[error(transparent)]
    Url(#[from] StartError),
    /// The event can't be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Redis could not be reached, or refused.
    #[error("Redis did not take the message: {0}")]
    Redis(#[from] ::redis::RedisError),
}

/// Writes a broadcast for any client of Redis to publish. `prefix` is the cluster's, `socket.io` by default.
///
/// # Errors
/// If the event is no valid JSON, or names an attachment that is not there.
pub fn encode(prefix: &str, broadcast: &Broadcast) -> Result<Publication, EncodeError> {
    Ok(Publication {
        channel: Channels::new(prefix).publish(&broadcast.namespace, &broadcast.rooms),
        payload: wire::encode_tuple(EMITTER_UID, broadcast)?,
    })
}

/// Connects, publishes one broadcast and disconnects. Gives the number of subscriptions that Redis handed it to: those
/// of Broadgate nodes with members, and every Node.js server's.
///
/// # Errors
/// If the URL or the event is unusable, or Redis does not answer in time.
pub async fn publish_once(url: &str, prefix: &str, broadcast: &Broadcast) -> Result<u64, EmitError> {
    let publication = encode(prefix, broadcast)?;
    let config = connection_config(TIMEOUT).set_response_timeout(Some(TIMEOUT));
    let mut connection = client(url)?.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = ::redis::cmd("PUBLISH");
    command.arg(publication.channel).arg(publication.payload);
    match connection.send_packed_command(&command).await? {
        Value::Int(receivers) => Ok(receivers.unsigned_abs()),
        Value::ServerError(error) => Err(EmitError::Redis(error.into())),
        _ => Ok(0),
    }
}
