//! Keys that are fetched, from a provider that the test is itself.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use broadgate::{
    auth::{Authenticator, KeysUnavailable, TokenError, Verdict},
    telemetry::Traces,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    provider::{Answer, Provider},
    signer::{NOW_S, RSA, Signer, authenticator, check, claims, file},
};

/// Longer than any wait of the node.
const DEADLINE: Duration = Duration::from_secs(30);

/// An authenticator whose keys are fetched while it lives.
struct Fetching {
    authenticator: Arc<Authenticator>,
    task: JoinHandle<()>,
}

impl Fetching {
    fn new(name: &str, url: &str, more: &str) -> Self {
        let toml = format!("[[auth.issuers]]\nissuer = \"https://i\"\njwks_url = \"{url}\"\n{more}\n");
        Self::with(authenticator(name, &toml))
    }

    fn with(authenticator: Authenticator) -> Self {
        let task = tokio::spawn(authenticator.keep_keys_fresh(&Traces::default()));
        Self { authenticator: Arc::new(authenticator), task }
    }

    fn now(&self, token: &str) -> &'static str {
        check(&self.authenticator, token)
    }

    /// What a client gets: the second look counts, and it is never told to wait twice.
    async fn settled(&self, token: &str) -> Result<&'static str, KeysUnavailable> {
        let Verdict::NeedsKeys(wait) = self.authenticator.verify(token, NOW_S) else {
            return Ok(self.now(token));
        };
        self.authenticator.refreshed(wait).await?;
        Ok(self.now(token))
    }

    /// Asks until the token is granted.
    async fn until_granted(&self, token: &str) {
        let started = Instant::now();
        while self.settled(token).await != Ok("granted") {
            assert!(started.elapsed() < DEADLINE, "{}", self.now(token));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn set(keys: &[(&Signer, &str)]) -> String {
    json!({"keys": keys.iter().map(|(key, id)| key.jwk(id)).collect::<Vec<_>>()}).to_string()
}

fn ours() -> Value {
    claims(&json!({"iss": "https://i"}))
}

const OFTEN: &str = "jwks_min_refresh_ms = 100";
const SELDOM: &str = "jwks_min_refresh_ms = 3600000\njwks_refresh_ms = 3600000";

#[tokio::test]
async fn the_first_tokens_wait_for_the_first_keys() {
    let (p256, p384, ed) = (Signer::p256(), Signer::p384(), Signer::ed25519());
    let keys = [(&*RSA, "rsa"), (&p256, "p256"), (&p384, "p384"), (&ed, "ed")];
    let provider = Provider::start(Answer::Body(set(&keys))).await;
    let node = Fetching::new("first", &provider.url, SELDOM);
    let tokens: Vec<_> = keys.iter().map(|(key, id)| key.token_of(id, &ours())).collect();
    let results = join_all(tokens.iter().map(|token| node.settled(token))).await;
    assert_eq!(results, [Ok("granted"); 4]);
    let requests = provider.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].starts_with("GET /keys?tenant=1 HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[0].contains("host: 127.0.0.1:"), "{requests:?}");
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_for_all_who_wait() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let provider = Provider::start(Answer::Body(set(&[(&old, "old")]))).await;
    let node = Fetching::new("rotated", &provider.url, OFTEN);
    node.until_granted(&old.token_of("old", &ours())).await;

    provider.answers(Answer::Body(set(&[(&new, "new")])));
    let token = new.token_of("new", &ours());
    // Until the interval is over, it is refused as any other.
    let started = Instant::now();
    while node.now(&token) == TokenError::Invalid.code() {
        assert!(started.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let results = join_all((0..50).map(|_| node.settled(&token))).await;
    assert!(results.iter().all(|result| *result == Ok("granted")), "{results:?}");
    assert_eq!(provider.requests().len(), 2);
    assert_eq!(node.now(&old.token_of("old", &ours())), "token_invalid", "a key that vanished is gone");
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_no_fetch() {
    let key = Signer::p256();
    let provider = Provider::start(Answer::Body(set(&[(&key, "k")]))).await;
    let node = Fetching::new("flood", &provider.url, SELDOM);
    node.until_granted(&key.token_of("k", &ours())).await;
    let stranger = Signer::p256();
    for number in 0..2000 {
        assert_eq!(node.now(&stranger.token_of(&format!("k{number}"), &ours())), "token_invalid");
    }
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn only_a_key_that_is_named_and_unknown_is_worth_a_fetch() {
    let key = Signer::p256();
    let provider = Provider::start(Answer::Body(set(&[(&key, "k")]))).await;
    let node = Fetching::new("worthless", &provider.url, OFTEN);
    node.until_granted(&key.token_of("k", &ours())).await;
    let stranger = Signer::p256();
    let named = stranger.token_of("new", &ours());
    let started = Instant::now();
    while node.now(&named) != "needs_keys" {
        assert!(started.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        node.now(&stranger.token_of("k", &ours())),
        "token_invalid",
        "a known key with another signature"
    );
    assert_eq!(node.now(&stranger.token(&ours())), "token_invalid", "no key named");
    let foreign = stranger.token_of("new", &claims(&json!({"iss": "https://other"})));
    assert_eq!(node.now(&foreign), "token_issuer");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn while_the_provider_is_down_the_old_keys_hold() {
    let key = Signer::p256();
    let good = Answer::Body(set(&[(&key, "k")]));
    let provider = Provider::start(good.clone()).await;
    let node = Fetching::new("down", &provider.url, OFTEN);
    let token = key.token_of("k", &ours());
    node.until_granted(&token).await;

    let unknown = key.token_of("unknown", &ours());
    let too_large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(600_000));
    let many = json!({"keys": vec![key.jwk("k"); 65]}).to_string();
    for (what, answer) in [
        ("an error", Answer::Raw("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".into())),
        (
            "a redirect",
            Answer::Raw("HTTP/1.1 302 Found\r\nLocation: /keys2\r\nContent-Length: 0\r\n\r\n".into()),
        ),
        ("nothing", Answer::Raw(String::new())),
        ("no HTTP", Answer::Raw("SSH-2.0-OpenSSH\r\n".into())),
        ("half a body", Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"keys\":".into())),
        ("garbage", Answer::Body("<html>".into())),
        ("no list", Answer::Body("{\"keys\":{}}".into())),
        ("no keys", Answer::Body("{\"keys\":[]}".into())),
        ("keys of no use", Answer::Body("{\"keys\":[{\"kty\":\"RSA\"},{\"kty\":\"x\"},5,null]}".into())),
        ("too many keys", Answer::Body(many)),
        ("too much", Answer::Body(too_large)),
        ("no end", Answer::Endless),
    ] {
        provider.answers(answer);
        let (started, asked) = (Instant::now(), provider.requests().len());
        while node.settled(&unknown).await != Err(KeysUnavailable) || provider.requests().len() == asked {
            assert!(started.elapsed() < DEADLINE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(node.now(&token), "granted", "{what}");
        provider.answers(good.clone());
        // The next try comes by itself; what it finds is that the key is unknown indeed.
        while node.settled(&unknown).await != Ok("token_invalid") {
            assert!(started.elapsed() < DEADLINE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_provider_that_comes_late_is_found_by_itself() {
    let key = Signer::p256();
    let provider =
        Provider::start(Answer::Raw("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".into())).await;
    let node = Fetching::new("late", &provider.url, "");
    let token = key.token_of("k", &ours());
    assert_eq!(node.settled(&token).await, Err(KeysUnavailable));
    // Between two tries nobody waits.
    let started = Instant::now();
    assert_eq!(join_all((0..1000).map(|_| node.settled(&token))).await, [Err(KeysUnavailable); 1000]);
    assert!(started.elapsed() < DEADLINE);
    assert!(provider.requests().len() < 20);
    provider.answers(Answer::Body(set(&[(&key, "k")])));
    node.until_granted(&token).await;
}

#[tokio::test]
async fn a_provider_that_is_silent_holds_nobody_for_long() {
    let key = Signer::p256();
    let provider = Provider::start(Answer::Silence).await;
    let node = Fetching::new("slow", &provider.url, "");
    let token = key.token_of("k", &ours());
    let results = join_all((0..100).map(|_| node.settled(&token))).await;
    assert_eq!(results, [Err(KeysUnavailable); 100]);
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn https_is_proven_by_the_authorities_that_are_trusted() {
    let key = Signer::p256();
    let (provider, ca_file) = Provider::start_tls("https", Answer::Body(set(&[(&key, "k")]))).await;
    let (_other, other_ca) = Provider::start_tls("other", Answer::Silence).await;
    let token = key.token_of("k", &ours());
    let trusting = Fetching::new("trusting", &provider.url, &format!("jwks_ca_file = {ca_file:?}"));
    assert_eq!(trusting.settled(&token).await, Ok("granted"));
    let distrusting = Fetching::new("distrusting", &provider.url, &format!("jwks_ca_file = {other_ca:?}"));
    assert_eq!(distrusting.settled(&token).await, Err(KeysUnavailable));
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn a_file_is_read_again() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let path = file("rotating.json", &set(&[(&old, "old")]));
    let toml = format!("[[auth.issuers]]\nissuer = \"https://i\"\njwks_file = {path:?}\n{OFTEN}\n");
    let node = Fetching::with(authenticator("rotating", &toml));
    node.until_granted(&old.token_of("old", &ours())).await;
    fs::write(&path, set(&[(&new, "new")])).unwrap();
    node.until_granted(&new.token_of("new", &ours())).await;
    assert_eq!(node.now(&old.token_of("old", &ours())), "token_invalid");
}

#[tokio::test]
async fn the_file_of_a_key_is_looked_at_again() {
    let secrets = ["a secret of thirty-two bytes, or more", "another one of thirty-two bytes, or so"];
    let tokens = secrets.map(|secret| Signer::secret(secret).token(&ours()));
    let path = file("rotating.key", secrets[0]);
    let toml = format!("[[auth.issuers]]\nissuer = \"https://i\"\nkey_file = {path:?}");
    let node = Fetching::with(authenticator("rotating-key", &toml));
    assert_eq!((node.now(&tokens[0]), node.now(&tokens[1])), ("granted", "token_invalid"));
    fs::write(&path, secrets[1]).unwrap();
    node.until_granted(&tokens[1]).await;
    assert_eq!(node.now(&tokens[0]), "token_invalid");
}

#[tokio::test]
async fn a_secret_may_come_from_a_file_and_its_name_chooses() {
    let secrets = ["a secret of thirty-two bytes, or more", "another one of thirty-two bytes, or so"];
    let keys =
        secrets.map(|secret| json!({"kty": "oct", "kid": &secret[..7], "k": crate::signer::base64(secret)}));
    let short = json!({"kty": "oct", "kid": "short", "k": crate::signer::base64("too short")});
    let json = json!({"keys": [keys[0], keys[1], short]}).to_string();
    let path = file("secrets.json", &json);
    let toml =
        format!("[[auth.issuers]]\nissuer = \"https://i\"\njwks_file = {path:?}\nalgorithms = [\"HS256\"]");
    let node = Fetching::with(authenticator("secrets", &toml));
    for secret in secrets {
        node.until_granted(&Signer::secret(secret).token_of(&secret[..7], &ours())).await;
    }
    assert_eq!(node.now(&Signer::secret(secrets[0]).token_of(&secrets[1][..7], &ours())), "token_invalid");
    assert_ne!(node.now(&Signer::secret("too short").token_of("short", &ours())), "granted");
}

#[tokio::test]
async fn a_key_is_used_for_what_it_says_and_the_issuer_allows() {
    let jwk = |more: Value| {
        let mut jwk = RSA.jwk("k");
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let token = RSA.token_of("k", &ours());
    for (number, (key, allowed, expected)) in [
        (jwk(json!({})), "[]", Ok("granted")),
        (jwk(json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"]})), "[\"RS256\"]", Ok("granted")),
        (jwk(json!({"alg": "PS256"})), "[]", Ok("token_invalid")),
        (jwk(json!({})), "[\"PS256\"]", Ok("token_invalid")),
        (jwk(json!({"use": "enc"})), "[]", Err(KeysUnavailable)),
        (jwk(json!({"key_ops": ["encrypt"]})), "[]", Err(KeysUnavailable)),
        (jwk(json!({"alg": "RSA-OAEP"})), "[]", Err(KeysUnavailable)),
        (jwk(json!({"alg": "none"})), "[]", Err(KeysUnavailable)),
        (jwk(json!({"alg": "HS256"})), "[]", Err(KeysUnavailable)),
        (jwk(json!({})), "[\"ES256\"]", Err(KeysUnavailable)),
        (jwk(json!({"n": "AQAB"})), "[]", Err(KeysUnavailable)),
        (json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLUhTMjU2LWFuZC1tb3Jl"}), "[]", Err(KeysUnavailable)),
    ]
    .into_iter()
    .enumerate()
    {
        let provider = Provider::start(Answer::Body(json!({"keys": [key]}).to_string())).await;
        let more = format!("{SELDOM}\nalgorithms = {allowed}");
        let node = Fetching::new(&format!("use-{number}"), &provider.url, &more);
        assert_eq!(node.settled(&token).await, expected, "{key} {allowed}");
    }
}

#[tokio::test]
async fn without_a_name_a_few_keys_are_tried_and_no_more() {
    let signers: Vec<_> = (0..5).map(|_| Signer::p256()).collect();
    for (count, expected) in [(1, "granted"), (4, "granted"), (5, "token_invalid")] {
        let names: Vec<_> = (0..count).map(|number| format!("k{number}")).collect();
        let keys: Vec<_> = signers.iter().zip(names.iter().map(String::as_str)).collect();
        let provider = Provider::start(Answer::Body(set(&keys))).await;
        let node = Fetching::new(&format!("few-{count}"), &provider.url, SELDOM);
        assert_eq!(node.settled(&signers[count - 1].token(&ours())).await, Ok(expected), "{count} keys");
        assert_eq!(node.now(&signers[count - 1].token_of(&names[count - 1], &ours())), "granted");
    }
}
