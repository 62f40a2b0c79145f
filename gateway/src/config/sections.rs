//! Every key there is: its meaning, bounds and default. The reference, `print-config` and the list of known keys are
//! made from this file, by running it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread::available_parallelism,
};

use super::{
    auth, checks,
    edge::edge,
    limits::limits,
    ops,
    reader::Section,
    redis,
    settings::{
        Access, AdapterSettings, Authentication, EngineSettings, LogFormat, LogSettings, NamespaceSettings,
        RoomRule, ServerSettings, Settings,
    },
    traces,
    tree::{Node, Origin, texts_table},
};

const MAX_SHARDS: usize = 64;
const MAX_NAMESPACES: usize = 64;
const MAX_ROOM_RULES: usize = 1000;
const HOUR_MS: u64 = 3_600_000;
const MIB: usize = 1024 * 1024;

pub(super) fn settings(root: &mut Section<'_>, development: bool, example: bool) -> Settings {
    let server = root.section("server", "The public listener and the threads behind it.", |section| {
        server(section, development)
    });
    let ops = root.section("ops", "The listener for operators. Keep it off the public network.", |section| {
        ops::section(section, development, example)
    });
    let engine = root.section("engine", "Engine.IO and HTTP: the transports under Socket.IO.", |section| {
        engine(section, development)
    });
    let auth = root.section("auth", "Tokens (JWT): who a client is, and what it may.", |section| {
        auth::section(section, example)
    });
    let adapter = root.section("adapter", "The way to the other nodes.", adapter);
    let namespaces = namespaces(root, !auth.issuers.is_empty());
    let rooms = rooms(root, default_rules(&namespaces, development, example));
    let limits = root.section("limits", "Bounds that the node never passes.", |section| {
        limits(section, engine.max_payload_bytes)
    });
    let log = root.section("log", "What is logged, and how.", log);
    let traces = root.section(
        "traces",
        "Spans of handshakes, publishes and requests, for OpenTelemetry. Off unless there is an endpoint.",
        traces::section,
    );
    Settings {
        development,
        server,
        ops,
        engine,
        auth,
        adapter,
        namespaces,
        rooms,
        limits,
        log,
        traces,
        fingerprint: String::new(),
    }
}

fn server(section: &mut Section<'_>, development: bool) -> ServerSettings {
    let ip = if development { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let listen = section.address(
        "listen",
        "Address of the public listener. In development mode 127.0.0.1:8080.",
        SocketAddr::new(IpAddr::V4(ip), 8080),
    );
    let edge = edge(section);
    let cores = available_parallelism().map_or(1, usize::from).min(MAX_SHARDS);
    let shards = section.count(
        "shards",
        "Threads that own connections. One per core unless set.",
        1..=MAX_SHARDS,
        cores,
    );
    section.example("2");
    let drain_ms = |ms: u64| if development { 0 } else { ms };
    let drain_delay = section.milliseconds(
        "drain_delay_ms",
        "How long the node goes on as before after SIGTERM while /readyz fails, so that balancers stop sending clients \
         first. In development mode 0.",
        0..=HOUR_MS,
        drain_ms(5_000),
    );
    let drain_window = section.milliseconds(
        "drain_window_ms",
        "Over what time its sessions are closed then, evenly and in a random order, so that their clients come back to \
         other nodes at a pace; new ones are refused with 503. 0 closes all at once. In development mode 0.",
        0..=HOUR_MS,
        drain_ms(15_000),
    );
    let shutdown_timeout = section.milliseconds(
        "shutdown_timeout_ms",
        "How long the node may take from SIGTERM to its exit; more than drain_delay_ms and drain_window_ms together.",
        0..=HOUR_MS,
        25_000,
    );
    ServerSettings { listen, edge, shards, drain_delay, drain_window, shutdown_timeout }
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Polling,
    WebSocket,
}

fn engine(section: &mut Section<'_>, development: bool) -> EngineSettings {
    let path = section.text(
        "path",
        "Path of the clients' requests; the `path` option of socket.io-client.",
        "/socket.io/",
        checks::engine_path,
    );
    let ping_interval = section.milliseconds(
        "ping_interval_ms",
        "Time between a pong and the next ping.",
        100..=HOUR_MS,
        25_000,
    );
    let ping_timeout = section.milliseconds(
        "ping_timeout_ms",
        "How long a pong may take before the client counts as gone.",
        100..=HOUR_MS,
        20_000,
    );
    let upgrade_timeout = section.milliseconds(
        "upgrade_timeout_ms",
        "How long a client may take to change from polling to WebSocket.",
        100..=HOUR_MS,
        10_000,
    );
    let connect_timeout = section.milliseconds(
        "connect_timeout_ms",
        "How long a client may take to join a namespace.",
        100..=HOUR_MS,
        45_000,
    );
    let max_payload_bytes = section.count(
        "max_payload_bytes",
        "Largest message that a client may send; told to clients as maxPayload.",
        1024..=64 * MIB,
        1_000_000,
    );
    let transports = section.choices(
        "transports",
        "Transports that are on.",
        &[("polling", Transport::Polling), ("websocket", Transport::WebSocket)],
    );
    let open = if development { vec!["*".to_owned()] } else { Vec::new() };
    let allowed_origins = section.texts(
        "allowed_origins",
        "Origins of pages that may connect from browsers; others get 403. Such as \"https://example.com\", \
         \"https://*.example.com\" (all hosts below it, not itself), \"http://localhost:*\" (any port), \"null\" (files, \
         sandboxed frames) or \"*\" alone (all, without cookies). Empty: pages of the same host and port only. In \
         development mode [\"*\"].",
        open,
        checks::allowed_origin,
    );
    let threshold = section.count(
        "compression_threshold_bytes",
        "Poll responses of at least this many bytes are compressed for clients that accept it; 0 turns it off.",
        0..=64 * MIB,
        1024,
    );
    EngineSettings {
        path,
        ping_interval,
        ping_timeout,
        upgrade_timeout,
        connect_timeout,
        max_payload_bytes,
        polling: transports.contains(&Transport::Polling),
        websocket: transports.contains(&Transport::WebSocket),
        allowed_origins,
        compression_threshold_bytes: (threshold > 0).then_some(threshold),
    }
}

fn adapter(section: &mut Section<'_>) -> AdapterSettings {
    // Who gives a URL wants it used; `kind = "memory"` beside it turns it off.
    let has_url = section.contains("redis", "url") || section.contains("redis", "urls");
    let is_redis = section.choice(
        "kind",
        "\"memory\" is one node alone; \"redis\" is many nodes, and publishers in any language. \"redis\" where \
         adapter.redis.url or urls is set, else \"memory\".",
        &[("memory", false), ("redis", true)],
        has_url,
    );
    section.example("\"redis\"");
    let redis = section.section(
        "redis",
        "The same wire format as @socket.io/redis-adapter and its emitters.",
        redis::section,
    );
    if is_redis { AdapterSettings::Redis(Box::new(redis)) } else { AdapterSettings::Memory }
}

fn namespaces(root: &mut Section<'_>, has_issuers: bool) -> Vec<NamespaceSettings> {
    let default = vec![texts_table(&Origin::Default, &[("name", "/")])];
    let doc = "Namespaces that clients may connect to; one table each. Others are refused with \"Invalid namespace\".";
    let authentication = if has_issuers { Authentication::Required } else { Authentication::Optional };
    root.tables("namespaces", doc, 1..=MAX_NAMESPACES, default, |section| {
        let name = section.required_text("name", "Starts with a slash.", checks::namespace);
        let authentication = section.choice(
            "authentication",
            "\"required\": clients without a token are refused. \"optional\": they are let in, and may what anyone may; a \
             bad token is refused all the same. \"required\" where auth.issuers has an entry, else \"optional\".",
            &[("required", Authentication::Required), ("optional", Authentication::Optional)],
            authentication,
        );
        section.example("\"required\"");
        NamespaceSettings { name, authentication }
    })
}

/// What holds where no rule is given: in development mode everything is open, else nothing is.
fn default_rules(namespaces: &[NamespaceSettings], development: bool, example: bool) -> Vec<Node> {
    if example {
        let rule = [("namespace", "/"), ("match", "news*"), ("join", "anyone"), ("publish", "nobody")];
        return vec![texts_table(&Origin::Example, &rule)];
    }
    if !development {
        return Vec::new();
    }
    let rule = |namespace: &NamespaceSettings| {
        let open =
            [("namespace", &*namespace.name), ("match", "*"), ("join", "anyone"), ("publish", "anyone")];
        texts_table(&Origin::Development, &open)
    };
    namespaces.iter().map(rule).collect()
}

fn rooms(root: &mut Section<'_>, default: Vec<Node>) -> Vec<RoomRule> {
    let doc = "Who may join and publish where; one table each. The first rule that matches counts; no match means no. \
               In development mode everything is open.";
    root.tables("rooms", doc, 0..=MAX_ROOM_RULES, default, |section| {
        const ACCESS: &[(&str, Access)] = &[
            ("anyone", Access::Anyone),
            ("authenticated", Access::Authenticated),
            ("token", Access::Token),
            ("nobody", Access::Nobody),
        ];
        let namespace = section.text("namespace", "One of the namespaces.", "/", checks::namespace);
        let glob = section.required_text(
            "match",
            "Glob for the room's name: * any text, ? one character, [ab] one of these, {a,b} one of these texts, {sub} the \
             client's user (for clients without a token it matches nothing).",
            |text| checks::glob(text).map(|_| ()),
        );
        let join = section.choice(
            "join",
            "Who may join: \"anyone\"; \"authenticated\", clients with a token; \"token\", those whose token names the room; \
             \"nobody\".",
            ACCESS,
            Access::Nobody,
        );
        let publish = section.choice("publish", "Who may publish; the same words.", ACCESS, Access::Nobody);
        // A glob that did not compile is reported above; this one only stands in until the errors are returned.
        let room = checks::glob(&glob).unwrap_or_else(|_| checks::glob("?").expect("a plain glob"));
        RoomRule { namespace, room, join, publish }
    })
}

fn log(section: &mut Section<'_>) -> LogSettings {
    let filter = section.text(
        "filter",
        "Filter directives as of Rust's tracing, such as \"info\" or \"info,broadgate=debug\".",
        "info",
        checks::log_filter,
    );
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format =
        section.choice("format", "\"text\" for eyes, \"json\" for collectors.", &formats, LogFormat::Text);
    LogSettings { filter, format }
}
