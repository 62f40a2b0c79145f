//! Makes keys and signs tokens, right ones and wrong ones.

use std::{fs, path::PathBuf, sync::LazyLock};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use broadgate::{
    auth::{Authenticator, Grant, Verdict},
    config::{Sources, load},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, jwk::Jwk};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use serde_json::{Value, json};

/// When all tokens of the tests are looked at.
pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const SECRET: &str = "a secret of the tests, as long as SHA-512 wants it to be: 64 bytes";

/// A key with what belongs to it.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) public_pem: String,
    key: EncodingKey,
}

/// Making RSA keys takes a while; one test each would take minutes.
pub(crate) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa(Algorithm::RS256));
pub(crate) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa(Algorithm::RS256));

impl Signer {
    pub(crate) fn secret(secret: &str) -> Self {
        let key = EncodingKey::from_secret(secret.as_bytes());
        Self { algorithm: Algorithm::HS256, public_pem: String::new(), key }
    }

    pub(crate) fn rsa(algorithm: Algorithm) -> Self {
        Self::new(algorithm, &PKCS_RSA_SHA256, EncodingKey::from_rsa_pem)
    }

    pub(crate) fn p256() -> Self {
        Self::new(Algorithm::ES256, &PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem)
    }

    pub(crate) fn p384() -> Self {
        Self::new(Algorithm::ES384, &PKCS_ECDSA_P384_SHA384, EncodingKey::from_ec_pem)
    }

    pub(crate) fn ed25519() -> Self {
        Self::new(Algorithm::EdDSA, &PKCS_ED25519, EncodingKey::from_ed_pem)
    }

    fn new(
        algorithm: Algorithm,
        kind: &'static SignatureAlgorithm,
        read: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>,
    ) -> Self {
        let pair = KeyPair::generate_for(kind).unwrap();
        let key = read(pair.serialize_pem().as_bytes()).unwrap();
        Self { algorithm, public_pem: pair.public_key_pem(), key }
    }

    /// The key as an entry of a JWK set, with `kid` and without `alg`.
    pub(crate) fn jwk(&self, key_id: &str) -> Value {
        let pem = self.public_pem.as_bytes();
        let public = DecodingKey::from_ec_pem(pem)
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .or_else(|_| DecodingKey::from_rsa_pem(pem))
            .unwrap();
        let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&public, None).unwrap()).unwrap();
        let fields = jwk.as_object_mut().unwrap();
        fields.insert("kid".into(), key_id.into());
        jwk
    }

    /// A token with the header that is usual for the key.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(
            &json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT"}).to_string(),
            &claims.to_string(),
        )
    }

    /// The same with a `kid`.
    pub(crate) fn token_of(&self, key_id: &str, claims: &Value) -> String {
        let header = json!({"alg": format!("{:?}", self.algorithm), "kid": key_id});
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of any header and payload. What is signed with is the key's algorithm, whatever the header says.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        self.sign_as(self.algorithm, header, payload)
    }

    pub(crate) fn sign_as(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(payload));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// Claims that are fine, with others on top.
pub(crate) fn claims(more: &Value) -> Value {
    let mut claims = json!({"sub": "ada", "exp": NOW_S + 60});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A node's authenticator, by its configuration file.
pub(crate) fn authenticator(name: &str, toml: &str) -> Authenticator {
    let file = Some(file(&format!("{name}.toml"), toml));
    let settings = load(&Sources { file, ..Sources::default() }).unwrap_or_else(|errors| panic!("{errors}"));
    Authenticator::new(&settings.auth, &settings.limits)
}

/// A file of this test binary. Each test has names of its own.
pub(crate) fn file(name: &str, content: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("auth");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// `granted`, `needs_keys`, or the code of the refusal.
pub(crate) fn result(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Granted(_) => "granted",
        Verdict::NeedsKeys(_) => "needs_keys",
        Verdict::Refused(error) => error.code(),
    }
}

pub(crate) fn check(authenticator: &Authenticator, token: &str) -> &'static str {
    result(&authenticator.verify(token, NOW_S))
}

pub(crate) fn granted(authenticator: &Authenticator, token: &str) -> Grant {
    match authenticator.verify(token, NOW_S) {
        Verdict::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}
