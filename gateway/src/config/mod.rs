//! Configuration: defaults, then a file, then the environment, then flags; checked once into [`Settings`].
//!
//! ```text
//! layers ──> tree (values with their origin) ──> reader + sections (every key, typed) ──> cross checks ──> Settings
//! ```
//!
//! `sections.rs` says each key once; values, errors, unknown keys, `print-config` and the reference all come from it.

mod auth;
mod checks;
mod cross;
mod edge;
mod error;
mod layers;
mod limits;
mod ops;
mod reader;
mod redis;
mod render;
mod secret;
mod sections;
mod settings;
mod traces;
mod tree;
mod values;

use std::path::PathBuf;

pub use auth::{
    AuthSettings, ClaimNames, FetchSettings, IssuerSettings, JwksPlace, KeyFile, KeySource, OnExpiry,
};
pub use edge::EdgeSettings;
pub use error::{ConfigError, ConfigErrors};
pub use ops::{OpsKey, OpsKeySource, OpsScope, OpsScopes, OpsSettings, key_text, read_key_file};
pub(crate) use reader::read_secret_file;
pub use secret::Secret;
pub use settings::{
    Access, AdapterSettings, Authentication, EngineSettings, Limits, LogFormat, LogSettings,
    NamespaceSettings, RedisLogin, RedisMode, RedisSettings, RedisTlsSettings, RoomRule, SentinelSettings,
    ServerSettings, Settings, WhenDown,
};
pub use traces::TracesSettings;
pub(crate) use traces::read_headers_file;

use reader::{Reader, Section};
use tree::Table;

/// Where a configuration comes from. Nothing else is looked at.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// TOML, or JSON where the name ends with `.json`. None: development mode.
    pub file: Option<PathBuf>,
    /// All variables; those that start with `BROADGATE__` count.
    pub env: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Flags,
}

/// What the flags of `serve` set.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--listen`: `server.listen`.
    pub listen: Option<String>,
    /// `--ops-listen`: `ops.listen`.
    pub ops_listen: Option<String>,
    /// `--redis`: `adapter.redis.url`, and the adapter's kind with it. May hold a password.
    pub redis: Option<String>,
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let redis = self.redis.as_ref().map(Secret::new);
        f.debug_struct("Flags")
            .field("listen", &self.listen)
            .field("ops_listen", &self.ops_listen)
            .field("redis", &redis)
            .finish()
    }
}

/// Makes the settings, or says all that is wrong.
pub fn load(sources: &Sources) -> Result<Settings, ConfigErrors> {
    let (mut settings, reader) = read(sources)?;
    settings.fingerprint = render::fingerprint(&reader);
    Ok(settings)
}

/// The configuration in force as TOML, each value with where it comes from; passwords are shown as `***`.
pub fn render(sources: &Sources) -> Result<String, ConfigErrors> {
    read(sources).map(|(_, reader)| render::effective(&reader))
}

/// Every key with its meaning and its default, as a TOML file to start from.
pub fn reference() -> String {
    let mut reader = Reader::default();
    Section::root(&mut reader, Table::new(), |root| sections::settings(root, false, true));
    render::reference(&reader)
}

impl Settings {
    /// What a node without a config file, environment and flags has.
    pub fn development() -> Self {
        load(&Sources::default()).expect("the defaults are valid")
    }
}

fn read(sources: &Sources) -> Result<(Settings, Reader), ConfigErrors> {
    let mut errors = Vec::new();
    let mut tree = Table::new();
    let file = sources.file.as_deref().map_or_else(|| Ok(Table::new()), layers::file);
    for layer in [file, layers::env(&sources.env), Ok(layers::flags(&sources.flags))] {
        match layer {
            Ok(layer) => tree::merge(&mut tree, layer),
            Err(faults) => errors.extend(faults),
        }
    }
    // Of a file that can't be read nothing is known, and what depends on it would only be noise.
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let mut reader = Reader::default();
    let development = sources.file.is_none();
    let settings = Section::root(&mut reader, tree, |root| sections::settings(root, development, false));
    reader.report_unknown();
    if reader.errors.is_empty() {
        cross::check(&settings, &mut reader);
    }
    if reader.errors.is_empty() { Ok((settings, reader)) } else { Err(ConfigErrors(reader.errors)) }
}
