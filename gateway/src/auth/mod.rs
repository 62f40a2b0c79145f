//! Who a client is: tokens (JWT, RFC 7519) are verified and become a [`Grant`].
//!
//! Owns the keys that tokens are signed with, of all issuers. Shards call [`Authenticator::verify`] synchronously; keys
//! are fetched on the main runtime.

mod authenticator;
mod grant;
mod pattern;

pub use authenticator::{Authenticator, KeyWait, KeysUnavailable, Verdict};
pub use grant::{Grant, TokenError};
pub use pattern::{Pattern, PatternError};
