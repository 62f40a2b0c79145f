//! From text to a packet, with everything that wire.md 2.1 and 2.4 let one packet alone be refused for.

use serde_json::value::RawValue;
use thiserror::Error;

use super::event::{self, EventName};
use super::packet::{Packet, PacketType};
use super::placeholders;

/// What a number of 64 bits needs at most.
const MAX_ACK_ID_DIGITS: usize = 20;

/// Events that clients must not send (wire.md 2.1).
const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Would a client that gets an event of this name close its connection (wire.md 2.1)?
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// Bounds on what one packet may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most attachments of a packet. The reference allows 10.
    pub max_attachments: usize,
    /// Longest namespace, in bytes, with its slash.
    pub max_namespace_bytes: usize,
}

/// Why a packet is refused. Each of these closes the connection (wire.md 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The text is empty or begins with something else than a type from 0 to 6.
    #[error("unknown packet type")]
    UnknownType,
    /// A binary packet without a number of at least 1 and a dash.
    #[error("illegal number of attachments")]
    IllegalAttachments,
    /// More attachments than the limit.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The namespace is longer than the limit.
    #[error("namespace too long")]
    NamespaceTooLong,
    /// The ack id has more than 20 digits.
    #[error("ack id too long")]
    AckIdTooLong,
    /// The payload is not JSON.
    #[error("payload is not JSON")]
    InvalidJson,
    /// JSON that this type of packet must not carry.
    #[error("payload does not fit the packet type")]
    InvalidPayload,
    /// An event name that is reserved.
    #[error("reserved event name")]
    ReservedEvent,
    /// A placeholder without an attachment to stand for.
    #[error("placeholder without an attachment")]
    IllegalPlaceholder,
}

/// Reads one packet.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn decode<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Packet<'a>, DecodeError> {
    let kind = text.bytes().next().and_then(PacketType::from_digit).ok_or(DecodeError::UnknownType)?;
    let rest = &text[1..];
    let (attachments, rest) = if kind.is_binary() { split_attachments(rest, limits)? } else { (0, rest) };
    let (namespace, rest) = split_namespace(rest, limits)?;
    let (ack_id, rest) = split_ack_id(rest)?;
    let payload = if rest.is_empty() { None } else { Some(parse_payload(kind, rest)?) };
    if kind.is_binary() && !payload.is_none_or(|json| placeholders::are_legal(json, attachments)) {
        return Err(DecodeError::IllegalPlaceholder);
    }
    Ok(Packet { kind, attachments, namespace, ack_id, payload })
}

fn split_attachments<'a>(text: &'a str, limits: &DecodeLimits) -> Result<(usize, &'a str), DecodeError> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix('-').ok_or(DecodeError::IllegalAttachments)?;
    if digits.bytes().all(|digit| digit == b'0') {
        return Err(DecodeError::IllegalAttachments);
    }
    match digits.parse() {
        Ok(attachments) if attachments <= limits.max_attachments => Ok((attachments, rest)),
        _ => Err(DecodeError::TooManyAttachments),
    }
}

/// A namespace is there only if the next character is a slash; it ends at a comma or with the text.
fn split_namespace<'a>(text: &'a str, limits: &DecodeLimits) -> Result<(&'a str, &'a str), DecodeError> {
    if !text.starts_with('/') {
        return Ok(("/", text));
    }
    let (namespace, rest) = text.split_once(',').unwrap_or((text, ""));
    if namespace.len() > limits.max_namespace_bytes {
        return Err(DecodeError::NamespaceTooLong);
    }
    Ok((namespace, rest))
}

fn split_ack_id(text: &str) -> Result<(Option<&str>, &str), DecodeError> {
    let (digits, rest) = split_digits(text);
    match digits.len() {
        0 => Ok((None, rest)),
        1..=MAX_ACK_ID_DIGITS => Ok((Some(digits), rest)),
        _ => Err(DecodeError::AckIdTooLong),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The payload rules of each type (wire.md 2.1). Returns the JSON without the space around it.
fn parse_payload(kind: PacketType, text: &str) -> Result<&str, DecodeError> {
    if matches!(kind, PacketType::Event | PacketType::BinaryEvent) {
        check_name(&event::parse_name(text)?)?;
        return Ok(text.trim_ascii());
    }
    let json = serde_json::from_str::<&RawValue>(text).map_err(|_| DecodeError::InvalidJson)?.get();
    let first = json.as_bytes().first();
    let fits = match kind {
        PacketType::Connect => first == Some(&b'{'),
        PacketType::ConnectError => matches!(first, Some(b'{' | b'"')),
        PacketType::Ack | PacketType::BinaryAck => first == Some(&b'['),
        PacketType::Disconnect | PacketType::Event | PacketType::BinaryEvent => false,
    };
    if fits { Ok(json) } else { Err(DecodeError::InvalidPayload) }
}

fn check_name(name: &EventName<'_>) -> Result<(), DecodeError> {
    match name {
        EventName::Text(name) if is_reserved_event(name) => Err(DecodeError::ReservedEvent),
        EventName::Text(_) | EventName::Number(_) => Ok(()),
    }
}
