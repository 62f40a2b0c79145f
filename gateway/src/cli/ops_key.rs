//! The key that a command shows to a node's ops API.

use std::path::PathBuf;

use anyhow::anyhow;
use broadgate::config::{self, Secret};
use clap::Args;

/// Where the key is unless a flag says otherwise.
const VARIABLE: &str = "BROADGATE_OPS_KEY";

/// What commands that use the ops API have in common.
#[derive(Debug, Args)]
pub(super) struct OpsKeyArgs {
    /// Key for the ops API, one of the node's ops.keys. The process list shows flags: better a file, or the environment
    /// variable BROADGATE_OPS_KEY
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<Secret>,
    /// File with the key; of several lines the first
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl OpsKeyArgs {
    /// The key, where there is one.
    pub(super) fn key(&self) -> anyhow::Result<Option<Secret>> {
        if let Some(path) = &self.key_file {
            let keys = config::read_key_file(path).map_err(|message| anyhow!("--key-file: {message}"))?;
            return Ok(keys.into_iter().next());
        }
        let variable = || std::env::var(VARIABLE).ok().filter(|key| !key.is_empty());
        let (source, key) = match &self.key {
            Some(key) => ("--key", Some(key.clone())),
            None => (VARIABLE, variable().map(Secret::new)),
        };
        // One with a line break in it would become a header of its own.
        if let Some(key) = &key {
            config::key_text(key.expose()).map_err(|expected| anyhow!("{source}: {expected}"))?;
        }
        Ok(key)
    }
}
