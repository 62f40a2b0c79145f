//! The headers of requests to the receiver, such as a key, from a file that may change while the node runs.
//!
//! Owned by the exporter, which looks at the file before each request: it is a few lines, and there are at most two
//! requests a second. A file that can't be used leaves the headers as they were.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::request;

use crate::config::{Secret, TracesSettings, read_headers_file};

/// Looks that came to something.
#[derive(Debug, Default)]
pub(super) struct HeadersCounts {
    pub(super) reloads: AtomicU64,
    pub(super) failed_looks: AtomicU64,
}

/// See the module.
pub(super) struct RequestHeaders {
    file: Option<PathBuf>,
    in_force: Vec<(String, Secret)>,
    last_line: Option<Instant>,
}

/// What a look found, where it is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Changed,
    /// Why it can't be used. Quotes nothing of it.
    Unusable(String),
}

impl RequestHeaders {
    /// Those that the file had when the settings were read.
    pub(super) fn new(settings: &TracesSettings) -> Self {
        Self { file: settings.headers_file.clone(), in_force: settings.headers.clone(), last_line: None }
    }

    /// Puts them into a request.
    pub(super) fn add_to(&self, request: request::Builder) -> request::Builder {
        self.in_force.iter().fold(request, |request, (name, value)| request.header(name, value.expose()))
    }

    /// Takes what the file holds now, and counts and logs that; what is wrong with it once in `log_interval`. Blocks for as
    /// long as reading a file does.
    pub(super) fn look_again(&mut self, counts: &HeadersCounts, log_interval: Duration) {
        match self.look() {
            None => {}
            Some(Look::Changed) => {
                counts.reloads.fetch_add(1, Ordering::Relaxed);
                self.last_line = None;
                tracing::info!("traces.headers_file has changed; its headers are in force");
            }
            Some(Look::Unusable(error)) => {
                counts.failed_looks.fetch_add(1, Ordering::Relaxed);
                if self.last_line.is_none_or(|at| at.elapsed() >= log_interval) {
                    self.last_line = Some(Instant::now());
                    tracing::error!(%error, "traces.headers_file can't be used; the headers stay as they were");
                }
            }
        }
    }

    /// `None`: as before.
    fn look(&mut self) -> Option<Look> {
        match read_headers_file(self.file.as_ref()?) {
            Ok(headers) if headers == self.in_force => None,
            Ok(headers) => {
                self.in_force = headers;
                Some(Look::Changed)
            }
            Err(error) => Some(Look::Unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::Request;

    use super::*;

    fn headers(file: Option<PathBuf>) -> RequestHeaders {
        RequestHeaders { file, in_force: Vec::new(), last_line: None }
    }

    fn sent(headers: &RequestHeaders) -> Vec<String> {
        let request = headers.add_to(Request::builder()).body(()).expect("headers that HTTP can have");
        let text = |value: &http::HeaderValue| value.to_str().expect("it is ASCII").to_owned();
        request.headers().iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
    }

    #[test]
    fn a_look_takes_what_is_new_and_can_be_used() {
        let path = std::env::temp_dir().join(format!("broadgate-otlp-headers-{}", std::process::id()));
        let mut headers = headers(Some(path.clone()));
        let (first, second) = ("authorization: Bearer one\n", "authorization: Bearer two\nx-team: a\n");
        for (content, found, in_force) in [
            (Some(first), "Changed", vec!["authorization=Bearer one"]),
            (Some(first), "None", vec!["authorization=Bearer one"]),
            (Some("hidden text"), "line 1 of the file is no header", vec!["authorization=Bearer one"]),
            (Some(""), "is empty", vec!["authorization=Bearer one"]),
            (None, "No such file", vec!["authorization=Bearer one"]),
            (Some(first), "None", vec!["authorization=Bearer one"]),
            (Some(second), "Changed", vec!["authorization=Bearer two", "x-team=a"]),
        ] {
            match content {
                Some(text) => fs::write(&path, text).expect("a place for files"),
                None => fs::remove_file(&path).expect("it is there"),
            }
            let look = format!("{:?}", headers.look());
            assert!(look.contains(found) && !look.contains("hidden"), "{content:?}: {look}");
            assert_eq!(sent(&headers), in_force, "{content:?}");
        }
        fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn each_failed_look_is_counted_and_few_are_said() {
        let counts = HeadersCounts::default();
        let mut headers = headers(Some("/nonexistent/headers".into()));
        headers.look_again(&counts, Duration::from_secs(3600));
        let first_line = headers.last_line;
        headers.look_again(&counts, Duration::from_secs(3600));
        assert!(first_line.is_some() && headers.last_line == first_line);
        headers.look_again(&counts, Duration::ZERO);
        assert!(headers.last_line > first_line);
        assert_eq!((counts.reloads.into_inner(), counts.failed_looks.into_inner()), (0, 3));
    }

    #[test]
    fn without_a_file_there_is_nothing_to_look_at() {
        assert_eq!(headers(None).look(), None);
    }
}
