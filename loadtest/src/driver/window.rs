//! The messages in flight: published, but not yet received by all members. Owned by the round that publishes them.

use std::{collections::VecDeque, time::Instant};

use crate::measure::Latency;

/// A message is complete when every member has it.
#[derive(Debug)]
pub(crate) struct Window {
    members: usize,
    first: u64,
    flights: VecDeque<Flight>,
    completed: u64,
    latency: Latency,
}

#[derive(Debug)]
struct Flight {
    published_at: Instant,
    outstanding: usize,
}

impl Window {
    /// For a room of `members`, where `next` is the sequence number of the next message.
    pub(crate) fn new(members: usize, next: u64) -> Self {
        Self { members, first: next, flights: VecDeque::new(), completed: 0, latency: Latency::new() }
    }

    /// The next message was published.
    pub(crate) fn publish(&mut self, at: Instant) {
        self.flights.push_back(Flight { published_at: at, outstanding: self.members });
    }

    /// A member received a message for the first time.
    pub(crate) fn deliver(&mut self, sequence: u64, at: Instant) {
        let Some(index) = sequence.checked_sub(self.first) else { return };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(flight) = self.flights.get_mut(index) else { return };
        self.latency.record(at.duration_since(flight.published_at));
        flight.outstanding = flight.outstanding.saturating_sub(1);
        while self.flights.front().is_some_and(|flight| flight.outstanding == 0) {
            self.flights.pop_front();
            self.first += 1;
            self.completed += 1;
        }
    }

    /// How many messages are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many messages all members have.
    pub(crate) const fn completed(&self) -> u64 {
        self.completed
    }

    /// The latencies of all deliveries.
    pub(crate) fn into_latency(self) -> Latency {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_is_complete_when_every_member_has_it() {
        let start = Instant::now();
        let mut window = Window::new(2, 10);
        window.publish(start);
        window.publish(start);
        assert_eq!(window.in_flight(), 2);
        window.deliver(10, start + Duration::from_micros(5));
        window.deliver(11, start + Duration::from_micros(6));
        assert_eq!((window.in_flight(), window.completed()), (2, 0));
        window.deliver(10, start + Duration::from_micros(7));
        assert_eq!((window.in_flight(), window.completed()), (1, 1));
        window.deliver(11, start + Duration::from_micros(8));
        assert_eq!((window.in_flight(), window.completed()), (0, 2));
        assert_eq!(window.into_latency().percentiles().max_us, 8);
    }

    #[test]
    fn messages_of_other_rounds_count_for_nothing() {
        let now = Instant::now();
        let mut window = Window::new(1, 10);
        window.publish(now);
        for foreign in [0, 9, 11, u64::MAX] {
            window.deliver(foreign, now);
        }
        assert_eq!((window.in_flight(), window.completed()), (1, 0));
    }
}
