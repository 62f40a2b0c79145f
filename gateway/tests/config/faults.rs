//! What is said of what a user got wrong, wherever it stands.

use broadgate::config::{Flags, Sources};

use super::{env, errors, file, from_toml};

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
