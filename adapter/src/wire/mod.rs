//! The wire format between nodes and from emitters: the classic Socket.IO Redis adapter's (wire.md 3.1, 3.4 and 4), and
//! python-socketio's (wire.md 4).
//!
//! Pure: bytes in, values out; no clock, no I/O, no state. A message that does not fit is an error, never a panic.

mod channels;
mod error;
mod json_message;
mod keys;
mod limits;
mod msgpack;
mod notices;
mod python;
mod requests;
mod responses;
mod revocations;
mod timestamp;
mod to_json;
mod to_msgpack;
mod tuple;

pub use channels::{ChannelName, Channels, NodeChannel, RequestChannel};
pub use error::{DecodeError, EncodeError};
pub use json_message::{decode_json_message, is_json_message};
pub use keys::Keys;
pub use limits::Limits;
pub use notices::{MAX_NOTICE_BYTES, MAX_VERSION_BYTES, Notice, decode_notice, encode_notice};
pub use python::{PythonMessage, decode_python};
pub use requests::{InboundRequest, IncomingRequest, decode_request, encode_request};
pub use responses::{EncodedResponse, decode_response, encode_response, response_request_id};
pub use revocations::{MAX_REVOCATION_BYTES, RevocationMessage, decode_revocation, encode_revocation};
pub use tuple::{Inbound, decode_tuple, encode_tuple};

use crate::Origin;

/// Reads whatever arrived on `channel`: the msgpack tuple or the plain JSON form.
///
/// # Errors
/// If it is neither.
pub fn decode(
    payload: &[u8],
    own_uid: &str,
    channel: ChannelName<'_>,
    limits: &Limits,
) -> Result<Inbound, DecodeError> {
    if is_json_message(payload) {
        let broadcast = decode_json_message(payload, channel, limits)?;
        return Ok(Inbound::Broadcast(broadcast, Origin::UNKNOWN));
    }
    decode_tuple(payload, own_uid, channel.namespace, limits)
}
