//! TLS to Redis, and to whoever else the node is a client of: whom it trusts, and what it shows of itself.
//!
//! Owns nothing: the files are read for each connection, so a certificate that was renewed is used from the next one.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
};

/// What holds where a server is spoken to over TLS. By default the system's authorities are trusted and no certificate
/// is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates in PEM of the authorities that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What the node shows of itself, for servers that want it.
    pub identity: Option<TlsIdentity>,
    /// Whom the server's certificate must name, where it is not the host that is connected to.
    pub server_name: Option<String>,
}

/// A certificate of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate in PEM, followed by what leads up to an authority.
    pub certificate_file: PathBuf,
    /// Its private key in PEM.
    pub key_file: PathBuf,
}

/// Why TLS can't be used. Names files, never what is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system has no certificates of authorities.
    #[error(
        "the system trusts no authority (is the package ca-certificates missing?), and no file of them is given"
    )]
    NoSystemAuthorities,
    /// Certificate and key don't fit each other, or are of a kind that is not supported.
    #[error("{} with {}: {reason}", certificate_file.display(), key_file.display())]
    Identity {
        /// The certificate.
        certificate_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// Why.
        reason: String,
    },
    /// What should be the server's name is neither a host's name nor an address.
    #[error("{0:?} is neither a host's name nor an IP address")]
    ServerName(String),
}

impl TlsSettings {
    /// Whom the certificate of a server at `host` must name.
    ///
    /// # Errors
    /// It is no name.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        // As URLs have it.
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        ServerName::try_from(name.to_owned())
            .map_err(|_: InvalidDnsNameError| TlsError::ServerName(name.to_owned()))
    }

    /// Reads the files. Blocks for as long as that takes: the system's authorities are a hundred files or more.
    ///
    /// # Errors
    /// A file can't be used, or there are no authorities.
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(self.authorities()?);
        let Some(identity) = &self.identity else { return Ok(Arc::new(builder.with_no_client_auth())) };
        let certificates = read_certificates(&identity.certificate_file)?;
        let key_file = &identity.key_file;
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| pem_error(key_file, &error))?;
        let config = builder.with_client_auth_cert(certificates, key);
        config.map(Arc::new).map_err(|error| TlsError::Identity {
            certificate_file: identity.certificate_file.clone(),
            key_file: key_file.clone(),
            reason: error.to_string(),
        })
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        if let Some(file) = &self.ca_file {
            for certificate in read_certificates(file)? {
                store.add(certificate).map_err(|error: rustls::Error| file_error(file, error))?;
            }
            return Ok(store);
        }
        // One that is malformed must not keep the others from being used.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() { Err(TlsError::NoSystemAuthorities) } else { Ok(store) }
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(pem_error(file, &pem::Error::NoItemsFound)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(pem_error(file, &error)),
    }
}

/// The reader's own words may quote the file.
fn pem_error(file: &Path, error: &pem::Error) -> TlsError {
    match error {
        pem::Error::Io(error) => file_error(file, error),
        pem::Error::NoItemsFound => file_error(file, "what is expected in it, in PEM, is not there"),
        _ => file_error(file, "it is no valid PEM"),
    }
}

fn file_error(file: &Path, reason: impl Display) -> TlsError {
    TlsError::File { file: file.to_owned(), reason: reason.to_string() }
}
