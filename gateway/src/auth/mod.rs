//! Who a client is: tokens (JWT, RFC 7519) are verified and become a [`Grant`].
//!
//! ```text
//! token ──> compact ──> issuer by `iss` ──> keys by `kid` and algorithm ──> claims ──> Grant
//!                                             ^ refresh: the main runtime fetches them (fetch)
//! ```
//!
//! Owns the keys that tokens are signed with, of all issuers. Shards call [`Authenticator::verify`] synchronously. The
//! algorithm in a token's header is only compared: a key knows itself what it is for, so neither `none` nor a public key
//! taken for a secret can be.

pub(crate) mod algorithm;
mod authenticator;
mod claims;
mod compact;
mod explain;
mod fetch;
mod fetched_keys;
mod grant;
mod key_file;
pub(crate) mod keys;
mod metrics;
mod pattern;
mod refresh;
mod revocations;
mod schedule;
mod user_connections;

use std::time::{SystemTime, UNIX_EPOCH};

pub use authenticator::{Authenticator, KeyWait, KeysUnavailable, Verdict};
pub use grant::{Grant, TokenError};
pub use keys::{JwksError, KeyError, KeySet, VerificationKey};
pub use pattern::{MAX_PATTERN_BYTES, Pattern, PatternError};
pub use revocations::RevocationStore;
pub use user_connections::{Admission, TooManyConnections, UserConnections, UserPlace};

/// Seconds since 1970, as tokens have them; a clock before gives 0.
pub(crate) fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
