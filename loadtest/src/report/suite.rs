//! Targets and what was measured.

use serde::Serialize;

use super::{
    BroadcastReport, IdleReport,
    table::{Table, grouped, or_dash},
};
use crate::driver::Faults;

/// All reports of a suite.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SuiteReport {
    pub(crate) thousand: BroadcastReport,
    pub(crate) ten_thousand: BroadcastReport,
    pub(crate) opening: IdleReport,
    pub(crate) idle: IdleReport,
}

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    what: &'static str,
    unit: &'static str,
    target: Target,
    measured: Option<f64>,
    passed: bool,
}

impl Verdict {
    fn new(what: &'static str, unit: &'static str, target: Target, measured: Option<f64>) -> Self {
        let passed = measured.is_some_and(|value| target.is_met_by(value));
        Self { what, unit, target, measured, passed }
    }
}

const RATIO: &str = "x bare loop";

impl SuiteReport {
    /// The targets of the main job.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let ratio = |report: &BroadcastReport, in_flight| {
            report.server.iter().find(|series| series.in_flight == in_flight)?.ratio_to_bare
        };
        let rss = self.idle.cost.as_ref().map(|cost| cost.rss_per_connection_bytes);
        vec![
            Verdict::new("1,000 members, 1 in flight", RATIO, Target::AtLeast(0.9), ratio(&self.thousand, 1)),
            Verdict::new(
                "1,000 members, 16 in flight",
                RATIO,
                Target::AtLeast(6.0),
                ratio(&self.thousand, 16),
            ),
            Verdict::new(
                "1,000 members, 64 in flight",
                RATIO,
                Target::AtLeast(18.0),
                ratio(&self.thousand, 64),
            ),
            Verdict::new(
                "10,000 members, 1 in flight",
                RATIO,
                Target::AtLeast(0.85),
                ratio(&self.ten_thousand, 1),
            ),
            Verdict::new("RSS per idle connection, 15,000", "bytes", Target::AtMost(1024.0), rss),
            Verdict::new(
                "opened and joined, 10,000",
                "per second",
                Target::AtLeast(5000.0),
                self.opening.opened_per_second,
            ),
        ]
    }

    pub(super) fn markdown(&self) -> String {
        let mut table = Table::new(&["", "target", "measured", "unit", "result"]);
        for verdict in self.verdicts() {
            let number =
                |value: f64| if verdict.unit == RATIO { format!("{value:.2}") } else { grouped(value) };
            let target = match verdict.target {
                Target::AtLeast(least) => format!(">= {}", number(least)),
                Target::AtMost(most) => format!("<= {}", number(most)),
            };
            table.row(vec![
                verdict.what.to_owned(),
                target,
                or_dash(verdict.measured, number),
                verdict.unit.to_owned(),
                if verdict.passed { "pass" } else { "MISS" }.to_owned(),
            ]);
        }
        let parts = [
            self.thousand.markdown(),
            self.ten_thousand.markdown(),
            self.opening.markdown(),
            self.idle.markdown(),
        ];
        format!("{}\n{}", table.render(), parts.join("\n"))
    }

    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for part in
            [&self.thousand.faults, &self.ten_thousand.faults, &self.opening.faults, &self.idle.faults]
        {
            faults.add(part);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_bounds() {
        for (target, value, met) in [
            (Target::AtLeast(0.9), 0.9, true),
            (Target::AtLeast(0.9), 0.89, false),
            (Target::AtMost(1024.0), 1024.0, true),
            (Target::AtMost(1024.0), 1025.0, false),
        ] {
            assert_eq!(target.is_met_by(value), met, "{target:?} {value}");
        }
        assert!(!Verdict::new("", "", Target::AtMost(1.0), None).passed, "what was not measured is missed");
    }
}
