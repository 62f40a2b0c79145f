//! What people see of a node: counters, the metrics page, logs.

mod client_log;
mod counters;

pub use client_log::ClientLog;
pub use counters::{Counter, Family, Kind, Sample, ShardCounters};
