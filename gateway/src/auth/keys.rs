//! The keys that signatures are verified with, each pinned to its algorithms: what a token's header says can choose
//! among them, never beyond them. Pure.

use std::ops::RangeInclusive;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, Jwk as PublicJwk},
};
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::{KeyKind, algorithm, least_secret_bytes};

/// Keys of one issuer.
const MAX_KEYS: usize = 64;
/// Keys that are tried for one token, which has no `kid` or one that several share.
const MAX_TRIED_KEYS: usize = 4;
/// Of the modulus of an RSA key: 2048 (RFC 7518 section 3.3) to 8192 bits.
const RSA_MODULUS_BYTES: RangeInclusive<usize> = 256..=1024;

/// A key with what it may be used for. `Debug` does not show the key.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    id: Option<Box<str>>,
    algorithms: Box<[Algorithm]>,
    key: DecodingKey,
}

/// Why a text of the configuration is no key. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// `-----BEGIN PRIVATE KEY-----`
    #[error("this is a private key; give the public key that belongs to it")]
    Private,
    /// PEM of another kind, or damaged.
    #[error(
        "expected a public key in PEM (\"BEGIN PUBLIC KEY\"): RSA of 2048 to 8192 bits, EC on P-256 or P-384, or Ed25519"
    )]
    NoPublicKey,
    /// The issuer's algorithms and the key have nothing in common, or not all of them are for it.
    #[error("{0:?} is not for {1}")]
    Algorithm(Algorithm, &'static str),
    /// RFC 7518 section 3.2.
    #[error("{algorithm:?} needs a secret of at least {least_bytes} bytes, this one has {found_bytes}")]
    ShortSecret {
        /// For which.
        algorithm: Algorithm,
        /// The length of its hash.
        least_bytes: usize,
        /// What there is.
        found_bytes: usize,
    },
}

/// Why a JWK set (RFC 7517 section 5) can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not JSON, or without a list of keys.
    #[error("it is no JWK set, such as {{\"keys\": [...]}}")]
    NoSet,
    /// More than are kept.
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// None that fits the issuer's algorithms.
    #[error("it has no key that the issuer's algorithms can use")]
    NoUsableKey,
}

impl VerificationKey {
    /// A public key in PEM, or the text of a shared secret. It may be used with `wanted`, or where that is empty with
    /// the usual algorithm of its kind.
    ///
    /// # Errors
    /// It is no key, or not for all of `wanted`.
    pub(crate) fn from_text(text: &str, id: Option<&str>, wanted: &[Algorithm]) -> Result<Self, KeyError> {
        let (kind, key) = if text.contains("-----BEGIN ") {
            public_key(text)?
        } else {
            (KeyKind::Secret, DecodingKey::from_secret(text.as_bytes()))
        };
        let algorithms = if wanted.is_empty() { &kind.algorithms()[..1] } else { wanted };
        for &algorithm in algorithms {
            if !kind.algorithms().contains(&algorithm) {
                return Err(KeyError::Algorithm(algorithm, kind.describe()));
            }
            let (least_bytes, found_bytes) = (least_secret_bytes(algorithm), text.len());
            if kind == KeyKind::Secret && found_bytes < least_bytes {
                return Err(KeyError::ShortSecret { algorithm, least_bytes, found_bytes });
            }
        }
        Ok(Self { id: id.map(Into::into), algorithms: algorithms.into(), key })
    }

    /// Nothing where the key is not for signatures, of no known kind, too weak, or not for one of `allowed`.
    fn from_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        let signs = jwk.public_key_use.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies {
            return None;
        }
        let (kind, key, secret_bytes) = jwk.material()?;
        let declared = match &jwk.alg {
            Some(name) => Some(algorithm(name)?),
            None => None,
        };
        let pinned = |algorithm: &Algorithm| {
            allowed.contains(algorithm)
                && declared.is_none_or(|declared| declared == *algorithm)
                && secret_bytes.is_none_or(|bytes| bytes >= least_secret_bytes(*algorithm))
        };
        let algorithms: Box<[_]> = kind.algorithms().iter().copied().filter(pinned).collect();
        let id = jwk.kid.as_deref().map(Into::into);
        (!algorithms.is_empty()).then_some(Self { id, algorithms, key })
    }

    fn may_be(&self, key_id: Option<&str>, algorithm: Algorithm) -> bool {
        let same_id = match (&self.id, key_id) {
            (Some(id), Some(wanted)) => **id == *wanted,
            // Who did not name the key can't choose by name.
            (None, _) | (_, None) => true,
        };
        same_id && self.algorithms.contains(&algorithm)
    }

    fn verifies(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        // An error is a key or a signature that can't be read: neither proves anything.
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm).unwrap_or(false)
    }
}

fn public_key(pem: &str) -> Result<(KeyKind, DecodingKey), KeyError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    // The library also takes certificates apart, in a way that it calls confusing itself.
    if !pem.contains("-----BEGIN PUBLIC KEY-----") && !pem.contains("-----BEGIN RSA PUBLIC KEY-----") {
        return Err(KeyError::NoPublicKey);
    }
    let bytes = pem.trim().as_bytes();
    // Elliptic curves first: what reads RSA does not look at what it reads.
    let key = DecodingKey::from_ec_pem(bytes)
        .or_else(|_| DecodingKey::from_ed_pem(bytes))
        .or_else(|_| DecodingKey::from_rsa_pem(bytes))
        .map_err(|_| KeyError::NoPublicKey)?;
    let jwk = PublicJwk::from_decoding_key(&key, None).map_err(|_| KeyError::NoPublicKey)?;
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = BASE64_URL_SAFE_NO_PAD.decode(&rsa.n).map_err(|_| KeyError::NoPublicKey)?;
            Some(KeyKind::Rsa).filter(|_| RSA_MODULUS_BYTES.contains(&modulus.len()))
        }
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            jsonwebtoken::jwk::EllipticCurve::P256 => Some(KeyKind::P256),
            jsonwebtoken::jwk::EllipticCurve::P384 => Some(KeyKind::P384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(KeyKind::Ed25519),
        _ => None,
    };
    kind.map(|kind| (kind, key)).ok_or(KeyError::NoPublicKey)
}

/// A JSON Web Key (RFC 7517 section 4, RFC 7518 section 6). What is not here does not matter to signatures.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    public_key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Jwk {
    /// The key, its kind, and the length of a secret.
    fn material(&self) -> Option<(KeyKind, DecodingKey, Option<usize>)> {
        match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => {
                let (modulus, exponent) = (bytes(&self.n)?, bytes(&self.e)?);
                let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
                let fits = RSA_MODULUS_BYTES.contains(&modulus.len()) && !exponent.is_empty();
                let key = DecodingKey::from_rsa_raw_components(modulus, &exponent);
                fits.then_some((KeyKind::Rsa, key, None))
            }
            ("EC", Some("P-256")) => Some((KeyKind::P256, self.point(32)?, None)),
            ("EC", Some("P-384")) => Some((KeyKind::P384, self.point(48)?, None)),
            ("OKP", Some("Ed25519")) => {
                let x = bytes(&self.x).filter(|x| x.len() == 32)?;
                Some((KeyKind::Ed25519, DecodingKey::from_ed_der(&x), None))
            }
            ("oct", _) => {
                let secret = bytes(&self.k)?;
                Some((KeyKind::Secret, DecodingKey::from_secret(&secret), Some(secret.len())))
            }
            _ => None,
        }
    }

    /// An uncompressed point (SEC 1 section 2.3.3).
    fn point(&self, coordinate_bytes: usize) -> Option<DecodingKey> {
        let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
        let fits = x.len() == coordinate_bytes && y.len() == coordinate_bytes;
        let point = [&[4][..], &x, &y].concat();
        fits.then(|| DecodingKey::from_ec_der(&point))
    }
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()
}

/// The keys of an issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

/// What a [`KeySet`] says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// One of the keys made it.
    Valid,
    /// None of the keys that it may be of did.
    Invalid,
    /// No key has the token's `kid`.
    UnknownKey,
}

impl From<VerificationKey> for KeySet {
    fn from(key: VerificationKey) -> Self {
        Self { keys: vec![key] }
    }
}

impl KeySet {
    /// Reads a JWK set. Keys that can't be used are passed over, as RFC 7517 section 5 asks for.
    ///
    /// # Errors
    /// Nothing in it can be used, or there is too much of it.
    pub fn from_jwks(json: &[u8], allowed: &[Algorithm]) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        let set: Jwks = serde_json::from_slice(json).map_err(|_| JwksError::NoSet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let readable = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = readable.filter_map(|jwk| VerificationKey::from_jwk(&jwk, allowed)).collect();
        if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Each key for people: its name, and what it is for.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|key| match &key.id {
            Some(id) => format!("{id:?} {:?}", key.algorithms),
            None => format!("without a kid {:?}", key.algorithms),
        })
    }

    /// Tries the keys that a token may be of: of its algorithm, and with its `kid` where both have one. Where that
    /// leaves more than a few, none of them is tried: the cost of a token must not grow with the set.
    pub(super) fn check(
        &self,
        message: &str,
        signature: &str,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Signature {
        let candidates = || self.keys.iter().filter(|key| key.may_be(key_id, algorithm));
        let few = candidates().count() <= MAX_TRIED_KEYS;
        if few && candidates().any(|key| key.verifies(message, signature, algorithm)) {
            return Signature::Valid;
        }
        let known = |key_id| self.keys.iter().any(|key| key.id.as_deref() == Some(key_id));
        if self.keys.is_empty() || key_id.is_some_and(|key_id| !known(key_id)) {
            return Signature::UnknownKey;
        }
        Signature::Invalid
    }
}
