//! What shards are sent.

use std::{sync::Arc, time::Instant};

use broadgate_adapter::{Broadcast, PublishError};
use tokio::sync::oneshot;

use super::{KeysDone, PlaceDone, ShardRequest, client::NamespaceId};
use crate::engineio::{SessionId, Source};

/// What a shard's hub takes from other threads.
pub enum HubMessage {
    /// To be delivered to the members on this shard; and where it comes from.
    Broadcast(Arc<Broadcast>, Source),
    /// The same, for a caller who wants to know how many sessions it was queued for.
    CountedBroadcast(Arc<Broadcast>, oneshot::Sender<usize>),
    /// What other nodes publish to the room arrives from now on.
    Subscribed {
        /// The room's namespace.
        namespace: Arc<str>,
        /// The room.
        room: Arc<str>,
    },
    /// What other nodes publish does not arrive any more; joins wait until the rooms are subscribed again.
    LinkLost,
    /// What another node or an emitter asks.
    Request(ShardRequest),
    /// Tokens were revoked: whoever came with one is to be disconnected.
    Revoked,
    /// What became of a publish whose client wants an ack.
    Published(PublishDone),
    /// A place among a user's connections was found, or not.
    PlaceDone(PlaceDone),
    /// The keys of a client's token were fetched, or not.
    KeysDone(KeysDone),
}

/// The end of a client's publish.
pub struct PublishDone {
    pub(super) session: SessionId,
    pub(super) namespace: NamespaceId,
    pub(super) ack_id: Box<str>,
    pub(super) room: Box<str>,
    pub(super) delivered: usize,
    /// Only this node's members got it, as it was to be.
    pub(super) local_only: bool,
    pub(super) result: Result<(), PublishError>,
    /// When the client asked.
    pub(super) asked: Instant,
}
