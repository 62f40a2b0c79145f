//! Fan-out between Broadgate nodes.
//!
//! One trait, [`Engine`]: publish a [`Broadcast`] to the other nodes, hold interest in rooms, and hand what arrives
//! to an [`EventSink`]. Two engines implement it, and one suite (`tests/conformance.rs`) runs on both.
//!
//! The map:
//!
//! | module | what | kind |
//! |---|---|---|
//! | `engine` | the trait and the values that cross it, all public here | contract |
//! | `cluster` | what nodes ask each other, and how they answer; public here | contract |
//! | `nodes` | names of nodes, messages to one of them, who published something; public here | contract |
//! | `stamp` | when and in which trace something was published; public here | contract |
//! | [`memory`] | one node alone, or several nodes of one process on a bus | engine |
//! | [`redis`] | nodes over Redis pub/sub, together with Node.js servers and emitters | engine, I/O |
//! | [`interest`] | desired and confirmed subscriptions: what to send when | pure state machine |
//! | [`membership`] | which other nodes there are | pure state machine |
//! | [`probe`] | whether messages get through, and how fast | pure state machine |
//! | [`revocation`] | tokens that count no more | pure state machine |
//! | [`requests`] | this node's requests that wait for answers | pure state machine |
//! | [`wire`] | channels, the msgpack tuple, the plain JSON form, python-socketio's channel, requests, answers and notices (wire.md 3.1 and 4) | pure codec |
//! | [`emitter`] | publishing without being a node | pure, and one call with I/O |
//!
//! `redis` may use everything; `interest`, `membership`, `requests` and `wire` know neither tokio nor the driver nor a clock.
//!
//! Promises of delivery: at most once; messages of one publisher to one room in order; after [`Event::Subscribed`],
//! what is published to the room arrives, unless an [`Event::Gap`] says that messages may be missing.

mod cluster;
mod counters;
mod durations;
pub mod emitter;
mod engine;
pub mod interest;
pub mod membership;
pub mod memory;
mod nodes;
pub mod probe;
pub mod redis;
pub mod requests;
pub mod revocation;
mod stamp;
pub mod wire;

pub use cluster::{Answers, Request, RequestError, RequestKind, Responder, Response, SocketDetails, Targets};
pub use durations::{DURATION_BOUNDS_US, Durations};
pub use engine::{
    Broadcast, Engine, EngineFuture, EngineMetrics, Event, EventPacket, EventSink, Flags, PublishError,
    SubscriberId, USER_COUNT_LIFETIME,
};
pub use memory::{MemoryBus, MemoryEngine};
pub use nodes::{MAX_NODE_NAME_BYTES, NodeInfo, NodeTargets, Origin, SendError, is_node_name};
pub use redis::{RedisConfig, RedisDriver, RedisEngine, StartError};
pub use revocation::{Revocation, RevocationChange, RevocationSubject, Revocations};
pub use stamp::{Stamp, TraceParent, TraceParentError};
