//! `[ops]`: the operators' listener, and who may use its API.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    ConfigError, Secret, layers,
    reader::{Reader, Section},
    tree::{Origin, texts_table},
};

/// Characters of a key: enough that it cannot be guessed, and no more than fits a header easily.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 16..=512;
/// Keys in one file: the old and the new one of a rotation, and some more.
const MAX_KEYS_PER_FILE: usize = 16;
const MAX_KEYS: usize = 100;
const MAX_NAME_BYTES: usize = 64;

/// `[ops]`
#[derive(Debug, Clone)]
pub struct OpsSettings {
    /// Address of metrics, health and the API.
    pub listen: SocketAddr,
    /// What the API lets everyone do who reaches it.
    pub anonymous: OpsScopes,
    /// Who may do more than that.
    pub keys: Vec<OpsKey>,
}

/// `[[ops.keys]]`
#[derive(Debug, Clone)]
pub struct OpsKey {
    /// What logs call it.
    pub name: String,
    /// Where the key is.
    pub source: OpsKeySource,
    /// What it lets its bearer do.
    pub scopes: OpsScopes,
}

/// `key` or `key_file`
#[derive(Debug, Clone)]
pub enum OpsKeySource {
    /// In the configuration itself.
    Inline(Secret),
    /// In a file, one a line; read again when it changes.
    File(PathBuf),
}

/// What part of the ops API a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpsScope {
    /// Send events to clients.
    Publish,
    /// Look at sockets and nodes.
    Read,
    /// Change what sockets are in, and end them.
    Control,
}

impl OpsScope {
    /// All of them, with their names in the configuration, answers and metrics.
    pub const NAMES: [(&'static str, Self); 3] =
        [("publish", Self::Publish), ("read", Self::Read), ("control", Self::Control)];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, scope)| *scope == self).map_or("", |(name, _)| name)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpsScopes(u8);

impl OpsScopes {
    /// Is the scope among them?
    pub fn contains(self, scope: OpsScope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The set as bits, for code that must not branch on it.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The set that has these bits.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

impl FromIterator<OpsScope> for OpsScopes {
    fn from_iter<I: IntoIterator<Item = OpsScope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | (1 << scope as u8)))
    }
}

pub(super) fn section(section: &mut Section<'_>, development: bool, example: bool) -> OpsSettings {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
    let listen = section.address("listen", "Address of metrics, health and the API.", default);
    let all = OpsScope::NAMES.map(|(_, scope)| scope);
    let anonymous = section.choices_or(
        "anonymous",
        "What the API lets everyone do who reaches this address: \"publish\" (POST publish), \"read\" (GET sockets and \
         nodes), \"control\" (POST sockets/...). In development mode all of it. Metrics and health never need a key: they \
         hold no secrets.",
        &OpsScope::NAMES,
        if development { all.to_vec() } else { Vec::new() },
    );
    let keys = section.tables(
        "keys",
        "Who may use the API, by `Authorization: Bearer <key>`; one table each.",
        0..=MAX_KEYS,
        if example { vec![texts_table(&Origin::Example, &[("name", "backend")])] } else { Vec::new() },
        key,
    );
    OpsSettings { listen, anonymous: anonymous.into_iter().collect(), keys }
}

fn key(section: &mut Section<'_>) -> OpsKey {
    let name = section.required_text("name", "What logs call its bearer.", name);
    let inline = section.secret(
        "key",
        "The key: 16 to 512 letters, digits and -._~+/=, such as `openssl rand -hex 32` makes them.",
        |_| "***".to_owned(),
        key_text,
    );
    section.example("\"***\"");
    let file = section.optional_checked_path(
        "key_file",
        "A file with the key, in place of `key`, or with several, one a line, so that an old and a new one hold while they \
         are changed. It is looked at every few seconds: keys change without a restart.",
        |path| read_key_file(path).map(drop),
    );
    section.example("\"/run/secrets/ops-key\"");
    let scopes = section.choices(
        "scopes",
        "What it may do: \"publish\", \"read\", \"control\". All unless set.",
        &OpsScope::NAMES,
    );
    section.example("[\"publish\"]");
    let source = match file {
        Some(path) => OpsKeySource::File(path),
        None => OpsKeySource::Inline(inline.unwrap_or_else(|| Secret::new(""))),
    };
    OpsKey { name, source, scopes: scopes.into_iter().collect() }
}

fn name(text: &str) -> Result<(), String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain && !text.is_empty() && text.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(format!("1 to {MAX_NAME_BYTES} letters, digits and -_."))
}

/// Is it a key? What may stand behind `Bearer` (RFC 6750 2.1), of a length that is worth something. The message does not
/// quote it.
pub fn key_text(text: &str) -> Result<(), String> {
    let body = text.trim_end_matches('=');
    let plain = body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
    if plain && !body.is_empty() && KEY_CHARS.contains(&text.len()) {
        return Ok(());
    }
    let (least, most) = KEY_CHARS.into_inner();
    Err(format!("expected {least} to {most} letters, digits and -._~+/, with = at the end only"))
}

/// The keys in a file. The message names it and quotes none of them.
pub fn read_key_file(path: &Path) -> Result<Vec<Secret>, String> {
    let shown = path.display();
    let text = layers::read(path).map_err(|reason| format!("{shown:?} {reason}"))?;
    let mut keys = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let key = line.trim();
        if key.is_empty() {
            continue;
        }
        key_text(key).map_err(|expected| format!("{shown:?} line {number}: {expected}"))?;
        keys.push(Secret::new(key));
    }
    match keys.len() {
        0 => Err(format!("{shown:?} holds no key")),
        1..=MAX_KEYS_PER_FILE => Ok(keys),
        more => Err(format!("{shown:?} holds {more} keys; expected at most {MAX_KEYS_PER_FILE}")),
    }
}

/// What is wrong between the keys.
pub(super) fn check(settings: &OpsSettings, reader: &mut Reader) {
    let mut names = HashSet::new();
    for (index, key) in settings.keys.iter().enumerate() {
        let path = |name: &str| format!("ops.keys[{index}].{name}");
        let is_set = |name: &str| reader.is_set(&path(name));
        let fault = match (is_set("key"), is_set("key_file")) {
            (true, true) => Some(("key_file", "`key` is set as well; give one of them".to_owned())),
            (false, false) => Some(("name", format!("{:?} has neither `key` nor `key_file`", key.name))),
            _ if !names.insert(&*key.name) => Some(("name", format!("{:?} is there twice", key.name))),
            _ => None,
        };
        if let Some((name, message)) = fault {
            let path = path(name);
            reader.errors.push(ConfigError::new(&reader.origin(&path), format!("{path}: {message}")));
        }
    }
}
