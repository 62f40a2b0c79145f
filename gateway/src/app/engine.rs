//! The adapter's engine, and what of the settings is for it.

use std::{io, sync::Arc};

use anyhow::Context;
use broadgate_adapter::{
    Engine, EventSink, MemoryBus, MemoryEngine, RedisConfig, RedisEngine,
    redis::{Login, Servers, TlsIdentity, TlsSettings},
    wire,
};

use crate::{
    config::{AdapterSettings, RedisLogin, RedisMode, RedisSettings, RedisTlsSettings, Settings},
    engineio::{IdKey, NodeId},
};

/// Arrays and objects inside each other in one event: what the JSON parser takes.
const MAX_JSON_DEPTH: usize = 128;

pub(super) fn start_engine(
    settings: &Settings,
    (node, id_key): (NodeId, IdKey),
    sink: Arc<dyn EventSink>,
) -> anyhow::Result<Arc<dyn Engine>> {
    match &settings.adapter {
        AdapterSettings::Memory => {
            let bus = MemoryBus::with_limits(message_limits(settings));
            Ok(MemoryEngine::start(&bus, node.as_str(), sink))
        }
        AdapterSettings::Redis(redis) => {
            let mut config = redis_config(settings, redis, node);
            config.id_key = id_key.0;
            Ok(RedisEngine::start(config, sink).context("the adapter (adapter.redis)")?)
        }
    }
}

/// What a node would connect to Redis with, under a name that no node has.
pub(crate) fn redis_config_for_doctor(settings: &Settings, redis: &RedisSettings) -> io::Result<RedisConfig> {
    let node = NodeId::random().map_err(io::Error::other)?;
    Ok(redis_config(settings, redis, node))
}

fn redis_config(settings: &Settings, redis: &RedisSettings, node: NodeId) -> RedisConfig {
    let mut config = RedisConfig::new(redis.url.expose(), node.as_str(), node.as_str());
    config.servers = redis_servers(redis);
    config.login = redis_login(&redis.login);
    config.tls = redis_tls(&redis.tls);
    config.driver = redis.driver;
    env!("CARGO_PKG_VERSION").clone_into(&mut config.version);
    config.prefix.clone_from(&redis.prefix);
    config.python_channel.clone_from(&redis.python_channel);
    config.namespaces = settings.namespaces.iter().map(|namespace| namespace.name.clone()).collect();
    config.unsubscribe_delay = redis.unsubscribe_delay;
    config.publish_timeout = redis.publish_timeout;
    config.answer_timeout = redis.answer_timeout;
    config.limits = message_limits(settings);
    config
}

fn redis_servers(redis: &RedisSettings) -> Servers {
    let urls = redis.urls.clone();
    match redis.mode {
        RedisMode::Standalone => Servers::Standalone { url: redis.url.expose().to_owned() },
        RedisMode::Sentinel => Servers::Sentinel {
            urls,
            master: redis.sentinel.master.clone(),
            login: redis_login(&redis.sentinel.login),
            master_tls: redis.sentinel.master_tls,
        },
        RedisMode::Cluster => Servers::Cluster { urls },
    }
}

fn redis_login(login: &RedisLogin) -> Option<Login> {
    let password = login.password.as_ref()?.expose().to_owned();
    Some(Login { user: login.username.clone(), password, password_file: login.password_file.clone() })
}

fn redis_tls(tls: &RedisTlsSettings) -> TlsSettings {
    let identity = tls.cert_file.clone().zip(tls.key_file.clone());
    TlsSettings {
        ca_file: tls.ca_file.clone(),
        identity: identity.map(|(certificate_file, key_file)| TlsIdentity { certificate_file, key_file }),
        server_name: tls.server_name.clone(),
    }
}

/// Never narrower than what clients and the ops API may publish, or one node would deliver what the others refuse.
fn message_limits(settings: &Settings) -> wire::Limits {
    let (defaults, limits) = (wire::Limits::default(), &settings.limits);
    // Numbers as doubles, escapes and the envelope may make a message of the largest payload bigger.
    let max_message_bytes =
        defaults.max_message_bytes.max(settings.engine.max_payload_bytes.saturating_mul(4));
    wire::Limits {
        max_message_bytes,
        max_json_bytes: max_message_bytes.saturating_mul(2),
        max_depth: MAX_JSON_DEPTH,
        max_attachments: defaults.max_attachments.max(limits.max_attachments),
        // The ops API's `room` comes on top of its `rooms`.
        max_rooms: defaults.max_rooms.max(limits.max_rooms_per_publish + 1),
        max_room_bytes: defaults.max_room_bytes.max(limits.max_room_name_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_that_clients_may_publish_is_beyond_what_other_nodes_take() {
        let mut settings = Settings::development();
        settings.engine.max_payload_bytes = 100 << 20;
        settings.limits.max_attachments = 1000;
        settings.limits.max_room_name_bytes = 65_536;
        settings.limits.max_rooms_per_publish = 100_000;
        let wide = message_limits(&settings);
        assert!(wide.max_message_bytes >= 400 << 20 && wide.max_json_bytes >= 800 << 20);
        assert_eq!((wide.max_attachments, wide.max_room_bytes, wide.max_rooms), (1000, 65_536, 100_001));
        assert_eq!(wide.max_depth, 128);
        // Other publishers are not bound by this node's clients.
        settings.limits.max_attachments = 0;
        settings.limits.max_room_name_bytes = 1;
        let narrow = message_limits(&settings);
        let defaults = wire::Limits::default();
        assert_eq!(narrow.max_attachments, defaults.max_attachments);
        assert_eq!(narrow.max_room_bytes, defaults.max_room_bytes);
    }
}
