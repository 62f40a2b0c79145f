//! One request to another server over HTTP/1.1, with or without TLS. Callers bound its time.
//!
//! A client of our own on hyper's connection and the adapter's TLS, both of which the node has anyway. A crate for it
//! would bring redirects, pools, proxies and cookies; what is needed is a GET every few minutes and a POST every second.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use broadgate_adapter::redis::{TlsError, TlsSettings};
use bytes::Bytes;
use http::{Request, Response, header, request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use url::Url;

/// A name may have addresses of which some lead nowhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("more than {0} bytes")]
    TooLarge(usize),
}

/// What TLS with the host of a URL needs; made once for many requests, as the system's authorities are a hundred files.
#[derive(Clone)]
pub(crate) struct OutboundTls {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl OutboundTls {
    /// `None` for a URL that is `http://`.
    pub(crate) async fn of(url: &Url, settings: TlsSettings) -> Result<Option<Self>, OutboundError> {
        if url.scheme() == "http" {
            return Ok(None);
        }
        let server = settings.server_name(url.host_str().unwrap_or_default())?;
        let config = tokio::task::spawn_blocking(move || settings.load()).await;
        let config = config.map_err(|error| OutboundError::Connect(error.into()))??;
        Ok(Some(Self { config, server }))
    }
}

/// The head of a request for a URL, without what the caller adds.
pub(crate) fn request_to(url: &Url) -> request::Builder {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    Request::builder()
        .uri(target)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("broadgate/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
}

/// Connects, asks, and takes an answer of at most `max_bytes`.
pub(crate) async fn send(
    url: &Url,
    tls: Option<OutboundTls>,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<Response<Bytes>, OutboundError> {
    let stream = connect(url).await.map_err(OutboundError::Connect)?;
    let Some(OutboundTls { config, server }) = tls else { return exchange(stream, request, max_bytes).await };
    let stream = TlsConnector::from(config).connect(server, stream).await.map_err(OutboundError::Connect)?;
    exchange(stream, request, max_bytes).await
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
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    max_bytes: usize,
) -> Result<Response<Bytes>, OutboundError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function at the latest.
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    let (head, body) = sender.send_request(request).await?.into_parts();
    match Limited::new(body, max_bytes).collect().await {
        Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(OutboundError::TooLarge(max_bytes)),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(OutboundError::Http(*error)),
            Err(error) => Err(OutboundError::Connect(io::Error::other(error))),
        },
    }
}
