//! TLS: whom the node trusts, whom it takes the server for, and what it shows of itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use broadgate_adapter::{
    RedisConfig, RedisDriver, RedisEngine, StartError,
    redis::{Servers, TlsError, TlsIdentity, TlsSettings},
};

use crate::{
    Node, assert_connected,
    certificates::Authority,
    config, config_of, on_each_driver,
    support::{
        Recorder, eventually,
        log::Log,
        redis_server::{Place, RedisServer, words},
    },
};

on_each_driver![
    a_server_of_a_trusted_authority_is_used,
    a_server_of_another_authority_is_refused_until_the_file_has_its_own,
    a_server_must_have_the_name_that_is_expected,
    a_server_that_wants_a_certificate_gets_it,
    a_server_without_tls_is_told,
];

/// A server with TLS on its second port, and a directory for the node's files: the server's own.
fn start(authority: &Authority, hosts: &[&str], auth_clients: &str) -> RedisServer {
    RedisServer::start_with(|place| {
        let (certificate, key) = authority.issue(&place.directory, "server", hosts);
        let ca = authority.write(&place.directory, "ca.crt");
        let port = place.second_port.to_string();
        words(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            auth_clients,
        ])
    })
}

fn url(place: &Place) -> String {
    format!("rediss://localhost:{}", place.second_port)
}

fn tls_config(driver: RedisDriver, server: &RedisServer, uid: &str) -> RedisConfig {
    let ca_file = Some(PathBuf::from(server.place().file("ca.crt")));
    let tls = TlsSettings { ca_file, ..TlsSettings::default() };
    RedisConfig { tls, ..config(driver, url(server.place()), uid) }
}

async fn a_server_of_a_trusted_authority_is_used(driver: RedisDriver) {
    let mut server = start(&Authority::new("Trusted"), &["localhost", "127.0.0.1"], "no");
    let a = Node::joined(tls_config(driver, &server, "nodeA_")).await;
    let by_address =
        Servers::Standalone { url: format!("rediss://127.0.0.1:{}", server.place().second_port) };
    let b = Node::joined(RedisConfig { servers: by_address, ..tls_config(driver, &server, "nodeB_") }).await;
    assert_connected(&a, &b).await;

    server.kill();
    eventually("the loss is noticed", || a.links_lost() == 1 && b.links_lost() == 1).await;
    server.restart();
    eventually("the gap is told", || a.gaps() == 1 && b.gaps() == 1).await;
    for node in [&a, &b] {
        node.ready().await;
    }
    assert_connected(&a, &b).await;
    for node in [a, b] {
        node.shutdown().await;
    }
}

async fn a_server_of_another_authority_is_refused_until_the_file_has_its_own(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let (trusted, other) = (Authority::new("Trusted"), Authority::new("Other"));
    let server = start(&other, &["localhost"], "no");
    let directory = &server.place().directory;
    let file = PathBuf::from(trusted.write(directory, "trusted.crt"));
    let tls = TlsSettings { ca_file: Some(file), ..TlsSettings::default() };
    let node = Node::start(RedisConfig { tls, ..tls_config(driver, &server, "nodeA_") });
    eventually("lines that say so", || log.lines_with("UnknownIssuer").len() >= 2).await;
    let system =
        Node::start(RedisConfig { tls: TlsSettings::default(), ..tls_config(driver, &server, "nodeB_") });
    eventually("more of them", || log.lines_with("UnknownIssuer").len() >= 4).await;

    other.write(directory, "trusted.crt");
    node.ready().await;
    for node in [node, system] {
        node.shutdown().await;
    }
}

async fn a_server_must_have_the_name_that_is_expected(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = start(&Authority::new("Trusted"), &["redis.internal"], "no");
    let with_name = |name: Option<&str>, uid| {
        let config = tls_config(driver, &server, uid);
        let tls = TlsSettings { server_name: name.map(str::to_owned), ..config.tls.clone() };
        RedisConfig { tls, ..config }
    };
    let by_host = Node::start(with_name(None, "nodeA_"));
    // Each driver has its own words.
    let said = || log.lines_with("not valid for name").len() + log.lines_with("NotValidForName").len();
    eventually("lines that say so", || said() >= 2).await;
    let named = Node::start(with_name(Some("redis.internal"), "nodeB_"));
    named.ready().await;
    for node in [by_host, named] {
        node.shutdown().await;
    }
}

async fn a_server_that_wants_a_certificate_gets_it(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let authority = Authority::new("Trusted");
    let server = start(&authority, &["localhost"], "yes");
    let without = Node::start(tls_config(driver, &server, "nodeA_"));
    eventually("lines that say so", || log.lines_with("CertificateRequired").len() >= 2).await;

    let with_identity = |uid| {
        let (certificate, key) = authority.issue(&server.place().directory, uid, &[]);
        let config = tls_config(driver, &server, uid);
        let identity = TlsIdentity { certificate_file: certificate.into(), key_file: key.into() };
        RedisConfig { tls: TlsSettings { identity: Some(identity), ..config.tls.clone() }, ..config }
    };
    let (a, b) = (Node::joined(with_identity("nodeB_")).await, Node::joined(with_identity("nodeC_")).await);
    assert_connected(&a, &b).await;
    for node in [without, a, b] {
        node.shutdown().await;
    }
}

async fn a_server_without_tls_is_told(driver: RedisDriver) {
    let (log, _guard) = Log::capture();
    let server = start(&Authority::new("Trusted"), &["localhost"], "no");
    let plain_port = Servers::Standalone { url: server.url().replace("redis:", "rediss:") };
    let node = Node::start(RedisConfig { servers: plain_port, ..tls_config(driver, &server, "nodeA_") });
    eventually("lines that say so", || log.lines_with("can't connect to Redis").len() >= 2).await;
    assert_eq!(node.links_up(), 0);
    node.shutdown().await;
}

#[tokio::test]
async fn files_that_can_never_work_are_refused_at_the_start() {
    let server = start(&Authority::new("Trusted"), &["localhost"], "no");
    let file = |name: &str| PathBuf::from(server.place().file(name));
    std::fs::write(file("empty.pem"), "").expect("it can be written");
    std::fs::write(file("broken.pem"), "-----BEGIN CERTIFICATE-----\nhidden\n").expect("it can be written");
    let (other_certificate, _) = Authority::new("Other").issue(&server.place().directory, "other", &["x"]);
    let ca = |path: &Path| TlsSettings { ca_file: Some(path.to_owned()), ..TlsSettings::default() };
    let identity = |certificate: &Path, key: &Path| {
        let identity = TlsIdentity { certificate_file: certificate.to_owned(), key_file: key.to_owned() };
        TlsSettings { identity: Some(identity), ..ca(&file("ca.crt")) }
    };
    let named = TlsSettings { server_name: Some("no name".to_owned()), ..ca(&file("ca.crt")) };
    for (tls, expected) in [
        (ca(&file("nothing.pem")), "nothing.pem: No such file or directory (os error 2)"),
        (ca(&file("empty.pem")), "empty.pem: what is expected in it, in PEM, is not there"),
        (ca(&file("broken.pem")), "broken.pem: it is no valid PEM"),
        (identity(&file("server.crt"), &file("nothing.pem")), "nothing.pem: No such file"),
        (
            identity(&file("server.crt"), &file("ca.crt")),
            "ca.crt: what is expected in it, in PEM, is not there",
        ),
        (
            identity(Path::new(&other_certificate), &file("server.key")),
            "server.key: keys may not be consistent",
        ),
        (named, "\"no name\" is neither a host's name nor an IP address"),
    ] {
        let config = RedisConfig { tls, ..config(RedisDriver::Redis, url(server.place()), "nodeA_") };
        let error = RedisEngine::start(config, Arc::<Recorder>::default()).err();
        let error = error.expect("it is refused");
        assert!(matches!(
            error,
            StartError::Tls(TlsError::File { .. } | TlsError::Identity { .. } | TlsError::ServerName(_))
        ));
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Where nothing asks for TLS, nothing is read.
    let plain =
        RedisConfig { tls: ca(&file("nothing.pem")), ..config(RedisDriver::Redis, server.url(), "nodeA_") };
    let node = Node::start(plain);
    node.ready().await;
    node.shutdown().await;
}

#[tokio::test]
async fn the_servers_of_a_cluster_all_have_tls_or_none() {
    let urls = ["redis://h", "rediss://h"].map(str::to_owned).to_vec();
    let config = config_of(RedisDriver::Redis, Servers::Cluster { urls }, "nodeA_");
    let error = RedisEngine::start(config, Arc::<Recorder>::default()).err();
    assert_eq!(error, Some(StartError::MixedTls));
}
