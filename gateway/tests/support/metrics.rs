//! The metrics page of a node.

use super::{eventually, http::request, process::Server};

/// A series' value, as the page says it: `name{label="value"}`.
pub fn value(server: &Server, series: &str) -> f64 {
    let page = request(server.ops_address.unwrap(), "GET", "/metrics", &[], b"");
    let line = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

/// Waits until a series has a value.
pub fn eventually_is(server: &Server, series: &str, expected: f64) {
    eventually(&format!("{series} is {expected}"), || value(server, series) == expected);
}
