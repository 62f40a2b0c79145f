//! `[limits]`. The defaults fit a node of a few gigabytes that faces the internet: generous to real applications, and
//! small enough that no single client, and not all of them together, can take the memory.

use super::{reader::Section, settings::Limits};

const MIB: usize = 1024 * 1024;
const TEN_MINUTES_MS: u64 = 600_000;

pub(super) fn limits(section: &mut Section<'_>, max_payload_bytes: usize) -> Limits {
    let max_connections = section.count(
        "max_connections",
        "Connections and polling sessions of the node; fewer where the limit on open files is lower.",
        1..=10_000_000,
        100_000,
    );
    let max_queued_bytes = section.count(
        "max_queued_bytes",
        "Bytes queued for one client: beyond it volatile messages are dropped, and then the client is disconnected. At \
         least twice engine.max_payload_bytes, so that one large message never cuts a client that reads. Default 4 MiB, \
         or four times engine.max_payload_bytes where that is more.",
        2048..=1024 * MIB,
        (4 * MIB).max(max_payload_bytes.saturating_mul(4)),
    );
    let max_rooms_per_socket = section.count(
        "max_rooms_per_socket",
        "Rooms that one socket may be in. Each costs an entry here and perhaps a subscription in Redis.",
        1..=1_000_000,
        256,
    );
    let max_room_name_bytes = section.count(
        "max_room_name_bytes",
        "Length of a room's name; every node keeps it.",
        1..=65_536,
        256,
    );
    let max_event_name_bytes =
        section.count("max_event_name_bytes", "Length of an event's name in a publish.", 1..=65_536, 256);
    let max_namespaces_per_connection = section.count(
        "max_namespaces_per_connection",
        "Namespaces that one connection may be in; each has its own socket.",
        1..=64,
        16,
    );
    let max_attachments = section.count(
        "max_attachments",
        "Binary attachments of one packet. 10 is what Socket.IO's own parser takes.",
        0..=1000,
        10,
    );
    let max_pending_acks = section.count(
        "max_pending_acks",
        "Joins and publishes that one connection may be waiting for; further ones are refused.",
        1..=100_000,
        1000,
    );
    let max_rooms_per_publish = section.count(
        "max_rooms_per_publish",
        "Rooms named in one publish, the excluded ones counted too: each is a look-up on every shard.",
        1..=100_000,
        100,
    );
    let max_shard_inbox_bytes = section.count(
        "max_shard_inbox_bytes",
        "Bytes of messages that may wait for one shard; beyond it messages are dropped and counted. At least twice \
         engine.max_payload_bytes. Default 64 MiB, or four times engine.max_payload_bytes where that is more.",
        2048..=16 * 1024 * MIB,
        (64 * MIB).max(max_payload_bytes.saturating_mul(4)),
    );
    let max_inbound_buffer_bytes = section.count(
        "max_inbound_buffer_bytes",
        "Bytes of clients' messages that are not complete yet, over the whole node: parts of WebSocket messages, packets \
         that wait for attachments, request bodies. A message for which there is no room closes its connection. Default \
         256 MiB, or sixteen times engine.max_payload_bytes where that is more.",
        2048..=1024 * 1024 * MIB,
        (256 * MIB).max(max_payload_bytes.saturating_mul(16)),
    );
    let max_http_connections = section.count(
        "max_http_connections",
        "HTTP connections that are not WebSockets; a client on long-polling has one or two. Each costs 10 to 20 KiB, so \
         the default is below 200 MiB. At the bound new connections wait.",
        1..=10_000_000,
        10_000,
    );
    let http_header_timeout = section.milliseconds(
        "http_header_timeout_ms",
        "How long an HTTP connection may be idle, a request's head may take, and an answer may wait for a client that \
         does not read.",
        100..=TEN_MINUTES_MS,
        30_000,
    );
    let http_body_timeout = section.milliseconds(
        "http_body_timeout_ms",
        "How long a request's body may take.",
        100..=TEN_MINUTES_MS,
        30_000,
    );
    let max_connections_per_user = section.count(
        "max_connections_per_user",
        "Connections that one user (auth.user_claim) may have over all nodes; further ones are refused. 0: not counted.",
        0..=1_000_000,
        100,
    );
    let max_client_log_lines_per_second = section.count(
        "max_client_log_lines_per_second",
        "Log lines about clients' faults per second, so that no client can fill the disk. Metrics count all.",
        0..=100_000,
        10,
    );
    Limits {
        max_connections,
        max_queued_bytes,
        max_rooms_per_socket,
        max_room_name_bytes,
        max_event_name_bytes,
        max_namespaces_per_connection,
        max_attachments,
        max_pending_acks,
        max_rooms_per_publish,
        max_shard_inbox_bytes,
        max_inbound_buffer_bytes,
        max_http_connections,
        http_header_timeout,
        http_body_timeout,
        max_connections_per_user,
        max_client_log_lines_per_second: u32::try_from(max_client_log_lines_per_second)
            .expect("at most 100,000"),
    }
}
