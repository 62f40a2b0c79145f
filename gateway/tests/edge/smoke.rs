//! `broadgate smoke`, against nodes as they are behind balancers: what it says when a message gets through, and when not.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{
    certificates::{Files, secure_node},
    node,
    support::process::Server,
    tls_client::Authority,
};

const OPEN_TO_PUBLISH: &str = "[ops]\nanonymous = [\"publish\"]\n";
const SECRET: &str = "a secret of thirty-two bytes, or a little more";

/// Exit code, standard output, standard error.
fn smoke(server: &Server, scheme: &str, more: &[&str]) -> (i32, String, String) {
    let (url, ops) =
        (format!("{scheme}://{}", server.address), format!("http://{}", server.ops_address.unwrap()));
    run(&[&["--url", &url, "--ops", &ops], more].concat())
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broadgate"));
    command.env_remove("BROADGATE_OPS_KEY");
    command.args(["smoke", "--timeout-seconds", "60"]).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn gets_through(server: &Server, scheme: &str, more: &[&str]) {
    let (code, stdout, stderr) = smoke(server, scheme, more);
    assert_eq!((code, &*stderr), (0, ""), "{more:?}");
    for transport in ["websocket", "polling"] {
        let line = stdout.lines().find(|line| line.starts_with(&format!("{transport}: connected to ")));
        assert!(line.is_some_and(|line| line.contains(" and received after ")), "{transport} in {stdout}");
    }
}

fn fails_with(server: &Server, scheme: &str, more: &[&str], expected: &str) {
    let (code, stdout, stderr) = smoke(server, scheme, more);
    assert_eq!((code, &*stdout), (1, ""), "{more:?}");
    assert!(stderr.contains(expected), "{expected} in {stderr}");
}

fn file(content: &str) -> String {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("smoke-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn a_message_gets_through_by_each_transport() {
    let server = node(OPEN_TO_PUBLISH);
    gets_through(&server, "http", &[]);
    gets_through(&server, "http", &["--room", "news"]);
    let (code, stdout, _) = smoke(&server, "ws", &["--transport", "polling"]);
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stdout}");
}

#[test]
fn path_namespace_and_key_are_those_of_the_nodes() {
    let key = "0123456789abcdef";
    let server = node(&format!(
        "[engine]\npath = \"/realtime/\"\nping_interval_ms = 100\n[[namespaces]]\nname = \"/\"\n\
         [[namespaces]]\nname = \"/chat\"\n\
         [[ops.keys]]\nname = \"test\"\nkey = \"{key}\"\nscopes = [\"publish\"]\n"
    ));
    let (place, key_file) =
        (["--path", "/realtime/", "--namespace", "/chat"], file(&format!("{key}\nan-older-key-0123\n")));
    gets_through(&server, "http", &[&place[..], &["--key-file", &key_file]].concat());
    fails_with(&server, "http", &place, "refused the publish: 401");
    let nowhere = ["--path", "/realtime/", "--namespace", "/nowhere"];
    fails_with(&server, "http", &nowhere, "CONNECT was refused: Invalid namespace");
    fails_with(&server, "http", &["--namespace", "/chat"], "404");
}

#[test]
fn what_has_to_be_refused_may_not_be_delivered() {
    let server = node("");
    let (code, stdout, stderr) = smoke(&server, "http", &["--expect-refusal", "401"]);
    assert_eq!((code, &*stderr), (0, ""));
    assert_eq!(stdout.matches("refused, as it has to be").count(), 2, "{stdout}");
    fails_with(&server, "http", &["--expect-refusal", "forbidden"], "refused the publish: 401");
    fails_with(&node(OPEN_TO_PUBLISH), "http", &["--expect-refusal", "401"], "where 401 was expected");
}

#[test]
fn tokens_and_rooms_count_as_for_every_client() {
    let settings = format!(
        "{OPEN_TO_PUBLISH}[[auth.issuers]]\nname = \"test\"\nkey = \"{SECRET}\"\n\
         [[rooms]]\nmatch = \"staff\"\njoin = \"nobody\"\n"
    );
    let server = node(&settings);
    fails_with(&server, "http", &[], "CONNECT was refused: authentication_required");
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
    let claims = json!({ "sub": "smoke", "exp": end });
    let token =
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()));
    let token = file(&format!("{}\n", token.unwrap()));
    gets_through(&server, "http", &["--token-file", &token]);
    fails_with(
        &server,
        "http",
        &["--token-file", &token, "--room", "staff"],
        "the join was refused: forbidden",
    );
}

#[test]
fn over_tls_the_certificate_is_checked() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue(2040));
    let server = secure_node(&files, OPEN_TO_PUBLISH);
    let (own, other) = (files.certificate.display().to_string(), file(&authority.issue(2040).0));
    gets_through(&server, "https", &["--certificate-file", &own]);
    fails_with(&server, "https", &["--certificate-file", &other], "certificate");

    let trusted = file(&authority.pem);
    gets_through(&server, "https", &["--ca-file", &trusted, "--server-name", "localhost"]);
    fails_with(&server, "https", &["--ca-file", &trusted], "certificate");
    fails_with(
        &server,
        "https",
        &["--ca-file", &file(&Authority::new().pem), "--server-name", "localhost"],
        "certificate",
    );
    let (code, ..) = smoke(&server, "http", &["--certificate-file", &own]);
    assert_eq!(code, 1);
}

#[test]
fn a_listener_behind_the_proxy_protocol_wants_its_header() {
    let settings = "[server]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let server = node(&format!("{settings}{OPEN_TO_PUBLISH}"));
    gets_through(&server, "http", &["--proxy-protocol"]);
    let (code, ..) = smoke(&server, "http", &[]);
    assert_eq!(code, 1);
}

#[test]
fn where_nobody_listens_it_says_so() {
    // Bound and not listened on, so that nobody else gets the port meanwhile.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let url = format!("http://{}", held.local_addr().unwrap().as_socket().unwrap());
    let (code, _, stderr) = run(&["--url", &url]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with(&format!("websocket to {url}: cannot connect: ")), "{stderr}");
}

#[test]
fn a_password_in_an_address_is_not_printed() {
    for (option, url) in [
        ("--url", "http://user:secret@127.0.0.1:1"),
        ("--url", "http://user:secret@127.0.0.1:port"),
        ("--url", "user:secret@127.0.0.1:1"),
        ("--ops", "http://user:secret@127.0.0.1:1"),
        ("--ops", "http://secret@127.0.0.1:1"),
    ] {
        let (code, stdout, stderr) = run(&[option, url]);
        assert_eq!((code, &*stdout), (1, ""), "{option} {url}");
        assert!(stderr.starts_with(&format!("{option}: expected a URL without user info")), "{stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    }
}
