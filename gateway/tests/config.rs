//! What a user can write in a configuration, and what is said of it.
#![allow(clippy::unwrap_used)]

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use broadgate::config::{
    Access, AdapterSettings, Authentication, Flags, LogFormat, OpsScope, OpsScopes, RoomRule, Secret,
    Settings, Sources, load, read_key_file, reference, render,
};

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

/// (content of `c.toml`, the only error)
const FILE_ERRORS: &[(&str, &str)] = &[
    (
        "[server]\nlisen = \"0.0.0.0:1\"",
        r#"c.toml:2: unknown key "server.lisen": did you mean "server.listen"?"#,
    ),
    ("[sever]\nlisten = \"0.0.0.0:1\"", r#"c.toml:1: unknown key "sever": did you mean "server"?"#),
    ("shards = 2", r#"c.toml:1: unknown key "shards": did you mean "server.shards"?"#),
    ("[ops]\nqqqq = 2", r#"c.toml:2: unknown key "ops.qqqq""#),
    (
        "[adapter.reddis]\nurl = \"x\"",
        r#"c.toml:1: unknown key "adapter.reddis": did you mean "adapter.redis"?"#,
    ),
    (
        "[adapter.redis]\nurll = \"x\"",
        r#"c.toml:2: unknown key "adapter.redis.urll": did you mean "adapter.redis.url"?"#,
    ),
    (
        "[[rooms]]\nmatch = \"a\"\njoins = \"anyone\"",
        r#"c.toml:3: unknown key "rooms[0].joins": did you mean "rooms[0].join"?"#,
    ),
    ("server = 1", "c.toml:1: server: expected a table of keys, found an integer"),
    ("rooms = 1", "c.toml:1: rooms: expected a list of tables, found 1"),
    ("rooms = [1]", "c.toml:1: rooms[0]: expected a table of keys, found an integer"),
    ("namespaces = []", "c.toml:1: namespaces: expected 1 to 64 entries, found 0"),
    (
        "[server]\nlisten = \"localhost:80\"",
        "c.toml:2: server.listen: expected an IP address with a port, such as 0.0.0.0:8080 or [::]:8080, found \"localhost:80\"",
    ),
    ("[server]\nshards = 0", "c.toml:2: server.shards: expected an integer from 1 to 64, found 0"),
    ("[server]\nshards = 65", "c.toml:2: server.shards: expected an integer from 1 to 64, found 65"),
    ("[server]\nshards = \"2\"", "c.toml:2: server.shards: expected an integer from 1 to 64, found \"2\""),
    ("[server]\nshards = 2.0", "c.toml:2: server.shards: expected an integer from 1 to 64, found a float"),
    (
        "[engine]\nping_interval_ms = 99",
        "c.toml:2: engine.ping_interval_ms: expected an integer from 100 to 3600000, found 99",
    ),
    (
        "[engine]\nping_timeout_ms = -1",
        "c.toml:2: engine.ping_timeout_ms: expected an integer from 100 to 3600000, found -1",
    ),
    (
        "[engine]\npath = \"/x\"",
        "c.toml:2: engine.path: expected a path that starts and ends with a slash, such as \"/socket.io/\", of letters, \
         digits and -._~, at most 128 bytes, found \"/x\"",
    ),
    (
        "[engine]\ntransports = [\"websockets\"]",
        "c.toml:2: engine.transports: expected \"polling\" or \"websocket\", found \"websockets\"",
    ),
    ("[engine]\ntransports = []", "c.toml:2: engine.transports: expected at least one entry"),
    (
        "[engine]\ntransports = [\"polling\", \"polling\"]",
        "c.toml:2: engine.transports: expected each entry once",
    ),
    (
        "[engine]\nallowed_origins = [\"example.com\"]",
        "c.toml:2: engine.allowed_origins: expected \"*\", \"null\", or an origin such as \"https://example.com\", \
         \"https://*.example.com\" or \"http://localhost:*\", found \"example.com\"",
    ),
    (
        "[engine]\nallowed_origins = [\"https://Example.com:443/\"]",
        "c.toml:2: engine.allowed_origins: expected an origin as browsers send it, \"https://example.com\", found \
         \"https://Example.com:443/\"",
    ),
    (
        "[engine]\ncors_origins = [\"*\"]",
        "c.toml:2: unknown key \"engine.cors_origins\": did you mean \"engine.allowed_origins\"?",
    ),
    (
        "[engine]\nallowed_origins = [\"*\", \"https://example.com\"]",
        "c.toml:2: engine.allowed_origins: expected \"*\" alone, or origins without it",
    ),
    (
        "[engine]\nallowed_origins = [\"*\"]\n[auth]\ncookie = \"session\"\n[[auth.issuers]]\nkey = \"01234567890123456789012345678901\"",
        "c.toml:4: auth.cookie: can't be used with engine.allowed_origins = [\"*\"]: any page could connect in the name of \
         whoever looks at it",
    ),
    (
        "[adapter]\nkind = \"nats\"",
        "c.toml:2: adapter.kind: expected \"memory\" or \"redis\", found \"nats\"",
    ),
    ("[adapter]\nkind = \"redis\"", "c.toml:2: adapter.kind: \"redis\" needs adapter.redis.url"),
    (
        "[adapter.redis]\nurl = \"h:6379\"",
        "c.toml:2: adapter.redis.url: expected a URL such as redis://host:6379, rediss://user:password@host:6379 or \
         unix:///run/redis.sock (it must begin with redis://, rediss://, unix:// or redis+unix://)",
    ),
    (
        "[adapter.redis]\nurls = [\"redis://h\"]",
        "c.toml:2: adapter.redis.urls: is for adapter.redis.mode \"sentinel\" or \"cluster\"; \"standalone\" takes \
         adapter.redis.url",
    ),
    (
        "[adapter.redis]\nmode = \"cluster\"\nurls = [\"redis://h\"]\nurl = \"redis://h\"",
        "c.toml:4: adapter.redis.url: is for adapter.redis.mode \"standalone\"; \"cluster\" takes adapter.redis.urls",
    ),
    (
        "[adapter]\nkind = \"redis\"\nredis.mode = \"sentinel\"",
        "c.toml:3: adapter.redis.mode: \"sentinel\" needs adapter.redis.urls",
    ),
    (
        "[adapter.redis]\nmode = \"cluster\"\nurls = [\"redis://h\"]\nsentinel_master = \"m\"",
        "c.toml:4: adapter.redis.sentinel_master: is for adapter.redis.mode \"sentinel\"",
    ),
    (
        "[adapter.redis]\nmode = \"cluster\"\nurls = [\"unix:///run/redis.sock\"]",
        "c.toml:3: adapter.redis.urls: expected URLs such as redis://host:6379 or rediss://host:6379 (not the path of a \
         Unix socket)",
    ),
    (
        "[adapter.redis]\nmode = \"cluster\"\nurls = [\"redis://:hidden@h\"]",
        "c.toml:3: adapter.redis.urls: expected URLs such as redis://host:6379 or rediss://host:6379 (user and password \
         have keys of their own)",
    ),
    (
        "[adapter.redis]\nmode = \"cluster\"\nurls = [\"redis://h\", \"rediss://h\"]",
        "c.toml:3: adapter.redis.urls: expected all of them with redis:// or all with rediss://",
    ),
    (
        "[adapter.redis]\nurl = \"redis://h\"\nusername = \"app\"",
        "c.toml:3: adapter.redis.username: needs adapter.redis.password or adapter.redis.password_file",
    ),
    (
        "[adapter.redis]\nurl = \"redis://:hidden@h\"\npassword = \"hidden\"",
        "c.toml:3: adapter.redis.password: adapter.redis.url holds a password as well; give it in one place",
    ),
    (
        "[adapter.redis]\nurl = \"redis://h\"\npassword = \"\"",
        "c.toml:3: adapter.redis.password: expected a text that is not empty",
    ),
    (
        "[adapter.redis]\nurl = \"redis://h\"\npassword_file = \"/nonexistent/password\"",
        "c.toml:3: adapter.redis.password_file: \"/nonexistent/password\" cannot be opened: No such file or directory (os \
         error 2)",
    ),
    (
        "[adapter.redis]\nurl = \"redis://h\"\ntls_ca_file = \"ca.crt\"",
        "c.toml:3: adapter.redis.tls_ca_file: is for TLS, and no URL is rediss://",
    ),
    (
        "[adapter.redis]\nurl = \"rediss://h\"\ntls_cert_file = \"node.crt\"",
        "c.toml:3: adapter.redis.tls_cert_file: needs adapter.redis.tls_key_file",
    ),
    (
        "[adapter.redis]\nmode = \"sentinel\"\nurls = [\"redis://h\"]\nsentinel_master_tls = \"yes\"",
        "c.toml:4: adapter.redis.sentinel_master_tls: expected true or false, found \"yes\"",
    ),
    (
        "[adapter.redis]\nurl = \"redis://localhost\"\nprefix = \"a#\"",
        "c.toml:3: adapter.redis.prefix: expected 1 to 64 bytes without # * ? [ ] \\, found \"a#\"",
    ),
    ("[[namespaces]]\nnames = \"/\"", "c.toml:1: namespaces[0].name: is missing"),
    (
        "[[namespaces]]\nname = \"chat\"",
        "c.toml:2: namespaces[0].name: expected a name that starts with / and has no , # ? in it, at most 128 bytes, \
         found \"chat\"",
    ),
    (
        "[[namespaces]]\nname = \"/a,b\"",
        "c.toml:2: namespaces[0].name: expected a name that starts with / and has no , # ? in it, at most 128 bytes, \
         found \"/a,b\"",
    ),
    (
        "[[namespaces]]\nname = \"/a\"\n[[namespaces]]\nname = \"/a\"",
        "c.toml:4: namespaces[1].name: \"/a\" is there twice",
    ),
    (
        "[[namespaces]]\nname = \"/\"\nauthentication = \"required\"",
        "c.toml:3: namespaces[0].authentication: \"required\" needs an entry of auth.issuers, or nobody could connect",
    ),
    ("[[rooms]]\njoin = \"anyone\"", "c.toml:1: rooms[0].match: is missing"),
    (
        "[[rooms]]\nmatch = \"{a\"",
        "c.toml:2: rooms[0].match: expected a glob (unclosed alternatives; missing '}'), found \"{a\"",
    ),
    (
        "[[rooms]]\nmatch = \"a}\"",
        "c.toml:2: rooms[0].match: expected a glob (unopened alternatives; missing '{'), found \"a}\"",
    ),
    (
        "[[rooms]]\nmatch = \"[a\"",
        "c.toml:2: rooms[0].match: expected a glob (unclosed character class; missing ']'), found \"[a\"",
    ),
    ("[[rooms]]\nmatch = \"\"", "c.toml:2: rooms[0].match: expected a glob of 1 to 256 bytes, found \"\""),
    (
        "[[rooms]]\nmatch = \"a\"\njoin = \"someone\"",
        "c.toml:3: rooms[0].join: expected \"anyone\" or \"authenticated\" or \"token\" or \"nobody\", found \"someone\"",
    ),
    (
        "[[rooms]]\nmatch = \"a\"\nnamespace = \"/other\"",
        "c.toml:3: rooms[0].namespace: \"/other\" is not one of the namespaces",
    ),
    (
        "[limits]\nmax_queued_bytes = 1_500_000",
        "c.toml:2: limits.max_queued_bytes: expected at least twice engine.max_payload_bytes, 2000000, found 1500000",
    ),
    (
        "[ops]\nlisten = \"0.0.0.0:8080\"",
        "c.toml:2: ops.listen: expected another address than server.listen, found 0.0.0.0:8080 for both",
    ),
    (
        "[server]\nshutdown_timeout_ms = 20000",
        "c.toml:2: server.shutdown_timeout_ms: expected more than server.drain_delay_ms + server.drain_window_ms, \
         20000, found 20000",
    ),
    (
        "[ops]\nanonymous = [\"all\"]",
        "c.toml:2: ops.anonymous: expected \"publish\" or \"read\" or \"control\", found \"all\"",
    ),
    ("[[ops.keys]]\nkey = \"0123456789abcdef\"", "c.toml:1: ops.keys[0].name: is missing"),
    ("[[ops.keys]]\nname = \"a\"", "c.toml:2: ops.keys[0].name: \"a\" has neither `key` nor `key_file`"),
    (
        "[[ops.keys]]\nname = \"a\"\nkey = \"tooshort\"",
        "c.toml:3: ops.keys[0].key: expected 16 to 512 letters, digits and -._~+/, with = at the end only",
    ),
    (
        "[[ops.keys]]\nname = \"a\"\nkey = \"0123456789 abcdef\"",
        "c.toml:3: ops.keys[0].key: expected 16 to 512 letters, digits and -._~+/, with = at the end only",
    ),
    (
        "[[ops.keys]]\nname = \"a\"\nkey_file = \"/nowhere/key\"",
        "c.toml:3: ops.keys[0].key_file: \"/nowhere/key\" cannot be opened: No such file or directory (os error 2)",
    ),
    (
        "[[ops.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\n[[ops.keys]]\nname = \"a\"\nkey = \"fedcba9876543210\"",
        "c.toml:5: ops.keys[1].name: \"a\" is there twice",
    ),
    (
        "[[ops.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\nscopes = []",
        "c.toml:4: ops.keys[0].scopes: expected at least one entry",
    ),
    (
        "[limits]\nmax_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 999",
        "c.toml:3: limits.handshake_burst_ms: expected the time of one of \
         limits.max_handshakes_per_second_per_address, at least",
    ),
    (
        "[limits]\nmax_tls_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 999",
        "c.toml:3: limits.handshake_burst_ms: expected the time of one of \
         limits.max_tls_handshakes_per_second_per_address, at least",
    ),
    (
        "[log]\nfilter = \"broadgate=loud\"",
        "c.toml:2: log.filter: expected filter directives such as \"info\" or \"info,broadgate=debug\", found \
         \"broadgate=loud\"",
    ),
];

#[test]
fn each_fault_in_a_file_is_told_with_its_line_key_and_what_was_expected() {
    for (content, expected) in FILE_ERRORS {
        let found = errors(&from_toml("c.toml", content));
        assert!(
            found.contains(&(*expected).to_owned()),
            "{content}\nexpected {expected}\n   found {found:#?}"
        );
        let names_bad_key_too = content.contains("names =");
        assert_eq!(found.len(), 1 + usize::from(names_bad_key_too), "{content}: {found:#?}");
    }
}

/// (variables, the only error)
const ENV_ERRORS: &[(&[(&str, &str)], &str)] = &[
    (
        &[("BROADGATE__SERVER__LISEN", "x")],
        "BROADGATE__SERVER__LISEN: unknown variable: did you mean BROADGATE__SERVER__LISTEN?",
    ),
    (
        &[("BROADGATE__SEVER__LISTEN", "x")],
        "BROADGATE__SEVER__LISTEN: unknown variable: did you mean BROADGATE__SERVER?",
    ),
    (&[("BROADGATE__QQQ", "x")], "BROADGATE__QQQ: unknown variable"),
    (
        &[("BROADGATE__SERVER____LISTEN", "x")],
        "BROADGATE__SERVER____LISTEN: expected BROADGATE__SECTION__KEY",
    ),
    (&[("BROADGATE__", "x")], "BROADGATE__: expected BROADGATE__SECTION__KEY"),
    (
        &[("BROADGATE__ADAPTER", "redis"), ("BROADGATE__ADAPTER__KIND", "redis")],
        "BROADGATE__ADAPTER: adapter: expected a table of keys, found a string",
    ),
    (
        &[("BROADGATE__SERVER__SHARDS", "many")],
        "BROADGATE__SERVER__SHARDS: server.shards: expected an integer from 1 to 64, found \"many\"",
    ),
    (&[("BROADGATE__ROOMS", "news")], "BROADGATE__ROOMS: rooms: expected a list of tables, found \"news\""),
];

#[test]
fn each_fault_in_the_environment_is_told_with_the_variable() {
    for (variables, expected) in ENV_ERRORS {
        assert_eq!(errors(&Sources { env: env(variables), ..Sources::default() }), [*expected]);
    }
}

#[test]
fn a_fault_in_a_flag_is_told_with_the_flag() {
    let flags =
        Flags { listen: Some("8080".to_owned()), redis: Some("redis:6379".to_owned()), ..Flags::default() };
    let expected = [
        "--listen: server.listen: expected an IP address with a port, such as 0.0.0.0:8080 or [::]:8080, found \"8080\"",
        "--redis: adapter.redis.url: expected a URL such as redis://host:6379, rediss://user:password@host:6379 or \
         unix:///run/redis.sock (it must begin with redis://, rediss://, unix:// or redis+unix://)",
    ];
    assert_eq!(errors(&Sources { flags, ..Sources::default() }), expected);
}

#[test]
fn all_faults_are_told_at_once() {
    let mut sources = from_toml(
        "all.toml",
        "[server]\nshards = 0\nlisen = 1\n[engine]\npath = 3\n[[rooms]]\nmatch = \"[\"\n",
    );
    sources.env = env(&[("BROADGATE__LOG__FORMAT", "xml")]);
    let found = errors(&sources);
    for place in ["all.toml:2: server.shards", "all.toml:5: engine.path", "all.toml:7: rooms[0].match"] {
        assert!(found.iter().any(|error| error.starts_with(place)), "{place} in {found:#?}");
    }
    assert!(found.iter().any(|error| error.starts_with("BROADGATE__LOG__FORMAT: log.format")), "{found:#?}");
    assert!(found.iter().any(|error| error.contains("unknown key \"server.lisen\"")), "{found:#?}");
    assert_eq!(found.len(), 5);
}

#[test]
fn a_file_that_is_not_there_or_does_not_parse_is_told_with_its_line() {
    let missing = Sources { file: Some("/nonexistent/c.toml".into()), ..Sources::default() };
    assert!(errors(&missing)[0].starts_with("/nonexistent/c.toml: cannot be opened: "));
    assert!(errors(&from_toml("syntax.toml", "[server]\nlisten = \n"))[0].starts_with("syntax.toml:2: "));
    let json = |content| errors(&Sources { file: Some(file("syntax.json", content)), ..Sources::default() });
    assert!(json("{\n \"server\": }")[0].starts_with("syntax.json:2: not JSON: "));
    assert_eq!(json("[]"), ["syntax.json: expected a JSON object"]);
    assert!(errors(&from_toml("large.toml", &"#".repeat(2 << 20)))[0].contains("larger than"));
}

const PASSWORD: &str = "tops3cret";

#[test]
fn a_password_is_in_no_output() {
    let url = format!("redis://app:{PASSWORD}@redis.internal:6379/");
    let sources = Sources {
        env: env(&[("BROADGATE__ADAPTER__REDIS__URL", &url)]),
        flags: Flags { redis: Some(url.clone()), ..Flags::default() },
        ..Sources::default()
    };
    let settings = load(&sources).unwrap();
    let AdapterSettings::Redis(redis) = &settings.adapter else { panic!("a URL turns Redis on") };
    assert_eq!(redis.url.expose(), url);
    assert!(!format!("{settings:?} {} {:?}", redis.url, sources.flags).contains(PASSWORD));
    assert_eq!(serde_json::to_string(&redis.url).unwrap(), "\"***\"");
    let printed = render(&sources).unwrap();
    assert!(printed.contains("url = \"redis://app:***@redis.internal:6379/\"  # --redis"), "{printed}");
    assert!(!printed.contains(PASSWORD));
}

#[test]
fn passwords_of_their_own_are_in_no_output_and_may_be_in_files() {
    let secret = file("password", &format!("{PASSWORD}\n"));
    let sources = from_toml(
        "passwords.toml",
        &format!(
            "[adapter.redis]\nmode = \"sentinel\"\nurls = [\"rediss://a\", \"rediss://b:1\"]\nusername = \"app\"\n\
             password_file = {secret:?}\nsentinel_password = \"{PASSWORD}\"\ntls_ca_file = \"ca.crt\"\n"
        ),
    );
    let settings = load(&sources).unwrap();
    let AdapterSettings::Redis(redis) = &settings.adapter else { panic!("URLs turn Redis on") };
    assert_eq!(redis.login.password.as_ref().map(Secret::expose), Some(PASSWORD));
    assert_eq!(redis.sentinel.login.password.as_ref().map(Secret::expose), Some(PASSWORD));
    assert_eq!(redis.sentinel.master, "mymaster");
    assert!(redis.sentinel.master_tls, "as the sentinels");
    assert!(!format!("{settings:?}").contains(PASSWORD));
    let printed = render(&sources).unwrap();
    assert!(printed.contains("sentinel_password = \"***\"  # "), "{printed}");
    assert!(printed.contains(&format!("password_file = {secret:?}")), "{printed}");
    assert!(!printed.contains(PASSWORD));
}

#[test]
fn a_key_of_the_ops_api_is_in_no_output() {
    let key = format!("{PASSWORD}-0123456789");
    let keys = file("ops-keys", &format!("\n{key}\n  {key}2  \n"));
    let sources = from_toml(
        "ops-keys.toml",
        &format!(
            "[[ops.keys]]\nname = \"a\"\nkey = \"{key}\"\nscopes = [\"read\"]\n\
             [[ops.keys]]\nname = \"b\"\nkey_file = {keys:?}\n"
        ),
    );
    let settings = load(&sources).unwrap();
    assert!(settings.ops.keys[0].scopes.contains(OpsScope::Read));
    assert!(!settings.ops.keys[0].scopes.contains(OpsScope::Publish));
    assert!(settings.ops.keys[1].scopes.contains(OpsScope::Control), "all unless set");
    let read: Vec<_> = read_key_file(&keys).unwrap();
    assert_eq!(read, [Secret::new(&*key), Secret::new(format!("{key}2"))]);
    assert!(!format!("{settings:?}").contains(PASSWORD));
    let printed = render(&sources).unwrap();
    assert!(printed.contains("key = \"***\"  # "), "{printed}");
    assert!(printed.contains(&format!("key_file = {keys:?}")), "{printed}");
    assert!(!printed.contains(PASSWORD));

    let bad = file("bad-ops-keys", &format!("{key}\n{PASSWORD} {PASSWORD}\n"));
    for content in [
        format!("[[ops.keys]]\nname = \"a\"\nkey = \"{PASSWORD}\""),
        format!("[[ops.keys]]\nname = \"a\"\nkey = [\"{key}\"]"),
        format!("[[ops.keys]]\nname = \"a\"\nkey_file = {bad:?}"),
        format!("[[ops.keys]]\nname = \"a\"\nkey = \"{key}\"\nkey_file = {keys:?}"),
    ] {
        let found = errors(&from_toml("ops-key.toml", &content)).join("\n");
        assert!(!found.contains(PASSWORD), "{content}\n{found}");
    }
}

#[test]
fn a_password_is_in_no_error() {
    let faulty = [
        format!("[adapter.redis]\nurl = \"redis-sentinel://:{PASSWORD}@h\""),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h\"\npassword = \"{PASSWORD}\""),
        format!("[adapter.redis]\nurls = \"redis://:{PASSWORD}@h\""),
        format!("[adapter.redis]\nurls = [\"redis://:{PASSWORD}@h\"]"),
        format!("[adapter.redis]\nurls = [\"redis://:{PASSWORD}\"]"),
        format!("[adapter.redis]\nurls = [[\"redis://:{PASSWORD}@h\"]]"),
        format!("[adapter.redis]\npassword = [\"{PASSWORD}\"]\nurl = \"redis://h\""),
        format!(
            "[adapter.redis]\nurl = \"redis://h\"\npassword = \"{PASSWORD}\"\nsentinel_password = \"{PASSWORD}\""
        ),
        format!("[adapter.redis]\nurl = \"http://:{PASSWORD}@h\""),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h/zero\""),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h:99999\""),
        format!("[adapter.redis]\nurl = \":{PASSWORD}@h\""),
        format!("[adapter.redis]\nurl = [\"redis://:{PASSWORD}@h\"]"),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h"),
        format!("[adapter.redis]\nurl = redis://:{PASSWORD}@h"),
        format!("[adapter]\nredis = \"redis://:{PASSWORD}@h\""),
        format!("[adapter]\nkind = \"redis://:{PASSWORD}@h\""),
        format!("[server]\nlisten = \"redis://:{PASSWORD}@h\""),
        format!("redis = \"redis://:{PASSWORD}@h\""),
    ];
    for content in faulty {
        let found = errors(&from_toml("password.toml", &content)).join("\n");
        assert!(!found.contains(PASSWORD), "{content}\n{found}");
    }
}

#[test]
fn print_config_gives_a_file_that_means_the_same() {
    let mut sources = from_toml(
        "round.toml",
        "[engine]\npath = \"/rt/\"\n[[rooms]]\nmatch = \"a\\\"b\"\njoin = \"anyone\"\n",
    );
    sources.env = env(&[("BROADGATE__LIMITS__MAX_CONNECTIONS", "77")]);
    let printed = render(&sources).unwrap();
    assert!(printed.contains("max_connections = 77  # BROADGATE__LIMITS__MAX_CONNECTIONS\n"), "{printed}");
    assert!(printed.contains("ping_interval_ms = 25000  # default\n"), "{printed}");
    let again = load(&from_toml("round-again.toml", &printed)).unwrap();
    assert_eq!(format!("{again:?}"), format!("{:?}", load(&sources).unwrap()));
}

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples").join(name)
}

#[test]
fn the_reference_file_is_up_to_date_and_means_the_defaults() {
    let path = example("broadgate.toml");
    let content = fs::read_to_string(&path).unwrap();
    assert_eq!(
        content,
        reference(),
        "run `broadgate print-config --reference > deploy/examples/broadgate.toml`"
    );
    let settings = load(&Sources { file: Some(path), ..Sources::default() }).unwrap();
    let defaults = load(&from_toml("defaults.toml", "")).unwrap();
    assert_eq!(format!("{settings:?}"), format!("{defaults:?}"));
}

#[test]
fn the_commented_parts_of_the_reference_are_valid_too() {
    let keys =
        reference().lines().filter_map(|line| line.strip_prefix("# ")).fold(String::new(), |keys, line| {
            let starts = ["namespace =", "match =", "join =", "publish =", "issuer =", "jwks_url ="];
            let is_example = line == "[[rooms]]"
                || line == "[[auth.issuers]]"
                || starts.iter().any(|start| line.starts_with(start));
            if is_example { keys + line + "\n" } else { keys }
        });
    let settings = load(&from_toml("commented.toml", &keys)).unwrap();
    assert_eq!((settings.rooms.len(), settings.auth.issuers.len()), (1, 1), "{keys}");
}

#[test]
fn the_examples_load() {
    for name in ["minimal.toml", "redis.toml"] {
        let settings = load(&Sources { file: Some(example(name)), ..Sources::default() })
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(!settings.rooms.is_empty(), "{name}");
    }
}

/// The one for the internet reads its secrets from files.
#[test]
fn the_example_for_the_internet_loads_and_opens_nothing() {
    let mut text = fs::read_to_string(example("internet.toml")).unwrap();
    for name in ["backend-key", "operators-key", "redis-password"] {
        let secret = file(name, &format!("a secret of {name}").replace(' ', "-"));
        let path = format!("/run/secrets/{name}");
        assert!(text.contains(&path), "{path}");
        text = text.replace(&path, secret.to_str().unwrap());
    }
    let settings = load(&from_toml("internet.toml", &text)).unwrap_or_else(|e| panic!("{e}"));
    assert!(settings.namespaces.iter().all(|namespace| namespace.authentication == Authentication::Required));
    let is_open = |rule: &RoomRule| rule.join == Access::Anyone || rule.publish == Access::Anyone;
    assert!(!settings.rooms.iter().any(is_open));
    assert_eq!(settings.ops.anonymous, OpsScopes::default());
}

/// README.md says of each bound what its default is, and what happens beyond it.
#[test]
fn the_readme_has_every_limit() {
    let readme = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let reference = reference();
    let (_, limits) = reference.split_once("[limits]\n").unwrap();
    let (limits, _) = limits.split_once("\n[").unwrap();
    let keys: Vec<_> =
        limits.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = ")).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for (key, default) in keys {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{key}` | ")));
        let row = row.unwrap_or_else(|| panic!("no row for limits.{key}"));
        let said = row.split(" | ").nth(1).unwrap();
        // What depends on the machine, and lists, are said in words.
        let is_said =
            said == format!("`{default}`") || ["address_limit_exempt", "max_memory_bytes"].contains(&key);
        assert!(is_said, "limits.{key} is {default} by default, not {said}");
    }
}
