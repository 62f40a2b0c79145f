//! The shards, and what of the settings is for them.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;

use super::millis;
use crate::{
    config::AdapterSettings,
    demo,
    engineio::{
        AllowedOrigins, Cors, EngineMessage, EngineSpec, HttpContext, IdKey, NodeId, Peers, Server,
        TokenSources,
    },
    hub::{Hub, HubMessage, HubSpec, Policy},
    net::Proxies,
    node::Node,
    runtime::{HttpSettings, Mailbox, ShardSpec, ShardThread, spawn},
};

pub(super) fn start_shards(
    node: &Arc<Node>,
    names: (NodeId, IdKey),
    mailboxes: Vec<Mailbox<EngineMessage<HubMessage>>>,
) -> anyhow::Result<Vec<ShardThread<EngineMessage<HubMessage>>>> {
    let policy = Arc::new(Policy::new(node.settings.rooms.clone()));
    let site = if node.settings.development { demo::router() } else { Router::new() };
    let edge = &node.settings.server.edge;
    let proxies =
        Proxies { trusted: edge.trusted_proxies.clone().into(), expects_header: edge.proxy_protocol };
    let http = HttpSettings {
        header_timeout: node.settings.limits.http_header_timeout,
        proxies: Arc::new(proxies),
        tls: node.tls.clone(),
        max_log_lines_per_second: node.settings.limits.max_client_log_lines_per_second,
    };
    (mailboxes.into_iter().zip(0_u8..))
        .map(|(mailbox, number)| {
            let spec = ShardSpec { number: usize::from(number), http: http.clone() };
            let (node, policy, site) = (Arc::clone(node), Arc::clone(&policy), site.clone());
            let build = move || build_shard(&node, names, number, policy, site);
            spawn(spec, mailbox, build).context("cannot start a shard")
        })
        .collect()
}

fn build_shard(
    node: &Node,
    (node_id, id_key): (NodeId, IdKey),
    shard: u8,
    policy: Arc<Policy>,
    site: Router,
) -> io::Result<Server<Hub>> {
    let settings = &node.settings;
    let counters = Arc::clone(&node.counters[usize::from(shard)]);
    let engine_settings = Arc::new(settings.engine.clone());
    let peers = match &settings.adapter {
        AdapterSettings::Memory => None,
        AdapterSettings::Redis(redis) => Some(Arc::new(Peers {
            node: node_id,
            engine: Arc::clone(&node.engine),
            order: Arc::clone(&node.publish_order),
            answer_timeout: redis.answer_timeout,
        })),
    };
    let max_inbound_buffer_bytes = settings.limits.max_inbound_buffer_bytes / node.shards.len();
    let http = HttpContext {
        settings: Arc::clone(&engine_settings),
        cors: Cors::new(AllowedOrigins::new(&settings.engine.allowed_origins)),
        tokens: TokenSources::new(&settings.auth),
        peers: peers.clone(),
        body_timeout: settings.limits.http_body_timeout,
        max_inbound_buffer_bytes,
        shard,
        shards: Arc::clone(&node.shards),
        admission: Arc::clone(node.places.admission()),
        counters: Arc::clone(&counters),
    };
    let spec = EngineSpec {
        settings: engine_settings,
        node: node_id,
        id_key,
        shard,
        max_sessions: settings.limits.max_connections.div_ceil(node.shards.len()),
        max_pending: settings.limits.max_pending_connections.div_ceil(node.shards.len()),
        rate: settings.limits.connection_rate(),
        admission: Arc::clone(node.places.admission()),
        max_queued_bytes: settings.limits.max_queued_bytes,
        max_inbound_buffer_bytes,
        counters,
    };
    let subscribe_timeout = match &settings.adapter {
        AdapterSettings::Memory => Duration::from_secs(5),
        AdapterSettings::Redis(redis) => redis.subscribe_timeout,
    };
    let hub = Hub::new(HubSpec {
        authenticator: Arc::clone(&node.authenticator),
        tokens: (&settings.auth).into(),
        node: node_id,
        shard,
        namespaces: settings.namespaces.clone().into(),
        policy,
        limits: settings.limits.clone(),
        connect_timeout_ms: millis(settings.engine.connect_timeout),
        subscribe_timeout_ms: millis(subscribe_timeout),
        engine: Arc::clone(&node.engine),
        when_down: settings.adapter.when_down(),
        revocations: Arc::clone(&node.learnt.revocations),
        users: Arc::clone(&node.users),
        publish_order: Arc::clone(&node.publish_order),
        peers,
        shards: Arc::clone(&node.shards),
        traces: node.traces.clone(),
        site,
    });
    Server::new(spec, Arc::new(http), hub)
}
