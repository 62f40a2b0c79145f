//! Why a CONNECT or a fresh token is refused: what its client is told, and how it is counted.

use crate::{
    auth::TokenError,
    telemetry::{Counter, ShardCounters},
};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Token(TokenError),
    NoToken,
    OtherUser,
    TooManyRooms,
    TooManyNamespaces,
    Revoked,
    TooManyConnections,
}

impl Refused {
    /// Stable, for programs.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::NoToken => "authentication_required",
            Self::OtherUser => "token_user",
            Self::TooManyRooms => "too_many_rooms",
            Self::TooManyNamespaces => "too_many_namespaces",
            Self::Revoked => "token_revoked",
            Self::TooManyConnections => "too_many_connections",
        }
    }

    /// For people.
    pub(super) fn message(self) -> String {
        match self {
            Self::Token(error) => error.to_string(),
            Self::NoToken => "this namespace needs a token".to_owned(),
            Self::OtherUser => "the token is not one of the socket's user; connect anew with it".to_owned(),
            Self::TooManyRooms => "the token names more rooms than a socket may be in".to_owned(),
            Self::TooManyNamespaces => "Too many namespaces".to_owned(),
            Self::Revoked => "the token was revoked".to_owned(),
            Self::TooManyConnections => "the user has as many connections as one may have".to_owned(),
        }
    }

    /// Of CONNECTs that ended so.
    pub(super) fn counter(self, counters: &ShardCounters) -> &Counter {
        match self {
            Self::Token(TokenError::TooLarge) => &counters.connects_token_too_large,
            Self::Token(TokenError::Malformed) => &counters.connects_token_malformed,
            Self::Token(TokenError::Issuer) => &counters.connects_token_issuer,
            Self::Token(TokenError::Invalid) => &counters.connects_token_invalid,
            Self::Token(TokenError::Claims) => &counters.connects_token_claims,
            Self::Token(TokenError::Audience) => &counters.connects_token_audience,
            Self::Token(TokenError::NotYetValid) => &counters.connects_token_not_yet_valid,
            Self::Token(TokenError::Expired) => &counters.connects_token_expired,
            Self::NoToken => &counters.connects_unauthenticated,
            Self::TooManyRooms => &counters.connects_too_many_rooms,
            Self::Revoked => &counters.connects_token_revoked,
            Self::TooManyConnections => &counters.connects_too_many_connections,
            Self::OtherUser | Self::TooManyNamespaces => &counters.connects_refused,
        }
    }
}

/// The bound of `[limits]` that was reached, if it was one.
pub(super) fn count_limit(counters: &ShardCounters, refused: Refused) {
    match refused {
        Refused::TooManyRooms => counters.limit_rooms_per_socket.add(1),
        Refused::TooManyNamespaces => counters.limit_namespaces.add(1),
        // The connections of a user are counted by the node.
        Refused::TooManyConnections
        | Refused::Token(_)
        | Refused::NoToken
        | Refused::OtherUser
        | Refused::Revoked => {}
    }
}
