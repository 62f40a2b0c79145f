//! What single values must look like. Each check gives what it expected; the reader adds what it found.

use broadgate_adapter::redis::{Address, Endpoint};
use url::{Host, Url};

use crate::{
    auth::{MAX_PATTERN_BYTES, Pattern, PatternError},
    engineio::OriginPattern,
    net::Cidr,
    telemetry::parse_filter,
};

const MAX_PATH_BYTES: usize = 128;
const MAX_NAMESPACE_BYTES: usize = 128;
const MAX_LABEL_BYTES: usize = 64;
const MAX_CLAIM_BYTES: usize = 128;
const MAX_PREFIX_BYTES: usize = 64;

/// The path of Engine.IO requests.
pub(super) fn engine_path(path: &str) -> Result<(), String> {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    let slashes = path.len() > 1 && path.starts_with('/') && path.ends_with('/') && !path.contains("//");
    if plain && slashes && path.len() <= MAX_PATH_BYTES {
        return Ok(());
    }
    Err(format!(
        "a path that starts and ends with a slash, such as \"/socket.io/\", of letters, digits and -._~, at most \
         {MAX_PATH_BYTES} bytes"
    ))
}

/// An entry of `engine.allowed_origins`.
pub(super) fn allowed_origin(entry: &str) -> Result<(), String> {
    if entry == "*" { Ok(()) } else { OriginPattern::parse(entry).map(|_| ()) }
}

/// The name of a namespace (wire.md 2.1: a comma ends it on the wire, a question mark starts its query; the channels
/// of the Redis adapter are parted by `#`).
pub(super) fn namespace(name: &str) -> Result<(), String> {
    let clean = !name.contains([',', '#', '?']) && !name.chars().any(char::is_control);
    if name.starts_with('/') && clean && name.len() <= MAX_NAMESPACE_BYTES {
        return Ok(());
    }
    Err(format!("a name that starts with / and has no , # ? in it, at most {MAX_NAMESPACE_BYTES} bytes"))
}

/// The name of a cookie or of a key of a query, or nothing: what is a token to HTTP (RFC 9110 section 5.6.2), without
/// what a query would have to escape.
pub(super) fn token_name(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    if plain && name.len() <= MAX_CLAIM_BYTES {
        return Ok(());
    }
    Err(format!("at most {MAX_CLAIM_BYTES} letters, digits and -._~"))
}

/// What metrics may have as a label.
pub(super) fn label(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if plain && !name.is_empty() && name.len() <= MAX_LABEL_BYTES {
        return Ok(());
    }
    Err(format!("1 to {MAX_LABEL_BYTES} letters, digits and -._"))
}

/// The name of an algorithm of signatures.
pub(super) fn algorithm(name: &str) -> Result<(), String> {
    match crate::auth::algorithm::algorithm(name) {
        Some(_) => Ok(()),
        None => Err("algorithms such as \"RS256\", \"ES256\", \"EdDSA\" or \"HS256\"".to_owned()),
    }
}

/// Where keys are fetched from.
pub(super) fn jwks_url(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "a URL such as https://login.example.com/.well-known/jwks.json";
    let url = Url::parse(text).map_err(|_| EXPECTED.to_owned())?;
    let with_host = url.host_str().is_some_and(|host| !host.is_empty());
    let plain = url.username().is_empty() && url.password().is_none();
    let scheme = matches!(url.scheme(), "http" | "https");
    if scheme && with_host && plain { Ok(()) } else { Err(format!("{EXPECTED}, without user and password")) }
}

/// Where spans go. The message never quotes the URL: whoever has a key may have put it there.
pub(super) fn otlp_url(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected a URL such as http://127.0.0.1:4318";
    let url = Url::parse(text).map_err(|_| EXPECTED.to_owned())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        return Ok(());
    }
    Err(format!("{EXPECTED}, without user, password and query (headers_file is for keys)"))
}

/// Does the URL lead to this machine?
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The name of a claim, which may be a URL.
pub(super) fn claim_name(name: &str) -> Result<(), String> {
    if !name.is_empty() && name.len() <= MAX_CLAIM_BYTES && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("the name of a claim, of 1 to {MAX_CLAIM_BYTES} bytes"))
}

/// Reads the glob of a room rule.
pub(super) fn glob(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| match error {
        PatternError::Length => format!("a glob of 1 to {MAX_PATTERN_BYTES} bytes"),
        error => format!("a glob ({error})"),
    })
}

/// The first part of every channel. Glob characters would make the patterns match foreign channels.
pub(super) fn channel_prefix(prefix: &str) -> Result<(), String> {
    let clean = !prefix.contains(['#', '*', '?', '[', ']', '\\']) && !prefix.chars().any(char::is_control);
    if !prefix.is_empty() && clean && prefix.len() <= MAX_PREFIX_BYTES {
        return Ok(());
    }
    Err(format!("1 to {MAX_PREFIX_BYTES} bytes without # * ? [ ] \\"))
}

/// A channel of python-socketio, or nothing. All other channels have a `#`.
pub(super) fn python_channel(name: &str) -> Result<(), String> {
    if !name.contains('#') && !name.chars().any(char::is_control) && name.len() <= MAX_PREFIX_BYTES {
        return Ok(());
    }
    Err(format!("at most {MAX_PREFIX_BYTES} bytes without #"))
}

/// A network of addresses, or one address.
pub(super) fn cidr(text: &str) -> Result<(), String> {
    text.parse::<Cidr>().map(|_| ()).map_err(|error| error.to_string())
}

/// Directives as `tracing` has them.
pub(super) fn log_filter(filter: &str) -> Result<(), String> {
    parse_filter(filter)
        .map(|_| ())
        .map_err(|_| "filter directives such as \"info\" or \"info,broadgate=debug\"".to_owned())
}

/// Any text.
pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("a text that is not empty".to_owned()) } else { Ok(()) }
}

/// A secret. The message does not quote it, as that of no other check of a secret does.
pub(super) fn secret(text: &str) -> Result<(), String> {
    not_empty(text).map_err(|expected| format!("expected {expected}"))
}

/// The URL of the one Redis server. The message never quotes the URL: it may hold a password.
pub(super) fn redis_url(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected a URL such as redis://host:6379, rediss://user:password@host:6379 or unix:///run/redis.sock";
    Endpoint::parse(text).map(|_| ()).map_err(|error| format!("{EXPECTED} ({error})"))
}

/// The URL of a sentinel or of a server of a cluster. The message does not quote it, either.
pub(super) fn redis_server_url(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected URLs such as redis://host:6379 or rediss://host:6379";
    let endpoint = Endpoint::parse(text).map_err(|error| format!("{EXPECTED} ({error})"))?;
    if endpoint.has_login() {
        return Err(format!("{EXPECTED} (user and password have keys of their own)"));
    }
    if matches!(endpoint.address, Address::Unix(_)) {
        return Err(format!("{EXPECTED} (not the path of a Unix socket)"));
    }
    Ok(())
}

/// Does the URL of a Redis server ask for TLS?
pub(super) fn is_tls(url: &str) -> bool {
    Endpoint::parse(url).is_ok_and(|endpoint| endpoint.tls.is_some())
}

/// Does the URL of a Redis server hold a password?
pub(super) fn has_login(url: &str) -> bool {
    Endpoint::parse(url).is_ok_and(|endpoint| endpoint.has_login())
}

/// The URL with `***` for the password.
pub(super) fn redacted_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "***".to_owned() };
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    url.to_string()
}
