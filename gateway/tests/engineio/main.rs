//! Engine.IO revision 4 over TCP, against `examples/engineio_echo`, as wire.md section 1 says it. What the official test
//! suite of the protocol checks is in here.
//!
//! Every test runs on one shard and on three: there the requests of a session arrive on different shards. Pings come
//! soon only where they are the matter; elsewhere they would only come between.
#![allow(clippy::unwrap_used)]

mod handshake;
mod heartbeat;
mod origins;
mod packets;
mod polling;
mod requests;
mod slow_clients;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
mod upgrade_order;
mod upgrade_refused;

use support::process::Server;

/// Runs a test on one shard and on three.
fn on_each_layout(test: impl Fn(&Server)) {
    on_each_layout_with(&[], test);
}

fn on_each_layout_with(arguments: &[&str], test: impl Fn(&Server)) {
    for shards in ["1", "3"] {
        test(&Server::example("engineio_echo", &[&["--shards", shards], arguments].concat()));
    }
}
