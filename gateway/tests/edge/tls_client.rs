//! A TLS client that shows what it gets: HTTP requests, and WebSockets with the events of Socket.IO.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use broadgate_protocol::websocket::{Decoder, Event, OpCode, Role, push_fragment};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};

use super::support::{DEADLINE, websocket::UPGRADE};

pub(crate) const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// An authority of the tests.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
    /// Its certificate.
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self { issuer: Issuer::new(parameters, key), roots, pem: certificate.pem() }
    }

    /// A certificate for `localhost` that expires at the end of a year, and its key, as PEM.
    pub(crate) fn issue(&self, expires_in: i32) -> (String, String) {
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(expires_in, 12, 31);
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Clients that trust it and speak these versions.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        Arc::new(builder.with_root_certificates(self.roots.clone()).with_no_client_auth())
    }

    pub(crate) fn any_client(&self) -> Arc<ClientConfig> {
        self.client(&[&TLS13, &TLS12])
    }
}

pub(crate) struct TlsClient {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    input: Vec<u8>,
    decoder: Decoder,
    messages: std::collections::VecDeque<String>,
}

impl TlsClient {
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), config).unwrap()
    }

    /// Shakes hands over a connection that is open.
    ///
    /// # Errors
    /// The handshake fails.
    pub(crate) fn over(socket: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, input: Vec::new(), decoder: Decoder::new(), messages: Default::default() })
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.stream.conn.protocol_version().unwrap()
    }

    pub(crate) fn was_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    fn read_more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(read) => {
                self.input.extend_from_slice(&chunk[..read]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                false
            }
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// Sends a request and reads its answer: status and body.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes);
        self.receive_head()
    }

    fn receive_head(&mut self) -> (u16, String) {
        let end = loop {
            if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.read_more(), "an answer");
        };
        let head = String::from_utf8(self.input.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while self.input.len() < length {
            assert!(self.read_more(), "the whole body");
        }
        (status, String::from_utf8(self.input.drain(..length).collect()).unwrap())
    }

    /// Turns the connection into a WebSocket; `early` is sent along with the request.
    pub(crate) fn upgrade(&mut self, target: &str, early: &[u8]) {
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in UPGRADE {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = (request + "\r\n").into_bytes();
        bytes.extend_from_slice(early);
        self.write(&bytes);
        assert_eq!(self.receive_head().0, 101);
    }

    /// A client of Socket.IO that is connected to `/`.
    pub(crate) fn socketio(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::connect(address, config).into_socketio()
    }

    pub(crate) fn into_socketio(mut self) -> Self {
        self.upgrade(WEBSOCKET, &text_frame("40"));
        assert!(self.receive().starts_with('0'));
        assert!(self.receive().starts_with("40{"));
        self
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.write(&text_frame(text));
    }

    /// The next text message, pings left out.
    pub(crate) fn receive(&mut self) -> String {
        self.try_receive().expect("a message")
    }

    /// `None`: the connection ended.
    pub(crate) fn try_receive(&mut self) -> Option<String> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Some(message);
            }
            while self.input.is_empty() {
                if !self.read_more() {
                    return None;
                }
            }
            let mut input = std::mem::take(&mut self.input);
            let mut rest = &mut input[..];
            while let Some(event) = self.decoder.next(Role::Client, 64 << 20, &mut rest).unwrap() {
                match event {
                    Event::Text("2") => {}
                    Event::Text(text) => self.messages.push_back(text.to_owned()),
                    Event::Close(_) => return None,
                    _ => {}
                }
            }
        }
    }

    /// Emits with ack 0 and takes the ack.
    pub(crate) fn ask(&mut self, event: &str) -> String {
        self.send(&format!("420{event}"));
        self.receive()
    }
}

pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_fragment(&mut bytes, OpCode::Text, true, Some([1, 2, 3, 4]), text.as_bytes());
    bytes
}
