//! What one client does must not hurt another, and costs a bounded amount: each abuse against a running node, cut with an
//! exact reason that is counted, while well-behaved clients beside it lose nothing.
#![allow(clippy::unwrap_used)]

mod addresses;
mod floods;
mod garbage;
mod handshakes;
mod http_heads;
mod memory;
mod rooms;
mod sharing;
mod slow;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::{eventually, http::request, process::Server, socketio::Client};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// One shard, so that everybody meets.
fn node(more: &str) -> Server {
    let rooms = "[[rooms]]\nmatch = \"*\"\njoin = \"anyone\"\npublish = \"anyone\"\n";
    Server::node(Some(&format!("[server]\nshards = 1\n{rooms}{more}")))
}

/// The value of a series, by its name with its labels.
fn metric(server: &Server, name: &str) -> u64 {
    let page = request(server.ops_address.unwrap(), "GET", "/metrics", &[], b"");
    let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().unwrap() as u64
}

/// Sessions that ended for this reason.
fn closed(server: &Server, reason: &str) -> u64 {
    metric(server, &format!("broadgate_connections_closed_total{{reason=\"{reason}\"}}"))
}

/// Handshakes that were refused for this reason.
fn rejected(server: &Server, reason: &str) -> u64 {
    metric(server, &format!("broadgate_handshake_rejected_total{{reason=\"{reason}\"}}"))
}

/// How often a bound of `[limits]` was reached.
fn reached(server: &Server, limit: &str) -> u64 {
    metric(server, &format!("broadgate_limit_reached_total{{limit=\"{limit}\"}}"))
}

/// Waits until so many sessions ended for this reason, and sees that none ended for another.
fn assert_closed(server: &Server, reason: &str, sessions: u64) {
    eventually(&format!("{sessions} sessions end for {reason}"), || closed(server, reason) == sessions);
    let page = request(server.ops_address.unwrap(), "GET", "/metrics", &[], b"");
    let others = page.text().lines().filter(|line| {
        line.starts_with("broadgate_connections_closed_total")
            && !line.contains(reason)
            && !line.ends_with(" 0")
    });
    assert_eq!(others.collect::<Vec<_>>(), [""; 0], "other reasons");
}

/// A well-behaved pair beside the abuse: what one publishes the other gets, all of it, once and in order.
struct Neighbours {
    writer: Client,
    reader: Client,
    published: u64,
}

impl Neighbours {
    fn connect(server: &Server) -> Self {
        let (writer, mut reader) = (Client::connect(server), Client::connect(server));
        reader.join("neighbours");
        Self { writer, reader, published: 0 }
    }

    /// Publishes some messages and sees them come.
    fn assert_well(&mut self) {
        for _ in 0..5 {
            let number = self.published;
            let answer = self.writer.ask(&format!(r#"["publish","neighbours","n",{number}]"#));
            assert_eq!(
                (&answer["ok"], &answer["delivered"]),
                (&Value::from(true), &Value::from(1)),
                "{answer}"
            );
            assert_eq!(self.reader.receive(), format!(r#"2["n",{number}]"#));
            self.published += 1;
        }
    }
}
