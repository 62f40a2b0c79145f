//! What the conformance tests stand on: a server as a child process, and clients that show every byte they get.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod engineio;
pub mod http;
pub mod metrics;
pub mod process;
pub mod socketio;
pub mod websocket;

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long anything that must happen may take, on the busiest machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `holds` is true.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
