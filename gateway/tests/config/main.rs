//! What a user can write in a configuration, and what is said of it.
#![allow(clippy::unwrap_used)]

mod faults;
mod reference;
mod secrets;

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use broadgate::config::{Access, AdapterSettings, Flags, LogFormat, OpsScope, Settings, Sources, load};

/// A directory of this test binary, with a file of the given content.
fn file(name: &str, content: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("config");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn from_toml(name: &str, content: &str) -> Sources {
    Sources { file: Some(file(name, content)), ..Sources::default() }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The errors with the directory taken away, so that tables can name files shortly.
fn errors(sources: &Sources) -> Vec<String> {
    let directory = format!("{}/config/", env!("CARGO_TARGET_TMPDIR"));
    let errors = load(sources).expect_err("must be refused");
    errors.to_string().lines().map(|line| line.replace(&directory, "")).collect()
}

#[test]
fn without_a_file_everything_is_open_on_loopback() {
    let settings = Settings::development();
    assert!(settings.development);
    assert_eq!(settings.server.listen, address("127.0.0.1:8080"));
    assert_eq!(settings.ops.listen, address("127.0.0.1:8081"));
    assert!(settings.server.drain_delay.is_zero() && settings.server.drain_window.is_zero());
    assert!(OpsScope::NAMES.iter().all(|(_, scope)| settings.ops.anonymous.contains(*scope)));
    assert_eq!(settings.engine.allowed_origins, ["*"]);
    assert_eq!(settings.namespaces.len(), 1);
    assert_eq!(settings.rooms.len(), 1);
    assert!(settings.rooms[0].room.is_match("any/room", None));
    assert_eq!((settings.rooms[0].join, settings.rooms[0].publish), (Access::Anyone, Access::Anyone));
}

#[test]
fn in_development_every_namespace_is_open() {
    let sources = Sources {
        env: env(&[("BROADGATE__NAMESPACES", r#"[{"name":"/a"},{"name":"/b"}]"#)]),
        ..Sources::default()
    };
    let namespaces: Vec<_> = load(&sources).unwrap().rooms.into_iter().map(|rule| rule.namespace).collect();
    assert_eq!(namespaces, ["/a", "/b"]);
}

#[test]
fn with_an_empty_file_nothing_is_open_and_the_listener_is_public() {
    let settings = load(&from_toml("empty.toml", "")).unwrap();
    assert!(!settings.development);
    assert_eq!(settings.server.listen, address("0.0.0.0:8080"));
    assert_eq!(settings.ops.listen, address("127.0.0.1:8081"));
    assert!(!OpsScope::NAMES.iter().any(|(_, scope)| settings.ops.anonymous.contains(*scope)));
    assert!(settings.engine.allowed_origins.is_empty());
    assert!(settings.rooms.is_empty());
    assert_eq!(settings.namespaces[0].name, "/");
    assert!(matches!(settings.adapter, AdapterSettings::Memory));
    assert_eq!(settings.engine.ping_interval, Duration::from_secs(25));
    assert_eq!(settings.engine.ping_timeout, Duration::from_secs(20));
    assert_eq!(settings.engine.max_payload_bytes, 1_000_000);
    assert!(settings.engine.polling && settings.engine.websocket);
    let drain = [settings.server.drain_delay, settings.server.drain_window, settings.server.shutdown_timeout];
    assert_eq!(drain, [5, 15, 25].map(Duration::from_secs));
    assert_eq!(settings.engine.compression_threshold_bytes, Some(1024));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut sources = from_toml("layers.toml", "[server]\nlisten = \"127.0.0.1:1\"\nshards = 2\n");
    assert_eq!(load(&sources).unwrap().server.listen, address("127.0.0.1:1"));
    sources.env = env(&[("BROADGATE__SERVER__LISTEN", "127.0.0.1:2")]);
    assert_eq!(load(&sources).unwrap().server.listen, address("127.0.0.1:2"));
    sources.flags.listen = Some("127.0.0.1:3".to_owned());
    let settings = load(&sources).unwrap();
    assert_eq!(settings.server.listen, address("127.0.0.1:3"));
    assert_eq!(settings.server.shards, 2, "keys that no later layer sets stay");
}

#[test]
fn json_says_the_same_as_toml() {
    let json = r#"{"server": {"shards": 3}, "rooms": [{"match": "news", "join": "anyone"}], "log": {"format": "json"}}"#;
    let settings = load(&Sources { file: Some(file("same.json", json)), ..Sources::default() }).unwrap();
    assert_eq!(settings.server.shards, 3);
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!((settings.rooms[0].join, settings.rooms[0].publish), (Access::Anyone, Access::Nobody));
}

#[test]
fn a_redis_url_turns_redis_on_and_an_explicit_kind_turns_it_off() {
    let url = "redis://127.0.0.1:6379";
    let flag =
        Sources { flags: Flags { redis: Some(url.to_owned()), ..Flags::default() }, ..Sources::default() };
    let variable = Sources { env: env(&[("BROADGATE__ADAPTER__REDIS__URL", url)]), ..Sources::default() };
    let table = from_toml("redis-on.toml", &format!("[adapter.redis]\nurl = \"{url}\"\n"));
    let off = from_toml("redis-off.toml", &format!("[adapter]\nkind = \"memory\"\nredis.url = \"{url}\"\n"));
    for sources in [&flag, &variable, &table] {
        let AdapterSettings::Redis(redis) = load(sources).unwrap().adapter else {
            panic!("not on: {sources:?}")
        };
        assert_eq!(redis.url.expose(), url);
        assert_eq!(redis.prefix, "socket.io");
    }
    assert!(matches!(load(&off).unwrap().adapter, AdapterSettings::Memory));
    let forced = Sources { flags: flag.flags, ..off };
    assert!(matches!(load(&forced).unwrap().adapter, AdapterSettings::Redis(_)));
}

#[test]
fn the_environment_has_the_types_of_the_keys() {
    let variables = [
        ("BROADGATE__ENGINE__PING_INTERVAL_MS", "300"),
        ("BROADGATE__ENGINE__TRANSPORTS", "websocket"),
        ("BROADGATE__ENGINE__ALLOWED_ORIGINS", "https://a.example, http://localhost:3000"),
        ("BROADGATE__ENGINE__COMPRESSION_THRESHOLD_BYTES", "0"),
        ("BROADGATE__ADAPTER__REDIS__PREFIX", "42"),
        ("BROADGATE__ADAPTER__REDIS__URL", "redis://localhost"),
        ("BROADGATE__ROOMS", r#"[{"match":"a*","publish":"anyone"}]"#),
        ("BROADGATE_BIN", "not ours"),
    ];
    let settings = load(&Sources { env: env(&variables), ..Sources::default() }).unwrap();
    assert_eq!(settings.engine.ping_interval, Duration::from_millis(300));
    assert!(settings.engine.websocket && !settings.engine.polling);
    assert_eq!(settings.engine.allowed_origins, ["https://a.example", "http://localhost:3000"]);
    assert_eq!(settings.engine.compression_threshold_bytes, None);
    assert!(settings.rooms[0].room.is_match("abc", None) && !settings.rooms[0].room.is_match("b", None));
    let AdapterSettings::Redis(redis) = settings.adapter else { panic!("a URL turns Redis on") };
    assert_eq!(redis.prefix, "42");
}

#[test]
fn the_queue_bounds_follow_the_payload_bound() {
    let settings = load(&from_toml("payload.toml", "[engine]\nmax_payload_bytes = 20_000_000\n")).unwrap();
    assert_eq!(settings.limits.max_queued_bytes, 80_000_000);
    assert!(settings.limits.max_shard_inbox_bytes >= 40_000_000);
}
