//! When keys are fetched. Pure: time is an argument, in milliseconds of any clock that never goes back.

/// How long the first failure keeps the next fetch away; each further one twice as long.
const FIRST_RETRY_MS: u64 = 1000;
/// However often it failed.
const LAST_RETRY_MS: u64 = 60_000;

/// The times between the fetches of one issuer's keys.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    refresh_ms: u64,
    min_refresh_ms: u64,
    failures: u32,
    next_ms: u64,
    open_ms: u64,
}

impl Schedule {
    /// Keys that were never fetched: the first fetch is due at once.
    pub(super) fn new(refresh_ms: u64, min_refresh_ms: u64) -> Self {
        Self { refresh_ms, min_refresh_ms, failures: 0, next_ms: 0, open_ms: 0 }
    }

    /// A fetch has ended. `chance` is a random number: nodes that started together must not fetch together for ever.
    pub(super) fn ended(&mut self, succeeded: bool, now_ms: u64, chance: u32) {
        if succeeded {
            self.failures = 0;
            self.next_ms = now_ms + spread(self.refresh_ms.max(self.min_refresh_ms), chance);
            self.open_ms = now_ms + self.min_refresh_ms;
            return;
        }
        let retry_ms = FIRST_RETRY_MS.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let retry_ms = retry_ms.min(LAST_RETRY_MS).min(self.refresh_ms);
        self.next_ms = now_ms + spread(retry_ms, chance);
        self.open_ms = self.next_ms;
    }

    /// When it is fetched again by itself.
    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// From when on a token with an unknown key may ask for it earlier.
    pub(super) fn open_ms(&self) -> u64 {
        self.open_ms.min(self.next_ms)
    }
}

/// 80 to 100 % of a time.
fn spread(time_ms: u64, chance: u32) -> u64 {
    let fifth = u128::from(time_ms / 5);
    let less = fifth * u128::from(chance) / u128::from(u32::MAX);
    time_ms - u64::try_from(less).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_that_succeeded_is_followed_by_the_next_a_little_before_its_time() {
        for (chance, next_ms) in [(0, 301_000), (u32::MAX / 2, 271_001), (u32::MAX, 241_000)] {
            let mut schedule = Schedule::new(300_000, 10_000);
            schedule.ended(true, 1000, chance);
            assert_eq!((schedule.open_ms(), schedule.next_ms()), (11_000, next_ms));
        }
    }

    #[test]
    fn failures_are_retried_ever_later_and_tokens_ask_for_none_between() {
        let mut schedule = Schedule::new(300_000, 10_000);
        let mut now_ms = 0;
        for wait_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            schedule.ended(false, now_ms, 0);
            assert_eq!(schedule.next_ms() - now_ms, wait_ms);
            assert_eq!(schedule.open_ms(), schedule.next_ms());
            now_ms = schedule.next_ms();
        }
        schedule.ended(true, now_ms, 0);
        schedule.ended(false, now_ms, 0);
        assert_eq!(schedule.next_ms() - now_ms, 1000, "a success forgets the failures");
    }

    #[test]
    fn what_is_fetched_often_is_not_kept_closed_for_longer() {
        let mut schedule = Schedule::new(500, 10_000);
        schedule.ended(true, 0, 0);
        assert_eq!((schedule.open_ms(), schedule.next_ms()), (10_000, 10_000));
        schedule.ended(false, 10_000, 0);
        assert_eq!(schedule.next_ms(), 10_500);
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let mut schedule = Schedule::new(u64::MAX / 4, 0);
        for _ in 0..100 {
            schedule.ended(false, 0, 7);
        }
        assert!(schedule.next_ms() <= LAST_RETRY_MS);
    }
}
