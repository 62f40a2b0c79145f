// Writes broadgate.json beside it: `node deploy/grafana/dashboard.mjs`. .ci/ops/dashboards checks that it was run, that
// Grafana's schema accepts the result and that every query finds something.

import { writeFileSync } from "node:fs";

import { heatmap, layout, panel, row, stat, table } from "./layout.mjs";

/** What every selector has. */
const NODE = `job=~"$job",namespace=~"$namespace",instance=~"$instance"`;
const metric = (name, labels = "") => `${name}{${NODE}${labels && `,${labels}`}}`;
const rate = (name, labels) => `rate(${metric(name, labels)}[$__rate_interval])`;
const sum = (expression, by = "") => `sum${by && ` by (${by})`} (${expression})`;
/** Divides, and leaves out what has nothing to divide by. */
const ratio = (above, below) => `${above} / (${below} > 0)`;

const buckets = (name, by, labels) => sum(rate(`${name}_bucket`, labels), by ? `le, ${by}` : "le");
/** A quantile of a histogram; nothing where nothing was measured. */
const quantile = (share, name, by, labels) => `histogram_quantile(${share}, ${buckets(name, by, labels)})`;
/** The share of what a histogram has measured that is not above one of its bounds. */
const within = (name, le, by, labels) =>
  ratio(sum(rate(`${name}_bucket`, `le="${le}"${labels ? `,${labels}` : ""}`), by), sum(rate(`${name}_count`, labels), by));
/** The middle and the slow end of a histogram, by one of its labels. */
const quantiles = (name, by) => [
  [quantile(0.5, name, by), by ? `{{${by}}} p50` : "p50"],
  [quantile(0.99, name, by), by ? `{{${by}}} p99` : "p99"],
];

const connections = (by = "") => sum(metric("broadgate_connections"), by);
const limit = (name) => `max by (instance) (${metric("broadgate_limit", `limit="${name}"`)})`;
/** Messages that a client should have got and did not, of all kinds. */
const LOSSES = `${sum(rate("broadgate_messages_dropped_total"))} + ${sum(rate("broadgate_shard_inbox_dropped_total"))}`;

const GREEN_IS_ZERO = [["green", null], ["red", 1]];
const RARELY = [["green", null], ["orange", 0.001], ["red", 0.01]];
/** Of what should be: the objective is the last. */
const above = (orange, green) => [["red", null], ["orange", orange], ["green", green]];
const FILLING = [["green", null], ["orange", 0.7], ["red", 0.85]];
const PER_SECOND = "si:/s";

/** Requests for a session that found no room at the node. */
const FULL = sum(rate("broadgate_handshake_rejected_total", 'reason=~"capacity|memory|pending"'));

const overview = [
  stat("Nodes", "Nodes that Prometheus reaches.", [`count(${metric("broadgate_build_info")})`]),
  stat("Not ready", "Nodes that answer /readyz with 503, those that drain included.",
    [`count(${metric("broadgate_ready")} == 0) or vector(0)`], { thresholds: GREEN_IS_ZERO }),
  stat("Links down", "Links to Redis that are down; each node has two.",
    [`count(${metric("broadgate_adapter_link_up")} == 0) or vector(0)`], { thresholds: GREEN_IS_ZERO }),
  stat("Gaps", "Times, in the range shown, that a node was cut off from Redis and messages may be missing.",
    [sum(`increase(${metric("broadgate_adapter_gaps_total")}[$__range])`)], { thresholds: GREEN_IS_ZERO, decimals: 0 }),
  stat("Connections", "Open Engine.IO sessions of all nodes.", [connections()]),
  stat("Deliveries", "Messages queued for members of rooms, a second.", [sum(rate("broadgate_deliveries_total"))],
    { unit: PER_SECOND }),
  stat("Lost", "Messages that a client should have got and did not, of all messages to clients. Objective: below 0.1 %.",
    [ratio(`(${LOSSES})`, `(${LOSSES} + ${sum(rate("broadgate_messages_sent_total"))})`)],
    { unit: "percentunit", thresholds: RARELY }),
  stat("Fullest node", "Connections of the limit, on the node that is fullest.",
    [`max(${connections("instance")} / ${limit("max_connections")})`], { unit: "percentunit", thresholds: FILLING }),
  stat("Delivered in time", "Broadcasts that took at most half a second from their publishing to their members. Objective: 99 %.",
    [within("broadgate_delivery_latency_seconds", "0.5")], { unit: "percentunit", thresholds: above(0.98, 0.99) }),
  stat("Handshakes taken", "Of requests for a session, those that were not refused for want of room. Objective: 99.9 %.",
    [`1 - ${ratio(FULL, `(${FULL} + ${sum(rate("broadgate_connections_opened_total"))})`)}`],
    { unit: "percentunit", thresholds: above(0.99, 0.999) }),
  stat("Sessions kept", "Of the open sessions, those that no fault of the network or a client took in the last five minutes. Objective: 99 %.",
    [`1 - ${ratio(sum(`increase(${metric("broadgate_connections_closed_total", 'reason=~"transport_error|ping_timeout|slow_consumer"')}[5m])`), connections())}`],
    { unit: "percentunit", thresholds: above(0.95, 0.99) }),
  stat("Latency p99", "From the publishing of a broadcast to the write to its members, of the slowest in a hundred.",
    [quantile(0.99, "broadgate_delivery_latency_seconds")], { unit: "s", thresholds: [["green", null], ["orange", 0.25], ["red", 0.5]] }),
  panel("Connections by node", "Open sessions. They should be alike, unless a node has just started.",
    [[connections("instance"), "{{instance}}"]], { stack: true }),
  panel("Deliveries by node", "Messages queued for members of rooms.",
    [[sum(rate("broadgate_deliveries_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND, stack: true }),
  panel("State of the nodes", "Ready, and draining. A node that nothing comes back to through Redis is not ready.",
    [[sum(metric("broadgate_ready")), "ready"], [sum(metric("broadgate_draining")), "draining"],
     [`count by (version) (${metric("broadgate_build_info")})`, "version {{version}}"]]),
];

const churn = [
  panel("Connections by transport", "Open sessions. Polling that stays high: WebSockets do not get through.",
    [[connections("transport"), "{{transport}}"]], { stack: true }),
  panel("Opened", "New sessions, by the transport they began with.",
    [[sum(rate("broadgate_connections_opened_total"), "transport"), "{{transport}}"]], { unit: PER_SECOND }),
  panel("Closed", "Ended sessions, by reason. server_shutdown: a drain. ping_timeout: the client did not answer.",
    [[sum(rate("broadgate_connections_closed_total"), "reason"), "{{reason}}"]], { unit: PER_SECOND }),
  panel("Upgrades", "Changes from polling to WebSocket, by result.",
    [[sum(rate("broadgate_transport_upgrades_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Connects to namespaces", "Socket.IO sockets that were wanted, by result.",
    [[sum(rate("broadgate_connects_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("HTTP and WebSockets", "Connections as the kernel sees them. WebSockets include those that probe or close.",
    [[sum(metric("broadgate_http_connections")), "HTTP"],
     [sum(metric("broadgate_websocket_connections")), "WebSocket"]]),
  panel("Waits at the door", "Times that new connections had to wait because there was no room.",
    [[sum(rate("broadgate_accept_pauses_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND }),
  panel("Sockets", "Connected Socket.IO sockets; one connection may have several, in namespaces.",
    [[sum(metric("broadgate_sockets")), "sockets"], [connections(), "connections"]]),
  panel("Sockets by namespace", "Of Socket.IO, as they are configured.",
    [[sum(metric("broadgate_namespace_sockets"), "socketio_namespace"), "{{socketio_namespace}}"]]),
  panel("Handshakes", "From the head of a request for a session to the open session.",
    quantiles("broadgate_handshake_duration_seconds", "transport"), { unit: "s" }),
  panel("Connecting", "From an open session to its first namespace: a round trip, the token, its keys and its rooms.",
    quantiles("broadgate_connect_duration_seconds"), { unit: "s" }),
  panel("Pings without an answer", "Sessions that ended because their client did not answer in time.",
    [[sum(rate("broadgate_ping_timeouts_total"), "transport"), "{{transport}}"]], { unit: PER_SECOND }),
  panel("Round trips to clients", "From a ping to its pong.", quantiles("broadgate_ping_rtt_seconds", "transport"), { unit: "s" }),
  panel("Lives of connections", "Of those that ended, how long they lasted. Half of them, and all but one in ten.",
    [[quantile(0.5, "broadgate_connection_duration_seconds"), "p50"], [quantile(0.9, "broadgate_connection_duration_seconds"), "p90"]],
    { unit: "s" }),
];

const deliveries = [
  heatmap("Delivery latency", "From the publishing of a broadcast, where its publisher says when, to the write to its members; how many took so long.",
    buckets("broadgate_delivery_latency_seconds"), { unit: "s" }),
  panel("Delivery latency by path", "local: published on the same node; redis: elsewhere, so the clocks of two machines have a part in it.",
    quantiles("broadgate_delivery_latency_seconds", "path"), { unit: "s", thresholds: [["transparent", null], ["red", 0.5]] }),
  panel("Delivered in time", "Broadcasts that took at most half a second. Objective: 99 %.",
    [[within("broadgate_delivery_latency_seconds", "0.5", "instance"), "{{instance}}"]],
    { unit: "percentunit", max: 1, thresholds: above(0.98, 0.99) }),
  panel("Broadcasts and deliveries", "A broadcast is counted on each shard that takes it; a delivery for each member.",
    [[sum(rate("broadgate_broadcasts_total")), "broadcasts"], [sum(rate("broadgate_deliveries_total")), "deliveries"]],
    { unit: PER_SECOND }),
  panel("Fan-out", "Members that one broadcast was queued for on one shard: on average, and of the largest in a hundred.",
    [[ratio(sum(rate("broadgate_deliveries_total")), sum(rate("broadgate_broadcasts_total"))), "average"],
     [quantile(0.99, "broadgate_broadcast_fanout"), "p99"]]),
  panel("Broadcasts for nobody", "Of the broadcasts that a shard took in, those without a member there. Each shard gets what its node gets.",
    [[within("broadgate_broadcast_fanout", "0", "instance"), "{{instance}}"]], { unit: "percentunit", max: 1 }),
  panel("Sizes of messages", "received: of clients; sent: of broadcasts, for each member.",
    quantiles("broadgate_message_size_bytes", "direction"), { unit: "bytes" }),
  panel("Publishers' clocks ahead", "Broadcasts that were published in the future: their latency counts as 0, and that of others is not to be trusted.",
    [[sum(rate("broadgate_publishers_clock_off_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND }),
  panel("Messages of a write", "Messages that one system call writes, on average. It grows under load.",
    [[ratio(sum(rate("broadgate_messages_sent_total")), sum(rate("broadgate_socket_writes_total"))), "messages"]]),
  panel("Messages", "Engine.IO messages to and from clients.",
    [[sum(rate("broadgate_messages_sent_total")), "sent"], [sum(rate("broadgate_messages_received_total")), "received"]],
    { unit: PER_SECOND }),
  panel("Bytes", "To and from clients, framing included.",
    [[sum(rate("broadgate_bytes_sent_total")), "sent"], [sum(rate("broadgate_bytes_received_total")), "received"]],
    { unit: "Bps" }),
  panel("Publishes of clients", "Requests of clients to publish, by result.",
    [[sum(rate("broadgate_publishes_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
];

const losses = [
  panel("Waiting for clients", "Bytes that wait for clients on WebSockets, and the most that did within the last minute or two.",
    [[sum(metric("broadgate_send_queue_bytes"), "instance"), "{{instance}}"],
     [sum(metric("broadgate_send_queue_high_watermark_bytes"), "instance"), "{{instance}} most"]], { unit: "bytes" }),
  panel("Slow consumers", "Clients cut because limits.max_queued_bytes waited for them.",
    [[sum(rate("broadgate_slow_consumers_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND }),
  panel("Messages dropped", "volatile: the client was not ready. connection_closed: they waited when it went away.",
    [[sum(rate("broadgate_messages_dropped_total"), "reason"), "{{reason}}"]], { unit: PER_SECOND }),
  panel("Broadcasts dropped at shards", "limits.max_shard_inbox_bytes was reached: lost for all clients of the shard.",
    [[sum(rate("broadgate_shard_inbox_dropped_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND }),
  panel("Waiting for shards", "Bytes in the inboxes of a node's shards.",
    [[sum(metric("broadgate_shard_inbox_bytes"), "instance"), "{{instance}}"]], { unit: "bytes" }),
  panel("Incomplete messages", "Bytes of clients' messages that are not complete yet; bound: limits.max_inbound_buffer_bytes.",
    [[sum(metric("broadgate_inbound_buffer_bytes"), "instance"), "{{instance}}"]], { unit: "bytes" }),
  panel("Lost", "Messages that a client should have got and did not, of all messages to clients.",
    [[ratio(`(${LOSSES})`, `(${LOSSES} + ${sum(rate("broadgate_messages_sent_total"))})`), "lost"]],
    { unit: "percentunit", thresholds: RARELY }),
];

const redis = [
  panel("Links", "1 while the link is up. subscribe receives, publish sends.",
    [[`min by (instance, link) (${metric("broadgate_adapter_link_up")})`, "{{instance}} {{link}}"]], { max: 1 }),
  panel("Messages", "Between the nodes, and from emitters. A node takes those that it has members for.",
    [[sum(rate("broadgate_adapter_received_total")), "received"],
     [sum(rate("broadgate_adapter_published_total")), "published"],
     [sum(rate("broadgate_adapter_skipped_own_total")), "own, skipped"]], { unit: PER_SECOND }),
  panel("Bytes received", "Payload of the broadcasts from other nodes and emitters.",
    [[sum(rate("broadgate_adapter_received_bytes_total"), "instance"), "{{instance}}"]], { unit: "Bps" }),
  panel("Subscriptions", "Rooms and patterns that are wanted, and that Redis has confirmed. They should be one line.",
    [[sum(metric("broadgate_adapter_subscriptions"), "state"), "{{state}}"]]),
  panel("Faults", "Publishes that failed, and messages that could not be read.",
    [[sum(rate("broadgate_adapter_publish_failed_total")), "publish failed"],
     [sum(rate("broadgate_adapter_malformed_total")), "malformed"]], { unit: PER_SECOND }),
  panel("Reconnects and gaps", "In five minutes. After a gap messages may be missing.",
    [[sum(`increase(${metric("broadgate_adapter_reconnects_total")}[5m])`, "instance"), "{{instance}} reconnects"],
     [sum(`increase(${metric("broadgate_adapter_gaps_total")}[5m])`, "instance"), "{{instance}} gaps"],
     [sum(`increase(${metric("broadgate_redis_topology_changes_total")}[5m])`, "instance"), "{{instance}} to another server"]]),
  panel("Delivery probe: age", "Of the newest message that a node knows to have got through Redis; it sends one every 2 s.",
    [[`max by (instance) (${metric("broadgate_delivery_probe_age_seconds")})`, "{{instance}}"]], { unit: "s" }),
  panel("Delivery probe: round trip", "How long that message took from the node to Redis and back.",
    [[`max by (instance) (${metric("broadgate_delivery_probe_round_trip_seconds")})`, "{{instance}}"]], { unit: "s" }),
  panel("Publishing", "How long Redis took to answer a batch of what a node publishes.",
    quantiles("broadgate_redis_publish_duration_seconds"), { unit: "s" }),
  panel("Waits of clients", "join: for the subscription of a room; publish: for the ack.",
    quantiles("broadgate_ack_duration_seconds", "request"), { unit: "s" }),
  panel("Keys denied", "1 while Redis lets a node use no keys: revocations are not kept, and users counted on each node alone.",
    [[`max by (instance) (${metric("broadgate_adapter_keys_denied")})`, "{{instance}}"]], { max: 1 }),
];

const sentOn = sum(rate("broadgate_forwarded_requests_sent_total", 'result!~"no_such_node|forged_id|stale_id"'));
const cluster = [
  panel("Nodes known", "By the node that knows the fewest and the one that knows the most. All three should be one line.",
    [[`min(${metric("broadgate_cluster_nodes")})`, "fewest"], [`max(${metric("broadgate_cluster_nodes")})`, "most"],
     [`sum(${metric("broadgate_ready")})`, "ready"]]),
  panel("Requests sent on", "Requests for sessions of other nodes, by what came of them. no_such_node: that node is gone.",
    [[sum(rate("broadgate_forwarded_requests_sent_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Requests taken in", "Requests that other nodes sent on to the session's, by its answer.",
    [[sum(rate("broadgate_forwarded_requests_received_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Share sent on", "Of all requests for a session. With N nodes and no affinity: (N - 1) / N.",
    [[ratio(sentOn, sum(rate("broadgate_session_requests_total"))), "sent on"]], { unit: "percentunit", max: 1 }),
  panel("Sessions moved", "By upgrades that landed at another node. in and out should be one line; lost: it reached nobody.",
    [[sum(rate("broadgate_sessions_moved_total"), "direction"), "{{direction}}"]], { unit: PER_SECOND }),
  panel("Messages between nodes", "unreachable: the node was not there. Normal for a while after a node has ended.",
    [[sum(rate("broadgate_cluster_node_messages_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Requests of servers", "fetchSockets and the like: of other nodes, Node.js servers and emitters, by type.",
    [[sum(rate("broadgate_cluster_requests_received_total"), "type"), "{{type}}"]], { unit: PER_SECOND }),
  panel("Own requests", "Those of these nodes, by result. partial: somebody did not answer in time.",
    [[sum(rate("broadgate_cluster_requests_finished_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Requests that wait", "For answers, by who asked.",
    [[sum(metric("broadgate_cluster_requests_pending"), "from"), "{{from}}"]]),
  panel("Answers to own requests", "Until all other nodes had answered, or the time was up.",
    quantiles("broadgate_cluster_request_duration_seconds"), { unit: "s" }),
];

const rooms = [
  panel("Rooms", "Rooms with members. A room with members on several shards or nodes counts on each.",
    [[sum(metric("broadgate_rooms"), "instance"), "{{instance}}"]]),
  panel("Memberships", "Members of all rooms.", [[sum(metric("broadgate_room_memberships"), "instance"), "{{instance}}"]]),
  panel("Memberships of a socket", "On average; the room of its own id does not count.",
    [[ratio(sum(metric("broadgate_room_memberships")), sum(metric("broadgate_sockets"))), "memberships"]]),
  panel("Joins", "Requests to join a room, by result.",
    [[sum(rate("broadgate_joins_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Leaves", "Requests to leave a room.", [[sum(rate("broadgate_leaves_total")), "leaves"]], { unit: PER_SECOND }),
  panel("Sizes of rooms", "Members on a shard of the rooms that sockets join: in the middle, and of the largest in a hundred.",
    quantiles("broadgate_room_size")),
  panel("Waiting acks", "Joins and publishes of clients that wait for Redis.",
    [[sum(metric("broadgate_acks_pending"), "instance"), "{{instance}}"]]),
];

const errors = [
  panel("Requests refused", "Before they reached a session, by reason. session_unknown: the session or its node is gone.",
    [[sum(rate("broadgate_handshake_rejected_total"), "reason"), "{{reason}}"]], { unit: PER_SECOND }),
  panel("Protocol errors", "Input that broke a protocol and closed its connection, by layer.",
    [[sum(rate("broadgate_protocol_errors_total"), "layer"), "{{layer}}"]], { unit: PER_SECOND }),
  panel("Other faults of clients", "Messages above engine.max_payload_bytes, events that nobody handles, and log lines left out.",
    [[sum(rate("broadgate_payload_too_large_total")), "too large"],
     [sum(rate("broadgate_inbound_buffer_refused_total")), "no buffer"],
     [sum(rate("broadgate_events_unknown_total")), "unknown events"],
     [sum(rate("broadgate_log_lines_suppressed_total")), "log lines left out"]], { unit: PER_SECOND }),
];

const limits = [
  panel("Connects", "To namespaces, by result. token_...: the client's token was refused.",
    [[sum(rate("broadgate_connects_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Tokens", "That were verified, by what became of them.",
    [[sum(rate("broadgate_token_verifications_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Fresh tokens", "That clients sent for their sockets; and sockets whose token expired or was revoked.",
    [[sum(rate("broadgate_token_refreshes_total"), "result"), "{{result}}"],
     [sum(rate("broadgate_sockets_expired_total")), "expired"], [sum(rate("broadgate_sockets_revoked_total")), "revoked"]],
    { unit: PER_SECOND }),
  panel("Keys of issuers: age", "Since they were last fetched. Those of jwks_url and jwks_file, every five minutes unless set otherwise.",
    [[`max by (instance, issuer) (${metric("broadgate_jwks_age_seconds")})`, "{{instance}} {{issuer}}"]], { unit: "s" }),
  panel("Keys of issuers", "Keys in use; and fetches, by result.",
    [[`max by (issuer) (${metric("broadgate_jwks_keys")})`, "keys of {{issuer}}"],
     [sum(rate("broadgate_jwks_fetches_total"), "result"), "{{result}} a second"]]),
  panel("Revocations", "In force, by what each node knows; they should be one line. And those that were told, or could not be kept.",
    [[`max by (instance) (${metric("broadgate_revocations")})`, "{{instance}}"],
     [sum(rate("broadgate_revocations_total"), "result"), "{{result}} a second"]]),
  panel("Certificate", "Until the certificate in use expires. Only of nodes that speak TLS.",
    [[`min by (instance) (${metric("broadgate_tls_certificate_expiry_timestamp_seconds")}) - time()`, "on {{instance}}"]],
    { unit: "s", thresholds: [["red", null], ["orange", 2 * 86400], ["green", 14 * 86400]] }),
  panel("TLS handshakes", "Of the public listener, by result.",
    [[sum(rate("broadgate_tls_handshakes_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Ops API", "Requests, by the scope that they need and whether they may.",
    [[sum(rate("broadgate_ops_requests_total"), "scope, result"), "{{scope}} {{result}}"]], { unit: PER_SECOND }),
  panel("Ops API: times", "The slowest in a hundred, by route.",
    [[quantile(0.99, "broadgate_ops_request_duration_seconds", "route"), "{{route}}"]], { unit: "s" }),
  panel("Ops API: answers", "By the class of their status.",
    [[sum(rate("broadgate_ops_responses_total"), "class"), "{{class}}"]], { unit: PER_SECOND }),
  panel("Bounds reached", "Times that a bound of [limits] refused, closed or dropped something.",
    [[sum(rate("broadgate_limit_reached_total"), "limit"), "{{limit}}"]], { unit: PER_SECOND }),
  panel("Users and addresses", "That are counted now, where they are.",
    [[sum(metric("broadgate_users")), "users"], [sum(metric("broadgate_addresses")), "addresses"]]),
  panel("Connections of the limit", "The limit in force; it is lower than configured where there are few descriptors.",
    [[`${connections("instance")} / ${limit("max_connections")}`, "{{instance}}"]],
    { unit: "percentunit", max: 1, thresholds: FILLING }),
  panel("File descriptors of the limit", "All that are open: clients, links, listeners.",
    [[`max by (instance) (${metric("process_open_fds")} / ${metric("process_max_fds")})`, "{{instance}}"]],
    { unit: "percentunit", max: 1, thresholds: FILLING }),
  panel("Inboxes of the limit", "Bytes waiting for shards, of limits.max_shard_inbox_bytes for each of them.",
    [[`${sum(metric("broadgate_shard_inbox_bytes"), "instance")} / (${limit("max_shard_inbox_bytes")} * ` +
      `${sum(metric("broadgate_shards"), "instance")})`, "{{instance}}"]],
    { unit: "percentunit", max: 1, thresholds: FILLING }),
  panel("Memory limit", "1 while a node refuses new sessions because of limits.max_memory_bytes.",
    [[`max by (instance) (${metric("broadgate_memory_limit_reached")})`, "{{instance}}"]], { max: 1 }),
  table("Bounds in force", "The lowest of all nodes.", `min by (limit) (${metric("broadgate_limit")})`),
];

const drain = [
  panel("State of the nodes", "Ready, and draining: a rollout takes one node after the other.",
    [[sum(metric("broadgate_ready")), "ready"], [sum(metric("broadgate_draining")), "draining"]], { stack: true }),
  panel("Versions", "Nodes by what they were built from, and by their configuration. In a rollout there are two, then one.",
    [[`count by (version, commit) (${metric("broadgate_build_info")})`, "{{version}} {{commit}}"],
     [`count by (hash) (${metric("broadgate_config_info")})`, "configuration {{hash}}"]]),
  panel("Sessions left", "While a node drains: those that are not closed yet.",
    [[sum(metric("broadgate_drain_sessions_left"), "instance"), "{{instance}}"]]),
  panel("Time of the drain", "How long it has lasted, of the time that it may take. Above 1 it is stuck.",
    [[`max by (instance) (${metric("broadgate_drain_seconds")} / ${metric("broadgate_drain_timeout_seconds")})`, "{{instance}}"]],
    { unit: "percentunit", thresholds: [["green", null], ["red", 1]] }),
  panel("Closed by drains", "Sessions, at the pace that server.drain_window_ms gives. They should appear as opened elsewhere.",
    [[sum(rate("broadgate_connections_closed_total", 'reason="server_shutdown"'), "instance"), "closed by {{instance}}"],
     [sum(rate("broadgate_connections_opened_total")), "opened"]], { unit: PER_SECOND }),
  panel("Refused while draining", "Handshakes that should have gone elsewhere: the load balancer is late.",
    [[sum(rate("broadgate_handshake_rejected_total", 'reason="draining"')), "refused"]], { unit: PER_SECOND }),
];

/** The highest of the nodes against their average: 1 is even. */
const skew = (expression) => `max(${expression}) / (avg(${expression}) > 0)`;
const perNode = [
  panel("Skew", "The busiest node against the average: 1 is even, 2 is twice as much.",
    [[skew(connections("instance")), "connections"],
     [skew(sum(rate("broadgate_deliveries_total"), "instance")), "deliveries"],
     [skew(sum(rate("process_cpu_seconds_total"), "instance")), "CPU"]],
    { thresholds: [["green", null], ["orange", 1.5], ["red", 2]] }),
  panel("Opened by node", "What the load balancer gives to each.",
    [[sum(rate("broadgate_connections_opened_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND }),
  panel("Bytes sent by node", "Framing included.",
    [[sum(rate("broadgate_bytes_sent_total"), "instance"), "{{instance}}"]], { unit: "Bps" }),
  panel("Requests for another shard", "Polling requests that reached a shard other than their session's. This is normal.",
    [[sum(rate("broadgate_requests_forwarded_total"), "instance"), "{{instance}}"]], { unit: PER_SECOND }),
];

const process = [
  panel("CPU", "Cores in use. A node has one thread for each shard and one for all else.",
    [[sum(rate("process_cpu_seconds_total"), "instance"), "{{instance}}"],
     [`min(${metric("broadgate_shards")})`, "shards"]]),
  panel("CPU of threads", "Cores that each takes: 1 is its limit. main: new connections, Redis, the ops API.",
    [[`max by (instance, thread) (${rate("broadgate_thread_cpu_seconds_total")})`, "{{instance}} {{thread}}"]],
    { thresholds: [["green", null], ["orange", 0.75], ["red", 0.9]] }),
  panel("Memory", "Resident.", [[sum(metric("process_resident_memory_bytes"), "instance"), "{{instance}}"]], { unit: "bytes" }),
  panel("Memory of a connection", "Resident memory through connections. With few of them it says nothing.",
    [[ratio(sum(metric("process_resident_memory_bytes"), "instance"), connections("instance")), "{{instance}}"]],
    { unit: "bytes" }),
  panel("File descriptors", "Open ones.", [[sum(metric("process_open_fds"), "instance"), "{{instance}}"]]),
  panel("Threads", "Of the process.", [[sum(metric("process_threads"), "instance"), "{{instance}}"]]),
  panel("Spans of traces", "That ended, by what became of them. queue_full, export_failed: the receiver of traces is slow or away.",
    [[sum(rate("broadgate_trace_spans_total"), "result"), "{{result}}"]], { unit: PER_SECOND }),
  panel("Uptime", "Since the start of the process.",
    [[`time() - max by (instance) (${metric("process_start_time_seconds")})`, "{{instance}}"]], { unit: "s" }),
];

const dashboard = layout({
  title: "Broadgate",
  uid: "broadgate",
  description: "Nodes of Broadgate: connections, deliveries, losses, Redis, routing. Alerts and what to do: deploy/RUNBOOK.md.",
  of: "broadgate_build_info",
  rows: [
    row("Overview", overview),
    row("Connections and churn", churn),
    row("Deliveries and fan-out", deliveries),
    row("Slow consumers and losses", losses),
    row("Redis path", redis),
    row("Cluster and routing", cluster),
    row("Rooms", rooms, { collapsed: true }),
    row("Protocol errors and rejections", errors, { collapsed: true }),
    row("Auth and limits", limits, { collapsed: true }),
    row("Drain and rollout", drain, { collapsed: true }),
    row("Per-node skew", perNode, { collapsed: true }),
    row("Process", process, { collapsed: true }),
  ],
});
writeFileSync(new URL("broadgate.json", import.meta.url), `${JSON.stringify(dashboard, null, 2)}\n`);
