//! What people see of a node: counters, the metrics page, logs.

mod counters;

pub use counters::{Counter, Family, Kind, Sample, ShardCounters};
