//! When the sessions of a shard are closed while its node goes away: one after the other in a random order, spread evenly
//! over a window, each at a random moment of its share. So the clients, who all come back, reach the other nodes at a
//! pace, and who was connected first does not come first again.

/// What is still to be closed, and when. Owned by the shard's server.
pub(super) struct DrainSchedule<T> {
    started_ms: u64,
    window_ms: u64,
    total: u64,
    /// The next one is the last.
    left: Vec<T>,
    next_ms: u64,
    random: SplitMix,
}

impl<T> DrainSchedule<T> {
    /// Spreads `sessions` over `window_ms` from now. `seed` decides the order and the moments.
    pub(super) fn new(mut sessions: Vec<T>, started_ms: u64, window_ms: u64, seed: u64) -> Self {
        let mut random = SplitMix(seed);
        // Fisher and Yates.
        for last in (1..sessions.len()).rev() {
            sessions.swap(last, random.below(last + 1));
        }
        let total = sessions.len() as u64;
        let mut schedule = Self { started_ms, window_ms, total, left: sessions, next_ms: 0, random };
        schedule.draw();
        schedule
    }

    /// When the next one is due; `None`: all were taken.
    pub(super) fn next_ms(&self) -> Option<u64> {
        (!self.left.is_empty()).then_some(self.next_ms)
    }

    /// Takes the next one, if it is due.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<T> {
        if now_ms < self.next_ms {
            return None;
        }
        let due = self.left.pop();
        self.draw();
        due
    }

    /// The moment of the next one: anywhere in its share of the window.
    fn draw(&mut self) {
        const PARTS: u128 = 1 << 32;
        let taken = u128::from(self.total) - self.left.len() as u128;
        let position = taken * PARTS + u128::from(self.random.next() >> 32);
        let offset_ms = position * u128::from(self.window_ms) / (u128::from(self.total.max(1)) * PARTS);
        self.next_ms = self.started_ms.saturating_add(u64::try_from(offset_ms).unwrap_or(u64::MAX));
    }
}

/// A generator of 64 bits of state (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): nobody gains
/// by guessing which client goes first.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, near enough to even.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: std::ops::Range<u64> = 0..50;

    /// All sessions with the moments at which they come up, in order.
    fn run(sessions: usize, started_ms: u64, window_ms: u64, seed: u64) -> Vec<(usize, u64)> {
        let mut schedule = DrainSchedule::new((0..sessions).collect(), started_ms, window_ms, seed);
        let mut closed = Vec::new();
        while let Some(now_ms) = schedule.next_ms() {
            assert!(now_ms == 0 || schedule.take_due(now_ms - 1).is_none(), "never early");
            closed.push((schedule.take_due(now_ms).unwrap(), now_ms));
        }
        assert_eq!(schedule.take_due(u64::MAX), None);
        closed
    }

    #[test]
    fn each_is_closed_once_in_its_share_of_the_window() {
        // (sessions, start, window)
        for (sessions, started_ms, window_ms) in
            [(1, 0, 1000), (4, 100, 1000), (3, 5, 1000), (1000, 7, 15_000), (50_000, 0, 15_000), (10, 3, 0)]
        {
            for seed in SEEDS.take(if sessions > 1000 { 1 } else { 50 }) {
                let closed = run(sessions, started_ms, window_ms, seed);
                let mut who: Vec<_> = closed.iter().map(|(session, _)| *session).collect();
                who.sort_unstable();
                assert_eq!(who, (0..sessions).collect::<Vec<_>>());
                for (place, (_, at_ms)) in closed.iter().enumerate() {
                    let share = |place: usize| started_ms + place as u64 * window_ms / sessions as u64;
                    assert!(
                        (share(place)..=share(place + 1)).contains(at_ms),
                        "{place} of {sessions} at {at_ms} ms, window {window_ms} ms"
                    );
                }
            }
        }
    }

    #[test]
    fn without_sessions_there_is_nothing_to_wait_for() {
        let mut schedule = DrainSchedule::<u32>::new(Vec::new(), 5, 1000, 1);
        assert_eq!((schedule.next_ms(), schedule.take_due(u64::MAX)), (None, None));
    }

    #[test]
    fn no_stretch_of_time_has_more_than_its_part_and_two() {
        const SESSIONS: u64 = 1000;
        const WINDOW_MS: u64 = 10_000;
        for seed in SEEDS {
            let closed = run(SESSIONS as usize, 0, WINDOW_MS, seed);
            for stretch_ms in [10, 100, 1000] {
                for from_ms in (0..WINDOW_MS).step_by(stretch_ms as usize) {
                    let stretch = from_ms..from_ms + stretch_ms;
                    let there = closed.iter().filter(|(_, at_ms)| stretch.contains(at_ms)).count() as u64;
                    assert!(there <= SESSIONS * stretch_ms / WINDOW_MS + 2, "{there} in {stretch:?}");
                }
            }
        }
    }

    #[test]
    fn the_order_is_random_and_the_moments_are_too() {
        let first: Vec<_> = SEEDS.map(|seed| run(10, 0, 1000, seed)[0]).collect();
        for session in 0..10 {
            assert!(first.iter().any(|(who, _)| *who == session), "{session} never comes first: {first:?}");
        }
        let (least, most) = (first.iter().map(|(_, at)| at).min(), first.iter().map(|(_, at)| at).max());
        assert!(least < Some(&20) && most > Some(&80), "{least:?} to {most:?} of 0 to 100");
    }
}
