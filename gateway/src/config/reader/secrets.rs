//! Values that may hold a secret: no error quotes them, and nobody prints them as they are.

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

    /// A secret in a file of its own, without the end of its line. Only the file's name is shown.
    pub(in crate::config) fn secret_file(&mut self, key: &'static str, doc: &'static str) -> Option<Secret> {
        let parse = |value: &Value| {
            let path = text(value).ok_or_else(|| mismatch("a string", value))?;
            let secret = layers::read(path.as_ref()).map_err(|reason| format!("{path:?} {reason}"))?;
            let secret = secret.trim_end_matches(['\r', '\n']);
            if secret.is_empty() {
                return Err(format!("{path:?} is empty"));
            }
            Ok(Some((path.to_owned(), Secret::new(secret))))
        };
        let shown = |value: &Option<(String, Secret)>| value.as_ref().map(|(path, _)| quoted(path));
        self.value(key, doc, None, shown, parse).map(|(_, secret)| secret)
    }
}
