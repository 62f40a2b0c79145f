//! `GET /api/v1/nodes`: the Broadgate nodes that this one knows, itself included. Node.js servers are not among them.

use std::sync::Arc;

use axum::{Json, extract::State};
use broadgate_adapter::NodeInfo;
use serde::Serialize;

use crate::node::Node;

#[derive(Serialize)]
pub(super) struct Known {
    ok: bool,
    nodes: Vec<KnownNode>,
}

#[derive(Serialize)]
struct KnownNode {
    name: Arc<str>,
    version: Box<str>,
    /// Is it the one that answers?
    this: bool,
    seconds_since_heard: f64,
}

/// See the module.
pub(super) async fn list(State(node): State<Arc<Node>>) -> Json<Known> {
    let this = KnownNode {
        name: node.engine.name().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        this: true,
        seconds_since_heard: 0.0,
    };
    let others = node.engine.nodes().into_iter().map(|NodeInfo { name, version, age_ms }| KnownNode {
        name,
        version,
        this: false,
        seconds_since_heard: age_ms as f64 / 1000.0,
    });
    let mut nodes: Vec<_> = std::iter::once(this).chain(others).collect();
    nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Json(Known { ok: true, nodes })
}
