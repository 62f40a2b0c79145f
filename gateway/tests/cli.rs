//! The binary as its users meet it: what it prints, where, and its exit code.
#![allow(clippy::unwrap_used)]

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

fn broadgate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broadgate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BROADGATE_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    finish(broadgate(args).output().unwrap())
}

fn finish(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn file(name: &str, content: &str) -> String {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// An ops listener that gives one answer; joins to the request that it got.
fn answer_once(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let request = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        let mut byte = [0];
        let complete = |request: &str| {
            let (head, body) = request.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            (body.len() == length.map_or(0, |length| length.parse().unwrap())).then_some(())
        };
        while complete(&request).is_none() {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0].into());
        }
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    (url, request)
}

/// An address where nothing listens.
fn unused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn version_and_help() {
    let (code, stdout, _) = run(&["--version"]);
    assert_eq!((code, &*stdout), (0, concat!("broadgate ", env!("CARGO_PKG_VERSION"), "\n")));
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in [
        "serve",
        "check-config",
        "print-config",
        "doctor",
        "publish",
        "smoke",
        "healthcheck",
        "Examples:",
        "Exit codes:",
    ] {
        assert!(stdout.contains(word), "{word} in {stdout}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [
        &["--nonsense"][..],
        &["publish", "event"],
        &["publish", "--all", "--room", "a", "event"],
        &["publish", "--room", "a"],
        &["publish", "--redis", "redis://127.0.0.1", "--key-file", "key", "--room", "a", "event"],
        &["smoke", "--ca-file", "ca.crt", "--certificate-file", "tls.crt"],
        &["smoke", "--transport", "sse"],
    ] {
        assert_eq!(run(args).0, 2, "{args:?}");
    }
}

#[test]
fn check_config_sums_up_a_good_configuration() {
    let path =
        file("good.toml", "[server]\nlisten = \"127.0.0.1:7\"\nshards = 2\n[[rooms]]\nmatch = \"*\"\n");
    let (code, stdout, stderr) = run(&["check-config", "--config", &path]);
    let expected =
        "ok: listen 127.0.0.1:7, ops 127.0.0.1:8081, 2 shards, adapter memory, 1 namespaces, 1 room rules\n";
    assert_eq!((code, &*stdout, &*stderr), (0, expected, ""));
    let (code, stdout, _) = run(&["check-config"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("ok: development mode, everything open; listen 127.0.0.1:8080"), "{stdout}");
}

#[test]
fn check_config_reports_every_fault_and_fails() {
    let path = file("bad.toml", "[server]\nlisen = \"127.0.0.1:7\"\nshards = 0\n");
    let (code, stdout, stderr) = run(&["check-config", "--config", &path]);
    let expected = format!(
        "{path}:3: server.shards: expected an integer from 1 to 64, found 0\n\
         {path}:2: unknown key \"server.lisen\": did you mean \"server.listen\"?\n\
         2 errors in the configuration\n"
    );
    assert_eq!((code, stdout, stderr), (1, String::new(), expected));
}

#[test]
fn serve_refuses_a_faulty_configuration_with_or_without_its_name() {
    for args in [&["serve", "--listen", "nowhere"][..], &["--listen", "nowhere"]] {
        let (code, _, stderr) = run(args);
        assert_eq!(code, 1);
        assert!(stderr.starts_with("--listen: server.listen: expected an IP address"), "{stderr}");
    }
}

#[test]
fn print_config_shows_where_each_value_comes_from_and_no_password() {
    let mut command = broadgate(&["print-config", "--listen", "127.0.0.1:9"]);
    command.env("BROADGATE__ADAPTER__REDIS__URL", "redis://:tops3cret@127.0.0.1:6379");
    let (code, stdout, stderr) = finish(command.output().unwrap());
    assert_eq!((code, &*stderr), (0, ""));
    assert!(stdout.contains("listen = \"127.0.0.1:9\"  # --listen\n"), "{stdout}");
    assert!(
        stdout.contains("url = \"redis://:***@127.0.0.1:6379\"  # BROADGATE__ADAPTER__REDIS__URL\n"),
        "{stdout}"
    );
    assert!(!stdout.contains("tops3cret"));
}

#[test]
fn print_config_gives_the_reference() {
    let (code, stdout, _) = run(&["print-config", "--reference"]);
    assert_eq!((code, stdout), (0, broadgate::config::reference()));
}

#[test]
fn healthcheck_asks_readyz() {
    let (url, request) = answer_once("HTTP/1.0 200 OK\r\n\r\nready");
    assert_eq!(run(&["healthcheck", "--ops", &url]), (0, "ready\n".to_owned(), String::new()));
    assert!(request.join().unwrap().starts_with("GET /readyz HTTP/1.0\r\n"));

    let (url, request) = answer_once("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\ndraining");
    assert_eq!(
        run(&["healthcheck", "--ops", &url]),
        (1, String::new(), "not ready: 503 draining\n".to_owned())
    );
    request.join().unwrap();
}

#[test]
fn healthcheck_of_nothing_fails() {
    let url = unused();
    let (code, _, stderr) = run(&["healthcheck", "--ops", &url]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with(&format!("no answer from {url}: ")), "{stderr}");
    for (url, expected) in [
        (
            "https://127.0.0.1:1",
            "https://127.0.0.1:1: expected http://host:port; the ops listener speaks plain HTTP\n",
        ),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x: expected http://host:port without a path\n"),
        (
            "http://user:secret@127.0.0.1:1",
            "expected a URL without user info: nothing here uses it, and it would be printed\n",
        ),
    ] {
        assert_eq!(run(&["healthcheck", "--ops", url]), (1, String::new(), expected.to_owned()));
    }
    let (url, request) = answer_once("SSH-2.0-OpenSSH\r\n\r\n");
    assert_eq!(run(&["healthcheck", "--ops", &url]).2, format!("{url} does not answer in HTTP\n"));
    request.join().unwrap();
}

#[test]
fn publish_through_a_node_sends_what_was_said() {
    let (url, request) = answer_once("HTTP/1.0 200 OK\r\n\r\n{\"ok\":true}");
    let args = [
        "publish",
        "--ops",
        &url,
        "--room",
        "news",
        "--room",
        "sport",
        "--except",
        "staff",
        "headline",
        "{\"a\":1}",
        "-2",
        "plain words",
    ];
    let (code, stdout, stderr) = run(&args);
    let expected = format!("published to news, sport of / through {url}: {{\"ok\":true}}\n");
    assert_eq!((code, stdout, stderr), (0, expected, String::new()));
    let request = request.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/v1/publish HTTP/1.0\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "namespace": "/", "rooms": ["news", "sport"], "except": ["staff"], "event": "headline",
        "args": [{"a": 1}, -2, "plain words"],
    });
    assert_eq!(body, expected);
}

#[test]
fn publish_says_why_it_failed() {
    let (url, request) = answer_once("HTTP/1.0 400 Bad Request\r\n\r\n{\"error\":\"no\"}");
    let (code, _, stderr) = run(&["publish", "--ops", &url, "--all", "event"]);
    assert_eq!((code, stderr), (1, format!("{url} refused it: 400 {{\"error\":\"no\"}}\n")));
    request.join().unwrap();

    let url = unused();
    let (code, _, stderr) = run(&["publish", "--ops", &url, "--room", "news", "event"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with(&format!("no answer from {url}: ")), "{stderr}");

    let (code, _, stderr) = run(&["publish", "--namespace", "chat", "--all", "event"]);
    assert_eq!((code, &*stderr), (1, "\"chat\": a namespace starts with a slash\n"));
}

/// Below the ports that the system gives to outgoing connections and to who asks for any, as the tests beside do.
fn free_port() -> u16 {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    loop {
        let number =
            TRIES.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919).wrapping_add(std::process::id());
        let port = u16::try_from(10_000 + number % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A Redis server of this test's own.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        let port = free_port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server, which .ci/install installs");
        Self { process, port }
    }

    fn connect(&self) -> TcpStream {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "Redis did not start: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Reads until all of `words` were there.
fn read_until(stream: &mut TcpStream, words: &[&str]) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "Redis closed the connection");
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen);
        if words.iter().all(|word| text.contains(word)) {
            return text.into_owned();
        }
    }
}

#[test]
fn publish_through_redis_is_what_an_emitter_sends() {
    let redis = Redis::start();
    let mut subscriber = redis.connect();
    subscriber.write_all(b"PSUBSCRIBE bg#/#*\r\n").unwrap();
    read_until(&mut subscriber, &["psubscribe", ":1\r\n"]);

    let url = format!("redis://127.0.0.1:{}", redis.port);
    let args =
        ["publish", "--redis", &url, "--prefix", "bg", "--room", "news", "headline", "{\"title\":\"hi\"}"];
    let (code, stdout, stderr) = run(&args);
    let expected = "published to news of / through Redis, which passed it to 1 subscriptions\n";
    assert_eq!((code, &*stdout, &*stderr), (0, expected, ""));
    read_until(&mut subscriber, &["bg#/#news#", "emitter", "headline", "title", "hi"]);
}

#[test]
fn publish_through_an_unreachable_redis_fails_without_showing_the_password() {
    let address = unused().replace("http://", "");
    for url in [
        format!("redis://:tops3cret@{address}"),
        format!("redis:tops3cret@{address}"),
        ":tops3cret@".to_owned(),
    ] {
        let (code, stdout, stderr) = run(&["publish", "--redis", &url, "--room", "news", "headline"]);
        assert_eq!((code, &*stdout), (1, ""));
        assert!(!stderr.is_empty() && !stderr.contains("tops3cret"), "{stderr}");
    }
}

/// Gives `token verify` a token with a header and a payload, signed with a secret.
fn verify_token(config: &str, payload: &str) -> (i32, String, String) {
    const KEY: &[u8] = b"a secret of the command line's tests";
    let parts =
        [r#"{"alg":"HS256","kid":"k1"}"#, payload].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = jsonwebtoken::EncodingKey::from_secret(KEY);
    let signature =
        jsonwebtoken::crypto::sign(parts.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    let mut command = broadgate(&["token", "verify", "--config", config]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{parts}.{signature}\n").as_bytes()).unwrap();
    finish(child.wait_with_output().unwrap())
}

#[test]
fn token_verify_says_what_is_wrong_with_a_token() {
    let config = file(
        "token.toml",
        "[[auth.issuers]]\nname = \"login\"\nissuer = \"https://a\"\nkey = \"a secret of the command line's tests\"\n",
    );
    let (code, stdout, stderr) = verify_token(&config, r#"{"iss":"https://a","sub":"ada","exp":4102444800}"#);
    assert_eq!((code, &*stderr), (0, ""));
    assert!(stdout.starts_with("ok: user \"ada\", rooms [], 0 patterns to join, 0 to publish\n"), "{stdout}");
    for (payload, expected) in [
        (r#"{"iss":"https://a","sub":"ada","exp":5}"#, ["token_expired: ", "exp: 5, "]),
        (r#"{"iss":"https://b","sub":"ada","exp":5}"#, ["token_issuer: ", "is none of [\"https://a\"]"]),
        (
            r#"{"iss":"https://a","sub":"ada","exp":4102444800,"rooms":[7]}"#,
            ["token_claims: ", "is of login, whose keys are: without a kid [HS256]\n"],
        ),
        (
            r#"{"iss":"https://a","sub":"ada","exp":4102444800,"rooms":[7]}"#,
            ["token_claims: ", "whose tokens can't have: rooms = [7]"],
        ),
        (
            r#"{"iss":"https://a","sub":"ada","aud":"x","exp":4102444800}"#,
            ["token_audience: ", "aud: \"x\"\n"],
        ),
    ] {
        let (code, stdout, stderr) = verify_token(&config, payload);
        assert_eq!((code, &*stdout), (1, ""), "{payload}");
        assert!(expected.iter().all(|part| stderr.contains(part)), "{payload}: {stderr}");
        assert!(!stderr.contains("a secret of"), "{stderr}");
    }
}

#[test]
fn the_doctor_finds_a_healthy_redis_healthy() {
    let redis = Redis::start();
    drop(redis.connect());
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let (code, stdout, stderr) =
        run(&["doctor", "--redis", &url, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    assert_eq!((code, &*stderr), (0, ""), "{stdout}");
    for line in
        ["server.listen 127.0.0.1:0 is free", "master, user default", "a message to itself ", "clock is "]
    {
        assert!(stdout.contains(line), "{line} in {stdout}");
    }
    assert!(!stdout.contains("FAULT"), "{stdout}");
    // The default of Redis is small for a gateway.
    assert!(stdout.contains("-> CONFIG SET client-output-buffer-limit"), "{stdout}");
}

#[test]
fn the_doctor_names_what_an_acl_refuses() {
    let redis = Redis::start();
    let mut admin = redis.connect();
    let user = "ACL SETUSER gateway on >tops3cret resetchannels &socket.io#* -@all +ping +subscribe +hello +publish\r\n";
    admin.write_all(user.as_bytes()).unwrap();
    let mut answer = [0; 5];
    admin.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    let mut command = broadgate(&["doctor", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    let url = format!("redis://gateway:tops3cret@127.0.0.1:{}", redis.port);
    command.env("BROADGATE__ADAPTER__REDIS__URL", url);
    let (code, stdout, stderr) = finish(command.output().unwrap());
    assert_eq!(code, 1, "{stdout}{stderr}");
    for line in ["FAULT   PSUBSCRIBE socket.io#/#broadgate-doctor-", "FAULT   SUBSCRIBE socket.io-broadgate#"]
    {
        assert!(stdout.contains(line), "{line} in {stdout}");
    }
    assert!(
        stdout.contains("NOPERM") && stdout.contains("-> give the user what README.md lists"),
        "{stdout}"
    );
    assert!(!stdout.contains("tops3cret") && !stderr.contains("tops3cret"));
}

#[test]
fn the_doctor_fails_where_redis_is_away_or_a_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let nobody = unused().replace("http://", "redis://");
    let (code, stdout, _) =
        run(&["doctor", "--redis", &nobody, "--listen", &address, "--ops-listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(stdout.contains(&format!("server.listen {address} can't be listened on")), "{stdout}");
    assert!(stdout.contains("FAULT   can't be used: "), "{stdout}");
}
