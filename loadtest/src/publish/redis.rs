//! `PUBLISH` over one socket, pipelined: plain RESP, no client library between us and the measurement.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    ops::Range,
};

use anyhow::{Context, bail};

use super::{read_available, tuple};
use crate::message::Template;

/// A connection to Redis with the ready command for one room.
#[derive(Debug)]
pub(crate) struct RedisPublisher {
    socket: TcpStream,
    command: Template,
    pipeline: Vec<u8>,
    replies: Replies,
    buffer: Vec<u8>,
}

impl RedisPublisher {
    pub(super) fn connect(address: SocketAddr, room: &str, size_bytes: usize) -> anyhow::Result<Self> {
        let socket =
            TcpStream::connect(address).with_context(|| format!("cannot connect to Redis at {address}"))?;
        socket.set_nodelay(true)?;
        let command =
            command(&[b"PUBLISH", tuple::channel(room).as_bytes(), &tuple::encode(room, size_bytes)]);
        Ok(Self {
            socket,
            command: Template::new(command),
            pipeline: Vec::new(),
            replies: Replies::default(),
            buffer: vec![0; 16 * 1024],
        })
    }

    pub(super) fn publish(&mut self, sequences: Range<u64>) -> anyhow::Result<()> {
        self.take_replies()?;
        self.pipeline.clear();
        for sequence in sequences {
            self.pipeline.extend_from_slice(self.command.with_sequence(sequence));
        }
        self.socket.write_all(&self.pipeline).context("Redis is gone")
    }

    pub(super) fn take_replies(&mut self) -> anyhow::Result<()> {
        read_available(&self.socket, &mut self.buffer, |bytes| self.replies.take(bytes)).context("Redis")
    }
}

/// A command as an array of bulk strings.
fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend(format!("${}\r\n", part.len()).into_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The replies to `PUBLISH`: how many subscribers got it, or an error; each a line.
#[derive(Debug, Default)]
struct Replies {
    line: Vec<u8>,
}

impl Replies {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
            self.line.clear();
            match line.strip_prefix(':').map(str::parse::<u64>) {
                Some(Ok(0)) => {
                    bail!("a message went to no subscriber: is the server connected to this Redis?")
                }
                Some(Ok(_)) => {}
                _ => bail!("answered a PUBLISH with: {line}"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        assert_eq!(
            command(&[b"PUBLISH", b"a\r\n", b""]),
            b"*3\r\n$7\r\nPUBLISH\r\n$3\r\na\r\n\r\n$0\r\n\r\n"
        );
    }

    #[test]
    fn replies_are_read_in_any_pieces() {
        for (pieces, error) in [
            (vec![":1\r\n:2\r\n"], None),
            (vec![":", "1", "\r", "\n"], None),
            (vec![":1\r\n:0\r\n"], Some("no subscriber")),
            (vec!["-NOAUTH Authentication required.\r\n"], Some("NOAUTH")),
            (vec!["$3\r\n"], Some("$3")),
        ] {
            let mut replies = Replies::default();
            let outcome = pieces.iter().try_for_each(|piece| replies.take(piece.as_bytes()));
            match (outcome, error) {
                (Ok(()), None) => {}
                (Err(found), Some(expected)) => assert!(found.to_string().contains(expected), "{found}"),
                (outcome, expected) => panic!("{pieces:?}: {outcome:?}, expected {expected:?}"),
            }
        }
    }
}
