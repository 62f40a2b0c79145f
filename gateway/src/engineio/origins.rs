//! Which pages may connect from browsers: the entries of `engine.allowed_origins`, and what they say of a request's
//! `Origin` (RFC 6454). Pure.

use url::{Host, Url};

/// What an entry has to look like.
const EXPECTED: &str = "\"*\", \"null\", or an origin such as \"https://example.com\", \"https://*.example.com\" or \
                        \"http://localhost:*\"";

/// The origins of `engine.allowed_origins`. Not as in the reference, which never refuses one (wire.md 1.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// `*`: every page.
    Any,
    /// No entry: pages that come from where their requests go.
    Same,
    /// These alone.
    Listed(Box<[OriginPattern]>),
}

impl AllowedOrigins {
    /// Takes entries that were checked by the configuration; others are left out.
    pub fn new(entries: &[String]) -> Self {
        if entries.is_empty() {
            return Self::Same;
        }
        if entries.iter().any(|entry| entry == "*") {
            return Self::Any;
        }
        Self::Listed(entries.iter().filter_map(|entry| OriginPattern::parse(entry).ok()).collect())
    }

    /// May a request with this `Origin` and `Host` be answered? Without an origin it does not come from a page.
    pub fn admit(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Same => Origin::parse(origin).is_some_and(|origin| origin.is_at(host.unwrap_or_default())),
            Self::Listed(patterns) => {
                let parsed = Origin::parse(origin);
                patterns.iter().any(|pattern| pattern.matches(origin, parsed.as_ref()))
            }
        }
    }
}

/// One entry that is not `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// Pages that have no origin to speak of: of files, in sandboxed frames.
    Null,
    /// Pages of a host, or of all hosts below it.
    Pages {
        /// Such as `https`.
        scheme: Box<str>,
        /// The host; behind `*.` where `below` is set.
        host: Box<str>,
        /// The hosts below it, at any depth, and not itself.
        below: bool,
        /// `None`: any port.
        port: Option<Port>,
    },
}

/// The port of an origin, as it is written: none where it is the scheme's own.
pub type Port = Option<u16>;

impl OriginPattern {
    /// Reads an entry.
    ///
    /// # Errors
    /// What was expected instead. Browsers send no path, no default port and lower case, so any other form would never
    /// match.
    pub fn parse(entry: &str) -> Result<Self, String> {
        if entry == "null" {
            return Ok(Self::Null);
        }
        let (scheme, authority) = entry.split_once("://").ok_or(EXPECTED)?;
        let (authority, any_port) = match authority.strip_suffix(":*") {
            Some(authority) => (authority, true),
            None => (authority, false),
        };
        let (authority, below) = match authority.strip_prefix("*.") {
            Some(authority) => (authority, true),
            None => (authority, false),
        };
        let url = Url::parse(&format!("{scheme}://{authority}")).map_err(|_| EXPECTED)?;
        let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*')).ok_or(EXPECTED)?;
        if below && matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_))) {
            return Err(EXPECTED.to_owned());
        }
        let stars = |is_there: bool, star: &'static str| if is_there { star } else { "" };
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let (below_star, port_star) = (stars(below, "*."), stars(any_port, ":*"));
        let as_sent = format!("{}://{below_star}{host}{port}{port_star}", url.scheme());
        if entry != as_sent || (any_port && !port.is_empty()) {
            return Err(format!("an origin as browsers send it, \"{as_sent}\""));
        }
        let port = (!any_port).then_some(url.port());
        Ok(Self::Pages { scheme: url.scheme().into(), host: host.into(), below, port })
    }

    fn matches(&self, origin: &[u8], parsed: Option<&Origin<'_>>) -> bool {
        let Self::Pages { scheme, host, below, port } = self else { return origin == b"null" };
        parsed.is_some_and(|origin| {
            let host_matches = if *below { is_below(origin.host, host) } else { origin.host == &**host };
            origin.scheme == &**scheme && host_matches && port.is_none_or(|port| port == origin.port)
        })
    }
}

/// Is this a host below the other one? Names alone: nothing that could end a name may hide before it.
fn is_below(host: &str, above: &str) -> bool {
    let labels = host.strip_suffix(above).and_then(|labels| labels.strip_suffix('.'));
    labels.is_some_and(|labels| {
        labels.split('.').all(|label| {
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !label.is_empty() && label.bytes().all(is_legal)
        })
    })
}

/// An `Origin` header that names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Port,
}

impl<'a> Origin<'a> {
    fn parse(header: &'a [u8]) -> Option<Self> {
        let (scheme, authority) = std::str::from_utf8(header).ok()?.split_once("://")?;
        let (host, port) = split_port(authority)?;
        Some(Self { scheme, host, port })
    }

    /// Does a `Host` header name the same place? It has no scheme, so its port counts as that of the origin's where none
    /// is written.
    fn is_at(&self, host_header: &[u8]) -> bool {
        let own_port = match self.scheme {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        let named = std::str::from_utf8(host_header).ok().and_then(split_port);
        named.is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(self.host) && port.or(own_port) == self.port.or(own_port)
        })
    }
}

/// `host`, `host:port` or `[address]:port`.
fn split_port(authority: &str) -> Option<(&str, Port)> {
    let host_bytes = match authority.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_bytes);
    if host.is_empty() {
        return None;
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        // `parse` alone would also take "+80".
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "https://app.example";

    fn admits(entries: &[&str], origin: &str, host: &str) -> bool {
        let entries: Vec<_> = entries.iter().map(ToString::to_string).collect();
        AllowedOrigins::new(&entries).admit(Some(origin.as_bytes()), Some(host.as_bytes()))
    }

    #[test]
    fn listed_origins_are_admitted_and_no_others() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&["*"], SITE, true),
            (&["*"], "null", true),
            (&["*"], "garbage", true),
            (&[SITE], SITE, true),
            (&[SITE, "http://localhost:3000"], "http://localhost:3000", true),
            (&[SITE], "http://app.example", false),
            (&[SITE], "https://app.example:8443", false),
            (&[SITE], "https://app.example.evil.example", false),
            (&[SITE], "https://evil.example", false),
            (&[SITE], "https://evil-app.example", false),
            (&[SITE], "https://app.example/", false),
            (&[SITE], "HTTPS://APP.EXAMPLE", false),
            (&[SITE], "null", false),
            (&[SITE], "", false),
            (&["null"], "null", true),
            (&["null"], SITE, false),
            // Hosts below, at any depth.
            (&["https://*.example.com"], "https://a.example.com", true),
            (&["https://*.example.com"], "https://a.b-c.example.com", true),
            (&["https://*.example.com"], "https://example.com", false),
            (&["https://*.example.com"], "https://.example.com", false),
            (&["https://*.example.com"], "https://a..example.com", false),
            (&["https://*.example.com"], "https://evilexample.com", false),
            (&["https://*.example.com"], "https://a.example.com.evil.example", false),
            (&["https://*.example.com"], "https://evil.example/.example.com", false),
            (&["https://*.example.com"], "https://evil.example?.example.com", false),
            (&["https://*.example.com"], "https://user@a.example.com", false),
            (&["https://*.example.com"], "https://a.example.com:444", false),
            (&["https://*.example.com"], "http://a.example.com", false),
            (&["https://*.example.com:444"], "https://a.example.com:444", true),
            (&["https://*.example.com:*"], "https://a.example.com:444", true),
            // Any port, and none.
            (&["http://localhost:*"], "http://localhost:3000", true),
            (&["http://localhost:*"], "http://localhost", true),
            (&["http://localhost:*"], "http://localhost:99999", false),
            (&["http://localhost:*"], "http://localhost:+80", false),
            (&["http://localhost:*"], "http://localhost:", false),
            (&["http://localhost:*"], "http://localhost:1:2", false),
            (&["http://localhost:*"], "http://localhost.evil.example:80", false),
            (&["http://[::1]:*"], "http://[::1]:3000", true),
            (&["http://[::1]:*"], "http://[::1", false),
            (&["capacitor://localhost"], "capacitor://localhost", true),
        ];
        for (entries, origin, expected) in cases {
            assert_eq!(admits(entries, origin, "app.example"), *expected, "{entries:?} {origin}");
        }
    }

    #[test]
    fn without_a_list_pages_of_the_same_host_and_port_are_admitted() {
        for (origin, host, expected) in [
            (SITE, "app.example", true),
            (SITE, "App.Example", true),
            (SITE, "app.example:443", true),
            (SITE, "app.example:80", false),
            ("http://app.example", "app.example:80", true),
            ("http://app.example:8080", "app.example:8080", true),
            ("http://app.example:8080", "app.example", false),
            ("http://[::1]:8080", "[::1]:8080", true),
            (SITE, "evil.example", false),
            (SITE, "", false),
            (SITE, "app.example:x", false),
            ("null", "null", false),
            ("null", "app.example", false),
            ("://", "", false),
            ("https://", "", false),
        ] {
            assert_eq!(admits(&[], origin, host), expected, "{origin} {host}");
        }
    }

    #[test]
    fn who_sends_no_origin_is_no_page() {
        for entries in [&[][..], &["*".to_owned()], &[SITE.to_owned()]] {
            assert!(AllowedOrigins::new(entries).admit(None, Some(b"app.example")));
        }
        assert!(!AllowedOrigins::Same.admit(Some(SITE.as_bytes()), None));
    }

    #[test]
    fn an_entry_has_the_form_that_browsers_send() {
        let as_sent = |form: &str| Err(format!("an origin as browsers send it, \"{form}\""));
        let wrong = || Err(EXPECTED.to_owned());
        for (entry, expected) in [
            (SITE, Ok(())),
            ("null", Ok(())),
            ("http://localhost:3000", Ok(())),
            ("http://[::1]:3000", Ok(())),
            ("https://*.example.com", Ok(())),
            ("https://*.example.com:*", Ok(())),
            ("capacitor://localhost", Ok(())),
            ("https://Example.com:443/", as_sent("https://example.com")),
            ("https://*.Example.com:443", as_sent("https://*.example.com")),
            ("https://example.com/path", as_sent("https://example.com")),
            ("https://user@example.com", as_sent("https://example.com")),
            ("https://b\u{fc}cher.example", as_sent("https://xn--bcher-kva.example")),
            ("example.com", wrong()),
            ("*.example.com", wrong()),
            ("https://", wrong()),
            ("https://*", wrong()),
            ("https://*.", wrong()),
            ("https://a.*.example.com", wrong()),
            ("https://*.*.example.com", wrong()),
            ("https://a*.example.com", wrong()),
            ("https://*.127.0.0.1", wrong()),
            ("https://*.[::1]", wrong()),
            ("https://example.com:*:*", wrong()),
        ] {
            assert_eq!(OriginPattern::parse(entry).map(|_| ()), expected, "{entry}");
        }
    }
}
