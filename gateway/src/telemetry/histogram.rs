//! Histograms with fixed buckets, counted like the other figures of a shard: plain integers that only the shard's thread
//! writes, and a scrape adds up. An observation is a search in a short list and two additions.

use super::{Counter, Family, Kind, ShardCounters};

/// The upper bounds of a histogram's buckets, and the unit in which its values are observed.
#[derive(Debug)]
pub struct Buckets {
    /// Ascending and inclusive; what is above the last one falls into a bucket without a bound.
    pub upper: &'static [u64],
    /// How many of the observed unit make one of the unit that the metric's name says.
    pub per_unit: u64,
}

impl Buckets {
    /// Values that are observed in the unit that the metric's name says.
    pub const fn of(upper: &'static [u64]) -> Self {
        Self { upper, per_unit: 1 }
    }

    /// Seconds that are observed in microseconds.
    pub const fn of_micros(upper: &'static [u64]) -> Self {
        Self { upper, per_unit: 1_000_000 }
    }

    /// Seconds that are observed in milliseconds.
    pub const fn of_millis(upper: &'static [u64]) -> Self {
        Self { upper, per_unit: 1_000 }
    }

    /// A value in the unit that the metric's name says.
    pub fn in_unit(&self, value: u64) -> f64 {
        value as f64 / self.per_unit as f64
    }
}

/// A histogram with one writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: &'static Buckets,
    /// Values in each bucket alone; the last is the one without a bound.
    counts: Box<[Counter]>,
    sum: Counter,
}

impl Histogram {
    /// Without values.
    pub fn new(buckets: &'static Buckets) -> Self {
        let counts = (0..=buckets.upper.len()).map(|_| Counter::default()).collect();
        Self { buckets, counts, sum: Counter::default() }
    }

    /// Takes a value in; only the shard's own thread may.
    pub fn observe(&self, value: u64) {
        self.observe_many(value, 1);
    }

    /// Takes the same value in so many times; only the shard's own thread may.
    pub fn observe_many(&self, value: u64, times: u64) {
        let bucket = self.buckets.upper.partition_point(|&upper| upper < value);
        self.counts[bucket].add(times);
        self.sum.add(value.saturating_mul(times));
    }

    /// The values so far, from any thread.
    pub fn values(&self) -> Distribution {
        Distribution { counts: self.counts.iter().map(Counter::get).collect(), sum: self.sum.get() }
    }
}

/// Values by bucket, of one histogram or of several with the same buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// In each bucket alone; the last is the one without a bound.
    pub counts: Vec<u64>,
    /// Of all values, in the unit in which they were observed.
    pub sum: u64,
}

impl Distribution {
    /// Adds the values of another one.
    pub fn merge(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.wrapping_add(*more);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// How many values are not above each bucket's bound; for the last, which has none, all of them.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().scan(0_u64, |below, count| {
            *below = below.wrapping_add(*count);
            Some(*below)
        })
    }
}

/// A histogram family with its samples: the value of the label, and the values of all shards.
pub type HistogramFamily = (Family, &'static Buckets, Vec<(&'static str, Distribution)>);

/// Declares every histogram of a shard once: its field, its metric, its label's value, its buckets.
macro_rules! shard_histograms {
    ($( $name:literal $help:literal $label:literal $buckets:ident { $( $field:ident $value:literal, )+ } )+) => {
        /// What one shard measures.
        #[derive(Debug)]
        pub struct ShardHistograms {
            $( $( #[doc = concat!("`", $name, "` ", $value)] pub $field: Histogram, )+ )+
        }

        impl Default for ShardHistograms {
            fn default() -> Self {
                Self { $( $( $field: Histogram::new(&$buckets), )+ )+ }
            }
        }

        impl ShardHistograms {
            /// Every family with its samples, merged over `shards`.
            pub fn gather(shards: &[std::sync::Arc<ShardCounters>]) -> Vec<HistogramFamily> {
                vec![ $( (
                    Family { name: $name, kind: Kind::Histogram, help: $help, label: $label },
                    &$buckets,
                    vec![ $( ($value, merged(shards, |histograms| &histograms.$field)) ),+ ],
                ) ),+ ]
            }
        }
    };
}

fn merged(
    shards: &[std::sync::Arc<ShardCounters>],
    field: fn(&ShardHistograms) -> &Histogram,
) -> Distribution {
    let mut all = Distribution::default();
    for shard in shards {
        all.merge(&field(&shard.histograms).values());
    }
    all
}

/// Times that are short where all is well: 100 µs to 10 s.
pub static SHORT_TIMES: Buckets = Buckets::of_micros(&broadgate_adapter::DURATION_BOUNDS_US);
/// Round trips to clients, by the clock of the shard's turns.
static ROUND_TRIPS: Buckets =
    Buckets::of_millis(&[1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000]);
/// Lives of connections: a second to a week.
static LIVES: Buckets = Buckets::of_millis(&[
    1_000,
    5_000,
    15_000,
    60_000,
    300_000,
    900_000,
    3_600_000,
    4 * 3_600_000,
    12 * 3_600_000,
    24 * 3_600_000,
    7 * 24 * 3_600_000,
]);
static SOCKETS: Buckets =
    Buckets::of(&[0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000]);
static SIZES: Buckets =
    Buckets::of(&[64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20]);

shard_histograms! {
    "broadgate_handshake_duration_seconds" "From the head of a request for a session to the open session, by its first transport." "transport" SHORT_TIMES {
        handshake_polling "polling",
        handshake_websocket "websocket",
    }
    "broadgate_connect_duration_seconds" "From an open session to its first namespace: its client's CONNECT, the checks of its token, its rooms." "" ROUND_TRIPS {
        connect_duration "",
    }
    "broadgate_connection_duration_seconds" "How long sessions lasted that ended; of one that moved here, from then on." "" LIVES {
        connection_duration "",
    }
    "broadgate_ping_rtt_seconds" "From a ping to its pong, by transport; without those between which the client sent something else." "transport" ROUND_TRIPS {
        ping_rtt_polling "polling",
        ping_rtt_websocket "websocket",
    }
    "broadgate_room_size" "Members of a room on its shard, looked at when a socket has joined it." "" SOCKETS {
        room_size "",
    }
    "broadgate_delivery_latency_seconds" "From the publishing of a broadcast, where its publisher says when, to the write to its members, on each shard that has some." "path" SHORT_TIMES {
        delivery_local "local",
        delivery_redis "redis",
    }
    "broadgate_broadcast_fanout" "Members that a broadcast was queued for, on each shard that took it in." "" SOCKETS {
        broadcast_fanout "",
    }
    "broadgate_message_size_bytes" "Sizes of messages: those of clients (received), and for each member those of broadcasts (sent)." "direction" SIZES {
        message_size_received "received",
        message_size_sent "sent",
    }
    "broadgate_ack_duration_seconds" "How long clients' requests waited for the adapter: joins of rooms that had to be subscribed, and publishes with an ack." "request" SHORT_TIMES {
        ack_join "join",
        ack_publish "publish",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    static BUCKETS: Buckets = Buckets::of(&[0, 10, 100]);

    #[test]
    fn a_value_falls_into_the_first_bucket_that_is_not_below_it() {
        for (value, bucket) in [(0, 0), (1, 1), (10, 1), (11, 2), (100, 2), (101, 3), (u64::MAX, 3)] {
            let histogram = Histogram::new(&BUCKETS);
            histogram.observe(value);
            let mut expected = vec![0; 4];
            expected[bucket] = 1;
            assert_eq!(histogram.values(), Distribution { counts: expected, sum: value }, "{value}");
        }
    }

    #[test]
    fn bounds_ascend_and_are_said_in_the_unit_of_the_metric() {
        for (family, buckets, samples) in ShardHistograms::gather(&[Arc::default()]) {
            assert!(buckets.upper.is_sorted_by(|a, b| a < b), "{family:?}");
            for (_, values) in samples {
                assert_eq!(values, Distribution { counts: vec![0; buckets.upper.len() + 1], sum: 0 });
            }
        }
        assert_eq!(
            [Buckets::of_micros(&[]).in_unit(2_500), Buckets::of_millis(&[]).in_unit(2_500)],
            [0.0025, 2.5]
        );
        assert_eq!(Buckets::of(&[]).in_unit(7), 7.0);
    }

    #[test]
    fn a_family_is_the_sum_of_its_shards() {
        let shards: [Arc<ShardCounters>; 2] = Default::default();
        shards[0].histograms.ping_rtt_polling.observe(7);
        shards[1].histograms.ping_rtt_polling.observe(30);
        shards[1].histograms.ping_rtt_websocket.observe(3);
        let families = ShardHistograms::gather(&shards);
        let (_, _, samples) =
            families.iter().find(|(family, ..)| family.name == "broadgate_ping_rtt_seconds").unwrap();
        let found: Vec<_> =
            samples.iter().map(|(label, values)| (*label, values.count(), values.sum)).collect();
        assert_eq!(found, [("polling", 2, 37), ("websocket", 1, 3)]);
    }

    proptest! {
        #[test]
        fn buckets_are_cumulative_and_agree_with_count_and_sum(
            values in prop::collection::vec((0_u64..300, 1_u64..4), 0..60),
            split in 0_usize..60,
        ) {
            let shards = [Histogram::new(&BUCKETS), Histogram::new(&BUCKETS)];
            for (number, &(value, times)) in values.iter().enumerate() {
                shards[usize::from(number >= split)].observe_many(value, times);
            }
            let mut all = Distribution::default();
            for shard in &shards {
                all.merge(&shard.values());
            }
            let below = |bound: u64| -> u64 {
                values.iter().filter(|(value, _)| *value <= bound).map(|(_, times)| times).sum()
            };
            let expected = [below(0), below(10), below(100), below(u64::MAX)];
            prop_assert_eq!(all.cumulative().collect::<Vec<_>>(), expected);
            prop_assert_eq!(all.count(), expected[3]);
            prop_assert_eq!(all.sum, values.iter().map(|(value, times)| value * times).sum::<u64>());
        }
    }
}
