//! The configuration as TOML, for eyes and as a file to start from.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{
    reader::{Entry, Reader},
    tree::Origin,
};

const DOC_WIDTH: usize = 100;
/// Of the digest of a configuration that are shown.
const FINGERPRINT_BYTES: usize = 6;

/// Every value in force, with where it comes from.
pub(super) fn effective(reader: &Reader) -> String {
    let mut out = String::new();
    let mut section = None;
    for entry in &reader.entries {
        if section != Some(&entry.section) {
            section = Some(&entry.section);
            if !out.is_empty() {
                out.push('\n');
            }
            push_header(&mut out, &entry.section, "");
        }
        let _ = match &entry.shown {
            Some(value) => writeln!(out, "{} = {value}  # {}", entry.key, entry.origin),
            None => writeln!(out, "# {} is not set", entry.key),
        };
    }
    out
}

/// The same values as a short digest. Of a secret there is `***`, as everywhere.
pub(super) fn fingerprint(reader: &Reader) -> String {
    let mut digest = Sha256::new();
    for Entry { section, key, shown, .. } in &reader.entries {
        digest.update(format!("{section}.{key} = {shown:?}\n"));
    }
    digest.finalize().iter().take(FINGERPRINT_BYTES).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Every key with its meaning and default.
pub(super) fn reference(reader: &Reader) -> String {
    let mut out = String::new();
    push_doc(
        &mut out,
        "Every key of Broadgate with its meaning and default. Made by `broadgate print-config --reference`.",
    );
    push_doc(
        &mut out,
        "Layers: these defaults, then the file, then environment variables such as BROADGATE__SERVER__LISTEN, then flags.",
    );
    let mut section = None;
    for entry in &reader.entries {
        // One key of an example makes the whole table one.
        let is_example = |other: &Entry| other.section == entry.section && other.origin == Origin::Example;
        let commented = if reader.entries.iter().any(is_example) { "# " } else { "" };
        if section != Some(&entry.section) {
            section = Some(&entry.section);
            out.push('\n');
            let list = entry.section.split_once('[').map_or(&*entry.section, |(list, _)| list);
            if let Some((_, doc)) = reader.sections.iter().find(|(path, _)| path == list) {
                push_doc(&mut out, doc);
            }
            push_header(&mut out, &entry.section, commented);
        }
        push_entry(&mut out, entry, commented);
    }
    out
}

fn push_entry(out: &mut String, entry: &Entry, commented: &str) {
    push_doc(out, entry.doc);
    let _ = match (entry.example, &entry.shown) {
        (Some(example), _) => writeln!(out, "# {} = {example}", entry.key),
        (None, Some(value)) => writeln!(out, "{commented}{} = {value}", entry.key),
        (None, None) => writeln!(out, "# {} is not set", entry.key),
    };
}

/// `[server]`, `[adapter.redis]`; `[[rooms]]` for `rooms[0]`.
fn push_header(out: &mut String, section: &str, commented: &str) {
    let _ = match section.split_once('[') {
        Some((list, _)) => writeln!(out, "{commented}[[{list}]]"),
        None => writeln!(out, "{commented}[{section}]"),
    };
}

fn push_doc(out: &mut String, doc: &str) {
    let mut line = String::from("#");
    for word in doc.split_whitespace() {
        if line.len() + 1 + word.len() > DOC_WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
