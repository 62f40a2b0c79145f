//! What a received message may hold at most. Everything from Redis is untrusted.

/// Bounds of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the payload as received.
    pub max_message_bytes: usize,
    /// Bytes of the JSON made of it, which can be longer than msgpack (escapes, `null`).
    pub max_json_bytes: usize,
    /// Arrays and objects inside each other.
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
