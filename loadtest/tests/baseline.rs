//! The program as a whole, against its own bare loop.

use std::process::Command;

use serde_json::Value;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_broadgate-loadtest"))
}

#[test]
fn the_baseline_counts_every_delivery() {
    let run = program()
        .args(["baseline", "--members", "40", "--messages", "50", "--rounds", "2", "--json", "-"])
        .output()
        .expect("the program");
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    let document: Value = serde_json::from_slice(&run.stdout).expect("JSON on standard output");
    assert_eq!(document["passed"], true, "{errors}");
    let report = &document["report"];
    assert_eq!(report["kind"], "baseline");
    assert_eq!(report["bare"]["rounds"], 2);
    assert_eq!(report["bare"]["messages"], 100);
    assert_eq!(report["bare"]["deliveries"], 4000);
    assert_eq!(report["faults"]["lost"], 0);
    for figure in ["deliveries_per_second", "deliveries_per_cpu_second"] {
        assert!(report["bare"][figure]["median"].as_f64().is_some_and(|value| value > 0.0), "{report}");
    }
}

#[test]
fn a_server_that_is_not_there_fails_the_run_and_says_why() {
    let run = program()
        .args(["idle", "--url", "ws://127.0.0.1:1", "--connections", "3", "--hold-s", "0", "--json", "-"])
        .output()
        .expect("the program");
    assert_eq!(run.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&run.stdout).expect("JSON on standard output");
    assert_eq!(document["passed"], false);
    assert_eq!(document["report"]["faults"]["connections"], 3);
    assert!(
        document["report"]["faults"]["reasons"][0].as_str().is_some_and(|reason| reason.contains("refused"))
    );
}

#[test]
fn wrong_usage_has_its_own_exit_status() {
    let run = program().args(["broadcast", "--in-flight", "0"]).output().expect("the program");
    assert_eq!(run.status.code(), Some(2));
}
