//! Takes typed values out of the merged tree. Whoever asks for a key says its name, what it means, what is allowed and
//! the default, once; from that come the value, the errors, the list of known keys and the printed configuration.

mod secrets;

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use secrets::read_secret_file;

use super::{
    ConfigError,
    error::nearest,
    layers::ENV_PREFIX,
    tree::{Node, Origin, Table, Value},
    values::{boolean, choose, integer, list, mismatch, quoted, quoted_list, text, text_list},
};

/// Keys that had another name before, with the one that they have now.
const RENAMED: &[(&str, &str)] = &[("engine.cors_origins", "engine.allowed_origins")];

/// A key that was asked for, with its effective value.
pub(super) struct Entry {
    /// `server`, `adapter.redis`, `rooms[0]`.
    pub(super) section: String,
    pub(super) key: &'static str,
    pub(super) doc: &'static str,
    /// As TOML, redacted; `None` where it is not set.
    pub(super) shown: Option<String>,
    pub(super) origin: Origin,
    /// For the reference, where there is no default, or one that is not the same everywhere.
    pub(super) example: Option<&'static str>,
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) errors: Vec<ConfigError>,
    pub(super) entries: Vec<Entry>,
    /// Sections by path, with their meaning, in the order they were asked for.
    pub(super) sections: Vec<(String, &'static str)>,
    unknown: Vec<(String, String, Origin)>,
}

impl Reader {
    /// Where the value of a key came from; default for a key that was not asked for.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let found = self.entries.iter().find(|entry| join(&entry.section, entry.key) == path);
        found.map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// Did any layer set the key?
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.origin(path) != Origin::Default
    }

    /// Reports every key that nobody asked for. To be called when all are read.
    pub(super) fn report_unknown(&mut self) {
        for (section, key, origin) in std::mem::take(&mut self.unknown) {
            let path = join(&section, &key);
            let near = self.nearest_key(&section, &key);
            let message = match (&origin, near) {
                (Origin::Env(_), None) => "unknown variable".to_owned(),
                (Origin::Env(_), Some(near)) => {
                    let near = near.to_ascii_uppercase().replace('.', "__");
                    format!("unknown variable: did you mean {ENV_PREFIX}{near}?")
                }
                (_, None) => format!("unknown key \"{path}\""),
                (_, Some(near)) => format!("unknown key \"{path}\": did you mean \"{near}\"?"),
            };
            self.errors.push(ConfigError::new(&origin, message));
        }
    }

    /// Its new name, a key of the same section that looks like it, or the same key of another section.
    fn nearest_key(&self, section: &str, key: &str) -> Option<String> {
        let path = join(section, key);
        if let Some((_, renamed)) = RENAMED.iter().find(|(old, _)| *old == path) {
            return Some((*renamed).to_owned());
        }
        let keys = self.entries.iter().filter(|entry| entry.section == section).map(|entry| entry.key);
        let sections = self.sections.iter().filter_map(|(path, _)| {
            let name = path.strip_prefix(section)?;
            let name = if section.is_empty() { name } else { name.strip_prefix('.')? };
            (!name.is_empty() && !name.contains(['.', '['])).then_some(name)
        });
        if let Some(near) = nearest(key, keys.chain(sections)) {
            return Some(join(section, near));
        }
        let elsewhere = self.entries.iter().find(|entry| entry.key == key && !entry.section.contains('['));
        elsewhere.map(|entry| join(&entry.section, entry.key))
    }
}

/// One table of the tree, from which keys are taken.
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    path: String,
    origin: Origin,
    table: Table,
}

impl<'r> Section<'r> {
    pub(super) fn root<T>(
        reader: &'r mut Reader,
        table: Table,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        Section { reader, path: String::new(), origin: Origin::Default, table }.read(read)
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let value = read(&mut self);
        for (key, node) in std::mem::take(&mut self.table) {
            self.reader.unknown.push((self.path.clone(), key, first_origin(node)));
        }
        value
    }

    /// A table in this one; an empty one where it is not there.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let path = join(&self.path, key);
        self.reader.sections.push((path.clone(), doc));
        let node = self
            .table
            .remove(key)
            .unwrap_or(Node { origin: Origin::Default, value: Value::Table(Table::new()) });
        let table = self.expect_table(&path, &node).unwrap_or_default();
        Section { reader: self.reader, path, origin: node.origin, table }.read(read)
    }

    fn expect_table(&mut self, path: &str, node: &Node) -> Option<Table> {
        if let Value::Table(table) = &node.value {
            return Some(table.clone());
        }
        let message = format!("{path}: expected a table of keys, found {}", node.value.kind());
        self.reader.errors.push(ConfigError::new(&node.origin, message));
        None
    }

    /// A list of tables, `default` where it is not set.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        items: RangeInclusive<usize>,
        default: Vec<Node>,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        let list_path = join(&self.path, key);
        self.reader.sections.push((list_path.clone(), doc));
        let nodes = match self.table.remove(key) {
            None => default,
            Some(node) => match list(&node) {
                Some(nodes) if items.contains(&nodes.len()) => nodes,
                Some(nodes) => {
                    let (least, most) = items.into_inner();
                    self.error(
                        &node.origin,
                        key,
                        &format!("expected {least} to {most} entries, found {}", nodes.len()),
                    );
                    return Vec::new();
                }
                None => {
                    self.error(&node.origin, key, &mismatch("a list of tables", &node.value));
                    return Vec::new();
                }
            },
        };
        let mut values = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.into_iter().enumerate() {
            let path = format!("{list_path}[{index}]");
            let Some(table) = self.expect_table(&path, &node) else { continue };
            values.push(Section { reader: self.reader, path, origin: node.origin, table }.read(&mut read));
        }
        values
    }

    /// The base of all scalars: `default` where it is not set or wrong.
    fn value<T>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        default: T,
        show: impl FnOnce(&T) -> Option<String>,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> T {
        let (value, origin) = match self.table.remove(key) {
            None => (default, Origin::Default),
            Some(node) => match parse(&node.value) {
                Ok(value) => (value, node.origin),
                Err(message) => {
                    self.error(&node.origin, key, &message);
                    (default, node.origin)
                }
            },
        };
        let entry =
            Entry { section: self.path.clone(), key, doc, shown: show(&value), origin, example: None };
        self.reader.entries.push(entry);
        value
    }

    fn error(&mut self, origin: &Origin, key: &str, message: &str) {
        self.reader.errors.push(ConfigError::new(origin, format!("{}: {message}", join(&self.path, key))));
    }

    /// Reports what is wrong with a key that was read, beside its type; with no key, with the whole table.
    pub(super) fn fault(&mut self, key: &str, message: &str) {
        let origin = self.reader.origin(&join(&self.path, key));
        let origin = if origin == Origin::Default { self.origin.clone() } else { origin };
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        self.reader.errors.push(ConfigError::new(&origin, format!("{path}: {message}")));
    }

    /// The value of a key that was read, as `print-config` shows it.
    pub(super) fn shown(&self, key: &str) -> Option<&str> {
        let mut entries = self.reader.entries.iter();
        entries.find(|entry| entry.section == self.path && entry.key == key)?.shown.as_deref()
    }

    /// Did any layer set one of these keys, which were read?
    pub(super) fn is_set_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.reader.is_set(&join(&self.path, key)))
    }

    /// What the reference shows, as a comment, for the key that was read last, which has no default that is the same
    /// everywhere.
    pub(super) fn example(&mut self, value: &'static str) {
        if let Some(entry) = self.reader.entries.last_mut() {
            entry.example = Some(value);
        }
    }

    /// A number of things.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        doc: &'static str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        self.value(key, doc, default, |value| Some(value.to_string()), |value| integer(value, &range))
    }

    /// A number of things that may be left out.
    pub(super) fn optional_count(
        &mut self,
        key: &'static str,
        doc: &'static str,
        range: RangeInclusive<usize>,
    ) -> Option<usize> {
        let parse = |value: &Value| integer(value, &range).map(Some);
        self.value(key, doc, None, |value| value.map(|value| value.to_string()), parse)
    }

    /// A duration as whole milliseconds.
    pub(super) fn milliseconds(
        &mut self,
        key: &'static str,
        doc: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Duration {
        Duration::from_millis(self.value(
            key,
            doc,
            default,
            |value| Some(value.to_string()),
            |value| integer(value, &range),
        ))
    }

    /// An IP address with a port.
    pub(super) fn address(
        &mut self,
        key: &'static str,
        doc: &'static str,
        default: SocketAddr,
    ) -> SocketAddr {
        let parse = |value: &Value| {
            let address = text(value).and_then(|text| text.parse().ok());
            address.ok_or_else(|| {
                mismatch("an IP address with a port, such as 0.0.0.0:8080 or [::]:8080", value)
            })
        };
        self.value(key, doc, default, |address| Some(quoted(&address.to_string())), parse)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        choices: &[(&'static str, T)],
        default: T,
    ) -> T {
        let show =
            |value: &T| choices.iter().find(|(_, choice)| choice == value).map(|(name, _)| quoted(name));
        self.value(key, doc, default, show, |value| choose(value, choices))
    }

    /// A list of a few words, at least one, each once; all of them unless set.
    pub(super) fn choices<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        choices: &[(&'static str, T)],
    ) -> Vec<T> {
        let all = choices.iter().map(|(_, choice)| *choice).collect();
        self.some_of(key, doc, choices, all, 1)
    }

    /// A list of a few words, each once, or of none.
    pub(super) fn choices_or<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        choices: &[(&'static str, T)],
        default: Vec<T>,
    ) -> Vec<T> {
        self.some_of(key, doc, choices, default, 0)
    }

    fn some_of<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        choices: &[(&'static str, T)],
        default: Vec<T>,
        least: usize,
    ) -> Vec<T> {
        let names = |values: &Vec<T>| {
            let name = |value| {
                choices.iter().find(|(_, choice)| choice == value).map(|(name, _)| (*name).to_owned())
            };
            Some(quoted_list(&values.iter().filter_map(name).collect::<Vec<_>>()))
        };
        let parse = |value: &Value| {
            let items = text_list(value).ok_or_else(|| mismatch("a list of strings", value))?;
            let mut values = Vec::new();
            for item in items {
                let choice = choose(&Value::Text(item), choices)?;
                if values.contains(&choice) {
                    return Err("expected each entry once".to_owned());
                }
                values.push(choice);
            }
            if values.len() < least { Err("expected at least one entry".to_owned()) } else { Ok(values) }
        };
        self.value(key, doc, default, names, parse)
    }

    /// Text that `check` accepts or gives what it expected instead.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        doc: &'static str,
        default: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> String {
        let parse = |value: &Value| {
            let text = text(value).ok_or_else(|| mismatch("a string", value))?;
            check(text).map_err(|expected| mismatch(&expected, value))?;
            Ok(text.to_owned())
        };
        self.value(key, doc, default.to_owned(), |text| Some(quoted(text)), parse)
    }

    /// Like [`Section::text`], for a key that may be left out.
    pub(super) fn optional_text(
        &mut self,
        key: &'static str,
        doc: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let parse = |value: &Value| {
            let text = text(value).ok_or_else(|| mismatch("a string", value))?;
            check(text).map_err(|expected| mismatch(&expected, value))?;
            Ok(Some(text.to_owned()))
        };
        self.value(key, doc, None, |text| text.as_deref().map(quoted), parse)
    }

    /// The name of a file, which is not looked at here.
    pub(super) fn optional_path(&mut self, key: &'static str, doc: &'static str) -> Option<PathBuf> {
        let check = |path: &str| if path.is_empty() { Err("the name of a file".to_owned()) } else { Ok(()) };
        self.optional_text(key, doc, check).map(PathBuf::from)
    }

    /// Yes or no.
    pub(super) fn switch(&mut self, key: &'static str, doc: &'static str, default: bool) -> bool {
        self.value(key, doc, default, |value| Some(value.to_string()), boolean)
    }

    /// The name of a file that `check` reads and accepts; its message names the file and says nothing of a secret in it.
    pub(super) fn optional_checked_path(
        &mut self,
        key: &'static str,
        doc: &'static str,
        check: impl Fn(&Path) -> Result<(), String>,
    ) -> Option<PathBuf> {
        let parse = |value: &Value| {
            let path = text(value).ok_or_else(|| mismatch("a string", value))?;
            check(path.as_ref())?;
            Ok(Some(PathBuf::from(path)))
        };
        let show = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.to_string_lossy()));
        self.value(key, doc, None, show, parse)
    }

    /// Yes or no, or left out.
    pub(super) fn optional_switch(&mut self, key: &'static str, doc: &'static str) -> Option<bool> {
        let parse = |value: &Value| boolean(value).map(Some);
        self.value(key, doc, None, |value| value.map(|value| value.to_string()), parse)
    }

    /// Like [`Section::text`], for a key without a default.
    pub(super) fn required_text(
        &mut self,
        key: &'static str,
        doc: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> String {
        if !self.table.contains_key(key) {
            let origin = self.origin.clone();
            self.error(&origin, key, "is missing");
        }
        self.text(key, doc, "", check)
    }

    /// A list of texts, each of which `check` accepts.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        doc: &'static str,
        default: Vec<String>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let parse = |value: &Value| {
            let items = text_list(value).ok_or_else(|| mismatch("a list of strings", value))?;
            for item in &items {
                check(item).map_err(|expected| mismatch(&expected, &Value::Text(item.clone())))?;
            }
            Ok(items)
        };
        self.value(key, doc, default, |items| Some(quoted_list(items)), parse)
    }

    /// Is the key of a table in this one set? For a default that depends on it.
    pub(super) fn contains(&self, section: &str, key: &str) -> bool {
        matches!(self.table.get(section), Some(Node { value: Value::Table(table), .. }) if table.contains_key(key))
    }
}

pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// Of a table, the origin of its first value: tables of the environment have none of their own.
fn first_origin(node: Node) -> Origin {
    match node.value {
        Value::Table(table) if matches!(node.origin, Origin::Env(_)) => {
            table.into_values().next().map_or(node.origin, first_origin)
        }
        _ => node.origin,
    }
}
