//! What abuses did to the clients that behave.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{Table, grouped, or_dash};
use crate::{driver::Faults, measure::Percentiles};

/// Result of `attack`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AttackReport {
    pub(crate) members: usize,
    pub(crate) messages_per_second: u32,
    pub(crate) seconds: f64,
    pub(crate) results: Vec<AbuseResult>,
    pub(crate) faults: Faults,
}

/// Result of one abuse.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AbuseResult {
    pub(crate) abuse: String,
    pub(crate) attempts: u64,
    /// Latencies of the clients that behave, before it and in it.
    pub(crate) calm: Percentiles,
    pub(crate) abused: Percentiles,
    pub(crate) node_cpu_share: Option<f64>,
    pub(crate) node_rss_bytes: Option<u64>,
    /// What the node counted, the ends of connections by reason above all.
    pub(crate) counted: BTreeMap<String, u64>,
    /// Of these at least one must be there.
    pub(crate) expected: Vec<&'static str>,
}

impl AbuseResult {
    fn p99_ratio(&self) -> Option<f64> {
        (self.calm.p99_us > 0).then(|| self.abused.p99_us as f64 / self.calm.p99_us as f64)
    }

    /// What is wrong with it.
    pub(crate) fn complaint(&self, max_p99_ratio: f64) -> Vec<String> {
        let mut complaints = Vec::new();
        if let Some(ratio) = self.p99_ratio().filter(|ratio| *ratio > max_p99_ratio) {
            complaints.push(format!("{}: the 99th percentile is {ratio:.1} times the calm's", self.abuse));
        }
        let is_noticed = self.expected.iter().any(|sample| self.counted.contains_key(*sample));
        if !self.expected.is_empty() && !is_noticed {
            complaints.push(format!("{}: the node counted none of {}", self.abuse, self.expected.join(", ")));
        }
        complaints
    }

    /// `slow_consumer 12` for `broadgate_connections_closed_total{reason="slow_consumer"}`.
    fn counted_line(&self) -> String {
        let label = |sample: &str| sample.split('"').nth(1).unwrap_or(sample).to_owned();
        let of_connections = |sample: &str| {
            ["connections_closed", "handshake_rejected", "protocol_errors"]
                .iter()
                .any(|part| sample.contains(part))
                || self.expected.contains(&sample)
        };
        let counted = self.counted.iter().filter(|(sample, _)| of_connections(sample));
        counted
            .map(|(sample, count)| format!("{} {}", label(sample), grouped(*count as f64)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl AttackReport {
    pub(super) fn markdown(&self) -> String {
        let mut table = Table::new(&[
            "abuse",
            "tried",
            "p50 ms",
            "p99 ms",
            "calm p99 ms",
            "ratio",
            "node CPU",
            "node MiB",
            "the node counted",
        ]);
        let ms = |us: u64| format!("{:.1}", us as f64 / 1000.0);
        for result in &self.results {
            table.row(vec![
                result.abuse.clone(),
                grouped(result.attempts as f64),
                ms(result.abused.p50_us),
                ms(result.abused.p99_us),
                ms(result.calm.p99_us),
                or_dash(result.p99_ratio(), |ratio| format!("{ratio:.1}")),
                or_dash(result.node_cpu_share, |share| format!("{:.0} %", share * 100.0)),
                or_dash(result.node_rss_bytes, |bytes| format!("{:.0}", bytes as f64 / f64::from(1 << 20))),
                result.counted_line(),
            ]);
        }
        format!(
            "{} clients that behave, {} messages a second to each, {} s of each abuse behind {} s of calm\n\n{}\n{}",
            grouped(self.members as f64),
            self.messages_per_second,
            self.seconds,
            self.seconds,
            table.render(),
            self.faults.line()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(abused_p99_us: u64, counted: &[(&str, u64)]) -> AbuseResult {
        let percentiles =
            |p99_us| Percentiles { p50_us: 1000, p90_us: 1500, p99_us, p99_9_us: 9000, max_us: 9999 };
        AbuseResult {
            abuse: "ack-flood".to_owned(),
            attempts: 12_345,
            calm: percentiles(2000),
            abused: percentiles(abused_p99_us),
            node_cpu_share: Some(0.5),
            node_rss_bytes: Some(30 << 20),
            counted: counted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            expected: vec!["broadgate_connections_closed_total{reason=\"rate_limited\"}"],
        }
    }

    #[test]
    fn an_abuse_that_hurts_or_is_not_noticed_is_a_complaint() {
        let noticed = [("broadgate_connections_closed_total{reason=\"rate_limited\"}", 7)];
        for (p99_us, counted, complaints) in
            [(4000, &noticed[..], 0), (11_000, &noticed, 1), (4000, &[], 1), (11_000, &[], 2)]
        {
            assert_eq!(result(p99_us, counted).complaint(5.0).len(), complaints, "{p99_us} {counted:?}");
        }
    }

    #[test]
    fn the_table_says_how_they_were_cut() {
        let results = vec![result(
            3000,
            &[
                ("broadgate_connections_closed_total{reason=\"rate_limited\"}", 7),
                ("broadgate_joins_total{result=\"ok\"}", 9),
            ],
        )];
        let report = AttackReport {
            members: 1000,
            messages_per_second: 20,
            seconds: 5.0,
            results,
            faults: Faults::default(),
        };
        let text = report.markdown();
        for expected in
            ["1,000 clients", "| ack-flood |", " 12,345 |", " 1.5 |", " 50 % |", " rate_limited 7 |"]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
