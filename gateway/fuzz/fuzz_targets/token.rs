//! Tokens and sets of keys: nothing that nobody signed is granted, and no bytes do harm, signed or not.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use broadgate::{
    auth::{Authenticator, KeySet, Verdict},
    config::{Sources, load},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use libfuzzer_sys::fuzz_target;

const NOW_S: u64 = 1_800_000_000;
const SECRET: &str = "a secret of the fuzz target, of 32 bytes and more";

static NODE: LazyLock<Authenticator> = LazyLock::new(|| {
    let issuers = format!("[{{\"key\":\"{SECRET}\"}}]");
    let env = vec![("BROADGATE__AUTH__ISSUERS".to_owned(), issuers)];
    let settings = load(&Sources { env, ..Sources::default() }).expect("a right configuration");
    Authenticator::new(&settings.auth, &settings.limits)
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(!matches!(NODE.verify(text, NOW_S), Verdict::Granted(_)));
    }
    let _any = NODE.verify(&signed(b"{\"alg\":\"HS256\"}", bytes), NOW_S);
    // Claims without an end are refused.
    assert!(!matches!(NODE.verify(&signed(bytes, b"{}"), NOW_S), Verdict::Granted(_)));
    let _any = KeySet::from_jwks(bytes, &[Algorithm::RS256, Algorithm::ES256, Algorithm::HS256]);
});

fn signed(header: &[u8], payload: &[u8]) -> String {
    let parts = [header, payload].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = sign(parts.as_bytes(), &key, Algorithm::HS256).expect("any bytes can be signed");
    format!("{parts}.{signature}")
}
