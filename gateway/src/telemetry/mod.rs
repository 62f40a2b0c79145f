//! What people see of a node: counters, the metrics page, logs, traces.

mod client_log;
mod counters;
mod histogram;
mod log_filter;
mod process;
mod traces;

pub use client_log::ClientLog;
pub use counters::{Counter, Family, Kind, Sample, ShardCounters};
pub use histogram::{Buckets, Distribution, Histogram, HistogramFamily, SHORT_TIMES, ShardHistograms};
pub use log_filter::{ApplyFilter, Change, FilterError, LogFilter, MAX_FILTER_BYTES, parse_filter};
pub use process::{ProcessUsage, resident_bytes, thread_cpu_seconds};
pub(crate) use traces::{
    Exporter, Receiver as TracesReceiver, ReceiverError as TracesReceiverError, start as start_traces,
};
pub use traces::{Span, SpanKind, Traces};
