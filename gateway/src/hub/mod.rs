//! Socket.IO on a shard: sockets in namespaces and rooms, what clients ask for, and the fan-out of broadcasts. Runs as
//! the [`Application`](crate::engineio::Application) of the shard's Engine.IO server.

mod access;
mod client;
mod client_acks;
mod commands;
mod connecting;
mod directory;
mod fanout;
mod identity;
mod message;
mod moved_identity;
mod moving;
mod packets;
mod pending;
mod places;
mod policy;
mod refused;
mod requests;
mod revoked;
mod selection;
mod shard_hub;
mod tokens;
mod traced;
mod waiting_joins;

pub use connecting::KeysDone;
pub use identity::TokenRules;
pub use message::HubMessage;
pub use places::PlaceDone;
pub use policy::{Denied, Policy};
pub(crate) use requests::ShardAnswer;
pub use requests::ShardRequest;
pub use shard_hub::{Hub, HubSpec};

use std::sync::Arc;

use broadgate_adapter::{Broadcast, Origin, Request, RequestKind, Responder};
use tokio::sync::oneshot;

use crate::{
    engineio::{EngineMessage, Source},
    runtime::Inbox,
};

/// What a request counts in a shard's inbox, about, so that many small ones are bounded, too.
const REQUEST_BYTES: usize = 256;

/// Hands a broadcast to a shard; false where its inbox was full and the broadcast is lost there, which is counted.
pub(crate) fn send_broadcast(
    inbox: &Inbox<EngineMessage<HubMessage>>,
    broadcast: &Arc<Broadcast>,
    source: Source,
) -> bool {
    let message = HubMessage::Broadcast(Arc::clone(broadcast), source);
    inbox.send_bounded(EngineMessage::Application(message), payload_bytes(broadcast)).is_ok()
}

/// The same, for a caller who wants to know how many sessions of the shard it was queued for.
pub(crate) fn send_counted(
    inbox: &Inbox<EngineMessage<HubMessage>>,
    broadcast: &Arc<Broadcast>,
) -> oneshot::Receiver<usize> {
    let (reply, reached) = oneshot::channel();
    let message = HubMessage::CountedBroadcast(Arc::clone(broadcast), reply);
    // One that does not fit drops its `reply`: it reached nobody.
    let _taken = inbox.send_bounded(EngineMessage::Application(message), payload_bytes(broadcast));
    reached
}

/// Hands a request to a shard; its answer does not come where the shard's inbox was full or the shard is gone.
pub(crate) fn send_request(
    inbox: &Inbox<EngineMessage<HubMessage>>,
    request: &Arc<Request>,
    responder: &Responder,
    origin: Origin,
) -> oneshot::Receiver<ShardAnswer> {
    let (reply, answer) = oneshot::channel();
    let bytes = match &request.kind {
        RequestKind::Broadcast { broadcast, .. } => payload_bytes(broadcast),
        _ => 0,
    };
    let message = ShardRequest { request: Arc::clone(request), responder: responder.clone(), origin, reply };
    let message = EngineMessage::Application(HubMessage::Request(message));
    let _taken = inbox.send_bounded(message, bytes + REQUEST_BYTES);
    answer
}

/// What a broadcast holds while it waits.
fn payload_bytes(broadcast: &Broadcast) -> usize {
    /// The broadcast itself, its place in the inbox, and the allocations of its parts.
    const OVERHEAD_BYTES: usize = 256;
    let attachments: usize = broadcast.packet.attachments.iter().map(bytes::Bytes::len).sum();
    let names: usize = broadcast.rooms.iter().chain(&broadcast.except).map(|name| name.len() + 16).sum();
    broadcast.packet.json.len() + attachments + names + OVERHEAD_BYTES
}
