//! A hashed timing wheel: every deadline of a shard's sessions, at 8 bytes each. Entries are not taken out when a
//! deadline moves; whoever they name looks at its own state when they come up (it has one live entry at a time).

/// The wheel's step. Deadlines come up to one step late, never early.
const TICK_MS: u64 = 16;
/// 65 seconds of steps; what lies farther comes up early, and is put in again.
const SLOTS: usize = 4096;

/// See the module. Owned by a shard.
pub(super) struct Wheel<T> {
    slots: Box<[Vec<T>]>,
    /// One bit for each slot that holds something.
    occupied: [u64; SLOTS / 64],
    /// The tick up to which everything came up.
    tick: u64,
}

impl<T> Wheel<T> {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), occupied: [0; SLOTS / 64], tick: 0 }
    }

    /// Puts an entry in, for `at_ms` or the farthest step.
    pub(super) fn insert(&mut self, at_ms: u64, entry: T) {
        let tick = at_ms.div_ceil(TICK_MS).clamp(self.tick + 1, self.tick + SLOTS as u64 - 1);
        let slot = slot(tick);
        self.slots[slot].push(entry);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Takes out the entries of one due step; `None` when nothing more is due. Call it until then.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<Vec<T>> {
        let due_tick = now_ms / TICK_MS;
        let tick = self.next_tick().filter(|&tick| tick <= due_tick);
        let Some(tick) = tick else {
            self.tick = self.tick.max(due_tick);
            return None;
        };
        self.tick = tick;
        let slot = slot(tick);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        Some(std::mem::take(&mut self.slots[slot]))
    }

    /// When the next entries are due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.next_tick().map(|tick| tick * TICK_MS)
    }

    /// The first occupied step after the current one: at most 65 words are looked at.
    fn next_tick(&self) -> Option<u64> {
        let first = self.tick + 1;
        let mut offset = 0;
        while offset < SLOTS as u64 {
            let slot = slot(first + offset);
            let word = self.occupied[slot / 64] >> (slot % 64);
            if word != 0 {
                let tick = first + offset + u64::from(word.trailing_zeros());
                return (tick < first + SLOTS as u64).then_some(tick);
            }
            offset += 64 - (slot % 64) as u64;
        }
        None
    }
}

fn slot(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel<u32>, now_ms: u64) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some(mut entries) = wheel.take_due(now_ms) {
            all.append(&mut entries);
        }
        all
    }

    #[test]
    fn entries_come_up_in_order_and_never_early() {
        let mut wheel = Wheel::new();
        for (at_ms, entry) in [(100, 1), (50, 2), (100, 3), (60_000, 4), (0, 5)] {
            wheel.insert(at_ms, entry);
        }
        assert_eq!(wheel.next_ms(), Some(16));
        assert_eq!(due(&mut wheel, 16), [5]);
        assert_eq!(due(&mut wheel, 63), [] as [u32; 0]);
        assert_eq!(due(&mut wheel, 64), [2]);
        assert_eq!(due(&mut wheel, 111), [] as [u32; 0]);
        assert_eq!(due(&mut wheel, 59_999), [1, 3]);
        assert_eq!(wheel.next_ms(), Some(60_000));
        assert_eq!(due(&mut wheel, 70_000), [4]);
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn what_lies_beyond_the_wheel_comes_up_early_to_be_put_in_again() {
        let mut wheel = Wheel::new();
        wheel.insert(10_000_000, 1);
        let early_ms = wheel.next_ms().unwrap();
        assert!((60_000..70_000).contains(&early_ms), "{early_ms}");
        assert_eq!(due(&mut wheel, early_ms), [1]);
    }

    #[test]
    fn every_entry_comes_up_once_whatever_the_steps() {
        let mut wheel = Wheel::new();
        let (mut now_ms, mut seen, mut expected) = (0, Vec::new(), Vec::new());
        for round in 0..2_000_u32 {
            wheel.insert(now_ms + u64::from(round.wrapping_mul(2_654_435_761) % 64_000), round);
            expected.push(round);
            now_ms += u64::from(round % 97);
            seen.append(&mut due(&mut wheel, now_ms));
        }
        seen.append(&mut due(&mut wheel, now_ms + 70_000));
        seen.sort_unstable();
        assert_eq!(seen, expected);
    }
}
