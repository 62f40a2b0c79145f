//! What is measured of a shard's writes: how long broadcasts took to them, and how much waits for them.

use std::{
    collections::VecDeque,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::telemetry::ShardCounters;

/// Broadcasts that wait to be measured; of more, the latency is not known.
const MAX_WAITING: usize = 4096;
/// What took longer was published on a clock that is off, or in milliseconds.
const MAX_LATENCY_US: u64 = 24 * 3600 * 1_000_000;
/// A peak is said for so long, and at most for twice of it.
const PEAK_WINDOW_MS: u64 = 60_000;

/// The way that a broadcast took to its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryPath {
    /// It was published on this node.
    Local,
    /// It was published elsewhere.
    Redis,
}

/// Broadcasts that are queued for sockets, and are measured when those are written to.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    waiting: VecDeque<Published>,
    /// How many sockets were taken out of the list of those to write to, since the start.
    pub(super) written: u64,
}

#[derive(Debug)]
struct Published {
    /// Measured when so many sockets were written to.
    after: u64,
    at_us: u64,
    path: DeliveryPath,
}

impl Unwritten {
    /// A broadcast was queued, and so many sockets are to be written to from now on.
    pub(super) fn push(&mut self, at_us: u64, path: DeliveryPath, to_write: usize) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Published { after: self.written + to_write as u64, at_us, path });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Measures what was written by now. Looks at the clock only where there is something to measure.
    pub(super) fn measure(&mut self, counters: &ShardCounters) {
        if self.waiting.front().is_none_or(|first| first.after > self.written) {
            return;
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.measure_at(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX), counters);
    }

    fn measure_at(&mut self, now_us: u64, counters: &ShardCounters) {
        while let Some(published) = self.waiting.pop_front_if(|first| first.after <= self.written) {
            let histogram = match published.path {
                DeliveryPath::Local => &counters.histograms.delivery_local,
                DeliveryPath::Redis => &counters.histograms.delivery_redis,
            };
            let is_ahead = published.at_us > now_us;
            let latency_us = now_us.saturating_sub(published.at_us);
            counters.publishers_off.add(u64::from(is_ahead || latency_us > MAX_LATENCY_US));
            if latency_us <= MAX_LATENCY_US {
                histogram.observe(latency_us);
            }
        }
    }
}

/// The highest of the values of the last minute, and of at most one before it.
#[derive(Debug, Default)]
pub(super) struct Peak {
    window: u64,
    highest: u64,
    highest_before: u64,
}

impl Peak {
    /// Takes a value in; gives the peak.
    pub(super) fn record(&mut self, now_ms: u64, value: u64) -> u64 {
        let window = now_ms / PEAK_WINDOW_MS;
        if window != self.window {
            let was_last = window == self.window + 1;
            self.highest_before = if was_last { self.highest } else { 0 };
            (self.window, self.highest) = (window, 0);
        }
        self.highest = self.highest.max(value);
        self.highest.max(self.highest_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_makes_no_sense_is_counted_and_not_measured() {
        let (mut unwritten, counters) = (Unwritten::default(), ShardCounters::default());
        // Milliseconds taken for microseconds.
        unwritten.push(1_800_000_000_000, DeliveryPath::Redis, 0);
        unwritten.measure_at(1_800_000_000_000_000, &counters);
        let redis = counters.histograms.delivery_redis.values();
        assert_eq!((redis.count(), counters.publishers_off.get()), (0, 1));
    }

    #[test]
    fn a_broadcast_is_measured_once_all_that_was_before_it_is_written() {
        let (mut unwritten, counters) = (Unwritten::default(), ShardCounters::default());
        let local = || counters.histograms.delivery_local.values();
        unwritten.push(1_000, DeliveryPath::Local, 2);
        unwritten.push(2_000, DeliveryPath::Redis, 5);
        unwritten.written = 1;
        unwritten.measure(&counters);
        assert_eq!(local().count(), 0, "a socket is to be written to");
        unwritten.written = 2;
        unwritten.measure_at(1_700, &counters);
        assert_eq!((local().count(), local().sum), (1, 700));
        assert_eq!(counters.histograms.delivery_redis.values().count(), 0);
        unwritten.written = 5;
        unwritten.measure_at(1_999, &counters);
        let redis = counters.histograms.delivery_redis.values();
        assert_eq!(
            (redis.count(), redis.sum, counters.publishers_off.get()),
            (1, 0, 1),
            "a clock that is ahead"
        );
        assert!(unwritten.waiting.is_empty());
    }

    #[test]
    fn what_waits_to_be_measured_is_bounded() {
        let mut unwritten = Unwritten::default();
        (0..2 * MAX_WAITING).for_each(|_| unwritten.push(1, DeliveryPath::Local, 1));
        assert_eq!(unwritten.waiting.len(), MAX_WAITING);
    }

    #[test]
    fn a_peak_is_said_for_a_minute_or_two() {
        let mut peak = Peak::default();
        let minute = PEAK_WINDOW_MS;
        for (now_ms, value, expected) in [
            (0, 5, 5),
            (1, 3, 5),
            (minute - 1, 7, 7),
            (minute, 1, 7),
            (2 * minute - 1, 2, 7),
            (2 * minute, 0, 2),
            (9 * minute, 0, 0),
        ] {
            assert_eq!(peak.record(now_ms, value), expected, "at {now_ms}");
        }
    }
}
