//! Rates with bursts by the generic cell rate algorithm (ITU-T I.371 Annex A): of each client one number is kept, the
//! time at which all that it has spent is paid off. Pure: time is an argument.

use std::time::Duration;

const NS_PER_SECOND: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// Of a byte's cost: a byte of a fast client costs less than a nanosecond.
const FRACTION_BITS: u32 = 8;

/// What clients may spend; one for all to whom it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    message_ns: u64,
    /// In units of 2^-[`FRACTION_BITS`] nanoseconds.
    byte_cost: u64,
    burst_ns: u64,
}

/// What one client has spent: the time at which it is paid off, in nanoseconds. Nothing at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent(u64);

impl Rate {
    /// No bound.
    pub const OFF: Self = Self { message_ns: 0, byte_cost: 0, burst_ns: u64::MAX };

    /// So many messages and bytes a second, and at once as much as comes together in `burst`; 0 is no bound.
    pub fn new(messages_per_second: usize, bytes_per_second: usize, burst: Duration) -> Self {
        let cost = |per_second: usize, unit: u64| unit.checked_div(per_second as u64).unwrap_or(0);
        Self {
            message_ns: cost(messages_per_second, NS_PER_SECOND),
            byte_cost: cost(bytes_per_second, NS_PER_SECOND << FRACTION_BITS),
            burst_ns: u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Takes so many messages of so many bytes in all, which cost the time that either of both rates gives them,
    /// whichever is more. False: it would be more than the burst, and nothing was taken.
    pub fn admits(&self, spent: &mut Spent, now_ms: u64, messages: u64, bytes: usize) -> bool {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let cost_ns = self.message_ns.saturating_mul(messages).max(self.bytes_ns(bytes));
        let paid_off_ns = spent.0.max(now_ns).saturating_add(cost_ns);
        if paid_off_ns - now_ns > self.burst_ns {
            return false;
        }
        spent.0 = paid_off_ns;
        true
    }

    /// Is it their number that so many messages of so many bytes cost, rather than their size?
    pub fn costs_by_number(&self, messages: u64, bytes: usize) -> bool {
        self.message_ns.saturating_mul(messages) >= self.bytes_ns(bytes)
    }

    fn bytes_ns(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(self.byte_cost) >> FRACTION_BITS
    }

    /// Milliseconds until one more message would be taken.
    pub fn wait_ms(&self, spent: Spent, now_ms: u64) -> u64 {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let ahead_ns = spent.0.max(now_ns) - now_ns;
        ahead_ns.saturating_add(self.message_ns).saturating_sub(self.burst_ns).div_ceil(NS_PER_MS)
    }
}

impl Spent {
    /// Is all of it paid off? Then it says no more than a new one.
    pub fn is_nothing(self, now_ms: u64) -> bool {
        self.0 <= now_ms.saturating_mul(NS_PER_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages: usize, bytes: usize, burst_ms: u64) -> Rate {
        Rate::new(messages, bytes, Duration::from_millis(burst_ms))
    }

    /// How many messages of this size are taken before one is refused.
    fn taken(rate: &Rate, spent: &mut Spent, now_ms: u64, bytes: usize) -> usize {
        (0..1_000_000).take_while(|_| rate.admits(spent, now_ms, 1, bytes)).count()
    }

    #[test]
    fn a_burst_is_what_comes_together_in_its_time() {
        for (messages, bytes, burst_ms, size, expected) in [
            (100, 0, 10_000, 0, 1000),
            (100, 0, 10_000, 1_000_000, 1000),
            (0, 1000, 2000, 1, 2000),
            (0, 1000, 2000, 500, 4),
            // Whichever costs more.
            (10, 1000, 1000, 10, 10),
            (10, 1000, 1000, 200, 5),
            (3, 0, 1000, 0, 3),
            (1, 0, 999, 0, 0),
            // Under a nanosecond a byte: a little more than asked for.
            (0, 4 << 30, 1000, 1 << 20, 4137),
        ] {
            let rate = rate(messages, bytes, burst_ms);
            assert_eq!(taken(&rate, &mut Spent::default(), 5_000, size), expected, "{rate:?} {size}");
        }
    }

    #[test]
    fn what_is_spent_comes_back_with_time_and_no_more_than_the_burst() {
        let (rate, mut spent) = (rate(10, 0, 1000), Spent::default());
        assert_eq!(taken(&rate, &mut spent, 0, 0), 10);
        assert_eq!(taken(&rate, &mut spent, 99, 0), 0);
        assert_eq!(rate.wait_ms(spent, 99), 1);
        assert_eq!(taken(&rate, &mut spent, 100, 0), 1);
        assert_eq!(taken(&rate, &mut spent, 450, 0), 3);
        assert!(!spent.is_nothing(1399) && spent.is_nothing(1400));
        assert_eq!(taken(&rate, &mut spent, 1_000_000, 0), 10, "not more for having waited long");
    }

    #[test]
    fn many_at_once_cost_what_they_cost_one_by_one() {
        let rate = rate(10, 100, 1000);
        let mut spent = Spent::default();
        assert!(rate.admits(&mut spent, 0, 7, 0));
        assert!(!rate.admits(&mut spent, 0, 4, 0));
        assert!(rate.admits(&mut spent, 0, 3, 30));
        assert!(!rate.admits(&mut spent, 0, 1, 0));
    }

    #[test]
    fn off_is_no_bound() {
        for rate in [Rate::OFF, rate(0, 0, 100)] {
            let mut spent = Spent::default();
            assert!(rate.admits(&mut spent, 7, u64::MAX, usize::MAX));
            assert!(spent.is_nothing(7));
            assert_eq!(rate.wait_ms(spent, 7), 0);
        }
    }

    /// Against a bucket that is kept with fractions: over any time not more than the burst and what the rate gives.
    #[test]
    fn over_any_time_no_more_passes_than_the_rate_and_one_burst() {
        let (per_second, burst_ms) = (50_u64, 400_u64);
        let rate = rate(50, 0, burst_ms);
        let (mut spent, mut taken, mut now_ms, mut seed) = (Spent::default(), 0_u64, 0_u64, 1_u64);
        for _ in 0..50_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now_ms += (seed >> 60) & 7;
            taken += u64::from(rate.admits(&mut spent, now_ms, 1, 0));
            assert!(taken * 1000 <= per_second * (now_ms + burst_ms), "{taken} after {now_ms} ms");
        }
        assert!((taken + 1) * 1000 >= per_second * now_ms, "what the rate gives is given: {taken}");
    }
}
