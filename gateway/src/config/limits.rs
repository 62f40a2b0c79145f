//! `[limits]`. The defaults fit a node of a few gigabytes that faces the internet: generous to real applications, and
//! small enough that no single client, and not all of them together, can take the memory.

use std::time::Duration;

use super::{checks, reader::Section, settings::Limits};
use crate::net::Cidr;

const MIB: usize = 1024 * 1024;
const GIB: usize = 1024 * MIB;
const TEN_MINUTES_MS: u64 = 600_000;
/// The bounds on handshakes of an address are at most this.
const MAX_PER_SECOND: usize = 1_000_000;

/// Where clients of the internet are not, but balancers are: private (RFC 1918, RFC 4193), shared (RFC 6598), link-local
/// and loopback addresses.
const NOT_OF_CLIENTS: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

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
    let rates = connection_rates(section, max_payload_bytes);
    let addresses = address_bounds(section);
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
    let max_pending_connections = section.count(
        "max_pending_connections",
        "Sessions of the node that have not joined a namespace yet: they were opened a moment ago, or abandoned. At the \
         bound new ones get 503.",
        1..=10_000_000,
        10_000,
    );
    let max_memory_bytes = section.optional_count(
        "max_memory_bytes",
        "Resident memory of the process above which new sessions get 503; those that are there stay. 0 turns it off. \
         Default 90 % of the memory limit of the control group, where it has one: that of the container or the service.",
        0..=1024 * GIB,
    );
    section.example("1073741824");
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
        max_messages_per_second: rates.max_messages_per_second,
        max_received_bytes_per_second: rates.max_received_bytes_per_second,
        rate_burst: rates.burst,
        max_connections_per_address: addresses.max_connections,
        max_handshakes_per_second_per_address: addresses.max_handshakes_per_second,
        max_tls_handshakes_per_second_per_address: addresses.max_tls_handshakes_per_second,
        handshake_burst: addresses.handshake_burst,
        address_limit_exempt: addresses.exempt,
        max_pending_connections,
        max_memory_bytes,
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

struct ConnectionRates {
    max_messages_per_second: usize,
    max_received_bytes_per_second: usize,
    burst: Duration,
}

fn connection_rates(section: &mut Section<'_>, max_payload_bytes: usize) -> ConnectionRates {
    let max_messages_per_second = section.count(
        "max_messages_per_second",
        "Messages that one connection may send in a second, for long; a client that sends more is disconnected. Every \
         packet counts, also acks, pongs, attachments and the control frames of WebSocket, and so do parts of messages \
         that are shorter than 1 KiB. 0 turns it off.",
        0..=1_000_000,
        100,
    );
    let max_received_bytes_per_second = section.count(
        "max_received_bytes_per_second",
        "Bytes of messages that one connection may send in a second, for long; a client that sends more is \
         disconnected. 0 turns it off. Default 1 MiB, or half of engine.max_payload_bytes where that is more.",
        0..=16 * GIB,
        MIB.max(max_payload_bytes / 2),
    );
    let burst = section.milliseconds(
        "rate_burst_ms",
        "The time whose messages or bytes a connection may send at once. A message of engine.max_payload_bytes has to \
         fit in it.",
        100..=TEN_MINUTES_MS,
        10_000,
    );
    ConnectionRates { max_messages_per_second, max_received_bytes_per_second, burst }
}

struct Addresses {
    max_connections: usize,
    max_handshakes_per_second: usize,
    max_tls_handshakes_per_second: usize,
    handshake_burst: Duration,
    exempt: Vec<Cidr>,
}

fn address_bounds(section: &mut Section<'_>) -> Addresses {
    let max_connections = section.count(
        "max_connections_per_address",
        "Sessions of one client address, and connections from it that are not WebSockets. Many people may share one: \
         an office, a mobile network. Of IPv6 a /64 network is one address. New sessions beyond get 429, new \
         connections are closed. 0 turns it off.",
        0..=10_000_000,
        1000,
    );
    let max_handshakes_per_second = section.count(
        "max_handshakes_per_second_per_address",
        "Sessions that one client address may ask for in a second, for long; beyond they get 429. Requests for a \
         session that are refused for what they say count, too. 0 turns it off.",
        0..=MAX_PER_SECOND,
        50,
    );
    let max_tls_handshakes_per_second = section.count(
        "max_tls_handshakes_per_second_per_address",
        "TLS handshakes of one client address in a second, for long, where the node speaks TLS; beyond, its connections \
         are closed before one begins, since each costs up to a millisecond of a core. Where something closes \
         connections behind each answer, a new session takes up to four, and one that polls two for each ping. 0 turns \
         it off. Default 200, or four times max_handshakes_per_second_per_address where that is more, or 0 where that \
         is 0.",
        0..=MAX_PER_SECOND,
        tls_handshakes_for(max_handshakes_per_second),
    );
    let handshake_burst = section.milliseconds(
        "handshake_burst_ms",
        "The time whose handshakes an address may make at once: all clients of an office come back together.",
        100..=TEN_MINUTES_MS,
        10_000,
    );
    let exempt = section.texts(
        "address_limit_exempt",
        "Networks whose addresses are not counted. By default those that no client on the internet has: a balancer \
         there would otherwise be taken for one client with very many connections. Balancers with other addresses \
         belong into server.trusted_proxies.",
        NOT_OF_CLIENTS.map(str::to_owned).into(),
        checks::cidr,
    );
    // What is no network is reported above.
    let exempt = exempt.iter().filter_map(|network| network.parse().ok()).collect();
    Addresses {
        max_connections,
        max_handshakes_per_second,
        max_tls_handshakes_per_second,
        handshake_burst,
        exempt,
    }
}

/// Enough for the sessions that an address may ask for: a client that polls, posts and upgrades, each on a connection of
/// its own, opens four. And enough for 1000 that poll and get a ping each 25 seconds: its answer and the pong make 80 in a
/// second.
fn tls_handshakes_for(max_handshakes_per_second: usize) -> usize {
    match max_handshakes_per_second {
        0 => 0,
        sessions => sessions.saturating_mul(4).clamp(200, MAX_PER_SECOND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_handshakes_suffice_for_the_sessions_that_are_allowed() {
        for (sessions, tls) in [(0, 0), (1, 200), (50, 200), (51, 204), (1000, 4000), (1_000_000, 1_000_000)]
        {
            assert_eq!(tls_handshakes_for(sessions), tls, "{sessions}");
        }
    }
}
