//! Why a message was refused, in words that help in a log.

use super::Limits;

/// Why a received message was skipped. Never holds the message's content beyond a short excerpt of a JSON error.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More than [`Limits::max_message_bytes`].
    #[error("the message is larger than {limit} bytes")]
    TooBig {
        /// The limit in force.
        limit: usize,
    },
    /// The JSON made of the message is longer than [`Limits::max_json_bytes`].
    #[error("the event is larger than {limit} bytes as JSON")]
    JsonTooBig {
        /// The limit in force.
        limit: usize,
    },
    /// A value is announced that is not there.
    #[error("the msgpack ends in the middle of a value")]
    Truncated,
    /// Something follows the one value that a message is.
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
    /// 0xc1, which msgpack reserves.
    #[error("0xc1 is no msgpack")]
    ReservedByte,
    /// Not the shape of wire.md 3.1.
    #[error("not a broadcast [uid, packet, opts]: {0}")]
    Shape(&'static str),
    /// Neither EVENT (2) nor BINARY_EVENT (5).
    #[error("packet type {0} is not an event")]
    PacketType(u64),
    /// An event name that closes every client that gets it (wire.md 2.1).
    #[error("the event name is reserved")]
    ReservedEventName,
    /// More than [`Limits::max_depth`].
    #[error("values are nested deeper than {0}")]
    TooDeep(usize),
    /// More than [`Limits::max_attachments`].
    #[error("more than {0} binary attachments")]
    TooManyAttachments(usize),
    /// A map with the key `_placeholder` beside real attachments would be taken for one of them by clients.
    #[error("the key _placeholder is reserved in an event with binary")]
    Placeholder,
    /// A map key that is neither text, number, boolean nor nil.
    #[error("a map key must be text, a number, a boolean or nil")]
    MapKey,
    /// More than [`Limits::max_rooms`].
    #[error("more than {0} rooms in one list")]
    TooManyRooms(usize),
    /// More than [`Limits::max_room_bytes`].
    #[error("a room's name is longer than {0} bytes")]
    RoomTooLong(usize),
    /// Text that must be UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(&'static str),
    /// The plain JSON form: not what [`super::decode_json_message`] documents.
    #[error("not a JSON message: {0}")]
    Json(#[from] serde_json::Error),
    /// The plain JSON form: two keys that exclude each other, or an empty name.
    #[error("not a JSON message: {0}")]
    JsonMessage(&'static str),
    /// Not a request or an answer as in the table of wire.md 3.1.
    #[error("not a request or an answer: {0}")]
    Request(&'static str),
    /// What [`super::decode_python`] refuses.
    #[error("not a message of python-socketio: {0}")]
    Python(&'static str),
    /// What [`super::decode_notice`] refuses.
    #[error("not a notice of a node: {0}")]
    Notice(&'static str),
    /// What [`super::decode_revocation`] refuses.
    #[error("not a revocation: {0}")]
    Revocation(&'static str),
    /// The channel's name is not one of wire.md 3.1.
    #[error("the channel is none of a cluster: {0}")]
    Channel(&'static str),
}

impl DecodeError {
    pub(crate) fn check_message_bytes(payload: &[u8], limits: &Limits) -> Result<(), Self> {
        limits.check_message_bytes(payload.len())
    }
}

/// For what is read by writing it in another format.
impl From<EncodeError> for DecodeError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Refused(error) => error,
            EncodeError::Json(error) => Self::Json(error),
        }
    }
}

/// Why a broadcast could not be written in the wire format.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A receiver with the same limits would refuse it.
    #[error(transparent)]
    Refused(#[from] DecodeError),
    /// [`crate::EventPacket::json`] is not valid JSON, or nested too deeply.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
}
