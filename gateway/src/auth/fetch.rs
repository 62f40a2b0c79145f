//! The edge: one JWK set from its place, in bounded time and space.
//!
//! A client of our own on hyper's connection and the adapter's TLS, both of which the node has anyway. A crate for it
//! would bring redirects, pools, proxies and cookies; what is needed is one GET every few minutes.

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use broadgate_adapter::redis::{TlsError, TlsSettings};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::keys::JwksError;
use crate::config::JwksPlace;

/// From the look-up of the name to the last byte.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A name may have addresses of which some lead nowhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Sixty-four RSA keys with their certificates.
const MAX_JWKS_BYTES: usize = 512 * 1024;

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer has the status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the answer is a redirect, which is not followed; give the URL that it leads to")]
    Redirect,
    #[error("more than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    #[error("cannot read the file: {0}")]
    File(io::Error),
    #[error("{0}")]
    Jwks(#[from] JwksError),
}

/// The results that metrics know, the success first.
pub(super) const RESULTS: [&str; 5] = ["ok", "timeout", "unreachable", "refused", "unusable"];

impl FetchError {
    /// Its place in [`RESULTS`].
    pub(super) fn result(&self) -> usize {
        match self {
            Self::TimedOut => 1,
            Self::Connect(_) | Self::Tls(_) | Self::Http(_) | Self::File(_) => 2,
            Self::Status(_) | Self::Redirect => 3,
            Self::TooLarge | Self::Jwks(_) => 4,
        }
    }
}

/// The bytes of a JWK set.
pub(super) async fn fetch(place: &JwksPlace) -> Result<Vec<u8>, FetchError> {
    let read = async {
        match place {
            JwksPlace::Url { url, ca_file } => {
                let tls = TlsSettings { ca_file: ca_file.clone(), ..TlsSettings::default() };
                get(url, tls).await
            }
            JwksPlace::File(path) => read_file(path).await,
        }
    };
    timeout(FETCH_TIMEOUT, read).await.unwrap_or(Err(FetchError::TimedOut))
}

async fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let path = path.to_owned();
    let read = move || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_JWKS_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tokio::task::spawn_blocking(read).await.map_err(|error| FetchError::File(error.into()))?;
    let bytes = bytes.map_err(FetchError::File)?;
    if bytes.len() > MAX_JWKS_BYTES { Err(FetchError::TooLarge) } else { Ok(bytes) }
}

async fn get(url: &Url, tls: TlsSettings) -> Result<Vec<u8>, FetchError> {
    let host = url.host_str().unwrap_or_default();
    let stream = connect(url).await.map_err(FetchError::Connect)?;
    if url.scheme() == "http" {
        return exchange(url, stream).await;
    }
    let name = tls.server_name(host)?;
    // A hundred files or more.
    let config = tokio::task::spawn_blocking(move || tls.load()).await;
    let config = config.map_err(|error| FetchError::Connect(error.into()))??;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(FetchError::Connect)?;
    exchange(url, stream).await
}

async fn connect(url: &Url) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(url::Host::Domain(name)) => tokio::net::lookup_host((name, port)).await?.collect(),
        Some(url::Host::Ipv4(address)) => vec![(address, port).into()],
        Some(url::Host::Ipv6(address)) => vec![(address, port).into()],
        None => Vec::new(),
    };
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

async fn exchange(
    url: &Url,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Vec<u8>, FetchError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function at the latest.
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    let response = sender.send_request(request(url)).await?;
    if response.status().is_redirection() {
        return Err(FetchError::Redirect);
    }
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_JWKS_BYTES).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(FetchError::Http(*error)),
            Err(error) => Err(FetchError::Connect(io::Error::other(error))),
        },
    }
}

fn request(url: &Url) -> Request<Empty<Bytes>> {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    Request::get(target)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("broadgate/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .expect("what a URL holds can be in a request")
}
