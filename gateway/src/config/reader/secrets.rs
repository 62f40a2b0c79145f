//! Values that may hold a secret: no error quotes them, and nobody prints them as they are.

use std::path::{Path, PathBuf};

use super::Section;
use crate::config::{
    Secret, layers,
    tree::Value,
    values::{mismatch, quoted, quoted_list, text, text_list},
};

impl Section<'_> {
    /// A text that is never shown as it is; `redact` gives the form for eyes. `check`'s message must not quote it.
    pub(in crate::config) fn secret(
        &mut self,
        key: &'static str,
        doc: &'static str,
        redact: impl Fn(&str) -> String,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Secret> {
        let parse = |value: &Value| {
            let text = text(value).ok_or_else(|| format!("expected a string, found {}", value.kind()))?;
            check(text)?;
            Ok(Some(Secret::new(text)))
        };
        let show = |value: &Option<Secret>| value.as_ref().map(|secret| quoted(&redact(secret.expose())));
        self.value(key, doc, None, show, parse)
    }

    /// URLs, or other texts that may hold a secret by mistake: no message quotes them. `check`'s must not, either.
    pub(in crate::config) fn discreet_texts(
        &mut self,
        key: &'static str,
        doc: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let parse = |value: &Value| {
            let items = text_list(value)
                .ok_or_else(|| format!("expected a list of strings, found {}", value.kind()))?;
            items.iter().try_for_each(|item| check(item))?;
            Ok(items)
        };
        self.value(key, doc, Vec::new(), |items| Some(quoted_list(items)), parse)
    }

    /// A secret in a file of its own, as it is now. Only the file's name is shown.
    pub(in crate::config) fn secret_file(
        &mut self,
        key: &'static str,
        doc: &'static str,
    ) -> Option<(PathBuf, Secret)> {
        let parse = |value: &Value| {
            let path = PathBuf::from(text(value).ok_or_else(|| mismatch("a string", value))?);
            let secret = read_secret_file(&path)?;
            Ok(Some((path, secret)))
        };
        let shown = |value: &Option<(PathBuf, Secret)>| {
            value.as_ref().map(|(path, _)| quoted(&path.display().to_string()))
        };
        self.value(key, doc, None, shown, parse)
    }
}

/// The secret in a file, without the end of its line.
///
/// # Errors
/// It can't be read, or is empty. The message names the file.
pub(crate) fn read_secret_file(path: &Path) -> Result<Secret, String> {
    let text = layers::read(path).map_err(|reason| format!("{path:?} {reason}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{path:?} is empty"));
    }
    Ok(Secret::new(secret))
}
