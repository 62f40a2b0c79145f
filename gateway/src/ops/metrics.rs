//! The metrics page: the shards' integers, summed at scrape, with those of the adapter and the bounds in force. What Redis and the
//! process say is beside it.

use std::{sync::atomic::Ordering, time::Duration};

use broadgate_adapter::RequestKind;
use prometheus::{TextEncoder, proto::MetricFamily};

use super::exposition::{
    counter, described, encode, encode_histogram, encode_values, gauge, info, labelled, times, two_labels,
};
use crate::{
    config::Settings,
    node::Node,
    telemetry::{Counter, Family, SHORT_TIMES, Sample, ShardCounters, ShardHistograms},
};

/// Its samples are in part counted elsewhere, too, for what else they say.
const LIMIT_REACHED: &str = "broadgate_limit_reached_total";

const TRACE_SPANS: Family = labelled(
    "broadgate_trace_spans_total",
    "Spans that ended: exported, dropped as the queue was full (traces.max_queued_spans), or not taken by the receiver.",
    "result",
);

const TRACE_HEADERS: Family = labelled(
    "broadgate_trace_header_reloads_total",
    "Times that traces.headers_file had changed (ok), and looks at it while it can't be used (failed).",
    "result",
);

/// The page in the Prometheus text format.
pub(super) fn render(node: &Node) -> prometheus::Result<String> {
    let mut shards = ShardCounters::gather(&node.counters);
    if let Some((_, samples)) = shards.iter_mut().find(|(family, _)| family.name == LIMIT_REACHED) {
        samples.extend(limits_reached(node));
    }
    let mut families: Vec<_> = shards.iter().map(|(family, samples)| encode(*family, samples)).collect();
    families.extend(ShardHistograms::gather(&node.counters).iter().map(encode_histogram));
    families.extend(node_families(node).iter().map(|(family, samples)| encode(*family, samples)));
    families.extend(request_families(node).iter().map(|(family, samples)| encode(*family, samples)));
    families.extend(auth_families(node));
    families.extend(adapter_families(node).iter().map(|(family, samples)| encode(*family, samples)));
    families.extend(ops_families(node));
    families.extend(super::redis_metrics::families(node));
    families.extend(drain_families(node));
    families.extend(info_families(node));
    families.push(namespace_sockets(node));
    families.push(encode(TRACE_SPANS, &node.traces.counts()));
    families.push(encode(TRACE_HEADERS, &node.traces.header_reloads()));
    families.extend(tls_families(node).iter().map(|(family, samples)| encode(*family, samples)));
    families.extend(super::process_metrics::families());
    TextEncoder::new().encode_to_string(&families)
}

fn node_families(node: &Node) -> Vec<(Family, Vec<Sample>)> {
    let sum = |value: fn(&crate::node::ShardInbox) -> u64| node.shards.iter().map(value).sum();
    let draining = u64::from(node.drain.is_running());
    let ready = u64::from(node.readiness().is_ok());
    vec![
        (gauge("broadgate_ready", "1 while the node answers /readyz with 200.", ""), vec![("", ready)]),
        (gauge("broadgate_draining", "1 while the node is shutting down.", ""), vec![("", draining)]),
        (gauge("broadgate_shards", "Shards of the node.", ""), vec![("", node.shards.len() as u64)]),
        (
            gauge("broadgate_shard_inbox_bytes", "Bytes of messages that wait for shards.", ""),
            vec![("", sum(|inbox| inbox.waiting_bytes() as u64))],
        ),
        (
            counter(
                "broadgate_shard_inbox_dropped_total",
                "Broadcasts lost because limits.max_shard_inbox_bytes was reached, once for each shard.",
            ),
            vec![("", sum(crate::runtime::Inbox::refused_total))],
        ),
        (
            gauge(
                "broadgate_http_connections",
                "Connections that speak HTTP now; WebSockets are not counted.",
                "",
            ),
            vec![("", node.places.http_connections() as u64)],
        ),
        (
            counter(
                "broadgate_accept_pauses_total",
                "Times that new connections had to wait because there was no room.",
            ),
            vec![("", node.places.pauses_total())],
        ),
        (
            counter(
                "broadgate_accept_refused_total",
                "Connections closed as they came because of limits.max_connections_per_address.",
            ),
            vec![("", node.places.admission().refused_connections_total())],
        ),
        (
            gauge("broadgate_addresses", "Client addresses that are counted now.", ""),
            vec![("", node.places.admission().addresses() as u64)],
        ),
        (
            counter(
                "broadgate_addresses_untracked_total",
                "Times that a client was served uncounted, since too many addresses were.",
            ),
            vec![("", node.places.admission().untracked_total())],
        ),
        (
            gauge(
                "broadgate_memory_limit_reached",
                "1 while new sessions are refused because of limits.max_memory_bytes.",
                "",
            ),
            vec![("", u64::from(node.places.admission().memory.is_reached()))],
        ),
        (
            gauge("broadgate_limit", "The bounds in force, by their name in [limits] and [engine].", "limit"),
            limits(&node.settings, node.places.admission().memory.max_bytes()),
        ),
    ]
}

fn limits(settings: &Settings, max_memory_bytes: u64) -> Vec<Sample> {
    let limits = &settings.limits;
    [
        ("max_connections", limits.max_connections),
        ("max_queued_bytes", limits.max_queued_bytes),
        ("max_messages_per_second", limits.max_messages_per_second),
        ("max_received_bytes_per_second", limits.max_received_bytes_per_second),
        ("rate_burst_ms", millis(limits.rate_burst)),
        ("max_connections_per_address", limits.max_connections_per_address),
        ("max_handshakes_per_second_per_address", limits.max_handshakes_per_second_per_address),
        ("max_tls_handshakes_per_second_per_address", limits.max_tls_handshakes_per_second_per_address),
        ("handshake_burst_ms", millis(limits.handshake_burst)),
        ("address_limit_exempt", limits.address_limit_exempt.len()),
        ("max_pending_connections", limits.max_pending_connections),
        ("max_memory_bytes", usize::try_from(max_memory_bytes).unwrap_or(usize::MAX)),
        ("http_header_timeout_ms", millis(limits.http_header_timeout)),
        ("http_body_timeout_ms", millis(limits.http_body_timeout)),
        ("max_rooms_per_socket", limits.max_rooms_per_socket),
        ("max_room_name_bytes", limits.max_room_name_bytes),
        ("max_event_name_bytes", limits.max_event_name_bytes),
        ("max_namespaces_per_connection", limits.max_namespaces_per_connection),
        ("max_attachments", limits.max_attachments),
        ("max_pending_acks", limits.max_pending_acks),
        ("max_rooms_per_publish", limits.max_rooms_per_publish),
        ("max_shard_inbox_bytes", limits.max_shard_inbox_bytes),
        ("max_inbound_buffer_bytes", limits.max_inbound_buffer_bytes),
        ("max_http_connections", limits.max_http_connections),
        ("max_connections_per_user", limits.max_connections_per_user),
        ("max_client_log_lines_per_second", limits.max_client_log_lines_per_second as usize),
        ("max_payload_bytes", settings.engine.max_payload_bytes),
    ]
    .map(|(name, value)| (name, value as u64))
    .into()
}

/// How often bounds were reached that have a counter of another name.
fn limits_reached(node: &Node) -> Vec<Sample> {
    let sum = |counter: fn(&ShardCounters) -> &Counter| -> u64 {
        node.counters.iter().map(|shard| counter(shard).get()).sum()
    };
    let inbox_refused: u64 = node.shards.iter().map(crate::runtime::Inbox::refused_total).sum();
    let refused_at_accept = node.places.admission().refused_connections_total();
    vec![
        ("max_connections", sum(|shard| &shard.rejected_capacity)),
        ("max_connections_per_address", sum(|shard| &shard.rejected_address_connections) + refused_at_accept),
        ("max_handshakes_per_second_per_address", sum(|shard| &shard.rejected_address_rate)),
        ("max_tls_handshakes_per_second_per_address", sum(|shard| &shard.tls_address_rate)),
        ("max_connections_per_user", node.users.refused_total()),
        ("max_pending_connections", sum(|shard| &shard.rejected_pending)),
        ("max_memory_bytes", sum(|shard| &shard.rejected_memory)),
        ("max_queued_bytes", sum(|shard| &shard.slow_consumers)),
        ("max_rooms_per_publish", node.refused_publishes.load(Ordering::Relaxed)),
        ("max_shard_inbox_bytes", inbox_refused),
        ("max_inbound_buffer_bytes", sum(|shard| &shard.inbound_buffer_refused)),
        ("max_http_connections", node.places.http_full_total()),
        ("max_client_log_lines_per_second", sum(|shard| &shard.log_lines_suppressed)),
        ("max_payload_bytes", sum(|shard| &shard.payload_too_large)),
    ]
}

fn millis(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX)
}

fn request_families(node: &Node) -> Vec<(Family, Vec<Sample>)> {
    let metrics = node.engine.metrics();
    let gathered = &node.gatherer.counters;
    let by_type =
        |values: [u64; RequestKind::NAMES.len()]| RequestKind::NAMES.into_iter().zip(values).collect();
    vec![
        (
            labelled(
                "broadgate_cluster_requests_received_total",
                "Requests of other nodes and emitters.",
                "type",
            ),
            by_type(metrics.requests_received_total),
        ),
        (
            labelled("broadgate_cluster_requests_sent_total", "Requests of this node.", "type"),
            by_type(metrics.requests_sent_total),
        ),
        (
            labelled(
                "broadgate_cluster_requests_finished_total",
                "Requests of this node, by result.",
                "result",
            ),
            vec![
                ("complete", metrics.requests_complete_total),
                ("partial", metrics.requests_partial_total),
                ("failed", metrics.requests_failed_total),
            ],
        ),
        (
            gauge(
                "broadgate_cluster_requests_pending",
                "Requests that wait for answers, by who asked.",
                "from",
            ),
            vec![("this_node", metrics.requests_pending), ("other_nodes", node.gatherer.gathering() as u64)],
        ),
        (
            counter(
                "broadgate_cluster_requests_unknown_total",
                "Requests of a type that no version known here has.",
            ),
            vec![("", metrics.requests_unknown_total)],
        ),
        (
            labelled(
                "broadgate_cluster_responses_total",
                "Answers to requests, by what became of them.",
                "result",
            ),
            vec![
                ("received", metrics.responses_received_total),
                ("sent", metrics.responses_sent_total),
                ("send_failed", metrics.responses_failed_total),
                ("cut", metrics.responses_truncated_total),
            ],
        ),
        (
            gauge(
                "broadgate_cluster_nodes",
                "Broadgate nodes that this one knows, with itself; Node.js servers are not among them.",
                "",
            ),
            vec![("", metrics.nodes)],
        ),
        (
            labelled(
                "broadgate_cluster_node_messages_total",
                "Messages from one node to another: sent, received, unreachable (the node was not there), or malformed.",
                "result",
            ),
            vec![
                ("sent", metrics.node_messages_sent_total),
                ("received", metrics.node_messages_received_total),
                ("unreachable", metrics.node_messages_unreachable_total),
                ("malformed", node.learnt.malformed_peer_messages.load(Ordering::Relaxed)),
            ],
        ),
        (
            labelled(
                "broadgate_cluster_gathered_total",
                "Requests answered for all shards: complete, partial (a shard was late or full), or refused (too many).",
                "result",
            ),
            vec![
                ("complete", gathered.complete.load(Ordering::Relaxed)),
                ("partial", gathered.partial.load(Ordering::Relaxed)),
                ("refused", gathered.refused.load(Ordering::Relaxed)),
            ],
        ),
    ]
}

/// Nothing where the public listener does not speak TLS.
fn tls_families(node: &Node) -> Vec<(Family, Vec<Sample>)> {
    let Some(tls) = &node.tls else { return Vec::new() };
    let (ok, failed) = tls.reloads_total();
    vec![
        (
            labelled(
                "broadgate_tls_reloads_total",
                "Times that the files of the certificate were new: used, or no good.",
                "result",
            ),
            vec![("ok", ok), ("failed", failed)],
        ),
        (
            gauge(
                "broadgate_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires, in seconds since 1970.",
                "",
            ),
            vec![("", u64::try_from(tls.expires_at_s()).unwrap_or(0))],
        ),
    ]
}

fn auth_families(node: &Node) -> Vec<MetricFamily> {
    let authenticator = &node.authenticator;
    let verifications =
        labelled("broadgate_token_verifications_total", "Tokens, by what became of them.", "result");
    let fetches = labelled("broadgate_jwks_fetches_total", "Fetches of issuers' keys, by result.", "result");
    let reloads = labelled(
        "broadgate_token_key_reloads_total",
        "Files of issuers' keys (key_file) that have changed (ok), and looks at one that can't be used (failed).",
        "result",
    );
    let (reloaded, failed) = authenticator.key_file_reloads();
    let mut families = vec![
        encode(verifications, &authenticator.verifications()),
        encode(fetches, &authenticator.fetches()),
        encode(reloads, &[("ok", reloaded), ("failed", failed)]),
    ];
    let samples: Vec<_> = authenticator.fetched_keys().collect();
    // A family without samples is no family to Prometheus' encoder.
    if !samples.is_empty() {
        let keys = gauge("broadgate_jwks_keys", "Keys in use of an issuer that fetches them.", "issuer");
        let age = gauge(
            "broadgate_jwks_age_seconds",
            "Since an issuer's keys were last fetched, or since the start.",
            "issuer",
        );
        families.push(encode_values(keys, samples.iter().map(|sample| (sample.issuer, sample.keys as f64))));
        families.push(encode_values(age, samples.iter().map(|sample| (sample.issuer, sample.age_seconds))));
    }
    families
}

fn adapter_families(node: &Node) -> Vec<(Family, Vec<Sample>)> {
    let metrics = node.engine.metrics();
    let single = |family: Family, value: u64| (family, vec![("", value)]);
    vec![
        (
            gauge("broadgate_adapter_link_up", "1 while the link to the other nodes is up.", "link"),
            vec![("publish", metrics.publish_link_up), ("subscribe", metrics.subscribe_link_up)],
        ),
        (
            gauge(
                "broadgate_adapter_subscriptions",
                "Rooms and patterns subscribed at Redis, by state.",
                "state",
            ),
            vec![
                ("desired", metrics.subscriptions_desired),
                ("confirmed", metrics.subscriptions_confirmed),
                ("idle", metrics.subscriptions_idle),
            ],
        ),
        single(
            counter("broadgate_adapter_received_total", "Broadcasts from other nodes and emitters."),
            metrics.received_total,
        ),
        single(
            counter("broadgate_adapter_received_bytes_total", "Bytes of all messages from Redis."),
            metrics.received_bytes_total,
        ),
        single(
            counter("broadgate_adapter_skipped_own_total", "Own broadcasts that came back and were skipped."),
            metrics.skipped_own_total,
        ),
        single(
            counter(
                "broadgate_adapter_malformed_total",
                "Messages from Redis that could not be read and were skipped.",
            ),
            metrics.malformed_total,
        ),
        single(
            counter(
                "broadgate_adapter_published_total",
                "Messages handed to Redis: broadcasts, requests, answers.",
            ),
            metrics.published_total,
        ),
        single(
            counter("broadgate_adapter_publish_failed_total", "Messages that could not be handed to Redis."),
            metrics.publish_failed_total,
        ),
        single(
            counter(
                "broadgate_adapter_reconnects_total",
                "Times the lost link that receives was made again.",
            ),
            metrics.reconnects_total,
        ),
        single(
            counter("broadgate_adapter_gaps_total", "Gaps in which messages of other nodes may be missing."),
            metrics.gaps_total,
        ),
    ]
}

/// What the node is made from, and with.
fn info_families(node: &Node) -> [MetricFamily; 2] {
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", option_env!("BROADGATE_COMMIT").unwrap_or("unknown")),
        ("rustc", env!("BROADGATE_RUSTC")),
    ];
    let config = [("hash", &*node.settings.fingerprint)];
    [
        info("broadgate_build_info", "1; the labels say what the node was built from, and with.", &build),
        info(
            "broadgate_config_info",
            "1; the label tells configurations apart: a digest of print-config, in which secrets have no part.",
            &config,
        ),
    ]
}

fn namespace_sockets(node: &Node) -> MetricFamily {
    let family = gauge(
        "broadgate_namespace_sockets",
        "Connected Socket.IO sockets of each of Socket.IO's namespaces, which the configuration names.",
        // Kubernetes' own namespace has the shorter name.
        "socketio_namespace",
    );
    let sum = |place: usize| -> u64 {
        let counters = node.counters.iter().filter_map(|shard| shard.namespace_sockets.get(place));
        counters.map(Counter::get).fold(0, u64::wrapping_add)
    };
    let namespaces = node.settings.namespaces.iter().enumerate();
    // As of all gauges, a shard may be read in the middle of a change.
    encode_values(family, namespaces.map(|(place, one)| (one.name.as_str(), sum(place).cast_signed() as f64)))
}

/// How long the node has been going away, and how long it may take: in fractions of seconds.
fn drain_families(node: &Node) -> [MetricFamily; 2] {
    let timeout = node.settings.server.shutdown_timeout.as_secs_f64();
    [
        (
            gauge("broadgate_drain_seconds", "How long the node has been shutting down; 0 before.", ""),
            node.drain.seconds(),
        ),
        (
            gauge("broadgate_drain_timeout_seconds", "How long it may take, server.shutdown_timeout_ms.", ""),
            timeout,
        ),
    ]
    .map(|(family, value)| encode_values(family, [("", value)]))
}

/// What the ops API was asked for.
fn ops_families(node: &Node) -> [MetricFamily; 4] {
    let requests = counter(
        "broadgate_ops_requests_total",
        "Requests of the ops API, by the scope that they need and whether they may.",
    );
    let mut encoded = described(requests);
    let samples = node.ops_access.requests();
    encoded
        .set_metric(samples.map(|(values, count)| two_labels(["scope", "result"], values, count)).collect());
    let reloads = labelled(
        "broadgate_ops_key_reloads_total",
        "Files of ops keys that have changed (ok), and looks at one that can't be used (failed).",
        "result",
    );
    let durations = times(
        "broadgate_ops_request_duration_seconds",
        "How long the ops listener took to answer, by route.",
        "route",
    );
    let answers = labelled(
        "broadgate_ops_responses_total",
        "Answers of the ops listener, by the class of their status.",
        "class",
    );
    [
        encoded,
        encode(reloads, &node.ops_access.reloads()),
        encode_histogram(&(durations, &SHORT_TIMES, node.ops_times.durations())),
        encode(answers, &node.ops_times.classes()),
    ]
}
