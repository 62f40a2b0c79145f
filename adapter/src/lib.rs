//! Fan-out between Broadgate nodes.
//!
//! One trait, [`Engine`]: publish a [`Broadcast`] to the other nodes, hold interest in rooms, and hand what arrives
//! to an [`EventSink`]. Two engines: [`memory`] (one process) and `redis` (the wire format of the Socket.IO Redis
//! adapter, so that emitters and Node.js servers share the cluster).

mod counters;
mod engine;
pub mod interest;
pub mod memory;
pub mod redis;
pub mod wire;

pub use engine::{
    Broadcast, Engine, EngineFuture, EngineMetrics, Event, EventPacket, EventSink, Flags, GapCause,
    PublishError, SubscriberId,
};
pub use memory::{MemoryBus, MemoryEngine};
pub use redis::{RedisConfig, RedisEngine, StartError};
