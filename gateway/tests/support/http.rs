//! A raw HTTP client: one connection, requests as they are written, answers as they come.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use super::DEADLINE;

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The values of a header, joined as a list; empty where there is none.
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(", ")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// One connection.
pub struct Connection {
    pub stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Opens it from another address of this machine, such as 127.0.0.2.
    pub fn open_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a request with the headers that every request needs and those given.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut bytes = head(method, target, headers, (!body.is_empty()).then_some(body.len()));
        bytes.extend_from_slice(body);
        self.write(&bytes);
    }

    /// Reads the answer. `None`: the connection ended without one.
    pub fn receive(&mut self) -> Option<Response> {
        self.receive_to("GET")
    }

    /// Reads the answer to a request of this method: one to HEAD has no body.
    pub fn receive_to(&mut self, method: &str) -> Option<Response> {
        let status = self.line()?.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, headers: Vec::new(), body: Vec::new() };
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 101 || method == "HEAD" {
            return Some(response);
        }
        let length = response.header("content-length").parse().unwrap_or(0);
        response.body.resize(length, 0);
        self.stream.read_exact(&mut response.body).unwrap();
        Some(response)
    }

    /// Does an answer stay out for this long?
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
        let silent = self.stream.fill_buf().is_err();
        self.stream.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
        silent
    }

    /// Waits for the end of the connection; false where more comes first.
    pub fn is_ended(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

/// A request's head.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)], body_bytes: Option<usize>) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = body_bytes {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// One request on a connection of its own, with its answer.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut connection = Connection::open(address);
    connection.send(method, target, headers, body);
    connection.receive_to(method).expect("an answer")
}

/// The same where the server may cut the connection before it has read the request. `None`: it did.
pub fn try_request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Response> {
    let mut connection = Connection::open(address);
    let mut bytes = head(method, target, headers, Some(body.len()));
    bytes.extend_from_slice(body);
    match connection.stream.get_mut().write_all(&bytes) {
        Ok(()) => connection.receive_to(method),
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => None,
        Err(error) => panic!("the request could not be sent: {error}"),
    }
}
