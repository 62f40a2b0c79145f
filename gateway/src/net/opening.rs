//! What comes before HTTP on an accepted connection: the PROXY header of a balancer, the TLS handshake. In a task of the
//! shard, so that nobody waits for a slow peer.

use std::{
    io,
    net::{IpAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use hyper::{HeaderMap, header::HeaderValue};
use tokio::{io::AsyncReadExt, time::timeout};
use tokio_rustls::{rustls, server::TlsStream};

use super::{
    Cidr, forwarded_client,
    proxy_protocol::{MAX_HEADER_BYTES, parse_proxy_header},
    tls::ListenerTls,
    write_deadline::WriteDeadline,
};
use crate::{
    limits::AddressGuard,
    telemetry::{Counter, ShardCounters},
};

/// How long a PROXY header may take: whoever puts it there is near, and sends it at once.
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is believed about whose connections and requests these are.
#[derive(Debug, Default)]
pub struct Proxies {
    /// `server.trusted_proxies`
    pub trusted: Box<[Cidr]>,
    /// Does a PROXY header come before everything else?
    pub expects_header: bool,
}

impl Proxies {
    /// Whose request it is that came on a connection of `peer`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        forwarded_client(peer, forwarded, &self.trusted)
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }
}

/// A connection on which HTTP can begin.
pub(crate) struct Opened {
    pub(crate) stream: HttpStream,
    /// Who is connected, as the PROXY header says it.
    pub(crate) peer: IpAddr,
}

/// What HTTP is spoken over.
pub(crate) enum HttpStream {
    Plain(WriteDeadline),
    Tls(Box<TlsStream<WriteDeadline>>),
}

/// Why HTTP does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The kernel refused to watch the socket.
    #[error("cannot watch a connection: {0}")]
    Unwatched(io::Error),
    /// `server.proxy_protocol` is on, and the peer is none of `server.trusted_proxies`.
    #[error("PROXY header: the peer is none of server.trusted_proxies")]
    ProxyUntrusted,
    #[error("PROXY header: it is malformed, or there is none")]
    ProxyMalformed,
    #[error("PROXY header: it did not come in time")]
    ProxyTimeout,
    #[error("PROXY header: the connection ended before it came")]
    ProxyClosed,
    /// Counted where connections are.
    #[error("PROXY header: the client has as many connections as it may")]
    ProxyLimited,
    #[error("TLS handshake: the client makes more of them than it may")]
    TlsLimited,
    #[error("TLS handshake: it took too long")]
    TlsTimeout,
    #[error("TLS handshake: the connection ended before it was done")]
    TlsClosed,
    #[error("TLS handshake: {0}")]
    Tls(rustls::Error),
}

impl OpenError {
    /// Has whoever refused it told of it?
    pub(crate) fn is_logged(&self) -> bool {
        matches!(self, Self::ProxyLimited | Self::TlsLimited)
    }

    /// What counts it.
    pub(crate) fn counter<'c>(&self, counters: &'c ShardCounters) -> Option<&'c Counter> {
        Some(match self {
            Self::Unwatched(_) | Self::ProxyLimited => return None,
            Self::ProxyUntrusted => &counters.proxy_untrusted,
            Self::ProxyMalformed => &counters.proxy_malformed,
            Self::ProxyTimeout => &counters.proxy_timeout,
            Self::ProxyClosed => &counters.proxy_closed,
            Self::TlsLimited => &counters.tls_address_rate,
            Self::TlsTimeout => &counters.tls_timeout,
            Self::TlsClosed => &counters.tls_closed,
            Self::Tls(rustls::Error::InvalidMessage(_)) => &counters.tls_no_tls,
            Self::Tls(rustls::Error::PeerIncompatible(_)) => &counters.tls_incompatible,
            Self::Tls(rustls::Error::AlertReceived(_)) => &counters.tls_alert,
            Self::Tls(_) => &counters.tls_error,
        })
    }
}

/// Does what comes before HTTP. `address` counts the connection for the client that a PROXY header names, as a balancer's
/// are not counted, and lets it pay for TLS before that costs anything.
pub(crate) async fn open(
    stream: TcpStream,
    peer: IpAddr,
    proxies: &Proxies,
    tls: Option<&Arc<ListenerTls>>,
    handshake_timeout: Duration,
    address: &mut AddressGuard,
) -> Result<Opened, OpenError> {
    let mut stream = tokio::net::TcpStream::from_std(stream).map_err(OpenError::Unwatched)?;
    let mut peer = peer.to_canonical();
    if proxies.expects_header {
        if !proxies.trusts(peer) {
            return Err(OpenError::ProxyUntrusted);
        }
        let source = timeout(PROXY_TIMEOUT.min(handshake_timeout), read_proxy_header(&mut stream));
        // A proxy that speaks for itself is who it is.
        if let Some(source) = source.await.map_err(|_| OpenError::ProxyTimeout)?? {
            peer = source.to_canonical();
            *address = address.connection_of(peer).map_err(|_| OpenError::ProxyLimited)?;
        }
    }
    let stream = WriteDeadline::new(stream, handshake_timeout);
    let Some(tls) = tls else { return Ok(Opened { stream: HttpStream::Plain(stream), peer }) };
    if !address.admits_tls_handshake() {
        return Err(OpenError::TlsLimited);
    }
    let handshake = Box::pin(timeout(handshake_timeout, tls.acceptor().accept(stream)));
    let stream = handshake.await.map_err(|_| OpenError::TlsTimeout)?.map_err(|error| tls_error(&error))?;
    Ok(Opened { stream: HttpStream::Tls(Box::new(stream)), peer })
}

/// Takes the header off the stream, and not a byte of what follows it.
async fn read_proxy_header(stream: &mut tokio::net::TcpStream) -> Result<Option<IpAddr>, OpenError> {
    let closed = |_: io::Error| OpenError::ProxyClosed;
    let mut buffer = vec![0; MAX_HEADER_BYTES];
    let mut filled = 0;
    loop {
        let peeked = stream.peek(&mut buffer[filled..]).await.map_err(closed)?;
        if peeked == 0 {
            return Err(OpenError::ProxyClosed);
        }
        let parsed = parse_proxy_header(&buffer[..filled + peeked]);
        let header = parsed.map_err(|_| OpenError::ProxyMalformed)?;
        let end = header.map_or(filled + peeked, |header| header.length);
        stream.read_exact(&mut buffer[filled..end]).await.map_err(closed)?;
        if let Some(header) = header {
            return Ok(header.source);
        }
        filled = end;
    }
}

fn tls_error(error: &io::Error) -> OpenError {
    match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
        Some(error) => OpenError::Tls(error.clone()),
        None if error.kind() == io::ErrorKind::TimedOut => OpenError::TlsTimeout,
        None => OpenError::TlsClosed,
    }
}
