//! What values must be to each other. Runs when each of them is right alone.

use super::{
    ConfigError, ops,
    reader::Reader,
    redis,
    settings::{AdapterSettings, Authentication, Limits, RedisMode, Settings},
};
use crate::limits::{Rate, Spent};

pub(super) fn check(settings: &Settings, reader: &mut Reader) {
    let mut errors = Vec::new();
    let mut error = |path: &str, message: String| {
        errors.push(ConfigError::new(&reader.origin(path), format!("{path}: {message}")));
    };

    let (public, ops) = (settings.server.listen, settings.ops.listen);
    if public == ops && public.port() != 0 {
        error("ops.listen", format!("expected another address than server.listen, found {ops} for both"));
    }
    let server = &settings.server;
    let drain = server.drain_delay + server.drain_window;
    if !drain.is_zero() && server.shutdown_timeout <= drain {
        let (least, found) = (drain.as_millis(), server.shutdown_timeout.as_millis());
        error(
            "server.shutdown_timeout_ms",
            format!(
                "expected more than server.drain_delay_ms + server.drain_window_ms, {least}, found {found}"
            ),
        );
    }
    if let AdapterSettings::Redis(redis) = &settings.adapter {
        let no_urls = redis.url.expose().is_empty() && redis.urls.is_empty();
        if redis.mode == RedisMode::Standalone && no_urls {
            error("adapter.kind", "\"redis\" needs adapter.redis.url".to_owned());
        }
        for (path, message) in redis::faults(redis, reader) {
            error(&path, message);
        }
    }
    let allowed_origins = &settings.engine.allowed_origins;
    if allowed_origins.len() > 1 && allowed_origins.iter().any(|origin| origin == "*") {
        error("engine.allowed_origins", "expected \"*\" alone, or origins without it".to_owned());
    }
    let edge = &settings.server.edge;
    match (&edge.tls_cert_file, &edge.tls_key_file) {
        (Some(_), None) => error("server.tls_cert_file", "needs server.tls_key_file".to_owned()),
        (None, Some(_)) => error("server.tls_key_file", "needs server.tls_cert_file".to_owned()),
        _ => {}
    }
    if edge.proxy_protocol && edge.trusted_proxies.is_empty() {
        error(
            "server.proxy_protocol",
            "needs server.trusted_proxies: all other peers are refused".to_owned(),
        );
    }
    if settings.auth.cookie.is_some() && allowed_origins.iter().any(|origin| origin == "*") {
        let why = "can't be used with engine.allowed_origins = [\"*\"]: any page could connect in the name of whoever \
                   looks at it";
        error("auth.cookie", why.to_owned());
    }
    let least = settings.engine.max_payload_bytes * 2;
    let bounds = [
        ("limits.max_queued_bytes", settings.limits.max_queued_bytes),
        ("limits.max_shard_inbox_bytes", settings.limits.max_shard_inbox_bytes),
    ];
    for (path, bytes) in bounds {
        if bytes < least {
            error(path, format!("expected at least twice engine.max_payload_bytes, {least}, found {bytes}"));
        }
    }
    rates(&settings.limits, settings.engine.max_payload_bytes, &mut error);
    for (index, namespace) in settings.namespaces.iter().enumerate() {
        if settings.namespaces[..index].iter().any(|other| other.name == namespace.name) {
            error(&format!("namespaces[{index}].name"), format!("{:?} is there twice", namespace.name));
        }
        if namespace.authentication == Authentication::Required && settings.auth.issuers.is_empty() {
            let path = format!("namespaces[{index}].authentication");
            error(&path, "\"required\" needs an entry of auth.issuers, or nobody could connect".to_owned());
        }
    }
    for (index, rule) in settings.rooms.iter().enumerate() {
        if !settings.namespaces.iter().any(|namespace| namespace.name == rule.namespace) {
            let message = format!("{:?} is not one of the namespaces", rule.namespace);
            error(&format!("rooms[{index}].namespace"), message);
        }
    }
    reader.errors.extend(errors);
    ops::check(&settings.ops, reader);
}

/// A client that was quiet for long may send one message of any size that it may send at all.
fn rates(limits: &Limits, max_payload_bytes: usize, error: &mut impl FnMut(&str, String)) {
    let admits = |rate: &Rate, messages: u64, bytes| rate.admits(&mut Spent::default(), 0, messages, bytes);
    let rate = limits.connection_rate();
    if !admits(&rate, 1, 0) {
        let message = "expected the time of one of limits.max_messages_per_second, at least".to_owned();
        error("limits.rate_burst_ms", message);
    } else if !admits(&rate, 1, max_payload_bytes) {
        let message = format!(
            "expected a message of engine.max_payload_bytes, {max_payload_bytes}, within limits.rate_burst_ms, {}, at \
             least",
            limits.rate_burst.as_millis()
        );
        error("limits.max_received_bytes_per_second", message);
    }
    for (key, rate) in [
        ("max_handshakes_per_second_per_address", limits.handshake_rate()),
        ("max_tls_handshakes_per_second_per_address", limits.tls_handshake_rate()),
    ] {
        if !admits(&rate, 1, 0) {
            error("limits.handshake_burst_ms", format!("expected the time of one of limits.{key}, at least"));
        }
    }
}
