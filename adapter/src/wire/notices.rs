//! What Broadgate's own nodes tell each other on their shared channel: a small JSON object, so that `redis-cli` can
//! follow it. Keys that are not known are left alone, so that later versions may say more.

use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::{is_node_name, membership::Hello};

/// A notice is no longer than this.
pub const MAX_NOTICE_BYTES: usize = 1024;
/// A version is no longer than this.
pub const MAX_VERSION_BYTES: usize = 64;

/// What a node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It is there.
    Hello(Hello),
    /// It ends.
    Goodbye {
        /// Its name.
        name: Box<str>,
        /// Which process of that name.
        start: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    Hello {
        node: Box<str>,
        version: Box<str>,
        start: u64,
        /// 32 hexadecimal digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id_key: Option<Box<str>>,
        #[serde(default)]
        asks: bool,
        #[serde(default)]
        number: u64,
    },
    Goodbye {
        node: Box<str>,
        start: u64,
    },
}

/// Writes a notice.
#[must_use]
pub fn encode_notice(notice: &Notice) -> Vec<u8> {
    let message = match notice.clone() {
        Notice::Hello(Hello { name, version, start, id_key, asks, number }) => {
            let id_key = (id_key != 0).then(|| format!("{id_key:032x}").into());
            Message::Hello { node: name, version, start, id_key, asks, number }
        }
        Notice::Goodbye { name, start } => Message::Goodbye { node: name, start },
    };
    serde_json::to_vec(&message).expect("text and numbers can be written")
}

/// Reads a notice.
///
/// # Errors
/// If it is none, or names what can't be a node.
pub fn decode_notice(payload: &[u8]) -> Result<Notice, DecodeError> {
    if payload.len() > MAX_NOTICE_BYTES {
        return Err(DecodeError::TooBig { limit: MAX_NOTICE_BYTES });
    }
    let notice = match serde_json::from_slice(payload)? {
        Message::Hello { node: name, version, start, id_key, asks, number } => {
            let is_plain = version.bytes().all(|byte| byte.is_ascii_graphic());
            if !(1..=MAX_VERSION_BYTES).contains(&version.len()) || !is_plain {
                return Err(DecodeError::Notice("the version must be short and plain text"));
            }
            let id_key = match id_key {
                None => 0,
                Some(digits) => u128::from_str_radix(&digits, 16)
                    .map_err(|_| DecodeError::Notice("the key of its ids is no hexadecimal number"))?,
            };
            Notice::Hello(Hello { name, version, start, id_key, asks, number })
        }
        Message::Goodbye { node: name, start } => Notice::Goodbye { name, start },
    };
    let (Notice::Hello(Hello { name, .. }) | Notice::Goodbye { name, .. }) = &notice;
    if !is_node_name(name) {
        return Err(DecodeError::Notice("it names what can't be a node"));
    }
    Ok(notice)
}
