//! HTTP requests over connections that stay open, as a balancer keeps them to its backends. Each client owns its own.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use super::socket;
use crate::plan::Endpoint;

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_BODY_BYTES: usize = 1 << 20;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Connections to each node that no request is on.
#[derive(Debug)]
pub(super) struct Upstreams<'a> {
    endpoints: &'a [Endpoint],
    idle: Vec<Vec<TcpStream>>,
}

/// A request whose answer has not been read.
#[derive(Debug)]
pub(super) struct Pending {
    node: usize,
    stream: TcpStream,
}

impl<'a> Upstreams<'a> {
    pub(super) fn new(endpoints: &'a [Endpoint]) -> Self {
        Self { endpoints, idle: endpoints.iter().map(|_| Vec::new()).collect() }
    }

    /// Sends a request to a node; `query` follows the path, `body` makes it a POST.
    pub(super) fn send(
        &mut self,
        node: usize,
        index: usize,
        query: &str,
        body: Option<&str>,
    ) -> io::Result<Pending> {
        let endpoint = &self.endpoints[node];
        let request = request(endpoint, query, body);
        let mut stream = self.idle[node].pop().map_or_else(|| socket::connect(endpoint, index), Ok)?;
        stream.write_all(request.as_bytes())?;
        Ok(Pending { node, stream })
    }

    /// Waits for the answer.
    pub(super) fn receive(&mut self, pending: Pending) -> io::Result<Response> {
        let Pending { node, mut stream } = pending;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(response) = parse(&bytes)? {
                self.idle[node].push(stream);
                return Ok(response);
            }
            read_more(&mut stream, &mut bytes)?;
        }
    }
}

fn request(endpoint: &Endpoint, query: &str, body: Option<&str>) -> String {
    let Endpoint { path, host, .. } = endpoint;
    match body {
        None => format!("GET {path}{query} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        Some(body) => format!(
            "POST {path}{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain;charset=UTF-8\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    }
}

/// Appends what the peer sent.
pub(super) fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(&buffer[..read]);
            Ok(())
        }
    }
}

/// The length of a head that is there as a whole.
///
/// # Errors
/// It has no end within bounds.
pub(super) fn head_bytes(bytes: &[u8]) -> io::Result<Option<usize>> {
    match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(end) => Ok(Some(end + 4)),
        None if bytes.len() > MAX_HEAD_BYTES => Err(invalid("a head without an end")),
        None => Ok(None),
    }
}

/// A whole answer with a `Content-Length` (RFC 9112 6.2), which all of a node's are; `None`: there is more to come.
fn parse(bytes: &[u8]) -> io::Result<Option<Response>> {
    let Some(head) = head_bytes(bytes)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head]).map_err(|_| invalid("a head that is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| invalid("no status line of HTTP/1.1"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .filter(|&length| length <= MAX_BODY_BYTES)
        .ok_or_else(|| invalid("no or too large a Content-Length"))?;
    Ok(bytes.get(head..head + length).map(|body| Response { status, body: body.to_vec() }))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_when_they_are_there_as_a_whole() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\nok";
        for (text, expected) in [
            ("", Some(None)),
            ("HTTP/1.1 200 OK\r\n", Some(None)),
            (&whole[..whole.len() - 1], Some(None)),
            (whole, Some(Some((200, "ok")))),
            ("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Some(Some((400, "")))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", None),
            ("HTTP/2 200\r\n\r\n", None),
            ("HTTP/1.1 ???\r\n\r\n", None),
        ] {
            let parsed = parse(text.as_bytes()).ok();
            let expected = expected.map(|response| {
                response.map(|(status, body): (_, &str)| Response { status, body: body.into() })
            });
            assert_eq!(parsed, expected, "{text:?}");
        }
        assert!(parse(&vec![b'x'; MAX_HEAD_BYTES + 1]).is_err());
    }

    #[test]
    fn a_body_makes_a_post() {
        let endpoint = "ws://127.0.0.1:8080".parse().expect("endpoint");
        assert_eq!(
            request(&endpoint, "?a=1", None),
            "GET /socket.io/?a=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
        );
        let post = request(&endpoint, "?a=1", Some("40"));
        assert!(post.starts_with("POST /socket.io/?a=1 HTTP/1.1\r\n"));
        assert!(post.ends_with("\r\nContent-Length: 2\r\n\r\n40"));
    }
}
