//! What the metrics page says of messages to Redis and back, and of what nodes keep there.

use broadgate_adapter::Durations;
use prometheus::proto::MetricFamily;

use super::exposition::{counter, encode, encode_histogram, encode_values, gauge, labelled, times};
use crate::{
    node::Node,
    telemetry::{Distribution, SHORT_TIMES},
};

pub(super) fn families(node: &Node) -> Vec<MetricFamily> {
    let metrics = node.engine.metrics();
    let seconds = |name, help, us: u64| encode_values(gauge(name, help, ""), [("", us as f64 / 1e6)]);
    let single = |family, value| encode(family, &[("", value)]);
    let measured = |name, help, values: &Durations| {
        let values = Distribution { counts: values.counts.to_vec(), sum: values.sum_us };
        encode_histogram(&(times(name, help, ""), &SHORT_TIMES, vec![("", values)]))
    };
    vec![
        measured(
            "broadgate_redis_publish_duration_seconds",
            "How long Redis took to answer a batch of what this node publishes.",
            &metrics.publish_durations,
        ),
        measured(
            "broadgate_cluster_request_duration_seconds",
            "How long requests of this node took to be answered by all others, or until the time was up.",
            &metrics.request_durations,
        ),
        measured(
            "broadgate_redis_resubscribe_duration_seconds",
            "How long it took after the link came back until the node had all of its subscriptions again.",
            &metrics.resubscribe_durations,
        ),
        single(
            counter(
                "broadgate_redis_topology_changes_total",
                "Times the link that receives was made to another Redis server than before: the master is elsewhere.",
            ),
            metrics.topology_changes_total,
        ),
        seconds(
            "broadgate_delivery_probe_age_seconds",
            "Age of the newest message that is known to have come back to the node through Redis; it sends one every 2 s.",
            metrics.probe_age_us,
        ),
        seconds(
            "broadgate_delivery_probe_round_trip_seconds",
            "How long that message took to Redis and back.",
            metrics.probe_round_trip_us,
        ),
        encode(
            labelled(
                "broadgate_revocations_total",
                "Revocations of tokens: received (told or lifted), not_kept (for nodes that start later), dropped (too many).",
                "result",
            ),
            &[
                ("received", metrics.revocations_received_total),
                ("not_kept", metrics.revocations_not_kept_total),
                ("dropped", metrics.revocations_dropped_total),
            ],
        ),
        single(
            gauge("broadgate_revocations", "Revocations in force, as this node knows them.", ""),
            node.learnt.revocations.len() as u64,
        ),
        single(
            gauge("broadgate_users", "Users with a connection to this node, where they are counted.", ""),
            node.users.users() as u64,
        ),
        single(
            counter(
                "broadgate_user_connections_counted_alone_total",
                "Connections admitted by this node's numbers alone, as those of other nodes could not be had.",
            ),
            node.users.counted_alone_total(),
        ),
        single(
            gauge(
                "broadgate_adapter_keys_denied",
                "1 while Redis lets this node use no keys: it keeps no revocations and counts users alone.",
                "",
            ),
            metrics.keys_denied,
        ),
    ]
}
