//! How long things took, by bucket; counted without locks, by any thread.

use std::time::Duration;

use crate::counters::Figure;

/// Upper bounds of the buckets of [`Durations`], in microseconds; the last bucket has none.
pub const DURATION_BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];
const BUCKETS: usize = DURATION_BOUNDS_US.len() + 1;

/// Durations by bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// How many fell into each bucket alone.
    pub counts: [u64; BUCKETS],
    /// Of all of them, in microseconds.
    pub sum_us: u64,
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub(crate) struct DurationFigures {
    counts: [Figure; BUCKETS],
    sum_us: Figure,
}

impl DurationFigures {
    pub(crate) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[DURATION_BOUNDS_US.partition_point(|&bound| bound < us)].increment();
        self.sum_us.add(us);
    }

    pub(crate) fn read(&self) -> Durations {
        Durations { counts: self.counts.each_ref().map(Figure::get), sum_us: self.sum_us.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_is_not_below_it() {
        assert!(DURATION_BOUNDS_US.is_sorted_by(|a, b| a < b));
        for (us, bucket) in [(0, 0), (100, 0), (101, 1), (10_000_000, 14), (u64::MAX, 15)] {
            let figures = DurationFigures::default();
            figures.observe(Duration::from_micros(us));
            let mut expected = Durations { sum_us: us, ..Durations::default() };
            expected.counts[bucket] = 1;
            assert_eq!(figures.read(), expected, "{us}");
        }
    }
}
