//! Counters of a shard: plain integers that only the shard's thread writes, and a scrape reads. An increment is a load
//! and a store without a lock prefix: 0.3 ns where an atomic addition takes 2 (rust.md A.9).

use std::sync::atomic::{AtomicU64, Ordering};

use super::ShardHistograms;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the shard's own thread may.
    pub fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }

    /// Takes away, for gauges; only the shard's own thread may.
    pub fn sub(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(value), Ordering::Relaxed);
    }

    /// Replaces the value, for gauges that are looked up; only the shard's own thread may.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now, from any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values by size.
    Histogram,
}

/// One metric's description.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The Prometheus name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The help text.
    pub help: &'static str,
    /// The name of its one label; empty for a metric without.
    pub label: &'static str,
}

/// A value of one family, with the value of its label.
pub type Sample = (&'static str, u64);

/// Declares every counter of a shard once: its field, its metric, its label's value.
macro_rules! shard_counters {
    ($( $kind:ident $name:literal $help:literal $label:literal { $( $field:ident $value:literal, )+ } )+) => {
        /// What one shard counts.
        #[derive(Debug, Default)]
        pub struct ShardCounters {
            $( $( #[doc = concat!("`", $name, "` ", $value)] pub $field: Counter, )+ )+
            /// What it measures.
            pub histograms: ShardHistograms,
            /// Connected Socket.IO sockets of each namespace, by its place in the configuration.
            pub namespace_sockets: Box<[Counter]>,
        }

        impl ShardCounters {
            /// For a shard with so many namespaces.
            pub fn for_namespaces(count: usize) -> Self {
                let namespace_sockets = (0..count).map(|_| Counter::default()).collect();
                Self { namespace_sockets, ..Self::default() }
            }

            /// Every family with its samples, summed over `shards`.
            pub fn gather(shards: &[std::sync::Arc<Self>]) -> Vec<(Family, Vec<Sample>)> {
                vec![ $( (
                    Family { name: $name, kind: Kind::$kind, help: $help, label: $label },
                    vec![ $( ($value, shards.iter().map(|shard| shard.$field.get()).sum()) ),+ ],
                ) ),+ ]
            }
        }
    };
}

shard_counters! {
    Gauge "broadgate_connections" "Open Engine.IO sessions by transport." "transport" {
        sessions_polling "polling",
        sessions_websocket "websocket",
    }
    Gauge "broadgate_drain_sessions_left" "While the node is draining: sessions that are not closed yet." "" {
        drain_sessions_left "",
    }
    Gauge "broadgate_connections_pending" "Sessions that have not joined a namespace yet." "" {
        sessions_pending "",
    }
    Gauge "broadgate_websocket_connections" "WebSockets that are open, those that probe or close included." "" {
        websockets "",
    }
    Gauge "broadgate_inbound_buffer_bytes" "Bytes of clients' messages that are not complete yet." "" {
        inbound_buffer_bytes "",
    }
    Counter "broadgate_inbound_buffer_refused_total" "Messages refused because limits.max_inbound_buffer_bytes was reached." "" {
        inbound_buffer_refused "",
    }
    Counter "broadgate_connections_opened_total" "Engine.IO sessions opened, by their first transport." "transport" {
        opened_polling "polling",
        opened_websocket "websocket",
    }
    Counter "broadgate_connections_closed_total" "Engine.IO sessions closed, by reason." "reason" {
        closed_transport_close "transport_close",
        closed_transport_error "transport_error",
        closed_ping_timeout "ping_timeout",
        closed_parse_error "parse_error",
        closed_forced "forced_close",
        closed_server_disconnect "server_disconnect",
        closed_connect_timeout "connect_timeout",
        closed_slow_consumer "slow_consumer",
        closed_rate_limited "rate_limited",
        closed_token_expired "token_expired",
        closed_token_revoked "token_revoked",
        closed_keys_unavailable "keys_unavailable",
        closed_shutdown "server_shutdown",
    }
    Counter "broadgate_ping_timeouts_total" "Sessions whose client did not answer a ping in time, by transport." "transport" {
        ping_timeouts_polling "polling",
        ping_timeouts_websocket "websocket",
    }
    Counter "broadgate_handshake_rejected_total" "Requests refused before they reached a session, by reason." "reason" {
        rejected_transport_unknown "transport_unknown",
        rejected_session_unknown "session_unknown",
        rejected_bad_method "bad_handshake_method",
        rejected_bad_request "bad_request",
        rejected_forbidden "forbidden",
        rejected_protocol_version "unsupported_protocol_version",
        rejected_capacity "capacity",
        rejected_draining "draining",
        rejected_pending "pending",
        rejected_memory "memory",
        rejected_address_connections "address_connections",
        rejected_address_rate "address_rate",
    }
    Counter "broadgate_transport_upgrades_total" "Upgrades from polling to WebSocket, by result." "result" {
        upgrades_done "done",
        upgrades_failed "failed",
    }
    Counter "broadgate_session_requests_total" "Requests with a session's id, wherever the session is: polls, posts, upgrades." "" {
        session_requests "",
    }
    Counter "broadgate_requests_forwarded_total" "Requests for a session that another shard of this node owns." "" {
        requests_forwarded "",
    }
    Counter "broadgate_forwarded_requests_sent_total" "Requests for sessions of other nodes, by what came of them." "result" {
        forwarded_ok "ok",
        forwarded_refused "refused",
        forwarded_no_such_node "no_such_node",
        forwarded_forged "forged_id",
        forwarded_stale "stale_id",
        forwarded_unavailable "unavailable",
        forwarded_timeout "timeout",
        forwarded_lost "lost",
    }
    Counter "broadgate_forwarded_requests_received_total" "Requests of other nodes for sessions of this one, by the answer." "result" {
        answered_ok "ok",
        answered_refused "refused",
        answered_dropped "dropped",
        forwarded_malformed "malformed",
    }
    Counter "broadgate_sessions_moved_total" "Sessions that moved between nodes with an upgrade, by direction." "direction" {
        sessions_moved_in "in",
        sessions_moved_out "out",
        sessions_moved_lost "lost",
    }
    Counter "broadgate_protocol_errors_total" "Input that broke a protocol and closed its connection, by layer." "layer" {
        errors_websocket "websocket",
        errors_engineio "engineio",
        errors_socketio "socketio",
    }
    Counter "broadgate_payload_too_large_total" "Messages and request bodies above engine.max_payload_bytes." "" {
        payload_too_large "",
    }
    Counter "broadgate_bytes_received_total" "Bytes received from clients, framing included." "" {
        bytes_received "",
    }
    Counter "broadgate_bytes_sent_total" "Bytes sent to clients: WebSocket frames, and poll bodies before compression." "" {
        bytes_sent "",
    }
    Counter "broadgate_messages_received_total" "Engine.IO messages received from clients." "" {
        messages_received "",
    }
    Counter "broadgate_messages_sent_total" "Engine.IO messages written to clients." "" {
        messages_sent "",
    }
    Counter "broadgate_socket_writes_total" "System calls that wrote to WebSockets; messages sent per write is the batching." "" {
        writes "",
    }
    Counter "broadgate_messages_dropped_total" "Messages that a client was meant to get and did not, by reason." "reason" {
        dropped_volatile "volatile",
        messages_lost_on_close "connection_closed",
    }
    Gauge "broadgate_send_queue_bytes" "Bytes that wait for clients on WebSockets." "" {
        send_queue_bytes "",
    }
    Gauge "broadgate_send_queue_high_watermark_bytes" "The most that waited so on each shard within the last minute or two, of all shards together." "" {
        send_queue_peak_bytes "",
    }
    Counter "broadgate_publishers_clock_off_total" "Broadcasts that were published in the future, by this node's clock (their latency counts as 0), or over a day ago (it counts as nothing)." "" {
        publishers_off "",
    }
    Counter "broadgate_slow_consumers_total" "Clients cut because limits.max_queued_bytes was reached." "" {
        slow_consumers "",
    }
    Gauge "broadgate_sockets" "Connected Socket.IO sockets over all namespaces." "" {
        sockets "",
    }
    Gauge "broadgate_rooms" "Rooms with members, counted on each shard." "" {
        rooms "",
    }
    Gauge "broadgate_room_memberships" "Memberships in rooms." "" {
        memberships "",
    }
    Counter "broadgate_connects_total" "Requests to connect to a namespace, by result." "result" {
        connects_ok "ok",
        connects_refused "refused",
        connects_unauthenticated "authentication_required",
        connects_token_too_large "token_too_large",
        connects_token_malformed "token_malformed",
        connects_token_issuer "token_issuer",
        connects_token_invalid "token_invalid",
        connects_token_claims "token_claims",
        connects_token_audience "token_audience",
        connects_token_not_yet_valid "token_not_yet_valid",
        connects_token_expired "token_expired",
        connects_token_revoked "token_revoked",
        connects_too_many_rooms "too_many_rooms",
        connects_too_many_connections "too_many_connections",
        connects_keys_unavailable "keys_unavailable",
    }
    Counter "broadgate_token_refreshes_total" "Fresh tokens that clients sent for a socket, by result." "result" {
        refreshes_ok "ok",
        refreshes_refused "refused",
        refreshes_unavailable "keys_unavailable",
    }
    Counter "broadgate_sockets_revoked_total" "Sockets that were disconnected because their token was revoked." "" {
        sockets_revoked "",
    }
    Counter "broadgate_sockets_expired_total" "Sockets whose token expired, and that were closed or disconnected." "" {
        sockets_expired "",
    }
    Counter "broadgate_joins_total" "Requests to join a room, by result." "result" {
        joins_ok "ok",
        joins_forbidden "forbidden",
        joins_invalid "invalid_argument",
        joins_limited "limit_reached",
        joins_unavailable "adapter_unavailable",
    }
    Counter "broadgate_leaves_total" "Requests to leave a room." "" {
        leaves "",
    }
    Counter "broadgate_publishes_total" "Requests of clients to publish, by result." "result" {
        publishes_ok "ok",
        publishes_local_only "local_only",
        publishes_forbidden "forbidden",
        publishes_invalid "invalid_argument",
        publishes_limited "limit_reached",
        publishes_unavailable "adapter_unavailable",
    }
    Counter "broadgate_events_unknown_total" "Client events that no part of the node handles." "" {
        events_unknown "",
    }
    Gauge "broadgate_acks_pending" "Joins and publishes of clients that wait for the adapter." "" {
        acks_pending "",
    }
    Counter "broadgate_broadcasts_total" "Broadcasts that a shard took in." "" {
        broadcasts "",
    }
    Counter "broadgate_deliveries_total" "Messages queued for members by broadcasts." "" {
        deliveries "",
    }
    Counter "broadgate_server_changes_total" "What other servers, emitters and the ops API did to sockets, by result." "change" {
        server_joins "joined",
        server_joins_refused "join_refused",
        server_leaves "left",
        server_disconnects "disconnected",
    }
    Counter "broadgate_client_acks_total" "Acks of clients to broadcasts, by result." "result" {
        client_acks_matched "matched",
        client_acks_unknown "unknown",
        client_acks_expired "expired",
        client_acks_refused "refused",
    }
    Gauge "broadgate_client_acks_pending" "Acks of clients to broadcasts that are waited for." "" {
        client_acks_pending "",
    }
    Counter "broadgate_limit_reached_total" "Times that a bound of [limits] refused, closed or dropped something, by its name there." "limit" {
        limit_messages "max_messages_per_second",
        limit_received_bytes "max_received_bytes_per_second",
        limit_rooms_per_socket "max_rooms_per_socket",
        limit_room_name "max_room_name_bytes",
        limit_event_name "max_event_name_bytes",
        limit_namespaces "max_namespaces_per_connection",
        limit_attachments "max_attachments",
        limit_pending_acks "max_pending_acks",
        limit_http_header_timeout "http_header_timeout_ms",
        limit_http_body_timeout "http_body_timeout_ms",
    }
    Counter "broadgate_proxy_headers_total" "PROXY headers of balancers, by result." "result" {
        proxy_ok "ok",
        proxy_untrusted "untrusted",
        proxy_malformed "malformed",
        proxy_timeout "timeout",
        proxy_closed "closed",
    }
    Counter "broadgate_tls_handshakes_total" "TLS handshakes of the public listener, by result." "result" {
        tls_ok "ok",
        tls_address_rate "address_rate",
        tls_timeout "timeout",
        tls_closed "closed",
        tls_no_tls "no_tls",
        tls_incompatible "incompatible",
        tls_alert "refused_by_client",
        tls_error "error",
    }
    Counter "broadgate_log_lines_suppressed_total" "Log lines about clients' faults that were left out." "" {
        log_lines_suppressed "",
    }
}
