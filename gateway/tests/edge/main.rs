//! What is between clients and the node: whose requests they are behind balancers, and TLS.
#![allow(clippy::unwrap_used)]

mod balancers;
mod certificates;
mod random;
mod smoke;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tls_client;
mod tls_floods;

use std::net::SocketAddr;

use support::{http::request, process::Server};

/// Rooms in which everything is allowed.
const OPEN: &str = "[[rooms]]\nmatch = \"*\"\njoin = \"anyone\"\npublish = \"anyone\"\n";

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A node with these settings, and rooms in which everything is allowed.
fn node(settings: &str) -> Server {
    Server::node(Some(&format!("{settings}\n{OPEN}")))
}

/// A sample of the metrics page, such as `broadgate_tls_handshakes_total{result="ok"}`.
fn metric(server: &Server, sample: &str) -> u64 {
    let ops: SocketAddr = server.ops_address.unwrap();
    let page = request(ops, "GET", "/metrics", &[], b"");
    let line =
        page.text().lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no sample {sample}")).parse::<f64>().unwrap() as u64
}
