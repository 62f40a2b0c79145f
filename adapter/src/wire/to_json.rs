//! msgpack to the JSON that Node.js would send to clients: `JSON.stringify` of what notepack decodes, binary taken out.
//!
//! A single pass without a tree of values. The rules are those of wire.md 3.1; where Node loses digits of a large
//! integer, they are kept.

use std::fmt::Write;

use bytes::Bytes;

use super::{
    DecodeError, Limits,
    msgpack::{Reader, Token},
    timestamp,
};
use crate::EventPacket;

/// Event names that make a client close the connection (wire.md 2.1).
const RESERVED_EVENT_NAMES: [&[u8]; 6] =
    [b"connect", b"connect_error", b"disconnect", b"disconnecting", b"newListener", b"removeListener"];

pub(super) fn check_event_name(name: &[u8]) -> Result<(), DecodeError> {
    if RESERVED_EVENT_NAMES.contains(&name) {
        return Err(DecodeError::ReservedEventName);
    }
    Ok(())
}

/// Reads the beginning of a packet's `data`: the number of its items, and the event's name, which is the first of them.
pub(super) fn event_name<'a>(reader: &mut Reader<'a>) -> Result<(usize, &'a [u8]), DecodeError> {
    let Token::Array(length @ 1..) = reader.next()? else {
        return Err(DecodeError::Shape("data must be a non-empty array"));
    };
    let Token::Text(name) = reader.next()? else {
        return Err(DecodeError::Shape("the event name must be text"));
    };
    check_event_name(name)?;
    Ok((length, name))
}

/// Reads a packet's `data`: a non-empty array whose first item is text.
pub(super) fn event_packet(reader: &mut Reader<'_>, limits: &Limits) -> Result<EventPacket, DecodeError> {
    let (length, name) = event_name(reader)?;
    let mut transcoder = Transcoder {
        json: String::with_capacity(reader.remaining_bytes() + 64),
        attachments: Vec::new(),
        placeholder_key: false,
        limits,
    };
    transcoder.json.push('[');
    transcoder.push_text(name)?;
    for _ in 1..length {
        transcoder.json.push(',');
        transcoder.push_value(reader, 2)?;
    }
    transcoder.json.push(']');
    transcoder.finish()
}

/// Reads any one value.
pub(super) fn value(reader: &mut Reader<'_>, limits: &Limits) -> Result<EventPacket, DecodeError> {
    let json = String::with_capacity(reader.remaining_bytes() + 64);
    let mut transcoder = Transcoder { json, attachments: Vec::new(), placeholder_key: false, limits };
    transcoder.push_value(reader, 1)?;
    transcoder.finish()
}

/// A JSON array of values that are JSON already.
pub(super) fn array_of(values: &[&serde_json::value::RawValue]) -> Box<str> {
    let mut json = String::with_capacity(values.iter().map(|value| value.get().len() + 1).sum::<usize>() + 1);
    json.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(value.get());
    }
    json.push(']');
    json.into()
}

struct Transcoder<'l> {
    json: String,
    attachments: Vec<Bytes>,
    /// Some map has the key `_placeholder`.
    placeholder_key: bool,
    limits: &'l Limits,
}

impl Transcoder<'_> {
    fn finish(self) -> Result<EventPacket, DecodeError> {
        self.check_json_bytes()?;
        if self.placeholder_key && !self.attachments.is_empty() {
            return Err(DecodeError::Placeholder);
        }
        Ok(EventPacket { json: self.json.into_boxed_str(), attachments: self.attachments })
    }

    fn check_json_bytes(&self) -> Result<(), DecodeError> {
        self.check_room_for(0)
    }

    fn check_room_for(&self, more_bytes: usize) -> Result<(), DecodeError> {
        let limit = self.limits.max_json_bytes;
        if self.json.len() + more_bytes > limit { Err(DecodeError::JsonTooBig { limit }) } else { Ok(()) }
    }

    /// `depth` counts the arrays and maps around the value, with the one that it may be.
    fn push_value(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), DecodeError> {
        match reader.next()? {
            Token::Nil | Token::Undefined => self.json.push_str("null"),
            Token::Bool(true) => self.json.push_str("true"),
            Token::Bool(false) => self.json.push_str("false"),
            Token::Unsigned(value) => self.push_display(value),
            Token::Negative(value) => self.push_display(value),
            Token::Float(value) => self.push_float(value),
            Token::Text(text) => self.push_text(text)?,
            Token::Binary(data) => self.push_attachment(data)?,
            Token::Extension { kind, data, fixed } => self.push_extension(kind, data, fixed)?,
            Token::Array(length) => self.push_array(reader, length, depth)?,
            Token::Map(length) => self.push_map(reader, length, depth)?,
        }
        self.check_json_bytes()
    }

    fn push_array(
        &mut self,
        reader: &mut Reader<'_>,
        length: usize,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.check_depth(depth)?;
        self.json.push('[');
        for index in 0..length {
            if index > 0 {
                self.json.push(',');
            }
            self.push_value(reader, depth + 1)?;
        }
        self.json.push(']');
        Ok(())
    }

    fn push_map(&mut self, reader: &mut Reader<'_>, length: usize, depth: usize) -> Result<(), DecodeError> {
        self.check_depth(depth)?;
        self.json.push('{');
        let mut first = true;
        for _ in 0..length {
            let key = reader.next()?;
            // JSON.stringify leaves such an entry out.
            if reader.at_undefined() {
                reader.skip()?;
                continue;
            }
            if !std::mem::take(&mut first) {
                self.json.push(',');
            }
            self.push_key(key)?;
            self.json.push(':');
            self.push_value(reader, depth + 1)?;
        }
        self.json.push('}');
        Ok(())
    }

    /// JavaScript's objects have text as keys; it makes text of anything else.
    fn push_key(&mut self, key: Token<'_>) -> Result<(), DecodeError> {
        match key {
            Token::Text(text) => {
                self.placeholder_key |= text == b"_placeholder";
                return self.push_text(text);
            }
            Token::Nil => self.json.push_str("\"null\""),
            Token::Undefined => self.json.push_str("\"undefined\""),
            Token::Bool(value) => self.push_quoted(value),
            Token::Unsigned(value) => self.push_quoted(value),
            Token::Negative(value) => self.push_quoted(value),
            Token::Float(value) if value.is_finite() => {
                self.json.push('"');
                self.push_float(value);
                self.json.push('"');
            }
            Token::Float(value) if value.is_nan() => self.json.push_str("\"NaN\""),
            Token::Float(value) => {
                self.json.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
            }
            Token::Binary(_) | Token::Array(_) | Token::Map(_) | Token::Extension { .. } => {
                return Err(DecodeError::MapKey);
            }
        }
        Ok(())
    }

    fn push_extension(&mut self, kind: i8, data: &[u8], fixed: bool) -> Result<(), DecodeError> {
        if let Some(milliseconds) = timestamp::milliseconds(kind, data, fixed) {
            timestamp::push_json(&mut self.json, milliseconds);
            return Ok(());
        }
        // notepack 2.x's ArrayBuffer, which is binary to Socket.IO.
        if kind == 0 && !fixed {
            return self.push_attachment(data);
        }
        // notepack gives an unknown extension as [type, bytes].
        write!(self.json, "[{kind},").expect("writing to a String does not fail");
        self.push_attachment(data)?;
        self.json.push(']');
        Ok(())
    }

    fn push_attachment(&mut self, data: &[u8]) -> Result<(), DecodeError> {
        let number = self.attachments.len();
        if number >= self.limits.max_attachments {
            return Err(DecodeError::TooManyAttachments(self.limits.max_attachments));
        }
        write!(self.json, "{{\"_placeholder\":true,\"num\":{number}}}")
            .expect("writing to a String does not fail");
        // A copy, so that a kept attachment does not keep the whole message.
        self.attachments.push(Bytes::copy_from_slice(data));
        Ok(())
    }

    /// As `JSON.stringify` writes a double: integers without a point, NaN and infinity as `null`.
    fn push_float(&mut self, value: f64) {
        let size = value.abs();
        if !value.is_finite() {
            self.json.push_str("null");
        } else if value == 0.0 {
            self.json.push('0');
        } else if (1e-6..1e21).contains(&size) {
            self.push_display(value);
        } else {
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, ""));
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            write!(self.json, "{digits}e{sign}{exponent}").expect("writing to a String does not fail");
        }
    }

    fn push_display(&mut self, value: impl std::fmt::Display) {
        write!(self.json, "{value}").expect("writing to a String does not fail");
    }

    fn push_quoted(&mut self, value: impl std::fmt::Display) {
        write!(self.json, "\"{value}\"").expect("writing to a String does not fail");
    }

    /// Old emitters write binary as text; like Node, replace what is not UTF-8. Text grows by both that and escapes, so
    /// its length is known before anything is written.
    fn push_text(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        self.check_room_for(text.len())?;
        let text = String::from_utf8_lossy(text);
        if self.check_room_for(text.len() * MAX_ESCAPE_BYTES).is_err() {
            self.check_room_for(escaped_bytes(&text))?;
        }
        push_json_string(&mut self.json, &text);
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), DecodeError> {
        if depth > self.limits.max_depth {
            return Err(DecodeError::TooDeep(self.limits.max_depth));
        }
        Ok(())
    }
}

/// As in `\u0001`.
const MAX_ESCAPE_BYTES: usize = 6;

/// Bytes that [`push_json_string`] makes of `text`, without the quotes.
fn escaped_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..=0x1f => MAX_ESCAPE_BYTES,
        _ => 1,
    });
    bytes.sum()
}

/// Appends `text` as a JSON string. Runs without anything to escape are copied whole.
pub(super) fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut copied = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0x00..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[copied..index]);
        copied = index + 1;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect("writing to a String does not fail");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[copied..]);
    out.push('"');
}
