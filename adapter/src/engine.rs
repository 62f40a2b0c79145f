//! The trait that every engine implements, and the values that cross it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    Answers, Durations, NodeInfo, NodeTargets, Origin, Request, RequestError, RequestKind, Responder,
    Revocation, RevocationChange, SendError, Stamp,
};

/// One Socket.IO event as every transport and every wire format can be made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPacket {
    /// The event's JSON array, `["name", arg, ...]`, with `{"_placeholder":true,"num":k}` where attachment `k` stands
    /// (wire.md 2.1). Valid JSON, first item a string.
    pub json: Box<str>,
    /// The binary attachments, in the order of their numbers. Empty for an event without binary.
    pub attachments: Vec<Bytes>,
}

/// How a broadcast wants to be delivered (the flags of wire.md 3.1 that a receiver acts on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// May be dropped for a socket that can't take it at this moment.
    pub volatile: bool,
    /// `compress: false` was asked for: HTTP compression of a poll that holds only such packets is left out.
    pub no_compress: bool,
}

/// One event for a set of sockets of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// With its slash: `/`, `/chat`.
    pub namespace: Box<str>,
    /// Union of these rooms, each socket once. Empty: everyone in the namespace.
    pub rooms: Vec<Box<str>>,
    /// Members of these rooms are left out.
    pub except: Vec<Box<str>>,
    /// See [`Flags`].
    pub flags: Flags,
    /// When and in which trace it was published, where the publisher says. On the publisher's clock.
    pub stamp: Stamp,
    /// The event.
    pub packet: EventPacket,
}

/// Who holds an interest: the number of a shard, chosen by the caller, below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(pub u8);

/// What an engine tells the node. Events about one room come in order. After [`Event::LinkLost`], no room is in force
/// any more until its next [`Event::Subscribed`], and those of the new link come after that event.
#[derive(Debug)]
pub enum Event {
    /// A broadcast of another node or of an emitter. Never one that this engine published itself.
    Broadcast(Arc<Broadcast>, Origin),
    /// Another node or an emitter asks for something, or a command of this node came back. The node answers through
    /// the [`Responder`] well within five seconds, which is how long Node.js servers wait.
    Request(Arc<Request>, Responder, Origin),
    /// What another node sent to this one with [`Engine::send`]. It comes in one order with the broadcasts and requests:
    /// that in which the server took them.
    NodeMessage {
        /// As it was sent; who sent it is the matter of those who read it.
        payload: Bytes,
    },
    /// `subscriber` asked for the room with [`Engine::subscribe`], and from now on what is published to it arrives. Told
    /// once for each call, and again to each subscriber of the room when it is confirmed on a new link.
    Subscribed {
        /// Who asked.
        subscriber: SubscriberId,
        /// The room's namespace.
        namespace: Arc<str>,
        /// The room.
        room: Arc<str>,
    },
    /// A node or a backend has tokens refused, or refused no more. On each new link all that is in force is told again,
    /// so that what was missed is known; who takes it must not mind to hear it twice.
    Revocation(RevocationChange),
    /// Exactly this revocation was lifted, which the node may not have heard of. Others of its subject stay. Told on each new
    /// link, also of those that it has forgotten or never knew.
    LiftMissed(Revocation),
    /// Another node is there. Node.js servers are not told of.
    NodeFound {
        /// Its name.
        node: Arc<str>,
    },
    /// A node said goodbye, was not heard for too long, or could not be reached. What it held is gone, unless it is found
    /// again.
    NodeLost {
        /// Its name.
        node: Arc<str>,
    },
    /// The link to the other nodes was lost, and all subscriptions with it. Clients stay connected; local delivery goes
    /// on; the engine subscribes again what is wanted when the link is back. The engine has written it to its log.
    LinkLost {
        /// For the log; never holds a secret.
        reason: String,
    },
    /// The link was lost and is back, and every room that was wanted when it came back is confirmed again. What other
    /// nodes published meanwhile is lost; delivery goes on from here.
    Gap {
        /// From the loss to the last confirmation.
        duration_ms: u64,
    },
}

/// Takes events on whatever thread the engine has them on. Must not block.
pub trait EventSink: Send + Sync + 'static {
    /// Takes one event.
    fn deliver(&self, event: Event);
}

/// Why a publish did not reach the other nodes. Local delivery is not the engine's matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no link to the other nodes right now.
    #[error("the link to the other nodes is down")]
    LinkDown,
    /// The bounded queue of outgoing messages is full.
    #[error("the queue of messages to the other nodes is full")]
    QueueFull,
    /// The server refused the message or did not answer in time.
    #[error("the message was not taken: {0}")]
    Refused(String),
    /// It can never be published: no valid JSON, too large, nested too deeply, or else beyond what the other nodes take.
    #[error("the message can't be published: {0}")]
    Invalid(String),
}

/// How long a node's number of connections of a user counts, unless it is told again.
pub const USER_COUNT_LIFETIME: Duration = Duration::from_secs(3600);

/// Future of an engine's answer; boxed because the engine is chosen at start.
pub type EngineFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Counters and gauges of an engine, read at scrape. A value that an engine does not have stays 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineMetrics {
    /// 1 while the link that publishes is up (always for the memory engine).
    pub publish_link_up: u64,
    /// 1 while the link that receives is up (always for the memory engine).
    pub subscribe_link_up: u64,
    /// 1 while what every namespace needs always (its broadcasts to everyone, the unicasts to the node's sockets) is
    /// confirmed on the present link (always for the memory engine).
    pub base_subscribed: u64,
    /// 1 from the first time that `base_subscribed` was 1.
    pub ever_subscribed: u64,
    /// 1 from the first time that the node's hello came back, so that every node that was there knows it (always for the
    /// memory engine).
    pub announced: u64,
    /// How long ago the node said what is the newest to have come back to it through the server, in microseconds; since
    /// the start where nothing has. 0 for the memory engine.
    pub probe_age_us: u64,
    /// How long that took, there and back, in microseconds; 0 before the first.
    pub probe_round_trip_us: u64,
    /// Nodes that are known, with this one.
    pub nodes: u64,
    /// Rooms and patterns that are wanted.
    pub subscriptions_desired: u64,
    /// Rooms and patterns that the server has confirmed.
    pub subscriptions_confirmed: u64,
    /// Rooms that nobody wants any more and that are not unsubscribed yet.
    pub subscriptions_idle: u64,
    /// Broadcasts handed to the sink.
    pub received_total: u64,
    /// Payload bytes of what was received.
    pub received_bytes_total: u64,
    /// Own messages that came back and were skipped.
    pub skipped_own_total: u64,
    /// Messages that could not be decoded and were skipped.
    pub malformed_total: u64,
    /// Messages that were published: broadcasts, requests and answers.
    pub published_total: u64,
    /// Publishes that failed.
    pub publish_failed_total: u64,
    /// Times the receiving link was made again after it was lost.
    pub reconnects_total: u64,
    /// Gaps told to the sink.
    pub gaps_total: u64,
    /// Messages that reached another node, or two.
    pub node_messages_sent_total: u64,
    /// Messages of other nodes to this one.
    pub node_messages_received_total: u64,
    /// Messages to a node that was not there.
    pub node_messages_unreachable_total: u64,
    /// Requests of others, by [`RequestKind::number`].
    pub requests_received_total: [u64; RequestKind::NAMES.len()],
    /// Requests of this node, the same.
    pub requests_sent_total: [u64; RequestKind::NAMES.len()],
    /// Requests of a type that is not known, which were ignored.
    pub requests_unknown_total: u64,
    /// Requests of this node that wait for answers.
    pub requests_pending: u64,
    /// Requests of this node that every node answered.
    pub requests_complete_total: u64,
    /// Requests of this node whose time was up before every node had answered.
    pub requests_partial_total: u64,
    /// Requests of this node that could not be sent.
    pub requests_failed_total: u64,
    /// Answers to others.
    pub responses_sent_total: u64,
    /// Answers to requests of this node.
    pub responses_received_total: u64,
    /// Answers to others from which something was left out, as they would have been too large.
    pub responses_truncated_total: u64,
    /// Answers to others that could not be sent.
    pub responses_failed_total: u64,
    /// 1 while the server lets this node use no keys, so that revocations are not kept and connections of a user are
    /// counted on this node alone.
    pub keys_denied: u64,
    /// Revocations that were told, and those that were lifted.
    pub revocations_received_total: u64,
    /// Of these, and of this node's own, those that could not be kept for nodes that start later.
    pub revocations_not_kept_total: u64,
    /// Revocations that were kept and made room for others before their end.
    pub revocations_dropped_total: u64,
    /// Times that the link that receives was made to another server than before.
    pub topology_changes_total: u64,
    /// How long it took from each new link, but for the first, until all was subscribed that was wanted then.
    pub resubscribe_durations: Durations,
    /// How long the server took to answer batches of what was published.
    pub publish_durations: Durations,
    /// How long requests of this node took that have answers: until every node had answered, or the time was up.
    pub request_durations: Durations,
}

/// Fan-out between nodes. All calls return at once; none blocks the shard that makes it.
pub trait Engine: Send + Sync + 'static {
    /// Hands `broadcast` to the other nodes, never back to this one. Two calls from one thread arrive in their order
    /// everywhere, also where the futures are not awaited: the message is queued before the call returns. At most
    /// once: an error means that it may not have arrived, and nothing is repeated.
    ///
    /// A future that gives [`PublishError::Invalid`] is ready at its first poll, so that a caller can refuse such a
    /// message before it delivers anything itself.
    fn publish(&self, broadcast: Arc<Broadcast>) -> EngineFuture<Result<(), PublishError>>;

    /// Sends to one node, or to two at one and the same place in the order of everything that the server takes, so that
    /// both see the same broadcasts before it. It is queued before the call returns, in one order with
    /// [`Engine::publish`], and arrives as [`Event::NodeMessage`]; at most once. A node may send to itself.
    fn send(&self, to: NodeTargets<'_>, payload: Bytes) -> EngineFuture<Result<(), SendError>>;

    /// Asks the other nodes of a namespace, and waits for their answers: for all of them, or until the time is up. A
    /// command (see [`RequestKind::is_command`]) has no answers, and comes back as an [`Event::Request`] to this node
    /// as to every other; so it is carried out once everywhere.
    fn request(&self, request: Arc<Request>) -> EngineFuture<Result<Answers, RequestError>>;

    /// Makes `subscriber` interested in a room. [`Event::Subscribed`] follows when the subscription is in force (at
    /// once, on the caller's thread, where it is already); where the link is down, when it is back. Idempotent.
    fn subscribe(&self, subscriber: SubscriberId, namespace: &Arc<str>, room: &Arc<str>);

    /// Ends the interest. The engine may keep the subscription for a while, so that a flapping room costs nothing.
    fn unsubscribe(&self, subscriber: SubscriberId, namespace: &Arc<str>, room: &Arc<str>);

    /// Has tokens refused on all nodes, or refused no more: every node, this one included, is told by
    /// [`Event::Revocation`], and nodes that start later are told, too. An error means that nobody may have been told.
    fn revoke(&self, change: RevocationChange) -> EngineFuture<Result<(), PublishError>>;

    /// Tells the other nodes how many connections of a user this node has, and counts those of all nodes that are alive,
    /// this one included. Calls take effect in their order: the number is queued before the call returns. What is told
    /// holds for [`USER_COUNT_LIFETIME`]. On an error nothing is known of the others.
    fn count_user(&self, user: &Arc<str>, own: u32) -> EngineFuture<Result<u64, PublishError>>;

    /// The same, where nobody wants to know the sum.
    ///
    /// # Errors
    /// It could not be queued, and is to be told again.
    fn tell_user_count(&self, user: &Arc<str>, own: u32) -> Result<(), PublishError>;

    /// This node's name.
    fn name(&self) -> &str;

    /// The other nodes that are known, by name. Node.js servers are not among them.
    fn nodes(&self) -> Vec<NodeInfo>;

    /// What one of [`Engine::nodes`] keys the ids of its sessions with; `None`: it is none of them.
    fn id_key(&self, node: &str) -> Option<u128>;

    /// The figures of now.
    fn metrics(&self) -> EngineMetrics;

    /// Stops the engine's tasks and closes its links; resolves when that is done.
    fn shutdown(&self) -> EngineFuture<()>;
}
