//! `token verify`: says what becomes of a token, and why.

use std::{
    io::{self, Read},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use broadgate::{
    auth::{Authenticator, Grant, Verdict},
    config::Settings,
    telemetry::Traces,
};
use clap::{Args, Subcommand};

use super::{ServeArgs, init_logging};

/// More than any token may be.
const MAX_INPUT_BYTES: u64 = 128 * 1024;

/// `token`
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(super) command: TokenCommand,
}

/// What to do with a token.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Verify the token on standard input by a configuration, and say what is wrong with it
    Verify(ServeArgs),
}

/// Reads the token and verifies it as a node would, with keys fetched where it needs them.
pub(super) fn verify(settings: &Settings) -> anyhow::Result<String> {
    ensure!(
        !settings.auth.issuers.is_empty(),
        "the configuration has no auth.issuers, so no token is accepted"
    );
    let mut input = String::new();
    io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut input).context("cannot read the token")?;
    let token = input.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    ensure!(!token.is_empty(), "expected a token on standard input");

    // Why keys can't be fetched is in the log.
    init_logging(&settings.log);
    let authenticator = Authenticator::new(&settings.auth, &settings.limits);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verdict = runtime.block_on(async {
        let refresh = tokio::spawn(authenticator.keep_keys_fresh(&Traces::default()));
        let verdict = match authenticator.verify(token, now_s) {
            Verdict::NeedsKeys(wait) if authenticator.refreshed(wait).await.is_ok() => {
                authenticator.verify(token, now_s)
            }
            verdict => verdict,
        };
        refresh.abort();
        verdict
    });
    let why = authenticator.explain(token, now_s).join("\n");
    match verdict {
        Verdict::Granted(grant) => Ok(format!("ok: {}\n{why}", summary(&grant))),
        Verdict::Refused(error) => bail!("{}: {error}\n{why}", error.code()),
        Verdict::NeedsKeys(_) => bail!("the keys of the token's issuer can't be fetched\n{why}"),
    }
}

fn summary(grant: &Grant) -> String {
    format!(
        "user {:?}, rooms {:?}, {} patterns to join, {} to publish",
        grant.user,
        grant.rooms,
        grant.join.len(),
        grant.publish.len()
    )
}
