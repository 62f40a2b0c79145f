//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Doubles from 50 ms to 2 s, for ever. The jitter keeps the nodes of a cluster from coming back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// After a link that lasted: the next loss starts from the beginning. One that broke at once does not count.
    pub(super) fn link_lasted(&mut self, duration: Duration) {
        if duration >= LONGEST {
            self.next = FIRST;
        }
    }

    /// The next wait. `random` is spread evenly over its range.
    pub(super) fn wait(&mut self, random: u32) -> Duration {
        let wait = self.next.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}

/// Randomness for the jitter; without a source of it there is none.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_two_seconds_and_start_again_after_a_link_that_lasted() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..8).map(|_| backoff.wait(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.wait(0).as_millis(), 1000);

        backoff.link_lasted(Duration::from_millis(10));
        assert_eq!(backoff.wait(u32::MAX).as_millis(), 2000);
        backoff.link_lasted(Duration::from_secs(60));
        assert_eq!(backoff.wait(u32::MAX).as_millis(), 50);
    }
}
