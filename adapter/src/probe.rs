//! Whether messages get through, and how long that takes: a pure state machine.
//!
//! A node's own hello goes to the server and comes back by the way of every other message. Owns when each of those that
//! are under way was said, and when the newest that came back was. Time is an argument (microseconds of any steady clock).

use std::collections::VecDeque;

/// Hellos under way that are remembered; the older ones came back late or never will.
const MAX_UNDER_WAY: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Probe {
    /// Number and time of what was said and did not come back yet, in their order.
    under_way: VecDeque<(u64, u64)>,
    newest_said_us: u64,
    round_trip_us: u64,
}

impl Probe {
    /// Nothing was said yet; the age is counted from now.
    #[must_use]
    pub fn new(now_us: u64) -> Self {
        Self { under_way: VecDeque::new(), newest_said_us: now_us, round_trip_us: 0 }
    }

    /// The hello of this number is on its way.
    pub fn said(&mut self, number: u64, now_us: u64) {
        if self.under_way.len() == MAX_UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back((number, now_us));
    }

    /// It came back. What was said before and did not is lost, as the server keeps the order. One that is not known any
    /// more tells nothing.
    pub fn came_back(&mut self, number: u64, now_us: u64) {
        let Some(place) = self.under_way.iter().position(|(said, _)| *said == number) else { return };
        let (_, said_us) = self.under_way[place];
        self.under_way.drain(..=place);
        self.newest_said_us = said_us;
        self.round_trip_us = now_us.saturating_sub(said_us);
    }

    /// How long ago the newest message was said that is known to have got through.
    #[must_use]
    pub fn age_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.newest_said_us)
    }

    /// How long it took; 0 before the first.
    #[must_use]
    pub fn round_trip_us(&self) -> u64 {
        self.round_trip_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_from_what_got_through_and_not_from_what_was_said() {
        let mut probe = Probe::new(1_000);
        assert_eq!((probe.age_us(4_000), probe.round_trip_us()), (3_000, 0), "from the start on");
        probe.said(1, 5_000);
        assert_eq!(probe.age_us(6_000), 5_000);
        probe.came_back(1, 5_300);
        assert_eq!((probe.age_us(6_000), probe.round_trip_us()), (1_000, 300));
        probe.said(2, 7_000);
        probe.said(3, 9_000);
        assert_eq!(probe.age_us(9_000), 4_000, "nothing came back");
    }

    #[test]
    fn each_answer_is_that_to_its_own_question() {
        let mut probe = Probe::new(0);
        probe.said(1, 1_000);
        probe.said(2, 2_000);
        // The first was lost.
        probe.came_back(2, 2_100);
        assert_eq!(probe.round_trip_us(), 100);
        for number in [1, 2, 7] {
            probe.came_back(number, 50_000);
            assert_eq!((probe.age_us(3_000), probe.round_trip_us()), (1_000, 100), "{number}");
        }
    }

    #[test]
    fn what_never_comes_back_is_bounded() {
        let mut probe = Probe::new(0);
        (0..1_000).for_each(|number| probe.said(number, number));
        assert_eq!(probe.under_way.len(), MAX_UNDER_WAY);
        probe.came_back(999, 1_500);
        assert_eq!((probe.under_way.len(), probe.round_trip_us()), (0, 501));
    }
}
