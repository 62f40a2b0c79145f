//! `broadgate doctor`: what is wrong or soon will be with a node's surroundings, why it matters, and what to change. The
//! facts are gathered at the edges ([`host`] from `/proc` and `/sys`, the adapter from Redis, the exporter's request from the
//! receiver of traces); what follows from them is pure, so that it is tested as tables.

mod host;
mod redis;
mod settings;
mod traces;

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
};

pub use host::HostFacts;

use crate::{
    app,
    config::{AdapterSettings, Settings},
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, but not as well or as long as it should.
    Advice,
    /// Does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `config`, `ports`, `host`, `redis`, `traces`.
    pub area: &'static str,
    /// See there.
    pub severity: Severity,
    /// What was found, and why it matters.
    pub what: String,
    /// What to change.
    pub remedy: Option<String>,
}

impl Finding {
    fn good(area: &'static str, what: impl Into<String>) -> Self {
        Self { area, severity: Severity::Good, what: what.into(), remedy: None }
    }

    fn advice(area: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, severity: Severity::Advice, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn fault(area: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { area, severity: Severity::Fault, what: what.into(), remedy: Some(remedy.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Good => "ok",
            Severity::Advice => "advice",
            Severity::Fault => "FAULT",
        };
        write!(formatter, "{:<7} {severity:<7} {}", self.area, self.what)?;
        match &self.remedy {
            Some(remedy) => write!(formatter, "\n{:16}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Looks at everything that a node with these settings would meet.
///
/// # Errors
/// The system gave no runtime or no randomness.
pub fn examine(settings: &Settings) -> std::io::Result<Vec<Finding>> {
    let mut findings = settings::findings(settings);
    findings.push(port("server.listen", settings.server.listen));
    findings.push(port("ops.listen", settings.ops.listen));
    findings.extend(host::findings(&HostFacts::read(), settings));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let AdapterSettings::Redis(redis) = &settings.adapter {
        let config = app::redis_config_for_doctor(settings, redis)?;
        let inspected = runtime.block_on(broadgate_adapter::redis::inspect::inspect(&config));
        findings.extend(redis::findings(inspected.as_ref(), redis));
    }
    findings.extend(runtime.block_on(traces::finding(&settings.traces)));
    Ok(findings)
}

/// Can a node listen there now?
fn port(key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::good("ports", format!("{key} {address} is free")),
        Err(error) => Finding::advice(
            "ports",
            format!("{key} {address} can't be listened on: {error}"),
            "nothing, if that is the node itself, running; else stop who has it, or choose another",
        ),
    }
}
