//! What a valid token gives its bearer, and why another one gives nothing.

use serde::{Deserialize, Serialize};

use super::Pattern;

/// What a client may, by its token. Travels with a moved session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who it is: the claim that `auth.user_claim` names. Never empty.
    pub user: Box<str>,
    /// `jti`.
    pub token_id: Option<Box<str>>,
    /// `iat`, in seconds since 1970.
    pub issued_at_s: Option<u64>,
    /// `exp`, in seconds since 1970.
    pub expires_at_s: Option<u64>,
    /// Rooms that the client is put into when it connects.
    pub rooms: Box<[Box<str>]>,
    /// Rooms that it may join.
    pub join: Box<[Pattern]>,
    /// Rooms that it may publish to.
    pub publish: Box<[Pattern]>,
}

/// Why a token gives nothing. The text is for people and quotes nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Longer than `auth.max_token_bytes`; nothing of it was read.
    #[error("the token is too long")]
    TooLarge,
    /// Not a signed JWT in compact form (RFC 7515 section 3.1).
    #[error("the token can't be read")]
    Malformed,
    /// No issuer of the configuration made it.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// The signature does not fit, or there is no key for it, or its algorithm is not accepted.
    #[error("the token's signature is not valid")]
    Invalid,
    /// A claim has the wrong type, is too long, or is missing.
    #[error("the token's claims are not as they should be")]
    Claims,
    /// Made for somebody else (RFC 7519 section 4.1.3).
    #[error("the token is meant for another audience")]
    Audience,
    /// `nbf` is not reached.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
}

impl TokenError {
    /// Every error, in the order of [`TokenError::index`].
    pub const ALL: [Self; 8] = [
        Self::TooLarge,
        Self::Malformed,
        Self::Issuer,
        Self::Invalid,
        Self::Claims,
        Self::Audience,
        Self::NotYetValid,
        Self::Expired,
    ];

    /// The stable name that clients and metrics see.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::Malformed => "token_malformed",
            Self::Issuer => "token_issuer",
            Self::Invalid => "token_invalid",
            Self::Claims => "token_claims",
            Self::Audience => "token_audience",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Expired => "token_expired",
        }
    }

    /// Its place in [`TokenError::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_at_its_place_and_has_a_code_of_its_own() {
        for (index, error) in TokenError::ALL.into_iter().enumerate() {
            assert_eq!(error.index(), index);
        }
        let codes: std::collections::HashSet<_> = TokenError::ALL.iter().map(TokenError::code).collect();
        assert_eq!(codes.len(), TokenError::ALL.len());
    }
}
