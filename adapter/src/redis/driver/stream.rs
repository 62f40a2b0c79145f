//! The way to a server, whatever it is: TCP, TLS over it, or a Unix socket.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::LinkError;
use crate::redis::{
    endpoint::{Address, Endpoint},
    tls::TlsSettings,
};

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
