//! Measuring: what processes cost, how long messages take, and what is made of several rounds.

mod latency;
mod metrics_page;
mod process;
mod spread;

pub(crate) use self::{
    latency::{Latency, Percentiles},
    metrics_page::MetricsPage,
    process::ProcessMeter,
    spread::{Spread, per_second},
};
