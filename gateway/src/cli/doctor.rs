//! `doctor`: prints what was found, and fails where something does not work.

use std::process::ExitCode;

use broadgate::doctor::{self, Finding, Severity};

use super::{ServeArgs, fail, load_or_report, say};

pub(super) fn doctor(args: &ServeArgs) -> ExitCode {
    let settings = match load_or_report(args) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let findings = match doctor::examine(&settings) {
        Ok(findings) => findings,
        Err(error) => return fail(&format!("can't look: {error}")),
    };
    let said = say(&report(&findings));
    let has_fault = findings.iter().any(|finding| finding.severity == Severity::Fault);
    if has_fault { ExitCode::FAILURE } else { said }
}

fn report(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let (faults, advice) = (count(Severity::Fault), count(Severity::Advice));
    lines.push(match (faults, advice) {
        (0, 0) => "\nall is well".to_owned(),
        (0, _) => format!("\nnothing is broken; advice: {advice}"),
        _ => format!("\nfaults: {faults}; advice: {advice}"),
    });
    lines.join("\n")
}
