//! What a server answers, whichever driver read it.

/// The part of RESP3 that is asked for here; text is what simple, bulk and verbatim strings carry, as are numbers that are
/// no integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    Text(Vec<u8>),
    /// Also a set, and a map: key, value, key, value.
    Array(Vec<Self>),
    /// The server refused the command, or a part of it.
    Error(String),
}
