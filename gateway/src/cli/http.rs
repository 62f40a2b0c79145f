//! One request to a node's ops listener. A client of our own, because it is sixty lines: plain HTTP on loopback, no
//! redirects, no proxies, no pool. A crate for it would bring a tree and a choice of TLS that nothing here needs.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use broadgate::config::Secret;
use broadgate_adapter::TraceParent;
use url::Url;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// JSON.
    pub(super) body: Option<&'a str>,
    /// The bearer's.
    pub(super) key: Option<&'a Secret>,
    /// The span that asks.
    pub(super) trace: Option<TraceParent>,
    /// For all of it, from the connection to the answer's end.
    pub(super) timeout: Duration,
}

impl<'a> Call<'a> {
    /// A GET of `path` without anything else.
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, body: None, key: None, trace: None, timeout: DEFAULT_TIMEOUT }
    }

    /// A POST to `path`.
    pub(super) fn post(path: &'a str, body: &'a str, key: Option<&'a Secret>) -> Self {
        Self { method: "POST", body: Some(body), key, ..Self::get(path) }
    }
}

/// A URL of the command line.
///
/// # Errors
/// It is none; or it has user info, and then is not quoted: URLs are printed, and a password is not to be.
pub(super) fn parse_url(text: &str) -> anyhow::Result<Url> {
    ensure!(
        !text.contains('@'),
        "expected a URL without user info: nothing here uses it, and it would be printed"
    );
    Url::parse(text).with_context(|| format!("{text:?} is not a URL"))
}

/// The address of an ops listener.
///
/// # Errors
/// It is no `http://host:port`.
pub(super) fn parse_base(base: &str) -> anyhow::Result<Url> {
    let url = parse_url(base)?;
    ensure!(url.scheme() == "http", "{base}: expected http://host:port; the ops listener speaks plain HTTP");
    ensure!(matches!(url.path(), "" | "/"), "{base}: expected http://host:port without a path");
    Ok(url)
}

/// Asks the ops listener at `base`.
pub(super) fn request(base: &str, call: Call<'_>) -> anyhow::Result<Response> {
    let url = parse_base(base)?;
    let host = url.host_str().with_context(|| format!("{base}: has no host"))?;

    let Call { method, path, body, key, trace, timeout } = call;
    let mut text = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n");
    if let Some(key) = key {
        text.push_str(&format!("Authorization: Bearer {}\r\n", key.expose()));
    }
    if let Some(trace) = trace {
        text.push_str(&format!("traceparent: {trace}\r\n"));
    }
    match body {
        None => text.push_str("\r\n"),
        Some(body) => {
            let bytes = body.len();
            text.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n{body}"
            ));
        }
    }
    // HTTP/1.0: the answer comes whole and ends with the connection, so there are no chunks to put together.
    let answer =
        exchange(&url, text.as_bytes(), timeout).with_context(|| format!("no answer from {base}"))?;
    parse(&answer).with_context(|| format!("{base} does not answer in HTTP"))
}

fn exchange(url: &Url, request: &[u8], timeout: Duration) -> anyhow::Result<Vec<u8>> {
    let deadline = Deadline { at: Instant::now() + timeout, timeout };
    let mut stream = connect(url, deadline)?;
    stream.set_write_timeout(Some(deadline.remaining()?))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        stream.set_read_timeout(Some(deadline.remaining()?))?;
        match stream.read(&mut chunk).map_err(|error| deadline.timed_out(error))? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&chunk[..read]),
        }
        ensure!(answer.len() <= MAX_RESPONSE_BYTES, "the answer is larger than {MAX_RESPONSE_BYTES} bytes");
    }
}

fn connect(url: &Url, deadline: Deadline) -> anyhow::Result<TcpStream> {
    let mut failure = None;
    for address in url.socket_addrs(|| None)? {
        match TcpStream::connect_timeout(&address, deadline.remaining()?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error.into()),
        None => bail!("the host has no address"),
    }
}

/// When a call has to be over, and how long it had.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    fn remaining(self) -> io::Result<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.timed_out(io::ErrorKind::WouldBlock.into())) } else { Ok(left) }
    }

    /// A socket's timeout comes as `WouldBlock`, whose text says nothing to a user.
    fn timed_out(self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let seconds = self.timeout.as_secs_f64().ceil();
        io::Error::new(io::ErrorKind::TimedOut, format!("timed out after {seconds} s"))
    }
}

fn parse(answer: &[u8]) -> Option<Response> {
    let head_bytes = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..head_bytes]).ok()?;
    let mut status_line = head.lines().next()?.split(' ');
    status_line.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = status_line.next()?.parse().ok()?;
    let body = String::from_utf8_lossy(&answer[head_bytes + 4..]).trim().to_owned();
    Some(Response { status, body })
}
