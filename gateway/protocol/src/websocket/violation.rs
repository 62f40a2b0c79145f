//! What a peer can do wrong on a WebSocket, and the close code that answers it (RFC 6455 section 7.4.1).

use thiserror::Error;

/// A rule of RFC 6455, or our size limit, that the peer broke. The connection is to be failed (section 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// RSV1, RSV2 or RSV3 is set though no extension was agreed on.
    #[error("reserved bits set without an extension (RFC 6455, 5.2)")]
    ReservedBits,
    /// An opcode that the RFC keeps for later: 3 to 7 or 11 to 15.
    #[error("reserved opcode {0} (RFC 6455, 5.2)")]
    ReservedOpCode(u8),
    /// A close, ping or pong without FIN.
    #[error("fragmented control frame (RFC 6455, 5.5)")]
    FragmentedControl,
    /// A close, ping or pong of more than 125 bytes.
    #[error("control frame of more than 125 bytes (RFC 6455, 5.5)")]
    ControlTooLong,
    /// A client sent a frame without a mask.
    #[error("frame from a client without a mask (RFC 6455, 5.1)")]
    Unmasked,
    /// A server sent a masked frame.
    #[error("masked frame from a server (RFC 6455, 5.1)")]
    Masked,
    /// A length written in more bytes than it needs.
    #[error("payload length not in its shortest form (RFC 6455, 5.2)")]
    LengthNotMinimal,
    /// A 64-bit length with its most significant bit set.
    #[error("payload length of 64 bits (RFC 6455, 5.2)")]
    LengthTopBit,
    /// A continuation frame while no message is open.
    #[error("continuation without a message to continue (RFC 6455, 5.4)")]
    UnexpectedContinuation,
    /// A text or binary frame while a fragmented message is open.
    #[error("new message inside a fragmented one (RFC 6455, 5.4)")]
    ExpectedContinuation,
    /// A close frame whose payload is a single byte.
    #[error("close payload of one byte (RFC 6455, 5.5.1)")]
    ClosePayload,
    /// A close code that must not be sent.
    #[error("close code {0} must not be sent (RFC 6455, 7.4)")]
    CloseCode(u16),
    /// The message is larger than the limit that was given to the decoder.
    #[error("message larger than the limit (RFC 6455, 7.4.1: 1009)")]
    TooBig,
    /// A text message or a close reason that is not UTF-8.
    #[error("text that is not UTF-8 (RFC 6455, 8.1)")]
    InvalidUtf8,
}

impl Violation {
    /// The close code that tells the peer: 1007 for bad text, 1009 for the size, 1002 for the rest.
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            _ => 1002,
        }
    }
}
