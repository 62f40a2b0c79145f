//! The way to a server, whatever it is: TCP, TLS over it, or a Unix socket.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::LinkError;
use crate::redis::{
    endpoint::{Address, Endpoint, Login},
    tls::TlsSettings,
};

/// What is read of a file that holds a password.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Connects, and agrees on TLS where the endpoint wants it. Has no deadline.
pub(super) async fn open(endpoint: &Endpoint) -> Result<Box<dyn Stream>, LinkError> {
    let (host, port) = match &endpoint.address {
        Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    let stream = TcpStream::connect((host, port)).await?;
    // With Nagle's algorithm, small writes would wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let Some(tls) = &endpoint.tls else { return Ok(Box::new(stream)) };
    let name = tls.server_name(host)?;
    let config = load(tls.clone()).await?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| LinkError::Failed(format!("TLS: {error}")))?))
}

/// The password to log in with now. Off the caller's thread, as it may read a file.
pub(super) async fn password(login: &Login) -> String {
    let Some(file) = login.password_file.clone() else { return login.password.clone() };
    let shown = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || read_password(&file)).await;
    match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(password) => password,
        Err(error) => {
            tracing::warn!(file = shown, %error, "cannot read the password of Redis; that of the start is tried");
            login.password.clone()
        }
    }
}

fn read_password(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_PASSWORD_BYTES).read_to_string(&mut text)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() { Err(io::Error::other("it is empty")) } else { Ok(text) }
}

/// Off the caller's thread, as it reads files.
pub(super) async fn load(
    settings: TlsSettings,
) -> Result<std::sync::Arc<tokio_rustls::rustls::ClientConfig>, LinkError> {
    let loaded = tokio::task::spawn_blocking(move || settings.load()).await;
    // It is cancelled only with the runtime.
    Ok(loaded.map_err(|error| LinkError::Failed(error.to_string()))??)
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::redis::tls::TlsError> for LinkError {
    fn from(error: crate::redis::tls::TlsError) -> Self {
        Self::Failed(format!("TLS: {error}"))
    }
}
