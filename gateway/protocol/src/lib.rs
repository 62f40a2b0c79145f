//! Pure codecs of Broadgate: bytes in, values out. No I/O, no clock, no randomness, no runtime.
//!
//! - [`websocket`]: RFC 6455 frames, messages and the opening handshake;
//! - [`engineio`]: Engine.IO v4 packets, polling payloads, request checks and the heartbeat;
//! - [`socketio`]: Socket.IO revision 5 packets (the default parser) and their binary attachments.
//!
//! Everything is synchronous and owned by its caller: a decoder belongs to one connection, time is an argument.
//! Nothing here panics on input; what is refused comes back as a small enum that carries the close code or HTTP
//! status it implies.

pub mod engineio;
pub mod socketio;
pub mod websocket;
