//! What people see of a node: counters, the metrics page, logs.

mod client_log;
mod counters;
mod histogram;
mod process;

pub use client_log::ClientLog;
pub use counters::{Counter, Family, Kind, Sample, ShardCounters};
pub use histogram::{Buckets, Distribution, Histogram, HistogramFamily, SHORT_TIMES, ShardHistograms};
pub use process::{ProcessUsage, resident_bytes, thread_cpu_seconds};
