//! The payload of an event (wire.md 2.1): an array of a name and the arguments.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::DecodeError;

/// The name of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventName<'a> {
    /// The usual: a string, unescaped.
    Text(Cow<'a, str>),
    /// A number, as it is written in the JSON.
    Number(&'a str),
}

/// The name and the arguments of an event, each argument as its JSON text.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The first item of the payload.
    pub name: EventName<'a>,
    /// The other items.
    pub args: Vec<&'a RawValue>,
}

impl<'a> Event<'a> {
    /// Takes the payload of an event apart.
    ///
    /// # Errors
    /// It is not JSON, or not an array that begins with a string or a number.
    pub fn parse(payload: &'a str) -> Result<Self, DecodeError> {
        let mut args: Vec<&RawValue> = serde_json::from_str(payload).map_err(|error| invalid(&error))?;
        if args.is_empty() {
            return Err(DecodeError::InvalidPayload);
        }
        let name = EventName::new(args.remove(0))?;
        Ok(Self { name, args })
    }
}

impl<'a> EventName<'a> {
    fn new(value: &'a RawValue) -> Result<Self, DecodeError> {
        let json = value.get();
        match json.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Ok(Self::Number(json)),
            Some(b'"') if !json.contains('\\') => Ok(Self::Text(Cow::Borrowed(json.trim_matches('"')))),
            Some(b'"') => serde_json::from_str(json)
                .map(|name| Self::Text(Cow::Owned(name)))
                .map_err(|_| DecodeError::InvalidJson),
            _ => Err(DecodeError::InvalidPayload),
        }
    }
}

/// The name alone, without keeping the arguments; all of `payload` is checked to be JSON.
pub(super) fn parse_name(payload: &str) -> Result<EventName<'_>, DecodeError> {
    let mut json = serde_json::Deserializer::from_str(payload);
    let name = json.deserialize_seq(FirstItem).map_err(|error| invalid(&error))?;
    json.end().map_err(|error| invalid(&error))?;
    EventName::new(name.ok_or(DecodeError::InvalidPayload)?)
}

/// JSON of another shape is something else than text that is not JSON.
fn invalid(error: &serde_json::Error) -> DecodeError {
    if error.is_data() { DecodeError::InvalidPayload } else { DecodeError::InvalidJson }
}

struct FirstItem;

impl<'de> Visitor<'de> for FirstItem {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let first = items.next_element()?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}
