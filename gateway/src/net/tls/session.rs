//! One TLS session, without I/O of its own: rustls between the bytes of a socket and those of HTTP or WebSocket.

use std::io::{self, IoSlice, Read, Write};

use tokio_rustls::rustls::{self, ServerConnection};

/// Ciphertext that is taken at one time. With the rest of a record that came before (18 KiB at most, RFC 8446 section
/// 5.2) it gives less plaintext than the shard's buffer takes, so nothing ever stays inside unread.
pub(crate) const MAX_INPUT_BYTES: usize = 40 * 1024;

/// Plaintext that is encrypted before the kernel has taken what was encrypted already.
const MAX_UNSENT_BYTES: usize = 64 * 1024;

/// See the module. Made by the handshake; owned by the socket set from the upgrade on.
pub(crate) struct TlsSession {
    connection: ServerConnection,
    /// Bytes at the head of the connection's queue that are encrypted, and that the kernel has not taken all of yet.
    pub(crate) encrypted_bytes: usize,
    has_ended: bool,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TlsInput {
    /// Plaintext in the buffer.
    pub(crate) bytes: usize,
    /// The peer sends nothing any more.
    pub(crate) is_last: bool,
}

impl TlsSession {
    pub(crate) fn new(mut connection: ServerConnection) -> Self {
        connection.set_buffer_limit(Some(MAX_UNSENT_BYTES));
        Self { connection, encrypted_bytes: 0, has_ended: false }
    }

    /// Takes out what the handshake or HTTP has left undelivered.
    pub(crate) fn take_plaintext(&mut self, plaintext: &mut Vec<u8>) {
        let mut chunk = [0; 4096];
        // Nothing more, or the peer's end: the socket tells that, too.
        while let Ok(bytes @ 1..) = self.connection.reader().read(&mut chunk) {
            plaintext.extend_from_slice(&chunk[..bytes]);
        }
    }

    /// Decrypts at most [`MAX_INPUT_BYTES`] into `plaintext`, which holds 64 KiB.
    ///
    /// # Errors
    /// The peer broke the protocol, or said that we did. There may be an alert to be sent.
    pub(crate) fn decrypt(
        &mut self,
        mut ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> Result<TlsInput, rustls::Error> {
        let (mut bytes, mut is_last) = (0, false);
        while !ciphertext.is_empty() && !is_last {
            // Takes some KiB at one time; it can't be full, since all that it gives is taken out.
            let taken = self.connection.read_tls(&mut ciphertext);
            let taken = taken.map_err(|error| rustls::Error::General(error.to_string()))?;
            is_last = self.connection.process_new_packets()?.peer_has_closed() || taken == 0;
            // Ends where nothing more is there (`WouldBlock`, or 0 at the peer's end).
            while let Ok(read @ 1..) = self.connection.reader().read(&mut plaintext[bytes..]) {
                bytes += read;
            }
        }
        Ok(TlsInput { bytes, is_last })
    }

    /// Encrypts from the head of `slices`, as much as has room; returns how much.
    ///
    /// # Errors
    /// The session is over.
    pub(crate) fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection.writer().write_vectored(slices)
    }

    /// Is there ciphertext to be written?
    pub(crate) fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// Writes ciphertext once.
    ///
    /// # Errors
    /// As of the socket.
    pub(crate) fn write_to(&mut self, socket: &mut dyn Write) -> io::Result<usize> {
        self.connection.write_tls(socket)
    }

    /// Says that nothing more comes; false where that was said already.
    pub(crate) fn end(&mut self) -> bool {
        if !self.has_ended {
            self.has_ended = true;
            self.connection.send_close_notify();
            return true;
        }
        false
    }
}
