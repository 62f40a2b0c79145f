//! Where the clients of `smoke` connect, and what comes before HTTP there: the PROXY header, TLS.

use std::io;

use anyhow::{Context, bail, ensure};
use broadgate_adapter::redis::TlsSettings;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::{Host, Url};

use super::{SmokeArgs, http, pinned};

/// Of a proxy that speaks for itself, as the specification of the PROXY protocol has it for checks.
const PROXY_HEADER: &[u8] = b"PROXY UNKNOWN\r\n";

/// What HTTP is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One public address.
pub(super) struct Target {
    url: Url,
    path: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    sends_proxy_header: bool,
}

impl Target {
    /// # Errors
    /// The URL or a file can't be used.
    pub(super) fn new(args: &SmokeArgs) -> anyhow::Result<Self> {
        let SmokeArgs { url: text, path, .. } = args;
        let url = http::parse_url(text).context("--url")?;
        ensure!(matches!(url.path(), "" | "/"), "{text}: expected no path; --path is engine.path");
        ensure!(path.starts_with('/'), "--path: {path:?} does not start with a slash");
        let is_encrypted = match url.scheme() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => bail!("{text}: expected http:// or https://"),
        };
        let host = url.host_str().with_context(|| format!("{text}: has no host"))?;
        let tls = if is_encrypted { Some(connector(args, host)?) } else { None };
        Ok(Self { path: path.clone(), tls, sends_proxy_header: args.proxy_protocol, url })
    }

    /// `engine.path`
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// For the header `Host`.
    pub(super) fn authority(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let mut stream = self.tcp().await?;
        stream.set_nodelay(true)?;
        if self.sends_proxy_header {
            stream.write_all(PROXY_HEADER).await?;
        }
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream)) };
        Ok(Box::new(connector.connect(name.clone(), stream).await?))
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        // `ws` and `wss` are known to the crate, too.
        let port = self.url.port_or_known_default().unwrap_or(80);
        let addresses: Vec<_> = match self.url.host() {
            Some(Host::Domain(name)) => lookup_host((name, port)).await?.collect(),
            Some(Host::Ipv4(address)) => vec![(address, port).into()],
            Some(Host::Ipv6(address)) => vec![(address, port).into()],
            None => Vec::new(),
        };
        TcpStream::connect(&*addresses).await
    }
}

fn connector(args: &SmokeArgs, host: &str) -> anyhow::Result<(TlsConnector, ServerName<'static>)> {
    let trust = TlsSettings {
        ca_file: args.ca_file.clone(),
        server_name: args.server_name.clone(),
        ..TlsSettings::default()
    };
    let name = trust.server_name(host)?;
    let config = match &args.certificate_file {
        Some(file) => pinned::client_config(file)?,
        None => trust.load()?,
    };
    Ok((TlsConnector::from(config), name))
}
