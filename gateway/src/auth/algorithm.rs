//! The algorithms of signatures (RFC 7518 section 3.1), by name and by the kind of key that each is for.

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};

/// All that can be verified, as tokens and keys name them. `none` is not among them. `Ed25519` is RFC 9864's name for
/// what everybody calls EdDSA.
const NAMES: [(&str, Algorithm); 13] = [
    ("HS256", HS256),
    ("HS384", HS384),
    ("HS512", HS512),
    ("RS256", RS256),
    ("RS384", RS384),
    ("RS512", RS512),
    ("PS256", PS256),
    ("PS384", PS384),
    ("PS512", PS512),
    ("ES256", ES256),
    ("ES384", ES384),
    ("EdDSA", EdDSA),
    ("Ed25519", EdDSA),
];

/// The algorithms of public keys: what a set of keys may be used with where its issuer's `algorithms` say nothing.
pub(crate) const ASYMMETRIC: [Algorithm; 9] = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA];

/// The algorithm of a name, which is case-sensitive.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
}

/// What keys there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    /// What this key may verify at all.
    pub(crate) fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Secret => &[HS256, HS384, HS512],
            Self::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::P256 => &[ES256],
            Self::P384 => &[ES384],
            Self::Ed25519 => &[EdDSA],
        }
    }

    /// What it is called in messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Secret => "a shared secret",
            Self::Rsa => "an RSA key",
            Self::P256 => "an EC key on P-256",
            Self::P384 => "an EC key on P-384",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}

/// The shortest secret for an algorithm, in bytes: as long as its hash (RFC 7518 section 3.2).
pub(crate) fn least_secret_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        HS384 => 48,
        HS512 => 64,
        _ if algorithm.family() == AlgorithmFamily::Hmac => 32,
        _ => 0,
    }
}
