//! Checks what one member receives: each message once and in order. Owned by the member.

use std::collections::BTreeSet;

/// Numbers kept per member to tell late from repeated ones; what is missing beyond that is only counted.
const MAX_MISSING: usize = 4096;

/// How a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The one that was expected, or one after a gap.
    First,
    /// One that a later message had overtaken.
    OutOfOrder,
    /// One that had been there before, or was sent before this member joined.
    Duplicate,
}

/// The next number and the gaps so far; small while nothing is missing.
#[derive(Debug)]
pub(crate) struct SequenceCheck {
    next: u64,
    missing: Option<Box<Missing>>,
}

#[derive(Debug, Default)]
struct Missing {
    numbers: BTreeSet<u64>,
    beyond: u64,
}

impl SequenceCheck {
    /// The first message that will be sent to this member is `first`.
    pub(crate) const fn starting_at(first: u64) -> Self {
        Self { next: first, missing: None }
    }

    /// Takes one message in.
    pub(crate) fn receive(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::First;
        }
        if sequence < self.next {
            let was_missing = self.missing.as_mut().is_some_and(|missing| missing.numbers.remove(&sequence));
            return if was_missing { Arrival::OutOfOrder } else { Arrival::Duplicate };
        }
        let missing = self.missing.get_or_insert_default();
        for number in self.next..sequence {
            if missing.numbers.len() == MAX_MISSING {
                missing.beyond += sequence - number;
                break;
            }
            missing.numbers.insert(number);
        }
        self.next = sequence + 1;
        Arrival::First
    }

    /// How many of the messages before `end` (the next one that would be published) never arrived.
    pub(crate) fn lost_before(&self, end: u64) -> u64 {
        let gaps = self.missing.as_ref().map_or(0, |missing| missing.numbers.len() as u64 + missing.beyond);
        gaps + end.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival::*, *};

    #[test]
    fn every_arrival_is_told_apart_and_losses_are_counted() {
        for (received, expected, lost) in [
            (vec![5, 6, 7], vec![First, First, First], 0),
            (vec![5, 6], vec![First, First], 1),
            (vec![5, 7], vec![First, First], 1),
            (vec![5, 5, 6, 7], vec![First, Duplicate, First, First], 0),
            (vec![5, 7, 6], vec![First, First, OutOfOrder], 0),
            (vec![7, 5, 5], vec![First, OutOfOrder, Duplicate], 1),
            (vec![4], vec![Duplicate], 3),
            (vec![], vec![], 3),
        ] {
            let mut check = SequenceCheck::starting_at(5);
            let arrivals: Vec<_> = received.iter().map(|&sequence| check.receive(sequence)).collect();
            assert_eq!(arrivals, expected, "{received:?}");
            assert_eq!(check.lost_before(8), lost, "{received:?}");
        }
    }

    #[test]
    fn a_huge_gap_is_counted_without_being_kept() {
        let mut check = SequenceCheck::starting_at(0);
        assert_eq!(check.receive(1_000_000_000), First);
        assert_eq!(check.lost_before(1_000_000_001), 1_000_000_000);
    }
}
