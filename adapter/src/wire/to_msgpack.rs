//! JSON text to msgpack, as notepack 3 in Node.js would encode the parsed value: the smallest integer forms, other
//! numbers as float64, placeholders replaced by the attachments.
//!
//! A single pass without a tree of values: the head of an array or map is written when its end is known, and what was
//! written after it moves up by the two or four bytes that a large count takes.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{DecodeError, EncodeError, Limits};

/// Integers up to here are the same in JavaScript, whether written with a point or not.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Appends the msgpack of `json` to `out`, which stays within [`Limits::max_message_bytes`] and a number's length. Gives
/// how many attachments were put in; one that several placeholders stand for counts for each.
pub(super) fn push_json(
    out: &mut Vec<u8>,
    json: &str,
    attachments: &[Bytes],
    limits: &Limits,
) -> Result<usize, EncodeError> {
    let mut writer =
        Writer { out, attachments, limits, depth: 0, binaries: 0, placeholder_key: false, refusal: None };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let result = Value(&mut writer).deserialize(&mut deserializer);
    let (binaries, placeholder_key) = (writer.binaries, writer.placeholder_key);
    if let Some(refusal) = writer.refusal {
        return Err(refusal.into());
    }
    result?;
    deserializer.end()?;
    if binaries > 0 && placeholder_key {
        return Err(DecodeError::Placeholder.into());
    }
    Ok(binaries)
}

/// What is written, and what is known of it.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    attachments: &'o [Bytes],
    limits: &'o Limits,
    /// Arrays and objects that are open.
    depth: usize,
    /// Attachments that were put in.
    binaries: usize,
    /// Some object that is written as such has the key `_placeholder`.
    placeholder_key: bool,
    /// Why the writing ended; the deserializer's error has no room for it.
    refusal: Option<DecodeError>,
}

impl Writer<'_> {
    fn refuse<E: Error>(&mut self, refusal: DecodeError) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    /// Before `more_bytes` are written.
    fn check_room_for<E: Error>(&mut self, more_bytes: usize) -> Result<(), E> {
        let checked = self.limits.check_message_bytes(self.out.len().saturating_add(more_bytes));
        checked.map_err(|refusal| self.refuse(refusal))
    }

    fn check_depth<E: Error>(&mut self, depth: usize) -> Result<(), E> {
        if depth > self.limits.max_depth {
            return Err(self.refuse(DecodeError::TooDeep(self.limits.max_depth)));
        }
        Ok(())
    }

    fn push_attachment<E: Error>(&mut self, number: Option<usize>) -> Result<(), E> {
        let attachments = self.attachments;
        let attachment = number.and_then(|number| attachments.get(number));
        let attachment = attachment.ok_or_else(|| E::custom("a placeholder without its attachment"))?;
        if self.binaries >= self.limits.max_attachments {
            return Err(self.refuse(DecodeError::TooManyAttachments(self.limits.max_attachments)));
        }
        self.binaries += 1;
        self.check_room_for(attachment.len())?;
        push_binary(self.out, attachment).map_err(E::custom)
    }
}

/// Writes the msgpack of one JSON value.
struct Value<'w, 'o>(&'w mut Writer<'o>);

/// What was just written, as far as a placeholder's `_placeholder` and `num` need it.
#[derive(Clone, Copy, PartialEq)]
enum Written {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = Written;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Written, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = Written;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        self.0.out.push(0xc0);
        Ok(Written::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        self.0.out.push(if value { 0xc3 } else { 0xc2 });
        Ok(if value { Written::True } else { Written::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Written, E> {
        push_unsigned(self.0.out, value);
        Ok(Written::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
        rmp::encode::write_sint(self.0.out, value).expect("writing to a Vec does not fail");
        Ok(Written::Other)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Written, E> {
        // Both casts are exact: the value is an integer of at most 2^53.
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER {
            return match u64::try_from(value as i64) {
                Ok(value) => self.visit_u64(value),
                Err(_) => self.visit_i64(value as i64),
            };
        }
        self.0.out.push(0xcb);
        self.0.out.extend_from_slice(&value.to_be_bytes());
        Ok(Written::Other)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Written, E> {
        self.0.check_room_for(value.len())?;
        push_text(self.0.out, value);
        Ok(Written::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Written, A::Error> {
        let writer = self.0;
        writer.depth += 1;
        writer.check_depth(writer.depth)?;
        let head = writer.out.len();
        writer.out.push(0);
        let mut count = 0;
        while items.next_element_seed(Value(&mut *writer))?.is_some() {
            writer.check_room_for(0)?;
            count += 1;
        }
        writer.depth -= 1;
        fill_head(writer.out, head, count, &ARRAY);
        Ok(Written::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Written, A::Error> {
        let writer = self.0;
        writer.depth += 1;
        // It may turn out to be a placeholder, which is no object to a receiver.
        writer.check_depth(writer.depth - 1)?;
        let (head, binaries, placeholder_key) = (writer.out.len(), writer.binaries, writer.placeholder_key);
        writer.out.push(0);
        let mut count = 0;
        let (mut is_placeholder, mut number) = (false, None);
        while let Some(key) = entries.next_key_seed(Key(&mut *writer))? {
            let value = entries.next_value_seed(Value(&mut *writer))?;
            writer.check_room_for(0)?;
            match (key, value) {
                (KeyName::Placeholder, value) => is_placeholder = value == Written::True,
                (KeyName::Num, Written::Number(value)) => number = usize::try_from(value).ok(),
                _ => {}
            }
            count += 1;
        }
        // Without attachments, such an object is plain data (a packet of type 2).
        if is_placeholder && !writer.attachments.is_empty() {
            writer.out.truncate(head);
            (writer.binaries, writer.placeholder_key) = (binaries, placeholder_key);
            writer.push_attachment(number)?;
        } else {
            writer.check_depth(writer.depth)?;
            fill_head(writer.out, head, count, &MAP);
        }
        writer.depth -= 1;
        Ok(Written::Other)
    }
}

/// Writes an object's key.
struct Key<'w, 'o>(&'w mut Writer<'o>);

enum KeyName {
    Placeholder,
    Num,
    Other,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = KeyName;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<KeyName, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = KeyName;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<KeyName, E> {
        self.0.check_room_for(key.len())?;
        push_text(self.0.out, key);
        Ok(match key {
            "_placeholder" => {
                self.0.placeholder_key = true;
                KeyName::Placeholder
            }
            "num" => KeyName::Num,
            _ => KeyName::Other,
        })
    }
}

/// Markers of an array's or map's head.
struct Head {
    fixed: u8,
    of_16_bits: u8,
    of_32_bits: u8,
}

const ARRAY: Head = Head { fixed: 0x90, of_16_bits: 0xdc, of_32_bits: 0xdd };
const MAP: Head = Head { fixed: 0x80, of_16_bits: 0xde, of_32_bits: 0xdf };

/// Writes the head with its count where one byte was kept free for it.
fn fill_head(out: &mut Vec<u8>, at: usize, count: u32, head: &Head) {
    match (u8::try_from(count), u16::try_from(count)) {
        (Ok(count @ 0..=15), _) => out[at] = head.fixed | count,
        (_, Ok(count)) => {
            out[at] = head.of_16_bits;
            out.splice(at + 1..at + 1, count.to_be_bytes());
        }
        _ => {
            out[at] = head.of_32_bits;
            out.splice(at + 1..at + 1, count.to_be_bytes());
        }
    }
}

pub(super) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    rmp::encode::write_uint(out, value).expect("writing to a Vec does not fail");
}

pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    rmp::encode::write_str(out, text).expect("writing to a Vec does not fail");
}

pub(super) fn push_array_head(out: &mut Vec<u8>, count: usize) {
    let at = out.len();
    out.push(0);
    fill_head(out, at, u32::try_from(count).unwrap_or(u32::MAX), &ARRAY);
}

/// At most 15 entries.
pub(super) fn push_map_head(out: &mut Vec<u8>, count: u8) {
    out.push(0x80 | count);
}

fn push_binary(out: &mut Vec<u8>, data: &[u8]) -> Result<(), &'static str> {
    if u32::try_from(data.len()).is_err() {
        return Err("an attachment is larger than 4 GiB");
    }
    rmp::encode::write_bin(out, data).expect("writing to a Vec does not fail");
    Ok(())
}
