//! `[auth]`: where tokens come from, what their claims are called, and who may sign them.

use std::{path::PathBuf, time::Duration};

use jsonwebtoken::Algorithm;
use url::Url;

use super::{
    Secret, checks, layers,
    reader::Section,
    tree::{Node, Origin, texts_table},
};
use crate::auth::{
    KeyError, KeySet, VerificationKey,
    algorithm::{ASYMMETRIC, algorithm},
};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const MAX_ISSUERS: usize = 16;
/// What RFC 7519 section 4.1 gives a meaning, but for `sub`, which may be the user.
const REGISTERED_CLAIMS: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// `[auth]`
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// The cookie that may hold a token.
    pub cookie: Option<String>,
    /// The key of the query that may hold a token.
    pub query_key: Option<String>,
    /// How far the clocks of issuers may be off.
    pub leeway: Duration,
    /// Length of a token; a longer one is refused unread.
    pub max_token_bytes: usize,
    /// What the claims are called.
    pub claims: ClaimNames,
    /// Is a token without `exp` refused?
    pub require_expiry: bool,
    /// Between a token's expiry and the end of its connection.
    pub expiry_grace: Duration,
    /// What happens to a socket whose token expired.
    pub on_expiry: OnExpiry,
    /// Who may sign tokens.
    pub issuers: Vec<IssuerSettings>,
}

/// The names of the claims that the gateway reads beside the registered ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// Who the client is.
    pub user: String,
    /// Rooms to be in from the start.
    pub rooms: String,
    /// Patterns for rooms to join.
    pub join: String,
    /// Patterns for rooms to publish to.
    pub publish: String,
}

/// `auth.on_expiry`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    /// The transport is closed: clients come back by themselves, with a fresh token where they have a function for it.
    Reconnect,
    /// The socket is disconnected: clients stay away until they are told to connect.
    Disconnect,
}

/// `[[auth.issuers]]`
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// What logs and metrics call it.
    pub name: String,
    /// What `iss` must be; without, it may be anything.
    pub issuer: Option<String>,
    /// Of which `aud` must name one; without, a token must have none.
    pub audiences: Vec<String>,
    /// Where its keys come from.
    pub keys: KeySource,
}

/// Where the keys of an issuer come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// `key`
    Fixed(KeySet),
    /// `key_file`
    File(KeyFile),
    /// `jwks_url` or `jwks_file`
    Fetched(FetchSettings),
}

/// A key in a file of its own.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// `kid` of its tokens.
    pub key_id: Option<String>,
    /// What it may be used for; where this is empty, the usual of its kind.
    pub algorithms: Vec<Algorithm>,
    /// What it held at the start.
    pub at_start: KeySet,
}

impl KeyFile {
    /// What a text that stood in the file gives.
    ///
    /// # Errors
    /// It is no key, or not for all of the algorithms.
    pub fn parse(&self, text: &Secret) -> Result<KeySet, KeyError> {
        VerificationKey::from_text(text.expose(), self.key_id.as_deref(), &self.algorithms).map(Into::into)
    }
}

/// How keys are fetched.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// From where.
    pub place: JwksPlace,
    /// What they may be used for, whatever they say of themselves.
    pub algorithms: Vec<Algorithm>,
    /// Between a fetch and the next, in milliseconds.
    pub refresh_ms: u64,
    /// Between a fetch and the next that a token with an unknown key asks for, in milliseconds.
    pub min_refresh_ms: u64,
}

/// Where a JWK set is.
#[derive(Debug, Clone)]
pub enum JwksPlace {
    /// `https`, or `http` where that was allowed.
    Url {
        /// Without user and password.
        url: Url,
        /// Authorities to trust; without, the system's.
        ca_file: Option<PathBuf>,
    },
    /// A file, which is read again as often as a URL would be.
    File(PathBuf),
}

pub(super) fn section(section: &mut Section<'_>, example: bool) -> AuthSettings {
    let optional = |text: String| Some(text).filter(|text| !text.is_empty());
    let cookie = section.text(
        "cookie",
        "Name of a cookie that may hold the token. Empty: none. Browsers send cookies by themselves, also for pages of \
         others, so keep engine.allowed_origins narrow.",
        "",
        checks::token_name,
    );
    let query_key = section.text(
        "query_key",
        "Key of the query that may hold the token, such as \"token\". Empty: none. URLs end up in logs; prefer the \
         `auth` option of socket.io-client.",
        "",
        checks::token_name,
    );
    let leeway = section.milliseconds(
        "leeway_ms",
        "How far the clocks of the issuers may be off, when a token begins and ends.",
        0..=HOUR_MS,
        30_000,
    );
    let max_token_bytes = section.count(
        "max_token_bytes",
        "Length of a token. A longer one is refused unread.",
        256..=65_536,
        8192,
    );
    let claims = claims(section);
    let require_expiry =
        section.switch("require_expiry", "Whether tokens without an expiry (`exp`) are refused.", true);
    let expiry_grace = section.milliseconds(
        "expiry_grace_ms",
        "How long a client whose token expired may take to send a fresh one before it is cut.",
        0..=HOUR_MS,
        10_000,
    );
    let on_expiry = section.choice(
        "on_expiry",
        "What happens then: \"reconnect\" closes the connection, and clients come back by themselves with a fresh token; \
         \"disconnect\" disconnects the socket, and clients stay away until their application connects again.",
        &[("reconnect", OnExpiry::Reconnect), ("disconnect", OnExpiry::Disconnect)],
        OnExpiry::Reconnect,
    );
    let issuers = issuers(section, example);
    AuthSettings {
        cookie: optional(cookie),
        query_key: optional(query_key),
        leeway,
        max_token_bytes,
        claims,
        require_expiry,
        expiry_grace,
        on_expiry,
        issuers,
    }
}

fn claims(section: &mut Section<'_>) -> ClaimNames {
    let mut name = |key, doc, default| section.text(key, doc, default, checks::claim_name);
    let names = ClaimNames {
        user: name(
            "user_claim",
            "The claim that says who the client is. Its sockets join the room \"user:<it>\".",
            "sub",
        ),
        rooms: name(
            "rooms_claim",
            "The claim with the rooms that the client is put into when it connects.",
            "rooms",
        ),
        join: name("join_claim", "The claim with the patterns of rooms that the client may join.", "join"),
        publish: name(
            "publish_claim",
            "The claim with the patterns of rooms that it may publish to.",
            "publish",
        ),
    };
    let keys = [
        ("user_claim", &names.user),
        ("rooms_claim", &names.rooms),
        ("join_claim", &names.join),
        ("publish_claim", &names.publish),
    ];
    for (index, (key, name)) in keys.into_iter().enumerate() {
        let taken = keys[..index].iter().any(|(_, earlier)| *earlier == name);
        if taken || REGISTERED_CLAIMS.contains(&&**name) {
            section.fault(key, &format!("{name:?} means something else already"));
        }
    }
    names
}

/// What the reference shows.
fn example_issuer() -> Node {
    let keys = [
        ("issuer", "https://login.example.com/"),
        ("jwks_url", "https://login.example.com/.well-known/jwks.json"),
    ];
    texts_table(&Origin::Example, &keys)
}

fn issuers(section: &mut Section<'_>, example: bool) -> Vec<IssuerSettings> {
    let doc = "Who may sign tokens; one table each. Each has its keys in one of four ways: jwks_url, jwks_file, key or \
               key_file. Without an issuer no token is accepted, and nobody needs one.";
    let default = if example { vec![example_issuer()] } else { Vec::new() };
    let mut names = Vec::new();
    let issuers = section.tables("issuers", doc, 0..=MAX_ISSUERS, default, |section| {
        let default = format!("issuer-{}", names.len() + 1);
        let name = section.text("name", "What logs and metrics call it.", &default, checks::label);
        section.example("\"login\"");
        if names.contains(&name) {
            section.fault("name", "is the name of an earlier issuer, too");
        }
        names.push(name.clone());
        issuer(section, name)
    });
    issuers.into_iter().flatten().collect()
}

/// Nothing where it is wrong, which is reported.
fn issuer(section: &mut Section<'_>, name: String) -> Option<IssuerSettings> {
    let issuer = section.optional_text(
        "issuer",
        "What `iss` must be in its tokens. May be left out with `key` and `key_file`: then it may be anything.",
        checks::not_empty,
    );
    let audiences = section.texts(
        "audiences",
        "Names of this gateway, of which `aud` must have one. Empty: tokens with an `aud` are refused.",
        Vec::new(),
        checks::not_empty,
    );
    let algorithms = section.texts(
        "algorithms",
        "Algorithms that are accepted: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA. \
         Empty: HS256 for a secret, RS256 or what fits the curve for a public key, each that fits for the keys of a JWK \
         set, but for HS*.",
        Vec::new(),
        checks::algorithm,
    );
    let algorithms: Vec<_> = algorithms.iter().filter_map(|name| algorithm(name)).collect();
    let keys = keys(section, &algorithms)?;
    if issuer.is_none() && matches!(&keys, KeySource::Fetched(_)) {
        section.fault("issuer", "is missing, and keys that are fetched need it");
    }
    Some(IssuerSettings { name, issuer, audiences, keys })
}

fn keys(section: &mut Section<'_>, algorithms: &[Algorithm]) -> Option<KeySource> {
    let url = section.optional_text(
        "jwks_url",
        "URL of its keys, a JWK set: `jwks_uri` of OpenID Connect. Redirects are not followed.",
        checks::jwks_url,
    );
    let allow_http = section.switch(
        "jwks_allow_http",
        "Whether jwks_url may be http:// to another machine. Who is on the way can then make valid tokens.",
        false,
    );
    let ca_file = section.optional_path(
        "jwks_ca_file",
        "Certificates (PEM) of the authorities to trust for jwks_url in place of the system's.",
    );
    section.example("\"/etc/broadgate/ca.crt\"");
    let file = section.optional_path("jwks_file", "A file with a JWK set, read again every jwks_refresh_ms.");
    section.example("\"/etc/broadgate/jwks.json\"");
    let key = section.secret(
        "key",
        "A shared secret (HS256 takes 32 bytes or more), or a public key in PEM. Best given as a file.",
        |_| "***".to_owned(),
        checks::secret,
    );
    section.example("\"***\"");
    let key_file = section.secret_file(
        "key_file",
        "A file that holds it, in place of `key`. It is looked at every few seconds: a new key counts without a restart.",
    );
    section.example("\"/run/secrets/token-key\"");
    let key_id = section.optional_text(
        "key_id",
        "The `kid` of `key` or `key_file`. With it, tokens that name another key are refused.",
        checks::not_empty,
    );
    section.example("\"2026-11\"");
    let refresh_ms =
        section.milliseconds("jwks_refresh_ms", "Time between two fetches.", 1000..=DAY_MS, 300_000);
    let min_refresh_ms = section.milliseconds(
        "jwks_min_refresh_ms",
        "A token with an unknown `kid` makes the node fetch at once, but only so long after the last fetch.",
        100..=HOUR_MS,
        10_000,
    );

    let sources = [
        ("jwks_url", url.is_some()),
        ("jwks_file", file.is_some()),
        ("key", key.is_some()),
        ("key_file", key_file.is_some()),
    ];
    let given: Vec<_> = sources.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
    let source = match given[..] {
        [source] => source,
        [] => {
            // One that is wrong is reported already.
            if !section.is_set_any(&sources.map(|(key, _)| key)) {
                section.fault("", "expected jwks_url, jwks_file, key or key_file, found none of them");
            }
            return None;
        }
        [_, second, ..] => {
            section.fault(second, &format!("expected one of {}", given.join(", ")));
            return None;
        }
    };
    if key_id.is_some() && !source.starts_with("key") {
        section.fault("key_id", "is for key and key_file; a JWK set names its keys itself");
    }
    if ca_file.is_some() && source != "jwks_url" {
        section.fault("jwks_ca_file", "is for jwks_url");
    }
    if let Some(secret) = key {
        return fixed_key(section, source, &secret, key_id.as_deref(), algorithms).map(KeySource::Fixed);
    }
    if let Some((path, secret)) = key_file {
        let at_start = fixed_key(section, source, &secret, key_id.as_deref(), algorithms)?;
        return Some(KeySource::File(KeyFile { path, key_id, algorithms: algorithms.to_vec(), at_start }));
    }
    let place = match (url, file) {
        (Some(url), _) => {
            let url = Url::parse(&url).expect("it was checked");
            if url.scheme() == "http" && !allow_http && !checks::is_loopback(&url) {
                let message = "expected https://; http:// to another machine needs jwks_allow_http = true";
                section.fault("jwks_url", message);
            }
            JwksPlace::Url { url, ca_file }
        }
        (None, file) => JwksPlace::File(file?),
    };
    let algorithms = if algorithms.is_empty() { ASYMMETRIC.to_vec() } else { algorithms.to_vec() };
    check_jwks(section, &place, &algorithms);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(DAY_MS);
    let (refresh_ms, min_refresh_ms) = (millis(refresh_ms), millis(min_refresh_ms));
    Some(KeySource::Fetched(FetchSettings { place, algorithms, refresh_ms, min_refresh_ms }))
}

fn fixed_key(
    section: &mut Section<'_>,
    source: &'static str,
    secret: &Secret,
    key_id: Option<&str>,
    algorithms: &[Algorithm],
) -> Option<KeySet> {
    match VerificationKey::from_text(secret.expose(), key_id, algorithms) {
        Ok(key) => Some(key.into()),
        Err(error) => {
            // The file's name, not what is in it.
            let file = section.shown(source).filter(|_| source == "key_file").map(str::to_owned);
            let place = file.map_or_else(String::new, |file| format!("{file}: "));
            section.fault(source, &format!("{place}{error}"));
            None
        }
    }
}

/// A file that can't be used is told at once; a secret that the whole world can fetch is none.
fn check_jwks(section: &mut Section<'_>, place: &JwksPlace, algorithms: &[Algorithm]) {
    match place {
        JwksPlace::Url { .. } => {
            if let Some(algorithm) = algorithms.iter().find(|algorithm| !ASYMMETRIC.contains(algorithm)) {
                let message = format!("{algorithm:?} is for a shared secret, which can't come from a URL");
                section.fault("algorithms", &message);
            }
        }
        JwksPlace::File(path) => {
            let keys = layers::read(path).and_then(|json| {
                KeySet::from_jwks(json.as_bytes(), algorithms).map_err(|error| error.to_string())
            });
            if let Err(reason) = keys {
                section.fault("jwks_file", &format!("{path:?}: {reason}"));
            }
        }
    }
}
