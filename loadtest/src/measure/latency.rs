//! From publish to arrival at a member.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

const MAX_US: u64 = 600_000_000;

/// All latencies of one round, to three significant digits.
#[derive(Debug, Clone)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_US, 3).expect("the bounds are valid"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_US).max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50_us: self.0.value_at_quantile(0.5),
            p90_us: self.0.value_at_quantile(0.9),
            p99_us: self.0.value_at_quantile(0.99),
            p99_9_us: self.0.value_at_quantile(0.999),
            max_us: self.0.max(),
        }
    }
}

/// In microseconds; zero where nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p99_9_us: u64,
    pub(crate) max_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_over_all_rounds() {
        let mut all = Latency::new();
        for round in 0..10 {
            let mut latency = Latency::new();
            for i in 1..=100 {
                latency.record(Duration::from_micros(round * 100 + i));
            }
            all.add(&latency);
        }
        let Percentiles { p50_us, p90_us, p99_us, p99_9_us, max_us } = all.percentiles();
        assert_eq!((p50_us, p90_us, p99_us, p99_9_us, max_us), (500, 900, 990, 999, 1000));
    }

    #[test]
    fn nothing_received_is_zero_and_extremes_are_kept_in_bounds() {
        assert_eq!(Latency::new().percentiles().max_us, 0);
        let mut latency = Latency::new();
        latency.record(Duration::from_secs(1_000_000));
        latency.record(Duration::ZERO);
        assert!(latency.percentiles().max_us >= MAX_US);
        assert_eq!(latency.percentiles().p50_us, 1);
    }
}
