//! From a value of whatever layer to the type that a key wants, and back to TOML. What does not fit gives a text of the
//! form "expected ..., found ...".

use std::{fmt::Display, ops::RangeInclusive};

use super::{
    layers::json_value,
    tree::{Node, Origin, Value},
};

pub(super) fn mismatch(expected: &str, value: &Value) -> String {
    format!("expected {expected}, found {}", value.describe())
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Untyped(text) => Some(text),
        _ => None,
    }
}

pub(super) fn integer<T>(value: &Value, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    let number = match value {
        Value::Integer(number) => Some(*number),
        Value::Untyped(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| mismatch(&format!("an integer from {} to {}", range.start(), range.end()), value))
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Untyped(text) if text == "true" => Ok(true),
        Value::Untyped(text) if text == "false" => Ok(false),
        _ => Err(mismatch("true or false", value)),
    }
}

pub(super) fn choose<T: Copy>(value: &Value, choices: &[(&'static str, T)]) -> Result<T, String> {
    let choice = text(value).and_then(|text| choices.iter().find(|(name, _)| *name == text));
    choice.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| quoted(name)).collect();
        mismatch(&names.join(" or "), value)
    })
}

/// A list as it is, or as JSON in an environment variable.
pub(super) fn list(node: &Node) -> Option<Vec<Node>> {
    match &node.value {
        Value::List(items) => Some(items.clone()),
        Value::Untyped(text) => match json_value(serde_json::from_str(text).ok()?, &node.origin).value {
            Value::List(items) => Some(items),
            _ => None,
        },
        _ => None,
    }
}

/// In an environment variable also parted by commas.
pub(super) fn text_list(value: &Value) -> Option<Vec<String>> {
    let node = Node { origin: Origin::Default, value: value.clone() };
    if let Value::Untyped(text) = value
        && !text.trim_start().starts_with('[')
    {
        return Some(
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
        );
    }
    list(&node)?.iter().map(|item| text(&item.value).map(str::to_owned)).collect()
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(super) fn quoted_list(items: &[String]) -> String {
    toml::Value::Array(items.iter().cloned().map(toml::Value::String).collect()).to_string()
}
