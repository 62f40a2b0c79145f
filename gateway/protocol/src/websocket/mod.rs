//! WebSocket (RFC 6455), strict and without extensions.
//!
//! A [`Decoder`] belongs to one connection and keeps only what is incomplete between two reads; the `push_*`
//! functions write frames into a buffer of the caller. A server's frames are not masked, so one encoded frame serves
//! every receiver.

mod close;
mod decoder;
mod frame;
pub mod handshake;
mod mask;
mod partial;
mod violation;

pub use close::push_close;
pub use decoder::{Decoder, Event};
pub use frame::{MAX_HEADER_BYTES, OpCode, Role, push_fragment, push_frame, push_header, push_masked_frame};
pub use violation::Violation;
