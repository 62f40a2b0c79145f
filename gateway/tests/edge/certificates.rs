//! The certificate of the public listener: new files are used for new connections, wrong ones never.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    POLLING, metric, node,
    support::{eventually, process::Server},
    tls_client::{Authority, TlsClient},
};

const EXPIRY: &str = "broadgate_tls_certificate_expiry_timestamp_seconds";
/// The ends of 2040 and 2041, as the certificates of these tests have them.
const END_OF_2040: u64 = 2_240_524_800;
const END_OF_2041: u64 = 2_272_060_800;

/// A certificate and its key, as files.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn new(pems: &(String, String)) -> Self {
        static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("certificates-{}-{number}", std::process::id());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        let files = Self { certificate: directory.join("tls.crt"), key: directory.join("tls.key") };
        files.write(pems);
        files
    }

    fn write(&self, (certificate, key): &(String, String)) {
        replace(&self.certificate, certificate);
        replace(&self.key, key);
    }

    fn keys(&self) -> String {
        format!("[server]\ntls_cert_file = {:?}\ntls_key_file = {:?}\n", self.certificate, self.key)
    }
}

/// At once: the node must not read half of it.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// A node that speaks TLS.
pub(crate) fn secure_node(files: &Files, more: &str) -> Server {
    node(&format!("{}{more}", files.keys()))
}

#[test]
fn a_new_certificate_is_used_for_new_connections_and_the_old_ones_stay() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue(2040));
    let server = secure_node(&files, "");
    let config = authority.any_client();
    let mut old = TlsClient::socketio(server.address, &config);
    assert_eq!(metric(&server, EXPIRY), END_OF_2040);

    // No good: the old one stays.
    let new = authority.issue(2041);
    replace(&files.key, &new.1);
    let failed = "broadgate_tls_reloads_total{result=\"failed\"}";
    eventually(failed, || metric(&server, failed) == 1);
    assert_eq!(
        TlsClient::connect(server.address, &authority.any_client()).request("GET", POLLING, &[], b"").0,
        200
    );
    assert_eq!(metric(&server, EXPIRY), END_OF_2040);

    replace(&files.certificate, &new.0);
    let ok = "broadgate_tls_reloads_total{result=\"ok\"}";
    eventually(ok, || metric(&server, ok) == 1);
    assert_eq!(metric(&server, EXPIRY), END_OF_2041);
    let shown = TlsClient::connect(server.address, &authority.any_client());
    let shown = shown.stream.conn.peer_certificates().unwrap()[0].clone();
    let expected = rustls_der(&new.0);
    assert_eq!(shown.as_ref(), expected);
    assert!(old.ask(r#"["join","room"]"#).starts_with("430["), "who is connected notices nothing");
    assert_eq!((metric(&server, ok), metric(&server, failed)), (1, 1));
}

fn rustls_der(pem: &str) -> Vec<u8> {
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[test]
fn wrong_files_at_the_start_are_told_with_their_key_and_name() {
    let authority = Authority::new();
    let (files, others) = (Files::new(&authority.issue(2040)), Files::new(&authority.issue(2040)));
    let missing = PathBuf::from("/no/such/file.pem");
    for (certificate, key, expected) in [
        (&missing, &files.key, "server.tls_cert_file: /no/such/file.pem: No such file".to_owned()),
        (&files.certificate, &missing, "server.tls_key_file: /no/such/file.pem: No such file".to_owned()),
        (
            &files.key,
            &files.key,
            format!("server.tls_cert_file: {}: there is no certificate", files.key.display()),
        ),
        (
            &files.certificate,
            &files.certificate,
            format!("server.tls_key_file: {}: there is no private key", files.certificate.display()),
        ),
        (&files.certificate, &others.key, "server.tls_cert_file with server.tls_key_file: ".to_owned()),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_broadgate"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        command.env("BROADGATE__SERVER__TLS_CERT_FILE", certificate);
        command.env("BROADGATE__SERVER__TLS_KEY_FILE", key);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(&expected), "{expected}\n{error}");
    }
}
