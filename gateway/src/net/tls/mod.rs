//! TLS on the public listener: rustls with one configuration for all shards, whose certificate can be replaced while it
//! is in use. Owned by the node; shards hold it shared.

mod certificate;
mod session;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use parking_lot::RwLock;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

pub use certificate::{CertificateError, CertificateFiles};
pub(crate) use session::{MAX_INPUT_BYTES, TlsSession};

/// How often the files are looked at. What is new is used once it has stayed the same from one look to the next: whoever
/// replaces two files does it one by one.
const RELOAD_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// See the module.
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    files: CertificateFiles,
    /// Times that new files were used, and that they could not be.
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Current {
    key: RwLock<Arc<CertifiedKey>>,
    expires_at_s: AtomicI64,
    content: AtomicU64,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read()))
    }
}

impl ListenerTls {
    /// Reads the files. Blocks for as long as that takes.
    ///
    /// # Errors
    /// They can't be read, or are not a certificate with its key.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let content = files.read()?;
        let identity = content.parse(&files)?;
        let current = Arc::new(Current {
            key: RwLock::new(Arc::new(identity.key)),
            expires_at_s: AtomicI64::new(identity.expires_at_s),
            content: AtomicU64::new(content.fingerprint()),
        });
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Tickets: clients keep what they resume their sessions with, and the node keeps nothing.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(CertificateError::NoTickets)?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let (reloads, failed_reloads) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { config: Arc::new(config), current, files, reloads, failed_reloads })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// When the certificate that is in use expires, in seconds since 1970.
    pub fn expires_at_s(&self) -> i64 {
        self.current.expires_at_s.load(Ordering::Relaxed)
    }

    /// Times that new files were used, and times that new files could not be.
    pub fn reloads_total(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.failed_reloads.load(Ordering::Relaxed))
    }

    /// Looks at the files until the future is dropped, and uses what is new for new connections. Files that are no good
    /// leave the old certificate in use, and are told once.
    pub async fn watch_files(self: Arc<Self>) {
        // What was told of last: the same fault again would say nothing new.
        let (mut told, mut seen) = (None, None);
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let this = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || this.look(seen)).await;
            let Ok((fingerprint, outcome)) = look else { continue };
            seen = fingerprint;
            match outcome {
                Look::Same => told = None,
                Look::Used => {
                    told = None;
                    self.reloads.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(expires_at_s = self.expires_at_s(), "a new certificate is in use");
                }
                Look::Unusable(error) if told.as_ref() != Some(&error) => {
                    self.failed_reloads.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "the new certificate can't be used; the old one stays");
                    told = Some(error);
                }
                Look::Nothing | Look::Unusable(_) => {}
            }
        }
    }

    /// One look at the files. `seen`: what was in them the last time.
    fn look(&self, seen: Option<u64>) -> (Option<u64>, Look) {
        let content = match self.files.read() {
            Ok(content) => content,
            Err(error) => return (None, Look::Unusable(error)),
        };
        let fingerprint = content.fingerprint();
        if fingerprint == self.current.content.load(Ordering::Relaxed) {
            return (Some(fingerprint), Look::Same);
        }
        if seen != Some(fingerprint) {
            return (Some(fingerprint), Look::Nothing);
        }
        match content.parse(&self.files) {
            Ok(identity) => {
                *self.current.key.write() = Arc::new(identity.key);
                self.current.expires_at_s.store(identity.expires_at_s, Ordering::Relaxed);
                self.current.content.store(fingerprint, Ordering::Relaxed);
                (Some(fingerprint), Look::Used)
            }
            Err(error) => (Some(fingerprint), Look::Unusable(error)),
        }
    }
}

/// What a look at the files gave.
enum Look {
    /// Something is new; it is used if it stays.
    Nothing,
    /// What is in use.
    Same,
    /// A new certificate, which is in use now.
    Used,
    /// The new ones are no good.
    Unusable(CertificateError),
}
