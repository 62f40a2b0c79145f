//! `[traces]`: which spans are recorded, and where they go.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use url::Url;

use super::{
    Secret, checks,
    reader::{Section, read_secret_file},
};

/// Where a receiver takes spans, as OTLP/HTTP says.
const TRACES_PATH: &str = "/v1/traces";
const MILLION: usize = 1_000_000;

/// `[traces]`
#[derive(Debug, Clone)]
pub struct TracesSettings {
    /// Where spans go; without it there are none.
    pub endpoint: Option<Url>,
    /// How many of a million handshakes and publishes that bring no trace along begin one.
    pub samples_per_million: u32,
    /// Spans that may wait to be sent.
    pub max_queued_spans: usize,
    /// How long the receiver may take for what it is sent in one go.
    pub timeout: Duration,
    /// Where the headers of those requests are.
    pub headers_file: Option<PathBuf>,
    /// What was in there, as names and values that HTTP can have.
    pub headers: Vec<(String, Secret)>,
    /// Authorities of the receiver's certificate; without, the system's.
    pub ca_file: Option<PathBuf>,
    /// What the node calls itself there.
    pub service_name: String,
}

pub(super) fn section(section: &mut Section<'_>) -> TracesSettings {
    let endpoint = section.secret(
        "endpoint",
        "URL of a receiver of OTLP over HTTP, such as \"http://127.0.0.1:4318\" or \"https://otlp.example.com/v1/traces\"; \
         without a path /v1/traces. Without it there are no traces.",
        str::to_owned,
        checks::otlp_url,
    );
    section.example("\"http://127.0.0.1:4318\"");
    let samples_per_million = section.count(
        "samples_per_million",
        "Of so many handshakes and publishes out of a million a trace is begun. What comes with a `traceparent` is recorded \
         where that says so, and only then.",
        0..=MILLION,
        1000,
    );
    let max_queued_spans = section.count(
        "max_queued_spans",
        "Spans that may wait to be sent; more are dropped and counted.",
        16..=65_536,
        2048,
    );
    let timeout = section.milliseconds(
        "timeout_ms",
        "How long the receiver may take for what it is sent in one go, before that is dropped.",
        100..=60_000,
        5_000,
    );
    let headers = section.secret_file(
        "headers_file",
        "File with headers for the receiver, one `Name: value` a line, such as a key. It is read again for each request.",
    );
    section.example("\"/run/secrets/otlp-headers\"");
    let (headers_file, headers) = match headers.map(|(path, text)| (path, read_headers(text.expose()))) {
        None => (None, Vec::new()),
        Some((path, Ok(headers))) => (Some(path), headers),
        Some((_, Err(line))) => {
            section.fault("headers_file", &no_header(line));
            (None, Vec::new())
        }
    };
    let ca_file = section.optional_path(
        "ca_file",
        "Authorities (PEM) that the receiver's certificate may lead up to, for https://. Else those of the system.",
    );
    section.example("\"/etc/broadgate/ca.crt\"");
    let service_name = section.text(
        "service_name",
        "What the node is called there, `service.name`.",
        "broadgate",
        checks::label,
    );
    TracesSettings {
        endpoint: endpoint.and_then(|endpoint| url_of(endpoint.expose())),
        samples_per_million: u32::try_from(samples_per_million).unwrap_or_default(),
        max_queued_spans,
        timeout,
        headers_file,
        headers,
        ca_file,
        service_name,
    }
}

/// One that is malformed was reported.
fn url_of(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok()?;
    if url.path() == "/" {
        url.set_path(TRACES_PATH);
    }
    Some(url)
}

/// The headers in a file, as it is now.
///
/// # Errors
/// It can't be read, or holds something else. The message names the file, and quotes nothing of it.
pub(crate) fn read_headers_file(path: &Path) -> Result<Vec<(String, Secret)>, String> {
    let text = read_secret_file(path)?;
    read_headers(text.expose()).map_err(|line| format!("{path:?}: {}", no_header(line)))
}

fn no_header(line: usize) -> String {
    format!("line {line} of the file is no header `Name: value`")
}

/// An error is the number of a line.
fn read_headers(text: &str) -> Result<Vec<(String, Secret)>, usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let headers = lines.map(|(index, line)| {
        let (name, value) = line.split_once(':').ok_or(index + 1)?;
        let (name, value) = (name.trim(), value.trim());
        let fits = name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok();
        fits.then(|| (name.to_owned(), Secret::new(value))).ok_or(index + 1)
    });
    headers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_path_has_that_of_otlp() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://otlp.example.com/otlp/v1/traces", "https://otlp.example.com/otlp/v1/traces"),
        ] {
            assert_eq!(url_of(endpoint).map(String::from).as_deref(), Some(expected));
        }
    }

    #[test]
    fn headers_are_lines() {
        let read = |text| {
            read_headers(text).map(|headers| {
                let plain = headers.into_iter().map(|(name, value)| format!("{name}={}", value.expose()));
                plain.collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(
            read("Authorization: Bearer a:b\n\nx-team:  one  "),
            Ok("Authorization=Bearer a:b x-team=one".into())
        );
        assert_eq!(read("a: b\nno header"), Err(2));
        assert_eq!(read("a b: c"), Err(1));
        assert_eq!(read("a: \u{7f}"), Err(1));
    }
}
