//! Nodes as each other's addressees: names, messages to one of them, and who published something.

use std::sync::Arc;

use crate::PublishError;

/// A node's name is no longer than this.
pub const MAX_NODE_NAME_BYTES: usize = 32;

/// The place of a node's name in the channel of revocations, which so can't be one.
pub(crate) const REVOCATIONS: &str = "revocations";

/// Can this be a node's name? 1 to [`MAX_NODE_NAME_BYTES`] letters, digits, `-` or `_`, so that it is safe in a
/// channel's name, and neither an emitter's nor that of another channel.
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_NODE_NAME_BYTES).contains(&name.len())
        && name.bytes().all(is_plain)
        && name != crate::emitter::EMITTER_UID
        && name != REVOCATIONS
}

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeTargets<'a> {
    /// One node.
    One(&'a str),
    /// Two nodes, at one and the same place in the order of everything that the server passes on.
    Two(&'a str, &'a str),
}

impl<'a> NodeTargets<'a> {
    /// The node that must be there.
    #[must_use]
    pub fn first(self) -> &'a str {
        match self {
            Self::One(first) | Self::Two(first, _) => first,
        }
    }

    /// The other node, if there are two.
    #[must_use]
    pub fn second(self) -> Option<&'a str> {
        match self {
            Self::One(_) => None,
            Self::Two(_, second) => Some(second),
        }
    }
}

/// Another node, as it was heard last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub name: Arc<str>,
    /// The version of its software.
    pub version: Box<str>,
    /// How long ago it was heard.
    pub age_ms: u64,
}

/// Why a message did not reach a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No node of that name is there. Of two, it is about the first.
    #[error("there is no such node")]
    NoSuchNode,
    /// There is no link to the other nodes right now.
    #[error("the link to the other nodes is down")]
    LinkDown,
    /// The bounded queue of outgoing messages is full.
    #[error("the queue of messages to the other nodes is full")]
    QueueFull,
    /// The server refused the message or did not answer in time.
    #[error("the message was not taken: {0}")]
    Refused(String),
    /// Larger than what the other nodes take.
    #[error("the message is larger than {limit} bytes")]
    TooLarge {
        /// The limit in force.
        limit: usize,
    },
}

impl From<PublishError> for SendError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::LinkDown => Self::LinkDown,
            PublishError::QueueFull => Self::QueueFull,
            PublishError::Refused(why) | PublishError::Invalid(why) => Self::Refused(why),
        }
    }
}

/// Who published something, as told by the `uid` in the message; small, so that it can go along with every message.
/// It is compared with that of a name one knows. Whoever may publish can claim any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(u64);

impl Origin {
    /// The message does not say.
    pub const UNKNOWN: Self = Self(0);
    /// A `uid` of more than eight bytes. It is no text's own value, as no text has such bytes.
    pub const OTHER: Self = Self(u64::MAX);

    /// That of a name. Names of up to eight bytes differ from each other, all longer ones are [`Origin::OTHER`].
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::of_bytes(name.as_bytes())
    }

    pub(crate) fn of_bytes(name: &[u8]) -> Self {
        let mut bytes = [0; 8];
        let Some(start) = bytes.get_mut(..name.len()) else { return Self::OTHER };
        start.copy_from_slice(name);
        Self(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for (name, expected) in [
            ("aB3-_", true),
            ("emitters", true),
            (&"x".repeat(32), true),
            ("", false),
            ("emitter", false),
            ("revocations", false),
            ("a#b", false),
            ("a b", false),
            ("é", false),
            (&"x".repeat(33), false),
        ] {
            assert_eq!(is_node_name(name), expected, "{name}");
        }
    }

    #[test]
    fn origins_of_short_names_differ_and_the_others_are_one() {
        assert_eq!(Origin::of("aB3-_"), Origin::of("aB3-_"));
        assert_ne!(Origin::of("aB3-_"), Origin::of("aB3-"));
        assert_ne!(Origin::of("12345678"), Origin::of("12345679"));
        assert_eq!(Origin::of(""), Origin::UNKNOWN);
        assert_eq!(Origin::of("123456789"), Origin::OTHER);
        assert_eq!(Origin::of(&"f".repeat(32)), Origin::OTHER);
    }
}
