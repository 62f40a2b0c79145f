//! Reads each layer into a tree: the file (TOML or JSON), the environment, the flags.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use toml::{Spanned, de::DeTable, de::DeValue};

use super::{
    ConfigError, Flags,
    tree::{Node, Origin, Table, Value, set},
};

/// Variables that start so are ours; the rest of the name is the key, its levels parted by `__`.
pub(super) const ENV_PREFIX: &str = "BROADGATE__";

const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads a file; JSON where its name ends with `.json`, else TOML.
pub(super) fn file(path: &Path) -> Result<Table, Vec<ConfigError>> {
    let name: Arc<str> = path.display().to_string().into();
    let whole = Origin::File { path: Arc::clone(&name), line: None };
    let text = read(path).map_err(|message| vec![ConfigError::new(&whole, message)])?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        json_file(&text, &name)
    } else {
        toml_file(&text, &name)
    }
}

/// A whole file of text, if it is not too large.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(text)
}

fn toml_file(text: &str, name: &Arc<str>) -> Result<Table, Vec<ConfigError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let at = |offset: usize| {
        let line =
            text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File { path: Arc::clone(name), line: Some(line) }
    };
    if errors.is_empty() {
        return Ok(toml_table(table.get_ref(), &at));
    }
    // Only the message: the parser's own display quotes the line, which may hold a password.
    let errors = errors
        .iter()
        .map(|error| ConfigError::new(&at(error.span().map_or(0, |span| span.start)), error.message()));
    Err(errors.collect())
}

fn toml_table(table: &DeTable<'_>, at: &impl Fn(usize) -> Origin) -> Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let origin = at(key.span().start);
        (
            ToString::to_string(key.get_ref() as &std::borrow::Cow<'_, str>),
            toml_value(value.get_ref(), origin, at),
        )
    };
    table.iter().map(entry).collect()
}

fn toml_value(value: &DeValue<'_>, origin: Origin, at: &impl Fn(usize) -> Origin) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(digits) => i128::from_str_radix(digits.as_str(), digits.radix())
            .map_or(Value::Other("an integer that is out of range"), Value::Integer),
        DeValue::Float(_) => Value::Other("a float"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| toml_value(item.get_ref(), at(item.span().start), at)).collect(),
        ),
        DeValue::Table(table) => Value::Table(toml_table(table, at)),
    };
    Node { origin, value }
}

fn json_file(text: &str, name: &Arc<str>) -> Result<Table, Vec<ConfigError>> {
    let origin = |line| Origin::File { path: Arc::clone(name), line };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(object)) => Ok(json_table(object, &origin(None))),
        Ok(_) => Err(vec![ConfigError::new(&origin(None), "expected a JSON object")]),
        Err(error) => Err(vec![ConfigError::new(&origin(Some(error.line())), format!("not JSON: {error}"))]),
    }
}

fn json_table(object: serde_json::Map<String, serde_json::Value>, origin: &Origin) -> Table {
    object.into_iter().map(|(key, value)| (key, json_value(value, origin))).collect()
}

/// Also the form of lists and tables in environment variables.
pub(super) fn json_value(value: serde_json::Value, origin: &Origin) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Other("null"),
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => number.as_i128().map_or(Value::Other("a float"), Value::Integer),
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(items.into_iter().map(|item| json_value(item, origin)).collect()),
        Json::Object(object) => Value::Table(json_table(object, origin)),
    };
    Node { origin: origin.clone(), value }
}

/// The variables that start with [`ENV_PREFIX`]; all others are not ours.
pub(super) fn env(variables: &[(String, String)]) -> Result<Table, Vec<ConfigError>> {
    let mut ours: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    // A table before its keys, whatever the order of the environment.
    ours.sort();
    let mut table = Table::new();
    let mut errors = Vec::new();
    for (name, text) in ours {
        let origin = Origin::Env(name.clone());
        let path = name[ENV_PREFIX.len()..].to_ascii_lowercase();
        let path: Vec<&str> = path.split("__").collect();
        if path.iter().any(|key| key.is_empty()) {
            errors.push(ConfigError::new(&origin, "expected BROADGATE__SECTION__KEY"));
            continue;
        }
        set(&mut table, &path, &origin, Value::Untyped(text.clone()));
    }
    if errors.is_empty() { Ok(table) } else { Err(errors) }
}

/// The flags of `serve`.
pub(super) fn flags(flags: &Flags) -> Table {
    let mut table = Table::new();
    let mut flag = |name: &'static str, path: &[&str], text: &str| {
        set(&mut table, path, &Origin::Flag(name), Value::Text(text.to_owned()));
    };
    if let Some(address) = &flags.listen {
        flag("--listen", &["server", "listen"], address);
    }
    if let Some(address) = &flags.ops_listen {
        flag("--ops-listen", &["ops", "listen"], address);
    }
    if let Some(url) = &flags.redis {
        flag("--redis", &["adapter", "redis", "url"], url);
        flag("--redis", &["adapter", "kind"], "redis");
    }
    table
}
