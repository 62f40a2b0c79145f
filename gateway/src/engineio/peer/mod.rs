//! Sessions of other nodes: clients' requests for them that come here ([`ask`]), requests for ours that came elsewhere
//! ([`own`]), and upgrades that move a session to the node where its WebSocket is ([`visit`] there, [`leave`] here).
//! ARCHITECTURE.md, "Moving a session", tells why nothing is lost or doubled on the way.

mod ask;
mod gate;
mod leave;
mod message;
mod order;
mod own;
mod visit;

use std::{sync::Arc, time::Duration};

use broadgate_adapter::{Engine, EngineFuture, NodeTargets, SendError};
use bytes::Bytes;
use futures_util::FutureExt;

use super::{EngineMessage, IdKey, IdText, NodeId, SessionId};
use crate::runtime::Inbox;

pub(super) use ask::{Asks, RemoteOwner};
pub use gate::{Gate, Source};
pub(super) use leave::Leave;
pub use message::PeerDecodeError;
pub(super) use message::{Direction, Header, PeerMessage, VisitId};
pub use order::PublishOrder;
pub(super) use own::PeerReply;
pub(super) use visit::Visit;

/// The way to the other nodes.
pub struct Peers {
    /// This node.
    pub node: NodeId,
    /// Carries the messages.
    pub engine: Arc<dyn Engine>,
    /// See there.
    pub order: Arc<PublishOrder>,
    /// How long another node may take to answer what it can answer at once, and for each step of a move.
    pub answer_timeout: Duration,
}

/// The other side of a session on its way: its visit at the node that takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visitor {
    pub(super) node: NodeId,
    pub(super) shard: u8,
    pub(super) visit: VisitId,
}

/// A message of another node for one shard, its body unread.
#[derive(Debug)]
pub struct PeerDelivery {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
}

impl PeerDelivery {
    /// Reads the header; returns the message with the number of the shard that it is for.
    ///
    /// # Errors
    /// It is no message of a node.
    pub fn read(node: NodeId, bytes: Bytes) -> Result<(u8, Self), PeerDecodeError> {
        let header = Header::decode(&bytes)?;
        Ok((header.shard_on(node), Self { header, bytes }))
    }

    /// Reads the body, too, and writes both again: for the fuzz target.
    #[doc(hidden)]
    pub fn rewritten(&self) -> Result<Bytes, PeerDecodeError> {
        Ok(PeerMessage::decode(&self.bytes)?.encode(&self.header))
    }

    /// What it holds while it waits.
    pub fn held_bytes(&self) -> usize {
        /// Its place in the inbox, and the allocation.
        const OVERHEAD_BYTES: usize = 128;
        self.bytes.len() + OVERHEAD_BYTES
    }
}

impl Peers {
    fn send(
        &self,
        to: NodeId,
        direction: Direction,
        (owner_shard, asker_shard): (u8, u8),
        message: &PeerMessage,
    ) -> EngineFuture<Result<(), SendError>> {
        let header = Header { direction, owner_shard, asker_shard, from: self.node };
        self.engine.send(NodeTargets::One(to.as_str()), message.encode(&header))
    }

    /// Is the node there, as far as this one has heard?
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.id_key(node).is_some()
    }

    /// What a node seals its ids with; `None`: it was not heard of lately, or does not say.
    pub(super) fn id_key(&self, node: NodeId) -> Option<IdKey> {
        self.engine.id_key(node.as_str()).filter(|key| *key != 0).map(IdKey)
    }

    /// To the shard that owns `session`; `asker_shard` is ours.
    pub(super) fn to_owner(
        &self,
        session: IdText,
        asker_shard: u8,
        message: &PeerMessage,
    ) -> EngineFuture<Result<(), SendError>> {
        let (node, id) = session.parts();
        self.send(node, Direction::Owner, (id.shard, asker_shard), message)
    }

    /// To the application that had a session whose id, or a socket's, this is.
    pub fn tell_application(&self, owner: IdText, asker_shard: u8, data: Vec<u8>) {
        let sent = self.to_owner(owner, asker_shard, &PeerMessage::Application { data: data.into() });
        // Sent is sent: the future tells of its arrival only.
        drop(sent);
    }

    /// To a shard that asked; `owner_shard` is ours.
    pub(super) fn to_asker(
        &self,
        (node, asker_shard): (NodeId, u8),
        owner_shard: u8,
        message: &PeerMessage,
    ) -> EngineFuture<Result<(), SendError>> {
        self.send(node, Direction::Asker, (owner_shard, asker_shard), message)
    }

    /// To this node and the visitor's, at one place in the order of everything that Redis takes.
    pub(super) fn to_both(
        &self,
        visitor: Visitor,
        owner_shard: u8,
        message: &PeerMessage,
    ) -> EngineFuture<Result<(), SendError>> {
        let header =
            Header { direction: Direction::Both, owner_shard, asker_shard: visitor.shard, from: self.node };
        let to = NodeTargets::Two(visitor.node.as_str(), self.node.as_str());
        self.engine.send(to, message.encode(&header))
    }
}

/// Lets a shard know if a message about one of its sessions did not arrive.
pub(super) fn watch<M: Send + 'static>(
    mut sent: EngineFuture<Result<(), SendError>>,
    inbox: &Inbox<EngineMessage<M>>,
    session: SessionId,
) {
    let unreachable = move |inbox: &Inbox<EngineMessage<M>>| {
        inbox.send(EngineMessage::PeerUnreachable(session));
    };
    match (&mut sent).now_or_never() {
        Some(Ok(())) => {}
        Some(Err(_)) => unreachable(inbox),
        None => {
            let inbox = inbox.clone();
            tokio::task::spawn_local(async move {
                if sent.await.is_err() {
                    unreachable(&inbox);
                }
            });
        }
    }
}
