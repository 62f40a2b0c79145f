//! What the layers say, before anything is checked: a tree of values, each of which knows where it came from.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody set it.
    Default,
    /// What development mode opens.
    Development,
    /// What the reference shows of a list that is empty by default.
    Example,
    /// A file, by the path it was given with, and the line where the format tells it.
    File { path: Arc<str>, line: Option<usize> },
    /// An environment variable, by its name.
    Env(String),
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Development => f.write_str("development mode"),
            Self::Example => f.write_str("example"),
            Self::File { path, line: Some(line) } => write!(f, "{path}:{line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The tables of a layer, or of all layers merged.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// What TOML, JSON, the environment and flags have in common.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Bool(bool),
    Integer(i128),
    Text(String),
    /// From the environment: its type is what the key wants it to be.
    Untyped(String),
    List(Vec<Node>),
    Table(Table),
    /// A type that no key has, by its name: float, date, null.
    Other(&'static str),
}

impl Value {
    /// For "expected ..., found ...". Shows short scalars, but nothing that could hold a password.
    pub(super) fn describe(&self) -> String {
        const SHOWN_CHARS: usize = 60;
        let quotable = |text: &str| text.chars().count() <= SHOWN_CHARS && !text.contains(['@', '\n']);
        match self {
            Self::Bool(value) => format!("{value}"),
            Self::Integer(value) => format!("{value}"),
            Self::Text(text) | Self::Untyped(text) if quotable(text) => format!("{text:?}"),
            other => other.kind().to_owned(),
        }
    }

    /// The name of the type alone.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Text(_) | Self::Untyped(_) => "a string",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}

/// Lays `over` on `under`: tables are merged key by key, everything else is replaced whole.
pub(super) fn merge(under: &mut Table, over: Table) {
    for (key, node) in over {
        match (under.get_mut(&key), node) {
            (Some(Node { value: Value::Table(below), .. }), Node { value: Value::Table(above), .. }) => {
                merge(below, above);
            }
            (_, node) => {
                under.insert(key, node);
            }
        }
    }
}

/// Sets `path` in `table`, making the tables on the way. Where another value is in the way it stays, for the reader to
/// complain about.
pub(super) fn set(table: &mut Table, path: &[&str], origin: &Origin, value: Value) {
    let [parents @ .., last] = path else { return };
    let mut table = table;
    for &parent in parents {
        let node = table
            .entry(parent.to_owned())
            .or_insert_with(|| Node { origin: origin.clone(), value: Value::Table(Table::new()) });
        let Value::Table(inner) = &mut node.value else { return };
        table = inner;
    }
    table.insert((*last).to_owned(), Node { origin: origin.clone(), value });
}

/// A list entry made by the node itself.
pub(super) fn texts_table(origin: &Origin, entries: &[(&str, &str)]) -> Node {
    let node = |text: &str| Node { origin: origin.clone(), value: Value::Text(text.to_owned()) };
    let table = entries.iter().map(|(key, text)| ((*key).to_owned(), node(text))).collect();
    Node { origin: origin.clone(), value: Value::Table(table) }
}
