//! Socket.IO on the wire, against the node itself, as wire.md section 2 says it; and what clients may ask the node for.
#![allow(clippy::unwrap_used)]

mod access;
mod authentication;
mod connect;
mod expiry;
mod faults;
mod fetched_keys;
mod limits;
mod measured;
mod requests;
mod rooms;
mod shutdown;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use support::process::Server;

/// Two namespaces in which everything is allowed, on three shards: clients that connect one after another are on
/// different ones.
const OPEN: &str = r#"
[server]
shards = 3
[[namespaces]]
name = "/"
[[namespaces]]
name = "/custom"
[[rooms]]
match = "*"
join = "anyone"
publish = "anyone"
[[rooms]]
namespace = "/custom"
match = "*"
join = "anyone"
publish = "anyone"
"#;

fn node() -> Server {
    Server::node(Some(OPEN))
}

/// The same with more settings.
fn node_with(more: &str) -> Server {
    Server::node(Some(&format!("{OPEN}{more}")))
}
