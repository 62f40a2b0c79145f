//! `[adapter.redis]`: its keys, and what they must be to each other.

use broadgate_adapter::RedisDriver;

use super::{
    Secret, checks,
    reader::{Reader, Section},
    settings::{RedisLogin, RedisMode, RedisSettings, RedisTlsSettings, SentinelSettings, WhenDown},
};

const HOUR_MS: u64 = 3_600_000;

pub(super) fn section(section: &mut Section<'_>) -> RedisSettings {
    let mode = section.choice(
        "mode",
        "How Redis is set up: one server, a master that sentinels watch, or a Redis Cluster.",
        RedisMode::NAMES,
        RedisMode::Standalone,
    );
    let url = section.secret(
        "url",
        "With mode \"standalone\": redis://[user:password@]host[:port][/database], rediss:// for TLS, or unix:///path. \
         Best given as BROADGATE__ADAPTER__REDIS__URL where it holds a password.",
        checks::redacted_url,
        checks::redis_url,
    );
    section.example("\"redis://127.0.0.1:6379\"");
    let urls = section.discreet_texts(
        "urls",
        "With mode \"sentinel\" the sentinels, with \"cluster\" some of its servers: the others are found. Without user \
         and password, which have their own keys.",
        checks::redis_server_url,
    );
    section.example("[\"redis://10.0.0.1:26379\", \"redis://10.0.0.2:26379\"]");
    let login = login(
        section,
        ["username", "password", "password_file"],
        [
            "The ACL user to log in as; without one, the default user.",
            "Its password. Best given as BROADGATE__ADAPTER__REDIS__PASSWORD.",
            "A file that holds the password, in place of `password`. It is read again for each connection.",
        ],
    );
    let sentinel = sentinel(section, &urls);
    let tls = tls(section);
    let prefix = section.text(
        "prefix",
        "Start of every channel's name; the `key` option of Socket.IO's adapter and emitters.",
        "socket.io",
        checks::channel_prefix,
    );
    let python_channel = section.text(
        "python_channel",
        "Channel of python-socketio and Flask-SocketIO that is read, too, so that such backends can publish: \
         \"socketio\" and \"flask-socketio\" by their defaults. Empty: none.",
        "",
        checks::python_channel,
    );
    let python_channel = Some(python_channel).filter(|channel| !channel.is_empty());
    section.example("\"socketio\"");
    let driver = section.choice(
        "driver",
        "The client library, \"redis\" or \"fred\". What is sent and promised is the same; nodes may differ.",
        &[("redis", RedisDriver::Redis), ("fred", RedisDriver::Fred)],
        RedisDriver::default(),
    );
    let unsubscribe_delay = section.milliseconds(
        "unsubscribe_delay_ms",
        "How long a room that became empty stays subscribed, so that a room that flaps costs nothing.",
        0..=HOUR_MS,
        10_000,
    );
    let subscribe_timeout = section.milliseconds(
        "subscribe_timeout_ms",
        "How long a join waits for its subscription before it is refused.",
        10..=HOUR_MS,
        5_000,
    );
    let publish_timeout = section.milliseconds(
        "publish_timeout_ms",
        "How long a publish waits for Redis.",
        10..=HOUR_MS,
        5_000,
    );
    let answer_timeout = section.milliseconds(
        "answer_timeout_ms",
        "How long other nodes may take to answer: a request for one of their sessions, each step of moving one, a query.",
        10..=HOUR_MS,
        3_000,
    );
    let when_down = section.choice(
        "when_down",
        "What becomes of a publish while Redis is away: \"fail\" refuses it, and nobody gets it; with \"local\" the members \
         on this node get it and the answer says local_only.",
        &[("fail", WhenDown::Fail), ("local", WhenDown::Local)],
        WhenDown::default(),
    );
    let probe_max_age = section.milliseconds(
        "probe_max_age_ms",
        "How long no message may have come back to the node through Redis before /readyz says no; the node sends one \
         every 2 seconds. 0: it is ready all the same.",
        0..=HOUR_MS,
        15_000,
    );
    let url = url.unwrap_or_else(|| Secret::new(""));
    RedisSettings {
        mode,
        url,
        urls,
        login,
        sentinel,
        tls,
        prefix,
        python_channel,
        driver,
        unsubscribe_delay,
        subscribe_timeout,
        publish_timeout,
        answer_timeout,
        when_down,
        probe_max_age: Some(probe_max_age).filter(|age| !age.is_zero()),
    }
}

/// User, password, and the file of the password.
fn login(section: &mut Section<'_>, keys: [&'static str; 3], docs: [&'static str; 3]) -> RedisLogin {
    let username = section.optional_text(keys[0], docs[0], checks::not_empty);
    section.example("\"broadgate\"");
    let password = section.secret(keys[1], docs[1], |_| "***".to_owned(), checks::secret);
    section.example("\"***\"");
    let from_file = section.secret_file(keys[2], docs[2]);
    section.example("\"/run/secrets/password\"");
    match from_file {
        Some((file, at_start)) => {
            RedisLogin { username, password: password.or(Some(at_start)), password_file: Some(file) }
        }
        None => RedisLogin { username, password, password_file: None },
    }
}

fn sentinel(section: &mut Section<'_>, urls: &[String]) -> SentinelSettings {
    let master = section.optional_text(
        "sentinel_master",
        "What the sentinels call the master; \"mymaster\" unless set.",
        checks::not_empty,
    );
    section.example("\"mymaster\"");
    let login = login(
        section,
        ["sentinel_username", "sentinel_password", "sentinel_password_file"],
        [
            "The ACL user to log in to the sentinels as. What is above is for the servers that they watch.",
            "The sentinels' password, if they have one.",
            "A file that holds the sentinels' password, in place of `sentinel_password`. It is read again for each connection.",
        ],
    );
    let master_tls = section.optional_switch(
        "sentinel_master_tls",
        "Whether the master is spoken to over TLS, too. As the sentinels unless set.",
    );
    section.example("true");
    SentinelSettings {
        master: master.unwrap_or_else(|| "mymaster".to_owned()),
        login,
        master_tls: master_tls.unwrap_or_else(|| urls.iter().any(|url| checks::is_tls(url))),
    }
}

fn tls(section: &mut Section<'_>) -> RedisTlsSettings {
    let ca_file = section.optional_path(
        "tls_ca_file",
        "With rediss://: certificates (PEM) of the authorities to trust in place of the system's. These files are read \
         again for each connection.",
    );
    section.example("\"/etc/broadgate/ca.crt\"");
    let cert_file = section
        .optional_path("tls_cert_file", "The node's own certificate (PEM), for a Redis that asks for one.");
    section.example("\"/etc/broadgate/tls.crt\"");
    let key_file = section.optional_path("tls_key_file", "The private key (PEM) of that certificate.");
    section.example("\"/etc/broadgate/tls.key\"");
    let server_name = section.optional_text(
        "tls_server_name",
        "Whom Redis' certificate must name, where that is not the host that is connected to.",
        checks::not_empty,
    );
    section.example("\"redis.example.com\"");
    RedisTlsSettings { ca_file, cert_file, key_file, server_name }
}

const SECTION: &str = "adapter.redis";
const SENTINEL_KEYS: [&str; 5] = [
    "sentinel_master",
    "sentinel_username",
    "sentinel_password",
    "sentinel_password_file",
    "sentinel_master_tls",
];
const TLS_KEYS: [&str; 4] = ["tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name"];

/// What is wrong between the keys: a key's path and a message, for each fault.
pub(super) fn faults(redis: &RedisSettings, reader: &Reader) -> Vec<(String, String)> {
    let path = |key: &str| format!("{SECTION}.{key}");
    let is_set = |key: &str| reader.is_set(&path(key));
    let mut faults = Vec::new();
    let mut fault = |key: &str, message: String| faults.push((path(key), message));

    let mode = redis.mode.name();
    if redis.mode == RedisMode::Standalone {
        if !redis.urls.is_empty() {
            fault(
                "urls",
                format!(
                    "is for {SECTION}.mode \"sentinel\" or \"cluster\"; \"standalone\" takes {SECTION}.url"
                ),
            );
        }
    } else {
        if is_set("url") {
            fault("url", format!("is for {SECTION}.mode \"standalone\"; {mode:?} takes {SECTION}.urls"));
        }
        if redis.urls.is_empty() {
            fault("mode", format!("{mode:?} needs {SECTION}.urls"));
        }
    }
    if redis.mode != RedisMode::Sentinel {
        for key in SENTINEL_KEYS.into_iter().filter(|key| is_set(key)) {
            fault(key, format!("is for {SECTION}.mode \"sentinel\""));
        }
    }
    for (login, prefix) in [(&redis.login, ""), (&redis.sentinel.login, "sentinel_")] {
        let [username, password, file] =
            ["username", "password", "password_file"].map(|key| format!("{prefix}{key}"));
        if is_set(&password) && is_set(&file) {
            fault(&file, format!("{SECTION}.{password} is set as well; give one of them"));
        }
        if login.username.is_some() && login.password.is_none() {
            fault(&username, format!("needs {SECTION}.{password} or {SECTION}.{file}"));
        }
    }
    if checks::has_login(redis.url.expose()) {
        for key in ["username", "password", "password_file"].into_iter().filter(|key| is_set(key)) {
            fault(key, format!("{SECTION}.url holds a password as well; give it in one place"));
        }
    }
    let with_tls = redis.urls.iter().filter(|url| checks::is_tls(url)).count();
    if with_tls > 0 && with_tls < redis.urls.len() {
        fault("urls", "expected all of them with redis:// or all with rediss://".to_owned());
    }
    if with_tls == 0 && !checks::is_tls(redis.url.expose()) && !redis.sentinel.master_tls {
        for key in TLS_KEYS.into_iter().filter(|key| is_set(key)) {
            fault(key, "is for TLS, and no URL is rediss://".to_owned());
        }
    }
    for (key, other) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")] {
        if is_set(key) && !is_set(other) {
            fault(key, format!("needs {SECTION}.{other}"));
        }
    }
    faults
}
