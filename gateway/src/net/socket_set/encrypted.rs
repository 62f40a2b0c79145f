//! Connections of the set that speak TLS: the same turns as without, with rustls between the socket and the queue.
//!
//! What is encrypted stays in its queue until the kernel has taken all of it. So it counts towards the queue's bound, and
//! what is lost with a connection is counted as without TLS.

use std::{
    io::{self, IoSlice, Write},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown},
};

use super::{CloseCause, ConnectionId, Phase, Readiness, SLICES_PER_WRITE, SocketSet, block};
use crate::{
    net::tls::{MAX_INPUT_BYTES, TlsSession},
    telemetry::ShardCounters,
};

/// The sessions of a set, in the places of their connections. Empty where nobody speaks TLS.
#[derive(Default)]
pub(super) struct TlsSessions {
    places: Vec<Option<Box<TlsSession>>>,
    /// One for all: what is read is decrypted at once.
    input: Box<[u8]>,
}

impl TlsSessions {
    pub(super) fn insert(&mut self, index: usize, session: Box<TlsSession>) {
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        if self.input.is_empty() {
            self.input = vec![0; MAX_INPUT_BYTES].into();
        }
        self.places[index] = Some(session);
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.places[index] = None;
    }

    fn get(&mut self, index: usize) -> &mut TlsSession {
        self.places[index].as_deref_mut().expect("inserted with its connection")
    }
}

impl SocketSet {
    /// Puts the session of a connection beside it.
    pub(super) fn insert_session(&mut self, id: ConnectionId, session: Box<TlsSession>) {
        let connection = &mut self.connections[id.index as usize];
        connection.is_encrypted = true;
        // The handshake may have left something to be said.
        if session.has_output() {
            connection.dirty = true;
            self.dirty.push_back(id);
        }
        self.tls.insert(id.index as usize, session);
    }

    /// [`SocketSet::serve`], of a connection that can be read.
    pub(super) fn serve_encrypted(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Readiness {
        let index = id.index as usize;
        let connection = &mut self.connections[index];
        let read = rustix::net::recv(&connection.socket, &mut *self.tls.input, RecvFlags::empty());
        let bytes = match read {
            Ok((0, _)) => return self.end(id, CloseCause::Peer),
            Ok((bytes, _)) if connection.phase == Phase::Open => bytes,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => return Readiness::Nothing,
            Err(_) => return self.end(id, CloseCause::Error),
        };
        self.counters.bytes_received.add(bytes as u64);
        let session = self.tls.places[index].as_deref_mut().expect("inserted with its connection");
        let Ok(input) = session.decrypt(&self.tls.input[..bytes], buffer) else {
            // The alert tells the peer why; where it can't be sent there is nobody to be told.
            let _told = self.flush_encrypted(id);
            return self.end(id, CloseCause::Error);
        };
        if session.has_output() && !connection.dirty && !connection.blocked {
            connection.dirty = true;
            self.dirty.push_back(id);
        }
        if input.is_last {
            if input.bytes == 0 {
                return self.end(id, CloseCause::Peer);
            }
            // So that the next turn reads the end, whether or not the peer ends its side of the socket as well.
            let _gone = rustix::net::shutdown(&connection.socket, Shutdown::Read);
        }
        if input.bytes == 0 {
            return Readiness::Nothing;
        }
        let decoder = std::mem::take(&mut connection.decoder);
        self.counters.inbound_buffer_bytes.sub(decoder.buffered_bytes() as u64);
        Readiness::Input { id, decoder, bytes: input.bytes }
    }

    /// [`SocketSet::flush_one`]: encrypts and writes until the queue is empty or the kernel's buffer is full. False: the
    /// connection failed.
    pub(super) fn flush_encrypted(&mut self, id: ConnectionId) -> bool {
        let index = id.index as usize;
        loop {
            let connection = &mut self.connections[index];
            let session = self.tls.get(index);
            match send(session, connection.socket.as_fd(), &self.counters) {
                Ok(true) => {}
                Ok(false) => return block(&self.epoll, connection, id),
                Err(_) => return false,
            }
            let taken = std::mem::take(&mut session.encrypted_bytes);
            self.counters.messages_sent.add(self.arena.advance(&mut connection.outbox, taken));
            if connection.outbox.is_empty() {
                if connection.phase == Phase::Closing && session.end() {
                    continue;
                }
                return self.flushed(id);
            }
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let (count, _) = self.arena.gather(&connection.outbox, &mut slices);
            match session.encrypt(&slices[..count]) {
                Ok(bytes @ 1..) => session.encrypted_bytes = bytes,
                _ => return false,
            }
        }
    }
}

/// Writes all ciphertext that there is. False: the kernel's buffer is full.
fn send(session: &mut TlsSession, socket: BorrowedFd<'_>, counters: &ShardCounters) -> io::Result<bool> {
    while session.has_output() {
        match session.write_to(&mut Socket(socket)) {
            Ok(bytes) => {
                counters.bytes_sent.add(bytes as u64);
                counters.writes.add(1);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A socket as rustls writes to it.
struct Socket<'a>(BorrowedFd<'a>);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [bytes] = slices {
            return self.write(bytes);
        }
        let mut control = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(self.0, slices, &mut control, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
