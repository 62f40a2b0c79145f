//! What it costs that a balancer has no affinity.

use serde::Serialize;

use super::table::{Table, grouped, or_dash};
use crate::{
    driver::Faults,
    handshake::HandshakeRound,
    measure::{Latency, Percentiles, Spread, per_second},
};

/// Result of `handshakes`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HandshakeReport {
    nodes: usize,
    concurrency: usize,
    with_affinity: HandshakeSeries,
    without_affinity: HandshakeSeries,
    /// Handshakes per second without affinity to those with it.
    rate_ratio: Option<f64>,
    /// The same for the nodes' CPU time of one handshake.
    cpu_ratio: Option<f64>,
    pub(crate) faults: Faults,
}

/// The figures of all rounds of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HandshakeSeries {
    rounds: usize,
    handshakes: usize,
    handshakes_per_second: Option<Spread>,
    /// All nodes together; absent if it is not known which processes they are.
    node_cpu_seconds_per_handshake: Option<Spread>,
    redis_cpu_seconds_per_handshake: Option<Spread>,
    /// From the first request to the ack over the WebSocket, over all rounds.
    latency: Percentiles,
    /// How busy the load generator was, of one core: near 1, it is what limits the rate.
    client_cpu_share: Option<Spread>,
}

impl HandshakeSeries {
    pub(crate) fn over(rounds: &[HandshakeRound]) -> Self {
        let mut latency = Latency::new();
        rounds.iter().for_each(|round| latency.add(&round.latency));
        let cpu = |of: fn(&HandshakeRound) -> Option<std::time::Duration>| {
            Spread::over(rounds.iter().filter_map(|round| {
                (round.handshakes > 0).then_some(of(round)?.as_secs_f64() / round.handshakes as f64)
            }))
        };
        let share = |round: &HandshakeRound| {
            (!round.elapsed.is_zero()).then(|| round.client_cpu.as_secs_f64() / round.elapsed.as_secs_f64())
        };
        Self {
            rounds: rounds.len(),
            handshakes: rounds.iter().map(|round| round.handshakes).sum(),
            handshakes_per_second: Spread::over(
                rounds.iter().filter_map(|round| per_second(round.handshakes as u64, round.elapsed)),
            ),
            node_cpu_seconds_per_handshake: cpu(|round| round.nodes_cpu),
            redis_cpu_seconds_per_handshake: cpu(|round| round.redis_cpu),
            latency: latency.percentiles(),
            client_cpu_share: Spread::over(rounds.iter().filter_map(share)),
        }
    }

    fn add_to(&self, table: &mut Table, name: &str) {
        let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
        let us = |spread: Option<Spread>| or_dash(spread, |spread| format!("{:.0}", spread.median * 1e6));
        let rate = self.handshakes_per_second;
        table.row(vec![
            name.to_owned(),
            or_dash(rate, |spread| grouped(spread.median)),
            or_dash(rate, |spread| format!("{} - {}", grouped(spread.min), grouped(spread.max))),
            us(self.node_cpu_seconds_per_handshake),
            us(self.redis_cpu_seconds_per_handshake),
            ms(self.latency.p50_us),
            ms(self.latency.p99_us),
            or_dash(self.client_cpu_share, |spread| format!("{:.0} %", spread.median * 100.0)),
        ]);
    }
}

impl HandshakeReport {
    pub(crate) fn new(
        nodes: usize,
        concurrency: usize,
        with_affinity: HandshakeSeries,
        without_affinity: HandshakeSeries,
        faults: Faults,
    ) -> Self {
        let ratio =
            |of: fn(&HandshakeSeries) -> Option<Spread>| of(&without_affinity)?.ratio_to(of(&with_affinity)?);
        let rate_ratio = ratio(|series| series.handshakes_per_second);
        let cpu_ratio = ratio(|series| series.node_cpu_seconds_per_handshake);
        Self { nodes, concurrency, with_affinity, without_affinity, rate_ratio, cpu_ratio, faults }
    }

    pub(super) fn markdown(&self) -> String {
        let mut table = Table::new(&[
            "",
            "handshakes/s",
            "min - max",
            "node CPU us each",
            "Redis CPU us each",
            "p50 ms",
            "p99 ms",
            "client CPU",
        ]);
        self.with_affinity.add_to(&mut table, "each client at one node");
        self.without_affinity.add_to(&mut table, "each request at the next node");
        let checked = grouped((self.with_affinity.handshakes + self.without_affinity.handshakes) as f64);
        let ratio = |ratio| or_dash(ratio, |ratio: f64| format!("{ratio:.2}"));
        format!(
            "{} nodes, {} clients at a time, {checked} handshakes checked (polling, CONNECT, poll, upgrade, event)\n\n\
             {}\nWithout affinity: {} x the handshakes per second, {} x the nodes' CPU time for each.\n{}",
            self.nodes,
            self.concurrency,
            table.render(),
            ratio(self.rate_ratio),
            ratio(self.cpu_ratio),
            self.faults.line(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round(elapsed_ms: u64, cpu_ms: Option<u64>) -> HandshakeRound {
        HandshakeRound {
            handshakes: 1000,
            elapsed: Duration::from_millis(elapsed_ms),
            nodes_cpu: cpu_ms.map(Duration::from_millis),
            redis_cpu: None,
            client_cpu: Duration::from_millis(elapsed_ms / 2),
            latency: Latency::new(),
        }
    }

    fn report(with: &[HandshakeRound], without: &[HandshakeRound]) -> HandshakeReport {
        let [with, without] = [with, without].map(HandshakeSeries::over);
        HandshakeReport::new(3, 32, with, without, Faults::default())
    }

    #[test]
    fn the_ratios_compare_the_medians_of_both_kinds() {
        let report = report(&[round(250, Some(200)), round(9000, Some(200))], &[round(1000, Some(500))]);
        // 4,000 and 111 a second make 2,056; 1,000 to that.
        assert!(report.rate_ratio.is_some_and(|ratio| (0.48..0.49).contains(&ratio)));
        assert_eq!(report.cpu_ratio, Some(2.5));
        let text = report.markdown();
        for expected in
            ["3 nodes, 32 clients", "3,000 handshakes checked", " 1,000 |", " 500 |", " 50 % |", "2.50 x"]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let report = report(&[round(500, None)], &[]);
        assert_eq!((report.rate_ratio, report.cpu_ratio), (None, None));
        assert!(report.markdown().contains("Without affinity: - x"));
    }
}
