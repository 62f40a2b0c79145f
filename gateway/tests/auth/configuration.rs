//! What can be wrong with the issuers of a configuration, and what is said of it.

use broadgate::config::{JwksPlace, KeySource, Sources, load, render};
use rcgen::KeyPair;

use crate::signer::{RSA, SECRET, Signer, file};

/// The errors without the directory.
fn errors(name: &str, toml: &str) -> Vec<String> {
    let path = file(&format!("{name}.toml"), toml);
    let directory = format!("{}/", path.parent().unwrap().display());
    let errors = load(&Sources { file: Some(path), ..Sources::default() }).expect_err(toml).to_string();
    errors.lines().map(|line| line.replace(&directory, "")).collect()
}

#[test]
fn each_fault_of_an_issuer_is_told_with_its_place() {
    let private = KeyPair::generate().unwrap().serialize_pem();
    let rsa = RSA.public_pem.trim_end();
    let damaged = rsa.replace("MII", "MIJ");
    file("private.pem", &private);
    file("empty-set.json", "{\"keys\":[]}");
    let path = |name| file("unused", "").with_file_name(name).display().to_string();
    let key_file = path("private.pem");
    let (missing, empty_set) = (path("missing.json"), path("empty-set.json"));
    for (number, (issuer, expected)) in [
        ("issuer = \"i\"".to_owned(), "auth.issuers[0]: expected jwks_url, jwks_file, key or key_file, found none of them"),
        (
            format!("issuer = \"i\"\njwks_url = \"https://i/keys\"\nkey = \"{SECRET}\""),
            "auth.issuers[0].key: expected one of jwks_url, key",
        ),
        ("jwks_url = \"https://i/keys\"".into(), "auth.issuers[0].issuer: is missing, and keys that are fetched need it"),
        (
            "issuer = \"i\"\njwks_url = \"http://login.example.com/keys\"".into(),
            "auth.issuers[0].jwks_url: expected https://; http:// to another machine needs jwks_allow_http = true",
        ),
        (
            "issuer = \"i\"\njwks_url = \"login.example.com\"".into(),
            "auth.issuers[0].jwks_url: expected a URL such as https://login.example.com/.well-known/jwks.json, found \
             \"login.example.com\"",
        ),
        (
            "issuer = \"i\"\njwks_url = \"https://i/keys\"\nalgorithms = [\"RS256\", \"HS256\"]".into(),
            "auth.issuers[0].algorithms: HS256 is for a shared secret, which can't come from a URL",
        ),
        (
            format!("issuer = \"i\"\nkey = \"{SECRET}\"\nalgorithms = [\"none\"]"),
            "auth.issuers[0].algorithms: expected algorithms such as \"RS256\", \"ES256\", \"EdDSA\" or \"HS256\", found \"none\"",
        ),
        (
            "key = \"thirty-one bytes are not enough\"".into(),
            "auth.issuers[0].key: HS256 needs a secret of at least 32 bytes, this one has 31",
        ),
        (
            "key = \"enough for SHA-256, not for SHA-512\"\nalgorithms = [\"HS256\", \"HS512\"]".into(),
            "auth.issuers[0].key: HS512 needs a secret of at least 64 bytes, this one has 35",
        ),
        (format!("key = \"{SECRET}\"\nalgorithms = [\"RS256\"]"), "auth.issuers[0].key: RS256 is not for a shared secret"),
        (format!("key = \"\"\"{rsa}\"\"\"\nalgorithms = [\"HS256\"]"), "auth.issuers[0].key: HS256 is not for an RSA key"),
        (format!("key = \"\"\"{rsa}\"\"\"\nalgorithms = [\"ES256\"]"), "auth.issuers[0].key: ES256 is not for an RSA key"),
        (
            format!("key_file = \"{key_file}\""),
            "auth.issuers[0].key_file: \"private.pem\": this is a private key; give the public key that belongs to it",
        ),
        (
            format!("key = \"\"\"{damaged}\"\"\""),
            "auth.issuers[0].key: expected a public key in PEM (\"BEGIN PUBLIC KEY\"): RSA of 2048 to 8192 bits, EC on \
             P-256 or P-384, or Ed25519",
        ),
        (
            format!("issuer = \"i\"\njwks_file = \"{empty_set}\""),
            "auth.issuers[0].jwks_file: \"empty-set.json\": it has no key that the issuer's algorithms can use",
        ),
        (
            format!("issuer = \"i\"\njwks_file = \"{missing}\""),
            "auth.issuers[0].jwks_file: \"missing.json\": cannot be opened: No such file or directory (os error 2)",
        ),
        (
            "issuer = \"i\"\njwks_url = \"https://i/keys\"\nkey_id = \"k\"".into(),
            "auth.issuers[0].key_id: is for key and key_file; a JWK set names its keys itself",
        ),
        (
            format!("key = \"{SECRET}\"\njwks_ca_file = \"ca.crt\""),
            "auth.issuers[0].jwks_ca_file: is for jwks_url",
        ),
        (
            format!("key = \"{SECRET}\"\nname = \"a b\""),
            "auth.issuers[0].name: expected 1 to 64 letters, digits and -._, found \"a b\"",
        ),
        (
            format!("key = \"{SECRET}\"\nname = \"a\"\n[[auth.issuers]]\nkey = \"{SECRET}\"\nname = \"a\""),
            "auth.issuers[1].name: is the name of an earlier issuer, too",
        ),
        (
            format!("key = \"{SECRET}\"\naudience = [\"a\"]"),
            "unknown key \"auth.issuers[0].audience\": did you mean \"auth.issuers[0].audiences\"?",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("fault-{number}");
        let found = errors(&name, &format!("[[auth.issuers]]\n{issuer}\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        let (place, message) = found[0].split_once(": ").unwrap();
        assert!(place.starts_with(&format!("{name}.toml:")), "{place}");
        assert_eq!(message, expected);
    }
}

#[test]
fn claims_have_names_of_their_own() {
    for (key, name) in
        [("rooms_claim", "exp"), ("join_claim", "rooms"), ("user_claim", "iss"), ("publish_claim", "sub")]
    {
        let found = errors("claims", &format!("[auth]\n{key} = \"{name}\"\n"));
        assert_eq!(found, [format!("claims.toml:2: auth.{key}: \"{name}\" means something else already")]);
    }
}

#[test]
fn a_key_is_never_printed() {
    let path = file("printed.toml", &format!("[[auth.issuers]]\nkey = \"{SECRET}\"\n"));
    let sources = Sources { file: Some(path), ..Sources::default() };
    let printed = render(&sources).unwrap();
    assert!(printed.contains("key = \"***\"") && !printed.contains(SECRET), "{printed}");
    assert!(!format!("{:?}", load(&sources).unwrap()).contains(SECRET));
    let short = file("printed-short.toml", "[[auth.issuers]]\nkey = \"hunter2\"\n");
    let errors = load(&Sources { file: Some(short), ..Sources::default() }).unwrap_err();
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
}

#[test]
fn where_keys_come_from_is_read_as_it_is_written() {
    let toml = "[[auth.issuers]]\nissuer = \"i\"\njwks_url = \"http://localhost:3000/keys\"\n[[auth.issuers]]\n\
                name = \"open\"\nissuer = \"j\"\njwks_url = \"http://keys.internal/\"\njwks_allow_http = true\n";
    let settings = load(&Sources { file: Some(file("places.toml", toml)), ..Sources::default() }).unwrap();
    let [first, second] = &settings.auth.issuers[..] else { panic!() };
    assert_eq!((&*first.name, &*second.name), ("issuer-1", "open"));
    let KeySource::Fetched(fetch) = &first.keys else { panic!() };
    assert!(matches!(&fetch.place, JwksPlace::Url { url, ca_file: None } if url.port() == Some(3000)));
    assert_eq!((fetch.refresh_ms, fetch.min_refresh_ms, fetch.algorithms.len()), (300_000, 10_000, 9));
}

#[test]
fn public_keys_of_every_kind_are_taken_from_a_file() {
    for (number, key) in [&*RSA, &Signer::p256(), &Signer::p384(), &Signer::ed25519()].into_iter().enumerate()
    {
        let path = file(&format!("public-{number}.pem"), &key.public_pem);
        let toml = format!("[[auth.issuers]]\nkey_file = {path:?}\n");
        let sources = Sources { file: Some(file("public.toml", &toml)), ..Sources::default() };
        let settings = load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(settings.auth.issuers.len(), 1);
    }
}
