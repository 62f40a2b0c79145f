//! What was measured, as values, as JSON and as tables.

mod attack;
mod handshakes;
mod host;
mod series;
mod suite;
mod table;

use serde::Serialize;

pub(crate) use self::{
    attack::{AbuseResult, AttackReport},
    handshakes::{HandshakeReport, HandshakeSeries},
    host::Host,
    series::Series,
    suite::SuiteReport,
};
use self::{
    suite::Verdict,
    table::{Table, grouped, or_dash},
};
use crate::driver::Faults;

/// Result of `idle`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IdleReport {
    pub(crate) connections: usize,
    pub(crate) joined: usize,
    pub(crate) opened_in_s: f64,
    pub(crate) opened_per_second: Option<f64>,
    pub(crate) held_s: f64,
    /// Absent if it is not known which process the server is.
    pub(crate) cost: Option<IdleCost>,
    pub(crate) faults: Faults,
}

/// What the server needed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IdleCost {
    pub(crate) rss_before_bytes: u64,
    /// As soon as all were open.
    pub(crate) rss_opened_bytes: u64,
    /// After holding them.
    pub(crate) rss_held_bytes: u64,
    /// All that the process grew, over all connections.
    pub(crate) rss_per_connection_bytes: f64,
    /// The same from connection 101 on: without what is allocated once.
    pub(crate) rss_per_further_connection_bytes: Option<f64>,
    pub(crate) opening_cpu_us_per_connection: f64,
    pub(crate) idle_cpu_seconds_per_second: f64,
}

/// Result of `broadcast`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BroadcastReport {
    pub(crate) members: usize,
    pub(crate) size_bytes: usize,
    pub(crate) room: String,
    pub(crate) bare: Series,
    pub(crate) server: Vec<Series>,
    pub(crate) faults: Faults,
}

/// Result of `baseline`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BaselineReport {
    pub(crate) members: usize,
    pub(crate) size_bytes: usize,
    pub(crate) bare: Series,
    pub(crate) faults: Faults,
}

/// Result of any subcommand.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Report {
    Idle(IdleReport),
    Broadcast(BroadcastReport),
    Baseline(BaselineReport),
    Handshakes(HandshakeReport),
    Attack(AttackReport),
    Suite(Box<SuiteReport>),
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    host: Host,
    passed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verdicts: Vec<Verdict>,
    report: &'a Report,
}

impl Report {
    /// All that went wrong.
    pub(crate) fn faults(&self) -> Faults {
        match self {
            Self::Idle(report) => report.faults.clone(),
            Self::Broadcast(report) => report.faults.clone(),
            Self::Baseline(report) => report.faults.clone(),
            Self::Handshakes(report) => report.faults.clone(),
            Self::Attack(report) => report.faults.clone(),
            Self::Suite(report) => report.faults(),
        }
    }

    /// For programs: everything. `passed` speaks of faults, not of targets.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let verdicts = if let Self::Suite(report) = self { report.verdicts() } else { Vec::new() };
        let passed = self.faults().is_clean();
        let version = env!("CARGO_PKG_VERSION");
        serde_json::to_string_pretty(&Document {
            version,
            host: Host::this(),
            passed,
            verdicts,
            report: self,
        })
    }

    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let body = match self {
            Self::Idle(report) => report.markdown(),
            Self::Broadcast(report) => report.markdown(),
            Self::Baseline(report) => report.markdown(),
            Self::Handshakes(report) => report.markdown(),
            Self::Attack(report) => report.markdown(),
            Self::Suite(report) => report.markdown(),
        };
        format!("{}\n\n{body}", Host::this().line())
    }
}

impl IdleReport {
    fn markdown(&self) -> String {
        let mut table = Table::new(&["idle connections", &grouped(self.connections as f64)]);
        let mut row = |what: &str, value: String| table.row(vec![what.to_owned(), value]);
        row("in the room", grouped(self.joined as f64));
        row("opened in", format!("{:.2} s", self.opened_in_s));
        row("opened and joined per second", or_dash(self.opened_per_second, grouped));
        if let Some(cost) = &self.cost {
            let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
            row("server RSS before", mebibytes(cost.rss_before_bytes));
            row("server RSS, all open", mebibytes(cost.rss_opened_bytes));
            row(&format!("server RSS after {:.0} s", self.held_s), mebibytes(cost.rss_held_bytes));
            row("RSS per connection", format!("{} B", grouped(cost.rss_per_connection_bytes)));
            let further =
                or_dash(cost.rss_per_further_connection_bytes, |bytes| format!("{} B", grouped(bytes)));
            row("RSS per connection after the first 100", further);
            row("server CPU to open one", format!("{:.0} us", cost.opening_cpu_us_per_connection));
            row(
                "server CPU while idle",
                format!("{:.2} % of a core", cost.idle_cpu_seconds_per_second * 100.0),
            );
        }
        format!("{}\n{}", table.render(), self.faults.line())
    }
}

impl BroadcastReport {
    fn markdown(&self) -> String {
        let mut table = Series::table();
        self.bare.add_to(&mut table, "bare send() loop");
        for series in &self.server {
            series.add_to(&mut table, "server");
        }
        let Self { members, size_bytes, .. } = self;
        let checked: u64 = self.server.iter().map(|series| series.deliveries).sum();
        let (members, checked) = (grouped(*members as f64), grouped(checked as f64));
        let faults = self.faults.line();
        format!(
            "{members} members, {size_bytes}-byte messages, {checked} deliveries checked\n\n{}\n{faults}",
            table.render()
        )
    }
}

impl BaselineReport {
    fn markdown(&self) -> String {
        let mut table = Series::table();
        self.bare.add_to(&mut table, "bare send() loop");
        let members = grouped(self.members as f64);
        format!(
            "{members} members, {}-byte messages\n\n{}\n{}",
            self.size_bytes,
            table.render(),
            self.faults.line()
        )
    }
}

impl Faults {
    fn line(&self) -> String {
        let Self { connections, lost, duplicated, out_of_order, reasons } = self;
        let mut line = format!(
            "Failed connections: {connections}. Messages lost: {lost}, duplicated: {duplicated}, \
             out of order: {out_of_order}.\n"
        );
        for reason in reasons {
            line.push_str("  ");
            line.push_str(reason);
            line.push('\n');
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::{series::tests::round, *};

    fn broadcast() -> BroadcastReport {
        let bare = Series::over(1, &[round(1000, 10)]);
        let server = vec![Series::over(16, &[round(12_000, 10)]).compared_to(&bare)];
        BroadcastReport {
            members: 1000,
            size_bytes: 100,
            room: "load".to_owned(),
            bare,
            server,
            faults: Faults::default(),
        }
    }

    #[test]
    fn the_tables_show_figures_ratios_and_faults() {
        let text = Report::Broadcast(broadcast()).markdown();
        for expected in
            ["1,000 members, 100-byte", "12,000 deliveries checked", "1,200,000", " 12.00 |", "lost: 0"]
        {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn the_json_says_whether_all_went_well() {
        let mut report = broadcast();
        for (faults, passed) in [(Faults::default(), true), (Faults { lost: 1, ..Faults::default() }, false)]
        {
            report.faults = faults;
            let json = Report::Broadcast(report.clone()).json().expect("JSON");
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!(json["passed"], passed);
            assert_eq!(json["report"]["kind"], "broadcast");
            assert_eq!(json["report"]["server"][0]["ratio_to_bare"], 12.0);
        }
    }
}
