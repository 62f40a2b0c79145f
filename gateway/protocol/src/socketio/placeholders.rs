//! Placeholders: `{"_placeholder":true,"num":k}` in the JSON stands for attachment k (wire.md 2.1).
//!
//! A `num` out of range makes a client close its connection, so none may be passed on. The scan runs over text that
//! is known to be JSON, without recursion, so that no depth of nesting can exhaust the stack; and it sees what
//! `JSON.parse` would: escaped keys, and the last of a repeated key.

use std::borrow::Cow;

/// What is known of an object that is open at this point of the text.
#[derive(Clone, Copy, Default)]
struct Object {
    is_placeholder: bool,
    num: Option<usize>,
}

/// The keys that matter, in front of their value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Placeholder,
    Num,
    Other,
}

/// Whether every placeholder in `json`, which is valid JSON, has a `num` below `attachments`.
pub(super) fn are_legal(json: &str, attachments: usize) -> bool {
    let mut open: Vec<Object> = Vec::new();
    let mut key = Key::Other;
    let mut rest = json;
    while let Some((token, after)) = next_token(rest) {
        rest = after;
        match token.as_bytes()[0] {
            b'}' => match open.pop() {
                Some(Object { is_placeholder: true, num }) if num.is_none_or(|num| num >= attachments) => {
                    return false;
                }
                _ => {}
            },
            b']' | b',' | b':' => {}
            b'"' if rest.trim_ascii_start().starts_with(':') => {
                key = Key::new(token);
            }
            first => {
                if let Some(object) = open.last_mut() {
                    object.set(key, token);
                }
                key = Key::Other;
                if first == b'{' {
                    open.push(Object::default());
                }
            }
        }
    }
    true
}

impl Object {
    fn set(&mut self, key: Key, value: &str) {
        match key {
            Key::Placeholder => self.is_placeholder = value == "true",
            Key::Num => self.num = value.parse().ok(),
            Key::Other => {}
        }
    }
}

impl Key {
    fn new(quoted: &str) -> Self {
        let name = if quoted.contains('\\') {
            Cow::Owned(serde_json::from_str(quoted).unwrap_or_default())
        } else {
            Cow::Borrowed(quoted.trim_matches('"'))
        };
        match &*name {
            "_placeholder" => Self::Placeholder,
            "num" => Self::Num,
            _ => Self::Other,
        }
    }
}

/// Splits off the next token: a whole string, a number or literal, or one character of punctuation.
fn next_token(json: &str) -> Option<(&str, &str)> {
    let json = json.trim_ascii_start();
    let bytes = json.as_bytes();
    let end = match bytes.first()? {
        b'"' => string_end(bytes),
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        _ => bytes.iter().position(|byte| b",:]} \t\r\n".contains(byte)).unwrap_or(bytes.len()),
    };
    json.split_at_checked(end)
}

/// The length of the string at the start of `bytes`, with its quotes.
fn string_end(bytes: &[u8]) -> usize {
    let mut index = 1;
    while index < bytes.len() {
        match bytes[index] {
            b'"' => return index + 1,
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
    bytes.len()
}
