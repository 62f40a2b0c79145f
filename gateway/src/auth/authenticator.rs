//! The node's one [`Authenticator`]: which issuer a token is of, and what its keys say.

use std::{future::Future, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::{join, join_all};

use super::{
    Grant, TokenError,
    claims::ClaimRules,
    compact::Compact,
    fetched_keys::FetchedKeys,
    key_file::{WatchedKeys, watch},
    keys::{KeySet, Signature},
    metrics::{AuthCounters, KeysSample},
    refresh::keep_fresh,
};
use crate::{
    config::{AuthSettings, FetchSettings, IssuerSettings, KeyFile, KeySource, Limits},
    telemetry::Traces,
};

/// What becomes of the room's name `user:<user>`.
const USER_ROOM_PREFIX_BYTES: usize = "user:".len();

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
    pub(super) rules: ClaimRules,
    pub(super) issuers: Box<[Issuer]>,
    counters: Arc<AuthCounters>,
}

#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: Arc<str>,
    /// None: whatever `iss` says.
    pub(super) issuer: Option<Box<str>>,
    pub(super) audiences: Box<[Box<str>]>,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Fixed(KeySet),
    File(Arc<ArcSwap<KeySet>>, KeyFile),
    Fetched(Arc<FetchedKeys>, FetchSettings),
}

/// What the task that fetches an issuer's keys needs.
pub(super) struct FetchedIssuer {
    pub(super) name: Arc<str>,
    pub(super) keys: Arc<FetchedKeys>,
    pub(super) settings: FetchSettings,
}

impl Authenticator {
    /// Takes the issuers' static keys in. Those that are fetched come with [`Authenticator::keep_keys_fresh`].
    pub fn new(settings: &AuthSettings, limits: &Limits) -> Self {
        let rules = ClaimRules {
            names: settings.claims.clone(),
            leeway_s: settings.leeway.as_secs(),
            require_expiry: settings.require_expiry,
            max_user_bytes: limits.max_room_name_bytes.saturating_sub(USER_ROOM_PREFIX_BYTES),
            max_rooms: limits.max_rooms_per_socket,
            max_room_bytes: limits.max_room_name_bytes,
        };
        Self {
            max_token_bytes: settings.max_token_bytes,
            rules,
            issuers: settings.issuers.iter().map(Issuer::new).collect(),
            counters: Arc::default(),
        }
    }

    /// Fetches keys now and then. To be run on the main runtime, for as long as tokens are verified.
    pub fn keep_keys_fresh(&self, traces: &Traces) -> impl Future<Output = ()> + Send + use<> {
        let (mut fetched, mut watched) = (Vec::new(), Vec::new());
        for issuer in &self.issuers {
            let (name, counters) = (Arc::clone(&issuer.name), Arc::clone(&self.counters));
            match &issuer.keys {
                Keys::Fixed(_) => {}
                Keys::File(keys, file) => {
                    let (keys, file) = (Arc::clone(keys), file.clone());
                    watched.push(watch(WatchedKeys { name, keys, file }, counters));
                }
                Keys::Fetched(keys, settings) => {
                    let (keys, settings) = (Arc::clone(keys), settings.clone());
                    fetched.push(keep_fresh(
                        FetchedIssuer { name, keys, settings },
                        counters,
                        traces.clone(),
                    ));
                }
            }
        }
        async move {
            join(join_all(fetched), join_all(watched)).await;
        }
    }

    /// What `token` gives at `now_s`, in seconds since 1970. Never waits.
    pub fn verify(&self, token: &str, now_s: u64) -> Verdict {
        let verdict = self.verdict(token, now_s).unwrap_or_else(Verdict::Refused);
        self.counters.verified(&verdict);
        verdict
    }

    fn verdict(&self, token: &str, now_s: u64) -> Result<Verdict, TokenError> {
        if token.len() > self.max_token_bytes {
            return Err(TokenError::TooLarge);
        }
        let token = Compact::parse(token)?;
        let issuer_claim = token.issuer()?;
        let (mut refusal, mut wait) = (TokenError::Issuer, None);
        for (index, issuer) in self.issuers.iter().enumerate() {
            if !issuer.made(issuer_claim.as_deref()) {
                continue;
            }
            match issuer.check(&token) {
                Signature::Valid => match self.rules.grant(&token.payload, &issuer.audiences, now_s) {
                    Ok(grant) => return Ok(Verdict::Granted(grant)),
                    // The same keys may serve another audience.
                    Err(TokenError::Audience) => refusal = TokenError::Audience,
                    Err(error) => return Err(error),
                },
                Signature::UnknownKey if wait.is_none() => wait = issuer.wait(index),
                Signature::UnknownKey | Signature::Invalid => {}
            }
            if refusal == TokenError::Issuer {
                refusal = TokenError::Invalid;
            }
        }
        wait.map(Verdict::NeedsKeys).ok_or(refusal)
    }

    /// Waits, a few seconds at most, for the fetch that a [`Verdict::NeedsKeys`] asks for. All who wait for an issuer
    /// wait for the same fetch. Verify again afterwards; another `NeedsKeys` then means the same as an error here.
    ///
    /// # Errors
    /// The fetch failed, or took too long.
    pub async fn refreshed(&self, wait: KeyWait) -> Result<(), KeysUnavailable> {
        match self.issuers.get(wait.issuer).map(|issuer| &issuer.keys) {
            Some(Keys::Fetched(keys, _)) => keys.refreshed(wait.seen_fetches).await,
            Some(Keys::Fixed(_) | Keys::File(..)) | None => Err(KeysUnavailable),
        }
    }

    /// Verifications by result.
    pub(crate) fn verifications(&self) -> Vec<(&'static str, u64)> {
        self.counters.verifications()
    }

    /// Fetches of keys by result.
    pub(crate) fn fetches(&self) -> Vec<(&'static str, u64)> {
        self.counters.fetches()
    }

    /// Files of keys that have changed, and looks at one that can't be used.
    pub(crate) fn key_file_reloads(&self) -> (u64, u64) {
        self.counters.reloads()
    }

    /// The keys that are fetched, by issuer.
    pub(crate) fn fetched_keys(&self) -> impl Iterator<Item = KeysSample<'_>> {
        self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Fixed(_) | Keys::File(..) => None,
            Keys::Fetched(keys, _) => Some(KeysSample {
                issuer: &issuer.name,
                keys: keys.len(),
                age_seconds: keys.age().as_secs_f64(),
            }),
        })
    }
}

impl Issuer {
    fn new(settings: &IssuerSettings) -> Self {
        Self {
            name: settings.name.as_str().into(),
            issuer: settings.issuer.as_deref().map(Into::into),
            audiences: settings.audiences.iter().map(|audience| audience.as_str().into()).collect(),
            keys: match &settings.keys {
                KeySource::Fixed(keys) => Keys::Fixed(keys.clone()),
                KeySource::File(file) => {
                    Keys::File(Arc::new(ArcSwap::from_pointee(file.at_start.clone())), file.clone())
                }
                KeySource::Fetched(fetch) => Keys::Fetched(Arc::new(FetchedKeys::new()), fetch.clone()),
            },
        }
    }

    pub(super) fn made(&self, issuer_claim: Option<&str>) -> bool {
        self.issuer.as_deref().is_none_or(|issuer| issuer_claim == Some(issuer))
    }

    fn check(&self, token: &Compact<'_>) -> Signature {
        let check = |keys: &KeySet| {
            keys.check(token.message, token.signature, token.algorithm, token.key_id.as_deref())
        };
        self.read_keys(check)
    }

    /// Looks at the keys as they are now.
    pub(super) fn read_keys<T>(&self, read: impl FnOnce(&KeySet) -> T) -> T {
        match &self.keys {
            Keys::Fixed(keys) => read(keys),
            Keys::File(keys, _) => read(&keys.load()),
            Keys::Fetched(keys, _) => keys.read(read),
        }
    }

    fn wait(&self, issuer: usize) -> Option<KeyWait> {
        match &self.keys {
            Keys::Fixed(_) | Keys::File(..) => None,
            Keys::Fetched(keys, _) => {
                keys.awaited_fetch().map(|seen_fetches| KeyWait { issuer, seen_fetches })
            }
        }
    }
}
