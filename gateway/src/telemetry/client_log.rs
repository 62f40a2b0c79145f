//! A bound on the log lines that clients can cause: so many a second and shard, the rest is counted.

use super::ShardCounters;

/// See the module. Owned by a shard.
#[derive(Debug)]
pub struct ClientLog {
    lines_per_second: u32,
    second: u64,
    lines: u32,
}

impl ClientLog {
    /// Allows `lines_per_second`.
    pub fn new(lines_per_second: u32) -> Self {
        Self { lines_per_second, second: 0, lines: 0 }
    }

    /// May a line be written now? One that may not is counted.
    pub fn admit(&mut self, now_ms: u64, counters: &ShardCounters) -> bool {
        let second = now_ms / 1000;
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines >= self.lines_per_second {
            counters.log_lines_suppressed.add(1);
            return false;
        }
        self.lines += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_the_bound_is_counted_until_the_next_second() {
        let (mut log, counters) = (ClientLog::new(2), ShardCounters::default());
        let admitted: Vec<_> =
            [0, 1, 2, 999, 1000].into_iter().map(|now_ms| log.admit(now_ms, &counters)).collect();
        assert_eq!(admitted, [true, true, false, false, true]);
        assert_eq!(counters.log_lines_suppressed.get(), 2);
    }
}
