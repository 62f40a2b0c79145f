//! Socket.IO on a shard: sockets in namespaces and rooms, what clients ask for, and the fan-out of broadcasts. Runs as
//! the [`Application`](crate::engineio::Application) of the shard's Engine.IO server.

mod client;
mod commands;
mod directory;
mod fanout;
mod packets;
mod policy;
mod shard_hub;

pub use policy::Policy;
pub use shard_hub::{Hub, HubMessage, HubSpec};

use std::sync::Arc;

use broadgate_adapter::Broadcast;

use crate::{engineio::EngineMessage, runtime::Inbox};

/// Hands a broadcast to a shard; false where its inbox was full and the broadcast is lost there, which is counted.
pub(crate) fn send_broadcast(inbox: &Inbox<EngineMessage<HubMessage>>, broadcast: &Arc<Broadcast>) -> bool {
    let attachments: usize = broadcast.packet.attachments.iter().map(bytes::Bytes::len).sum();
    let bytes = broadcast.packet.json.len() + attachments;
    let message = EngineMessage::Application(HubMessage::Broadcast(Arc::clone(broadcast)));
    inbox.send_bounded(message, bytes).is_ok()
}
