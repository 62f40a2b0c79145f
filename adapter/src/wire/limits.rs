//! What a message may hold at most. Everything from Redis is untrusted; and what a node with the same limits would
//! refuse to read is not written.

use super::DecodeError;

/// Bounds of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the payload on the wire.
    pub max_message_bytes: usize,
    /// Bytes of the JSON made of it, which can be longer than msgpack (escapes, `null`).
    pub max_json_bytes: usize,
    /// Arrays and objects inside each other, the event's array counted. Beyond 127 nothing is written in any case.
    pub max_depth: usize,
    /// Binary attachments. Clients refuse more than 10 (wire.md 2.1).
    pub max_attachments: usize,
    /// Rooms of one list (`rooms` or `except`).
    pub max_rooms: usize,
    /// Bytes of a room's name.
    pub max_room_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 8 << 20,
            max_json_bytes: 16 << 20,
            max_depth: 64,
            max_attachments: 10,
            max_rooms: 1024,
            max_room_bytes: 1024,
        }
    }
}

impl Limits {
    pub(super) fn check_message_bytes(&self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.max_message_bytes {
            return Err(DecodeError::TooBig { limit: self.max_message_bytes });
        }
        Ok(())
    }

    pub(super) fn check_rooms(&self, names: &[Box<str>]) -> Result<(), DecodeError> {
        if names.len() > self.max_rooms {
            return Err(DecodeError::TooManyRooms(self.max_rooms));
        }
        if names.iter().any(|name| name.len() > self.max_room_bytes) {
            return Err(DecodeError::RoomTooLong(self.max_room_bytes));
        }
        Ok(())
    }
}
