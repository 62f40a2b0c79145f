//! What several rounds of the same load come to.

use serde::Serialize;

use super::table::{Table, grouped, or_dash};
use crate::{
    driver::Round,
    measure::{Latency, Percentiles, Spread, per_second},
};

/// The figures of one load, over all its rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    pub(crate) in_flight: usize,
    pub(crate) rounds: usize,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_second: Option<Spread>,
    /// Of the process under test; absent if its CPU time is not known.
    pub(crate) deliveries_per_cpu_second: Option<Spread>,
    /// To the bare loop of the same run, by CPU time.
    pub(crate) ratio_to_bare: Option<f64>,
    /// From publish to arrival, over all rounds.
    pub(crate) latency: Percentiles,
    /// How busy the load generator was, of one core: near 1, it is what limits deliveries per second.
    pub(crate) client_cpu_share: Option<Spread>,
}

impl Series {
    pub(crate) fn over(in_flight: usize, rounds: &[Round]) -> Self {
        let mut latency = Latency::new();
        rounds.iter().for_each(|round| latency.add(&round.latency));
        let per_cpu_second =
            |round: &Round| round.server_cpu.and_then(|cpu| per_second(round.deliveries, cpu));
        let client_share = |round: &Round| {
            (!round.elapsed.is_zero()).then(|| round.client_cpu.as_secs_f64() / round.elapsed.as_secs_f64())
        };
        Self {
            in_flight,
            rounds: rounds.len(),
            messages: rounds.iter().map(|round| round.messages).sum(),
            deliveries: rounds.iter().map(|round| round.deliveries).sum(),
            deliveries_per_second: Spread::over(
                rounds.iter().filter_map(|round| per_second(round.deliveries, round.elapsed)),
            ),
            deliveries_per_cpu_second: Spread::over(rounds.iter().filter_map(per_cpu_second)),
            ratio_to_bare: None,
            latency: latency.percentiles(),
            client_cpu_share: Spread::over(rounds.iter().filter_map(client_share)),
        }
    }

    /// The same, with its ratio to the bare loop.
    pub(crate) fn compared_to(mut self, bare: &Self) -> Self {
        let pair = self.deliveries_per_cpu_second.zip(bare.deliveries_per_cpu_second);
        self.ratio_to_bare = pair.and_then(|(server, bare)| server.ratio_to(bare));
        self
    }

    pub(super) fn table() -> Table {
        Table::new(&[
            "",
            "in flight",
            "deliveries/CPU s",
            "min - max",
            "ratio to bare",
            "deliveries/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "client CPU",
        ])
    }

    pub(super) fn add_to(&self, table: &mut Table, name: &str) {
        let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
        let per_cpu = self.deliveries_per_cpu_second;
        table.row(vec![
            name.to_owned(),
            self.in_flight.to_string(),
            or_dash(per_cpu, |spread| grouped(spread.median)),
            or_dash(per_cpu, |spread| format!("{} - {}", grouped(spread.min), grouped(spread.max))),
            or_dash(self.ratio_to_bare, |ratio| format!("{ratio:.2}")),
            or_dash(self.deliveries_per_second, |spread| grouped(spread.median)),
            ms(self.latency.p50_us),
            ms(self.latency.p99_us),
            ms(self.latency.max_us),
            or_dash(self.client_cpu_share, |spread| format!("{:.0} %", spread.median * 100.0)),
        ]);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    pub(in crate::report) fn round(deliveries: u64, cpu_ms: u64) -> Round {
        Round {
            messages: deliveries / 10,
            deliveries,
            elapsed: Duration::from_secs(2),
            server_cpu: Some(Duration::from_millis(cpu_ms)),
            client_cpu: Duration::from_secs(1),
            latency: Latency::new(),
        }
    }

    #[test]
    fn figures_are_medians_and_ratios_compare_them() {
        let bare = Series::over(1, &[round(1000, 1000), round(1000, 500), round(1000, 2000)]);
        let server = Series::over(16, &[round(1000, 100), round(3000, 100)]).compared_to(&bare);
        assert_eq!(bare.deliveries_per_cpu_second.map(|spread| spread.median), Some(1000.0));
        assert_eq!(server.deliveries_per_cpu_second.map(|spread| spread.median), Some(20_000.0));
        assert_eq!(server.ratio_to_bare, Some(20.0));
        assert_eq!((server.messages, server.deliveries, server.rounds), (400, 4000, 2));
        assert_eq!(server.client_cpu_share.map(|spread| spread.median), Some(0.5));
    }

    #[test]
    fn without_rounds_there_are_no_figures() {
        let bare = Series::over(1, &[]);
        assert_eq!(bare.deliveries_per_cpu_second, None);
        assert_eq!(Series::over(1, &[round(10, 10)]).compared_to(&bare).ratio_to_bare, None);
    }
}
