//! The specification of the codecs, as tables; properties of them; and the fuzzers' corpora.
//!
//! Names and comments give the section of RFC 6455 or of wire.md that a test comes from.

mod corpora;
mod engineio_heartbeat;
mod engineio_packets;
mod engineio_requests;
mod properties;
mod socketio_attachments;
mod socketio_packets;
mod stream;
mod tungstenite_peer;
mod websocket_close;
mod websocket_control;
mod websocket_decoder;
mod websocket_fragments;
mod websocket_framing;
mod websocket_handshake;
mod websocket_text;
