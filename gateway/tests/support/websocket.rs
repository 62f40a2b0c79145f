//! A raw WebSocket client: frames as the test makes them, events as they come.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use broadgate_protocol::websocket::{Decoder, Event, OpCode, Role, handshake::accept_key, push_fragment};

use super::{
    DEADLINE,
    http::{Connection, Response, head},
};

/// The key of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The headers of a good upgrade request.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// What comes from the server.
#[derive(Clone, PartialEq, Eq)]
pub enum Received {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame with its code.
    Close(Option<u16>),
    /// The end of the TCP connection.
    End,
}

/// Long messages cut short.
impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        match self {
            Self::Text(text) => write!(f, "Text({} bytes: {:?})", text.len(), start(text.as_bytes())),
            Self::Binary(data) => write!(f, "Binary({} bytes: {:?})", data.len(), start(data)),
            Self::Ping(data) => write!(f, "Ping({:?})", start(data)),
            Self::Pong(data) => write!(f, "Pong({:?})", start(data)),
            Self::Close(code) => write!(f, "Close({code:?})"),
            Self::End => f.write_str("End"),
        }
    }
}

impl Received {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A frame of a client.
pub fn frame(opcode: OpCode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_fragment(&mut bytes, opcode, fin, Some(MASK), payload);
    bytes
}

/// A frame with a first byte that no codec would write: any opcode, any reserved bits.
pub fn frame_with_first_byte(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(OpCode::Text, true, payload);
    bytes[0] = first;
    bytes
}

/// A WebSocket.
pub struct Socket {
    pub stream: TcpStream,
    decoder: Decoder,
    received: VecDeque<Received>,
}

impl Socket {
    /// Connects; the server has to accept.
    pub fn connect(address: SocketAddr, target: &str) -> Self {
        Self::connect_with(address, target, &[], &[]).0
    }

    /// Connects with more headers, and with frames in the same write as the request. Also gives the 101.
    pub fn connect_with(
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
        early: &[u8],
    ) -> (Self, Response) {
        match Self::ask(address, target, headers, early) {
            (Some(socket), response) => (socket, response),
            (None, response) => panic!("{target} was refused: {response:?}"),
        }
    }

    /// Asks for a WebSocket; gives none where the server refuses and ends the connection.
    pub fn ask(
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
        early: &[u8],
    ) -> (Option<Self>, Response) {
        Self::ask_over(Connection::open(address), target, headers, early)
    }

    /// The same over a connection that is there already.
    pub fn ask_over(
        mut connection: Connection,
        target: &str,
        headers: &[(&str, &str)],
        early: &[u8],
    ) -> (Option<Self>, Response) {
        let headers: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
        let mut bytes = head("GET", target, &headers, None);
        bytes.extend_from_slice(early);
        connection.write(&bytes);
        let response = connection.receive().expect("an answer");
        if response.status != 101 {
            assert!(connection.is_ended(), "a refused upgrade ends the connection");
            return (None, response);
        }
        assert_eq!(response.header("sec-websocket-accept"), accept_key(KEY));
        let mut buffered = connection.stream.buffer().to_vec();
        let mut socket = Self {
            stream: connection.stream.into_inner(),
            decoder: Decoder::new(),
            received: VecDeque::new(),
        };
        socket.decode(&mut buffered);
        (Some(socket), response)
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, opcode: OpCode, payload: &[u8]) {
        self.write(&frame(opcode, true, payload));
    }

    pub fn send_text(&mut self, text: &str) {
        self.send(OpCode::Text, text.as_bytes());
    }

    /// The next event. Nothing within the deadline is a failure.
    pub fn receive(&mut self) -> Received {
        let mut buffer = vec![0; 256 << 10];
        loop {
            if let Some(received) = self.received.pop_front() {
                return received;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Received::End,
                Ok(bytes) => self.decode(&mut buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Received::End,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The next event, which has to be text.
    pub fn receive_text(&mut self) -> String {
        match self.receive() {
            Received::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    /// All that comes until the connection ends.
    pub fn receive_all(&mut self) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            match self.receive() {
                Received::End => return all,
                received => all.push(received),
            }
        }
    }

    /// Does the server send nothing for this long?
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = self.received.is_empty() && self.stream.peek(&mut [0]).is_err();
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        silent
    }

    /// Closes the connection with a reset, as a crashed machine's kernel does.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn decode(&mut self, mut bytes: &mut [u8]) {
        while let Some(event) = self.decoder.next(Role::Client, MAX_MESSAGE_BYTES, &mut bytes).unwrap() {
            self.received.push_back(match event {
                Event::Text(text) => Received::text(text),
                Event::Binary(data) => Received::Binary(data.to_vec()),
                Event::Ping(data) => Received::Ping(data.to_vec()),
                Event::Pong(data) => Received::Pong(data.to_vec()),
                Event::Close(close) => Received::Close(close.map(|(code, _)| code)),
            });
        }
    }
}
