//! `POST /api/v1/publish` at a node's ops listener, pipelined over one kept-alive connection.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    ops::Range,
};

use anyhow::{Context, bail};
use serde_json::json;

use super::read_available;
use crate::message::{self, Template};

/// Longest answer that is looked at.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A connection to the ops listener with the ready request for one room.
#[derive(Debug)]
pub(crate) struct OpsPublisher {
    socket: TcpStream,
    request: Template,
    pipeline: Vec<u8>,
    answers: Answers,
    buffer: Vec<u8>,
}

impl OpsPublisher {
    pub(super) fn connect(address: SocketAddr, room: &str, size_bytes: usize) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address)
            .with_context(|| format!("cannot connect to the ops listener {address}"))?;
        socket.set_nodelay(true)?;
        let argument = message::argument(size_bytes, 0);
        let body = json!({ "rooms": [room], "event": message::EVENT, "args": [argument] }).to_string();
        let request = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        Ok(Self {
            socket,
            request: Template::new(request.into_bytes()),
            pipeline: Vec::new(),
            answers: Answers::default(),
            buffer: vec![0; 16 * 1024],
        })
    }

    pub(super) fn publish(&mut self, sequences: Range<u64>) -> anyhow::Result<()> {
        self.take_replies()?;
        self.pipeline.clear();
        for sequence in sequences {
            self.pipeline.extend_from_slice(self.request.with_sequence(sequence));
        }
        self.socket.write_all(&self.pipeline).context("the ops listener is gone")
    }

    pub(super) fn take_replies(&mut self) -> anyhow::Result<()> {
        read_available(&self.socket, &mut self.buffer, |bytes| self.answers.take(bytes))
            .context("ops listener")
    }
}

/// The answers: each must be a success with a length.
#[derive(Debug, Default)]
struct Answers {
    kept: Vec<u8>,
}

impl Answers {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.kept.extend_from_slice(bytes);
        while let Some(answer_bytes) = self.first_answer_bytes()? {
            self.kept.drain(..answer_bytes);
        }
        Ok(())
    }

    fn first_answer_bytes(&self) -> anyhow::Result<Option<usize>> {
        let Some(head_bytes) = self.kept.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.kept.len() > MAX_ANSWER_BYTES {
                bail!("a head without an end")
            } else {
                Ok(None)
            };
        };
        let head = String::from_utf8_lossy(&self.kept[..head_bytes]);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if !status.starts_with("HTTP/1.1 2") {
            bail!(
                "answered a publish with {status}: {}",
                String::from_utf8_lossy(&self.kept[head_bytes + 4..])
            );
        }
        let length = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
        if length > MAX_ANSWER_BYTES {
            bail!("an answer of {length} bytes");
        }
        let whole = head_bytes + 4 + length;
        Ok((self.kept.len() >= whole).then_some(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_any_pieces() {
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 204 No Content\r\n\r\n";
        for piece_bytes in [1, 7, two.len()] {
            let mut answers = Answers::default();
            for piece in two.as_bytes().chunks(piece_bytes) {
                answers.take(piece).expect("good answers");
            }
            assert!(answers.kept.is_empty());
        }
    }

    #[test]
    fn a_refusal_is_an_error() {
        for (answer, expected) in [
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nnope", "400 Bad Request: nope"),
            ("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", "invalid digit"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", "99999999"),
        ] {
            let error = Answers::default().take(answer.as_bytes()).expect_err(answer).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
