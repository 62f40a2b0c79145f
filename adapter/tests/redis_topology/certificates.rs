//! Certificates of a test's own, as PEM files.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Who signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no name is a bad name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("there is randomness");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("it can be signed") }
    }

    /// Writes the authority's own certificate and gives the file's path.
    pub fn write(&self, directory: &Path, name: &str) -> String {
        write(directory, name, &self.issuer.pem())
    }

    /// Writes `<name>.crt` and `<name>.key`, valid for these host names and addresses, and gives their paths.
    pub fn issue(&self, directory: &Path, name: &str, hosts: &[&str]) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("the names are valid");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        (
            write(directory, &format!("{name}.crt"), &certificate.pem()),
            write(directory, &format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

fn write(directory: &Path, name: &str, pem: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, pem).expect("the file can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}
