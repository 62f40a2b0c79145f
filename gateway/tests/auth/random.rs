//! Whatever comes, nothing panics and nothing unsigned is granted. The corpus of the fuzz target runs here, too.

use std::{fs, path::PathBuf, sync::LazyLock};

use broadgate::auth::{Authenticator, KeySet};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;

use crate::signer::{RSA, SECRET, Signer, authenticator, base64, check, claims};

static NODE: LazyLock<Authenticator> = LazyLock::new(|| {
    let rsa = &RSA.public_pem;
    let toml = format!(
        "[[auth.issuers]]\nkey = \"{SECRET}\"\n[[auth.issuers]]\nkey = \"\"\"\n{rsa}\"\"\"\nissuer = \"i\"\n"
    );
    authenticator("random", &toml)
});

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_is_granted(text in ".{0,400}") {
        prop_assert_ne!(check(&NODE, &text), "granted");
    }

    #[test]
    fn no_parts_are_granted(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>(), signature in any::<Vec<u8>>()) {
        let token = [base64(header), base64(payload), base64(signature)].join(".");
        prop_assert_ne!(check(&NODE, &token), "granted");
    }

    #[test]
    fn no_header_lends_a_signature(header in json(), signature in any::<[u8; 32]>()) {
        let payload = claims(&serde_json::json!({})).to_string();
        let token = [base64(header.to_string()), base64(payload), base64(signature)].join(".");
        prop_assert_ne!(check(&NODE, &token), "granted");
    }

    /// Under a signature that is right: an answer, whatever the claims are.
    #[test]
    fn no_claim_panics(
        name in prop::sample::select(&["sub", "exp", "nbf", "iat", "aud", "jti", "iss", "rooms", "join", "publish"]),
        value in json(),
    ) {
        let token = Signer::secret(SECRET).token(&claims(&serde_json::json!({name: value})));
        prop_assert_ne!(check(&NODE, &token), "token_malformed");
    }

    #[test]
    fn no_set_of_keys_panics(text in ".{0,200}", set in json()) {
        let allowed = [Algorithm::RS256, Algorithm::HS256];
        for bytes in [text, set.to_string(), serde_json::json!({"keys": [set]}).to_string()] {
            let _any = KeySet::from_jwks(bytes.as_bytes(), &allowed);
        }
    }
}

#[test]
fn the_corpus_of_the_fuzz_target_is_refused() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/token");
    let mut found = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        assert_ne!(check(&NODE, text), "granted");
        // The same as a payload with a signature that is right, and as a set of keys.
        let signer = Signer::secret(SECRET);
        let _any = check(&NODE, &signer.sign("{\"alg\":\"HS256\"}", text));
        assert_ne!(check(&NODE, &signer.sign(text, "{}")), "granted");
        let _any = KeySet::from_jwks(&bytes, &[Algorithm::RS256]);
        found += 1;
    }
    assert!(found > 5, "{found}");
}
