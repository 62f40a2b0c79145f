//! The node's one [`Authenticator`].

use super::{Grant, TokenError};
use crate::config::AuthSettings;

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid.
    Granted(Grant),
    /// It is not.
    Refused(TokenError),
    /// Its key is not known, and may be after a fetch: see [`Authenticator::refreshed`].
    NeedsKeys(KeyWait),
}

/// Which keys a token waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWait {
    issuer: usize,
    seen_fetches: u64,
}

/// The keys of a token's issuer can't be had now. Nothing is known about the token: its client should come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the token's issuer can't be fetched now")]
pub struct KeysUnavailable;

/// Verifies tokens. One for a node, shared by its shards.
#[derive(Debug)]
pub struct Authenticator {
    max_token_bytes: usize,
}

impl Authenticator {
    /// Takes the issuers' static keys in; those that are to be fetched come later.
    pub fn new(settings: &AuthSettings) -> Self {
        Self { max_token_bytes: settings.max_token_bytes }
    }

    /// What `token` gives at `now_s`, in seconds since 1970. Never waits.
    pub fn verify(&self, token: &str, _now_s: u64) -> Verdict {
        if token.len() > self.max_token_bytes {
            return Verdict::Refused(TokenError::TooLarge);
        }
        Verdict::Refused(TokenError::Issuer)
    }

    /// Waits, a few seconds at most, for the fetch that a [`Verdict::NeedsKeys`] asks for. All who wait for an issuer
    /// wait for the same fetch. Verify again afterwards; another `NeedsKeys` then means the same as an error here.
    ///
    /// # Errors
    /// The fetch failed, or took too long.
    pub async fn refreshed(&self, _wait: KeyWait) -> Result<(), KeysUnavailable> {
        Err(KeysUnavailable)
    }
}
