//! The token that a client's first request may bring: by a header, a cookie or the query. Who the client is, is the
//! [`Application`](super::Application)'s affair. A token is a secret: it is never logged, and nothing here can be printed.

use http::{
    HeaderMap, HeaderValue, Request as HttpRequest,
    header::{AUTHORIZATION, COOKIE},
};

use crate::config::AuthSettings;

/// What a session's first request says of its client.
#[derive(Default)]
pub struct Handshake {
    /// A token; for clients whose CONNECT brings none.
    pub token: Option<Box<str>>,
}

/// Where tokens are looked for.
#[derive(Clone)]
pub struct TokenSources {
    cookie: Option<String>,
    query_key: Option<String>,
    max_token_bytes: usize,
}

impl TokenSources {
    /// As the settings say. `None`: nobody signs tokens, so none is looked for.
    pub fn new(settings: &AuthSettings) -> Option<Self> {
        let sources = Self {
            cookie: settings.cookie.clone(),
            query_key: settings.query_key.clone(),
            max_token_bytes: settings.max_token_bytes,
        };
        (!settings.issuers.is_empty()).then_some(sources)
    }

    /// Reads the first request of a session. The first of header, cookie and query counts.
    pub(super) fn handshake<B>(&self, request: &HttpRequest<B>) -> Handshake {
        let token = bearer(request.headers()).map(str::to_owned);
        let token = token.or_else(|| self.cookie_of(request.headers()));
        let token = token.or_else(|| self.in_query(request.uri().query()));
        Handshake { token: token.filter(|token| !token.is_empty()).map(|token| self.bounded(token)) }
    }

    fn cookie_of(&self, headers: &HeaderMap) -> Option<String> {
        let wanted = self.cookie.as_deref()?;
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
        // RFC 6265 section 4.1.1 allows quotes around a value.
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some(unquoted.unwrap_or(value).to_owned())
    }

    fn in_query(&self, query: Option<&str>) -> Option<String> {
        let wanted = self.query_key.as_deref()?;
        let mut pairs = url::form_urlencoded::parse(query?.as_bytes());
        pairs.find(|(key, _)| key == wanted).map(|(_, value)| value.into_owned())
    }

    /// One byte more than a token may have is enough to have it refused.
    fn bounded(&self, mut token: String) -> Box<str> {
        token.truncate(token.ceil_char_boundary(self.max_token_bytes + 1));
        token.into()
    }
}

/// RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION).map(HeaderValue::to_str)?.ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&str, &str)], uri: &str) -> Option<String> {
        let sources = TokenSources {
            cookie: Some("session".to_owned()),
            query_key: Some("token".to_owned()),
            max_token_bytes: 8,
        };
        let mut request = HttpRequest::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sources.handshake(&request.body(()).unwrap()).token.map(String::from)
    }

    #[test]
    fn where_a_token_is_found() {
        type Case = (&'static [(&'static str, &'static str)], &'static str, Option<&'static str>);
        let table: &[Case] = &[
            (&[], "/", None),
            (&[("authorization", "Bearer a.b.c")], "/", Some("a.b.c")),
            (&[("Authorization", "bearer  a.b.c ")], "/", Some("a.b.c")),
            (&[("authorization", "Basic a.b.c")], "/", None),
            (&[("authorization", "Bearer")], "/", None),
            (&[("authorization", "Bearer ")], "/", None),
            (&[("cookie", "session=abc")], "/", Some("abc")),
            (&[("cookie", "a=1; session=abc; session=d")], "/", Some("abc")),
            (&[("cookie", "a=1"), ("cookie", "session=\"abc\"")], "/", Some("abc")),
            (&[("cookie", "Session=abc; xsession=d; session")], "/", None),
            (&[], "/?token=a%2Eb&x=1", Some("a.b")),
            (&[], "/?Token=a", None),
            (&[], "/?token=", None),
            (&[("authorization", "Bearer a"), ("cookie", "session=b")], "/?token=c", Some("a")),
            (&[("cookie", "session=b")], "/?token=c", Some("b")),
            (&[("authorization", "Bearer 0123456789")], "/", Some("012345678")),
            (&[], "/?token=01234567%C3%BC%C3%BC", Some("01234567ü")),
        ];
        for (headers, uri, expected) in table {
            assert_eq!(found(headers, uri).as_deref(), *expected, "{headers:?} {uri}");
        }
    }
}
