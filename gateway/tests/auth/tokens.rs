//! Tokens under keys of the configuration.

use broadgate::auth::Authenticator;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::signer::{
    NOW_S, OTHER_RSA, RSA, SECRET, Signer, authenticator, base64, check, claims, file, granted, result,
};

/// One issuer with a shared secret.
fn with_secret(name: &str) -> (Authenticator, Signer) {
    let toml = format!("[[auth.issuers]]\nkey = \"{SECRET}\"\n");
    (authenticator(name, &toml), Signer::secret(SECRET))
}

/// An issuer of public keys in PEM.
fn issuer(key: &str, more: &str) -> String {
    format!("[[auth.issuers]]\nkey = \"\"\"\n{key}\"\"\"\n{more}\n")
}

#[test]
fn each_algorithm_is_verified_with_its_key_and_not_with_another_one() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let secret = Signer::secret(SECRET);
    let other_secret = Signer::secret("another secret of the tests, which is 64 bytes and more, too, yes");
    let (p256, p384, ed) = (Signer::p256(), Signer::p384(), Signer::ed25519());
    let (other_p256, other_p384, other_ed) = (Signer::p256(), Signer::p384(), Signer::ed25519());
    let families: [(&[Algorithm], &Signer, &Signer); 5] = [
        (&[HS256, HS384, HS512], &secret, &other_secret),
        (&[RS256, RS384, RS512, PS256, PS384, PS512], &RSA, &OTHER_RSA),
        (&[ES256], &p256, &other_p256),
        (&[ES384], &p384, &other_p384),
        (&[EdDSA], &ed, &other_ed),
    ];
    for (algorithms, signer, other) in families {
        for &algorithm in algorithms {
            let key = if signer.public_pem.is_empty() { SECRET } else { &signer.public_pem };
            let toml = issuer(key.trim_end(), &format!("algorithms = [\"{algorithm:?}\"]"));
            let authenticator = authenticator("algorithms", &toml);
            let header = json!({"alg": format!("{algorithm:?}")}).to_string();
            let payload = claims(&json!({})).to_string();
            for (signer, expected) in [(signer, "granted"), (other, "token_invalid")] {
                let token = signer.sign_as(algorithm, &header, &payload);
                assert_eq!(check(&authenticator, &token), expected, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn a_grant_has_what_the_claims_say() {
    let (authenticator, signer) = with_secret("grant");
    let claims = json!({
        "sub": "ada", "jti": "t1", "iat": NOW_S - 10, "exp": NOW_S + 60, "rooms": ["news", "team/7"],
        "join": ["chat.*"], "publish": "chat.{sub}", "unknown": {"deep": [1, null]},
    });
    let grant = granted(&authenticator, &signer.token(&claims));
    assert_eq!((&*grant.user, grant.token_id.as_deref()), ("ada", Some("t1")));
    assert_eq!((grant.issued_at_s, grant.expires_at_s), (Some(NOW_S - 10), Some(NOW_S + 60)));
    assert_eq!(grant.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), ["news", "team/7"]);
    assert_eq!((grant.join.len(), grant.publish.len()), (1, 1));

    let least = granted(&authenticator, &signer.token(&json!({"sub": "ada", "exp": NOW_S + 1})));
    assert_eq!((least.token_id, least.issued_at_s), (None, None));
    assert_eq!((least.rooms.len(), least.join.len(), least.publish.len()), (0, 0, 0));
}

#[test]
fn claims_have_the_names_of_the_configuration() {
    let toml = format!(
        "[auth]\nuser_claim = \"user_id\"\nrooms_claim = \"https://example.com/rooms\"\n[[auth.issuers]]\nkey = \"{SECRET}\""
    );
    let (authenticator, signer) = (authenticator("names", &toml), Signer::secret(SECRET));
    let more = json!({"user_id": "u7", "https://example.com/rooms": ["a"], "rooms": 5});
    let grant = granted(&authenticator, &signer.token(&claims(&more)));
    assert_eq!((&*grant.user, &*grant.rooms[0]), ("u7", "a"));
    assert_eq!(check(&authenticator, &signer.token(&claims(&json!({})))), "token_claims");
}

#[test]
fn times_hold_to_the_second_with_the_leeway() {
    let toml = format!("[auth]\nleeway_ms = 30000\n[[auth.issuers]]\nkey = \"{SECRET}\"");
    let (authenticator, signer) = (authenticator("times", &toml), Signer::secret(SECRET));
    for (more, expected) in [
        (json!({"exp": NOW_S + 1}), "granted"),
        (json!({"exp": NOW_S}), "granted"),
        (json!({"exp": NOW_S - 29}), "granted"),
        (json!({"exp": NOW_S - 30}), "token_expired"),
        (json!({"exp": (NOW_S - 30) as f64 - 0.5}), "token_expired"),
        (json!({"exp": 0}), "token_expired"),
        (json!({"exp": u64::MAX}), "granted"),
        (json!({"exp": 1e300}), "granted"),
        (json!({"nbf": NOW_S - 1}), "granted"),
        (json!({"nbf": NOW_S + 30}), "granted"),
        (json!({"nbf": NOW_S + 31}), "token_not_yet_valid"),
        (json!({"nbf": u64::MAX}), "token_not_yet_valid"),
        (json!({"iat": NOW_S + 1000}), "granted"),
        // Both: the first that was to come.
        (json!({"nbf": NOW_S + 31, "exp": NOW_S - 31}), "token_not_yet_valid"),
    ] {
        assert_eq!(check(&authenticator, &signer.token(&claims(&more))), expected, "{more}");
    }
}

#[test]
fn a_token_without_an_end_is_refused_unless_that_was_allowed() {
    let (strict, signer) = with_secret("with-expiry");
    let toml = format!("[auth]\nrequire_expiry = false\n[[auth.issuers]]\nkey = \"{SECRET}\"");
    let open = authenticator("without-expiry", &toml);
    for claims in [json!({"sub": "ada"}), json!({"sub": "ada", "exp": null})] {
        let token = signer.token(&claims);
        assert_eq!((check(&strict, &token), check(&open, &token)), ("token_claims", "granted"), "{claims}");
    }
}

#[test]
fn the_audience_is_one_of_ours() {
    let signer = Signer::secret(SECRET);
    let of = |name, audiences| {
        authenticator(name, &format!("[[auth.issuers]]\nkey = \"{SECRET}\"\naudiences = {audiences}\n"))
    };
    let (named, nameless) = (of("audience", "[\"gateway\", \"chat\"]"), of("no-audience", "[]"));
    for (more, with_name, without) in [
        (json!({"aud": "gateway"}), "granted", "token_audience"),
        (json!({"aud": ["other", "chat"]}), "granted", "token_audience"),
        (json!({"aud": ["other"]}), "token_audience", "token_audience"),
        (json!({"aud": "Gateway"}), "token_audience", "token_audience"),
        (json!({"aud": []}), "token_audience", "granted"),
        (json!({}), "token_audience", "granted"),
        (json!({"aud": 5}), "token_claims", "token_claims"),
        (json!({"aud": ["gateway", 5]}), "token_claims", "token_claims"),
    ] {
        let token = signer.token(&claims(&more));
        assert_eq!((check(&named, &token), check(&nameless, &token)), (with_name, without), "{more}");
    }
}

#[test]
fn each_issuer_has_its_keys_alone() {
    let (a, b) = (Signer::p256(), Signer::p256());
    let toml = [
        issuer(&a.public_pem, "name = \"a\"\nissuer = \"https://a\"\nkey_id = \"ka\""),
        issuer(&b.public_pem, "name = \"b\"\nissuer = \"https://b\"\nkey_id = \"kb\""),
    ];
    let authenticator = authenticator("issuers", &toml.concat());
    let claims = |issuer: &Value| claims(&json!({"iss": issuer}));
    for (signer, key_id, issuer, expected) in [
        (&a, "ka", json!("https://a"), "granted"),
        (&b, "kb", json!("https://b"), "granted"),
        // The key of another issuer, whatever it is called.
        (&b, "kb", json!("https://a"), "token_invalid"),
        (&b, "ka", json!("https://a"), "token_invalid"),
        // Its own key by another's name.
        (&a, "kb", json!("https://a"), "token_invalid"),
        (&a, "ka", json!("https://c"), "token_issuer"),
        (&a, "ka", json!("https://a/"), "token_issuer"),
        (&a, "ka", json!(null), "token_issuer"),
        (&a, "ka", json!(["https://a"]), "token_claims"),
        (&a, "ka", json!(5), "token_claims"),
    ] {
        let token = signer.token_of(key_id, &claims(&issuer));
        assert_eq!(check(&authenticator, &token), expected, "{key_id} {issuer}");
    }
    assert_eq!(check(&authenticator, &a.token(&claims(&json!("https://a")))), "granted", "no kid, one key");
}

#[test]
fn a_secret_is_rotated_by_a_second_issuer_of_the_same_name() {
    let old = "the old secret, which is long enough to be one";
    let toml = format!("[[auth.issuers]]\nkey = \"{old}\"\n[[auth.issuers]]\nkey = \"{SECRET}\"\n");
    let authenticator = authenticator("rotation", &toml);
    for secret in [old, SECRET] {
        assert_eq!(check(&authenticator, &Signer::secret(secret).token(&claims(&json!({})))), "granted");
    }
    let wrong = Signer::secret("a secret that nobody has configured, ever");
    assert_eq!(check(&authenticator, &wrong.token(&claims(&json!({})))), "token_invalid");
}

#[test]
fn without_issuers_no_token_is_accepted() {
    let authenticator = authenticator("none", "");
    assert_eq!(check(&authenticator, &Signer::secret(SECRET).token(&claims(&json!({})))), "token_issuer");
}

#[test]
fn a_token_that_nobody_signed_is_refused_however_it_is_spelt() {
    let payload = base64(claims(&json!({})).to_string());
    for key in [SECRET, RSA.public_pem.trim_end()] {
        let authenticator = authenticator("unsigned", &issuer(key, ""));
        for algorithm in
            ["none", "None", "NONE", "nOnE", "", " none", "none\\u0000", "hs256", "HS256 ", "HS1"]
        {
            let header = base64(format!("{{\"alg\":\"{algorithm}\"}}"));
            for signature in ["", "AA", &base64("none")] {
                let token = format!("{header}.{payload}.{signature}");
                assert_eq!(check(&authenticator, &token), "token_invalid", "{algorithm:?} {signature:?}");
            }
        }
        for header in ["{}", "{\"alg\":null}", "{\"alg\":[\"HS256\"]}", "{\"alg\":{}}"] {
            let token = format!("{}.{payload}.", base64(header));
            assert_eq!(check(&authenticator, &token), "token_malformed", "{header}");
        }
        // With the algorithm of the key, and no signature at all.
        for algorithm in ["HS256", "RS256"] {
            let header = base64(format!("{{\"alg\":\"{algorithm}\"}}"));
            assert_eq!(check(&authenticator, &format!("{header}.{payload}.")), "token_invalid");
        }
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let pem = &RSA.public_pem;
    let der = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let set = json!({"keys": [RSA.jwk("k1")]}).to_string();
    let set = file("confusion.json", &set);
    let of_set = format!("[[auth.issuers]]\nissuer = \"i\"\njwks_file = {set:?}\n");
    let authenticator = authenticator("confusion", &issuer(pem.trim_end(), "issuer = \"i\""));
    let of_file = crate::signer::authenticator("confusion-set", &of_set);
    let modulus = RSA.jwk("k1")["n"].as_str().unwrap().to_owned();
    let claims = claims(&json!({"iss": "i"}));
    for secret in [pem.as_str(), pem.trim_end(), pem.trim(), &der, &modulus, ""] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = json!({"alg": format!("{algorithm:?}"), "kid": "k1"}).to_string();
            let token = Signer::secret(secret).sign_as(algorithm, &header, &claims.to_string());
            assert_eq!(check(&authenticator, &token), "token_invalid");
            // Its key is fetched first; there is no fetch here, so nothing is known of it.
            assert_ne!(check(&of_file, &token), "granted");
        }
    }
}

#[test]
fn an_algorithm_that_is_not_pinned_is_refused_though_the_key_fits() {
    let rs256 = authenticator("pinned", &issuer(&RSA.public_pem, ""));
    let ps256 = authenticator("pinned-ps", &issuer(&RSA.public_pem, "algorithms = [\"PS256\"]"));
    for (algorithm, by_default, pinned) in [
        (Algorithm::RS256, "granted", "token_invalid"),
        (Algorithm::RS384, "token_invalid", "token_invalid"),
        (Algorithm::RS512, "token_invalid", "token_invalid"),
        (Algorithm::PS256, "token_invalid", "granted"),
        (Algorithm::PS384, "token_invalid", "token_invalid"),
    ] {
        let header = json!({"alg": format!("{algorithm:?}")}).to_string();
        let token = RSA.sign_as(algorithm, &header, &claims(&json!({})).to_string());
        assert_eq!((check(&rs256, &token), check(&ps256, &token)), (by_default, pinned), "{algorithm:?}");
    }
    // The header names what is pinned, and the signature is of another kind.
    let lie = RSA.sign_as(Algorithm::PS256, "{\"alg\":\"RS256\"}", &claims(&json!({})).to_string());
    assert_eq!(check(&rs256, &lie), "token_invalid");
}

#[test]
fn a_changed_token_is_refused_wherever_it_is_changed() {
    let (authenticator, signer) = with_secret("tampered");
    let token = signer.token(&claims(&json!({"rooms": ["a"]})));
    assert_eq!(check(&authenticator, &token), "granted");
    for (at, byte) in token.bytes().enumerate() {
        for other in [b'A', b'B', b'z', b'0', b'_', b'.', b'='] {
            if other != byte {
                let mut changed = token.clone().into_bytes();
                changed[at] = other;
                let changed = String::from_utf8(changed).unwrap();
                assert_ne!(check(&authenticator, &changed), "granted", "byte {at}: {changed}");
            }
        }
        assert_ne!(check(&authenticator, &token[..at]), "granted", "{at} bytes");
    }
    let payload = base64(claims(&json!({"rooms": ["b"]})).to_string());
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(check(&authenticator, &[parts[0], &payload, parts[2]].join(".")), "token_invalid");
}

#[test]
fn what_is_no_token_is_malformed() {
    let (authenticator, signer) = with_secret("malformed");
    let good = signer.token(&claims(&json!({})));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let tokens = [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        "Bearer".into(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!(" {good}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.é.{signature}"),
        format!("{header}\n.{payload}.{signature}"),
    ];
    for token in tokens {
        assert_eq!(check(&authenticator, &token), "token_malformed", "{token:?}");
    }
    for (head, payload) in [
        ("[\"HS256\"]", "{}"),
        ("\"HS256\"", "{}"),
        ("{\"alg\":\"HS256\"}}", "{}"),
        ("{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "{}"),
        ("{\"alg\":\"HS256\",\"kid\":5}", "{}"),
        ("{\"alg\":\"HS256\"}", ""),
        ("{\"alg\":\"HS256\"}", "[]"),
        ("{\"alg\":\"HS256\"}", "null"),
        ("{\"alg\":\"HS256\"}", "{\"sub\":\"ada\""),
        ("{\"alg\":\"HS256\"}", "{\"sub\":\"ada\"} {}"),
        ("{\"alg\":\"HS256\"}", "{\"sub\":\"ada\",}"),
        ("{\"alg\":\"HS256\"}", "{'sub':'ada'}"),
    ] {
        assert_eq!(check(&authenticator, &signer.sign(head, payload)), "token_malformed", "{head} {payload}");
    }
    let binary = format!("{header}.{}.{signature}", base64(b"{\"sub\":\"\xff\"}"));
    assert_ne!(check(&authenticator, &binary), "granted");
    // An extension that must be understood, and none is.
    for crit in ["[\"b64\"]", "[]", "5"] {
        let header = format!("{{\"alg\":\"HS256\",\"b64\":false,\"crit\":{crit}}}");
        let token = signer.sign(&header, &claims(&json!({})).to_string());
        assert_eq!(check(&authenticator, &token), "token_invalid", "{crit}");
    }
}

#[test]
fn a_token_is_bounded_before_it_is_read() {
    let (authenticator, signer) = with_secret("huge");
    let of_length = |padding: usize| signer.token(&claims(&json!({"padding": "x".repeat(padding)})));
    let overhead = of_length(0).len();
    let largest = of_length((8192 - overhead) * 3 / 4);
    assert!((8185..=8192).contains(&largest.len()), "{}", largest.len());
    assert_eq!(check(&authenticator, &largest), "granted");
    assert_eq!(check(&authenticator, &of_length(6200)), "token_too_large");
    assert_eq!(check(&authenticator, &"x".repeat(8193)), "token_too_large");
    assert_eq!(check(&authenticator, &"x".repeat(100 << 20)), "token_too_large");
}

#[test]
fn depth_costs_nothing() {
    let (authenticator, signer) = with_secret("deep");
    let depth = 2500;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let payload =
        |claim: &str, value: &str| format!("{{\"{claim}\":{value},\"sub\":\"a\",\"exp\":{}}}", NOW_S + 1);
    let ignored = signer.sign("{\"alg\":\"HS256\"}", &payload("other", &deep));
    assert_eq!(check(&authenticator, &ignored), "granted");
    for claim in ["rooms", "join", "jti", "aud", "nbf", "iss"] {
        let token = signer.sign("{\"alg\":\"HS256\"}", &payload(claim, &deep));
        assert!(matches!(check(&authenticator, &token), "token_claims" | "token_malformed"), "{claim}");
    }
    let header = format!("{{\"alg\":\"HS256\",\"x\":{deep}}}");
    assert_eq!(check(&authenticator, &signer.sign(&header, &payload("x", "1"))), "granted");
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let (authenticator, signer) = with_secret("twice");
    let end_s = NOW_S + 60;
    for (twice, expected) in [
        (format!("\"exp\":{end_s}"), "token_claims"),
        ("\"sub\":\"eve\"".into(), "token_claims"),
        ("\"sub\":null".into(), "token_claims"),
        ("\"s\\u0075b\":\"eve\"".into(), "token_claims"),
        ("\"iss\":\"a\",\"iss\":\"b\"".into(), "token_claims"),
        ("\"rooms\":[],\"rooms\":[]".into(), "token_claims"),
        ("\"other\":1,\"other\":2".into(), "granted"),
    ] {
        let payload = format!("{{\"sub\":\"ada\",\"exp\":{end_s},{twice}}}");
        assert_eq!(
            check(&authenticator, &signer.sign("{\"alg\":\"HS256\"}", &payload)),
            expected,
            "{payload}"
        );
    }
}

#[test]
fn claims_of_a_wrong_type_are_refused() {
    let (authenticator, signer) = with_secret("types");
    for (claim, values) in [
        ("sub", vec![json!(null), json!(""), json!(5), json!(true), json!(["ada"]), json!({})]),
        ("exp", vec![json!("soon"), json!("1900000000"), json!(-1), json!([1]), json!(true), json!(-0.5)]),
        ("nbf", vec![json!("0"), json!(-1), json!({}), json!([])]),
        ("iat", vec![json!("0"), json!(-1), json!({})]),
        ("jti", vec![json!(5), json!(""), json!(["a"]), json!("x".repeat(257))]),
        (
            "rooms",
            vec![json!(5), json!({}), json!([5]), json!([""]), json!([["a"]]), json!([null]), json!("")],
        ),
        ("join", vec![json!(5), json!({}), json!([5]), json!([""]), json!([["a"]]), json!("")]),
        ("publish", vec![json!(5), json!({"a": 1}), json!([true]), json!([""])]),
    ] {
        for value in values {
            let token = signer.token(&claims(&json!({claim: value})));
            assert_eq!(check(&authenticator, &token), "token_claims", "{claim}: {value}");
        }
    }
    for claim in ["nbf", "iat", "jti", "rooms", "join", "publish", "aud"] {
        let token = signer.token(&claims(&json!({claim: null})));
        assert_eq!(check(&authenticator, &token), "granted", "{claim}: null is as if it were not there");
    }
}

#[test]
fn claims_are_bounded_by_the_limits() {
    let toml = format!(
        "[limits]\nmax_rooms_per_socket = 3\nmax_room_name_bytes = 16\n[[auth.issuers]]\nkey = \"{SECRET}\""
    );
    let (authenticator, signer) = (authenticator("bounds", &toml), Signer::secret(SECRET));
    for (more, expected) in [
        (json!({"rooms": ["a", "b", "c"]}), "granted"),
        (json!({"rooms": ["a", "b", "c", "d"]}), "token_claims"),
        (json!({"rooms": "x".repeat(16)}), "granted"),
        (json!({"rooms": "x".repeat(17)}), "token_claims"),
        // The room of the user is called user:<user>.
        (json!({"sub": "x".repeat(11)}), "granted"),
        (json!({"sub": "x".repeat(12)}), "token_claims"),
        (json!({"join": vec!["a"; 64]}), "granted"),
        (json!({"join": vec!["a"; 65]}), "token_claims"),
    ] {
        assert_eq!(check(&authenticator, &signer.token(&claims(&more))), expected, "{more}");
    }
}

#[test]
fn the_signature_is_looked_at_before_the_claims() {
    let (authenticator, _) = with_secret("order");
    let stranger = Signer::secret("a stranger's secret, as long as it must be");
    for more in [json!({"exp": 0}), json!({"sub": 5}), json!({"aud": "x"}), json!({"nbf": u64::MAX})] {
        assert_eq!(check(&authenticator, &stranger.token(&claims(&more))), "token_invalid", "{more}");
    }
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let (authenticator, signer) = with_secret("secrecy");
    let shown = format!("{authenticator:?}");
    assert!(!shown.contains("a secret of the tests") && !shown.contains(&format!("{:?}", SECRET.as_bytes())));
    let verdict = authenticator.verify(&signer.token(&json!({"sub": "ada", "exp": 1})), NOW_S);
    assert_eq!(result(&verdict), "token_expired");
    assert!(!format!("{verdict:?}").contains("ada"));
}
