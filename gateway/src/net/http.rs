//! HTTP connections: hyper parses, the shard's service answers, and on an upgrade the naked socket is taken out, with its
//! TLS session where there is one.

use std::{
    error::Error, future::Future, io, net::TcpStream, os::fd::OwnedFd, pin::pin, sync::Arc, time::Duration,
};

use axum::body::Body;
use broadgate_protocol::websocket::handshake;
use futures_util::FutureExt;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::server::TlsStream;

use super::{
    HttpStream, Proxies,
    stream::PeerStream,
    tls::{ListenerTls, TlsSession},
    write_deadline::WriteDeadline,
};

/// Request heads are bounded by hyper's read buffer: 16 KiB hold every browser's cookies.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What HTTP connections are served with.
#[derive(Clone)]
pub struct HttpSettings {
    /// How long a TLS handshake and a request's head may take, how long a connection may idle, and how long a peer may not
    /// read.
    pub header_timeout: Duration,
    /// Who is believed about whose requests these are.
    pub proxies: Arc<Proxies>,
    /// The certificate, where the listener speaks TLS.
    pub tls: Option<Arc<ListenerTls>>,
    /// Log lines about clients' faults per second, before there is a session.
    pub max_log_lines_per_second: u32,
}

impl HttpSettings {
    /// For a listener without TLS that nobody is in front of.
    pub fn new(header_timeout: Duration) -> Self {
        Self { header_timeout, proxies: Arc::default(), tls: None, max_log_lines_per_second: 10 }
    }
}

impl HttpStream {
    /// A connection without TLS.
    ///
    /// # Errors
    /// The kernel refused to watch it.
    pub(crate) fn plain(stream: TcpStream, write_timeout: Duration) -> io::Result<Self> {
        Ok(Self::Plain(WriteDeadline::new(tokio::net::TcpStream::from_std(stream)?, write_timeout)))
    }
}

/// Serves one connection until it ends or is upgraded. True: the peer took too long to send a head, to begin with the next
/// one, or to read.
pub(crate) async fn serve<F, E>(
    stream: HttpStream,
    header_timeout: Duration,
    stopping: watch::Receiver<bool>,
    respond: impl Fn(Request<Incoming>) -> F,
) -> bool
where
    F: Future<Output = Result<Response<Body>, E>>,
    E: Error + Send + Sync + 'static,
{
    match stream {
        HttpStream::Plain(stream) => serve_on(stream, header_timeout, stopping, respond).await,
        // Apart, so that the connections without TLS do not hold the room for it.
        HttpStream::Tls(stream) => Box::pin(serve_on(stream, header_timeout, stopping, respond)).await,
    }
}

async fn serve_on<IO, F, E>(
    stream: IO,
    header_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
    respond: impl Fn(Request<Incoming>) -> F,
) -> bool
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<Response<Body>, E>>,
    E: Error + Send + Sync + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(move |request| begin(respond(request))))
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = asked_to_stop(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let Err(error) = served else { return false };
    // A peer that goes away or talks garbage is its own affair; hyper has answered where an answer was possible.
    tracing::debug!(%error, "an HTTP connection ended early");
    error.is_timeout() || is_stuck(&error)
}

/// Did a write make no progress for too long?
fn is_stuck(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Lets an answer begin at once. hyper looks for the end of the connection before it polls an answer for the first time,
/// and a poll whose client has hung up already would never reach its session, which is to end with it (wire.md 1.6).
fn begin<F: Future>(answer: F) -> impl Future<Output = F::Output> {
    let mut answer = Box::pin(answer);
    let first = (&mut answer).now_or_never();
    async move {
        match first {
            Some(answer) => answer,
            None => answer.await,
        }
    }
}

pub(crate) async fn asked_to_stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that the one who could ask is gone; then this task ends as well.
    let _gone = stopping.wait_for(|&stopping| stopping).await.is_err();
}

/// Checks the opening handshake of a WebSocket, request line included; gives the value of `Sec-WebSocket-Accept`.
///
/// # Errors
/// The answer that refuses it: 426 with the version that we speak, or 400.
pub fn check_handshake<B>(request: &Request<B>) -> Result<String, Box<Response<Body>>> {
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return Err(refused_handshake(400, "a WebSocket begins with GET over HTTP/1.1 (RFC 6455, 4.2.1)"));
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    handshake::check(header).map_err(|error| refused_handshake(error.http_status(), &error.to_string()))
}

fn refused_handshake(status: u16, why: &str) -> Box<Response<Body>> {
    let mut response = Response::new(Body::from(why.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("400 or 426");
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if status == 426 {
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    Box::new(response)
}

/// The answer that switches to WebSocket (RFC 6455 section 4.2.2).
pub fn switching_protocols(accept: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, "Upgrade".parse().expect("a constant"));
    headers.insert(UPGRADE, "websocket".parse().expect("a constant"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().expect("base64 is a valid header value"));
    response
}

/// Waits until the 101 is written, and gives what is left of the connection with the bytes that came behind the request.
/// `None`: the peer went away first.
pub async fn upgraded(on_upgrade: OnUpgrade) -> Option<(PeerStream, Vec<u8>)> {
    let upgraded = match on_upgrade.await.ok()?.downcast::<TokioIo<WriteDeadline>>() {
        Ok(parts) => return Some((naked(parts.io.into_inner())?.into(), parts.read_buf.to_vec())),
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<Box<TlsStream<WriteDeadline>>>>().ok()?;
    let (stream, connection) = parts.io.into_inner().into_inner();
    let (mut session, mut early) = (Box::new(TlsSession::new(connection)), parts.read_buf.to_vec());
    session.take_plaintext(&mut early);
    Some((PeerStream { socket: naked(stream)?, tls: Some(session) }, early))
}

fn naked(stream: WriteDeadline) -> Option<OwnedFd> {
    Some(stream.into_inner().into_std().ok()?.into())
}
