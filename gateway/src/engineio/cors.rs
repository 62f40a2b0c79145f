//! Cross-origin rules for browsers: pages of other origins are refused, and the headers let those that are allowed read
//! the answers (wire.md 1.12; the Fetch standard).

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN,
        VARY,
    },
};

use super::AllowedOrigins;

/// The origin of a request is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignOrigin;

/// See the module.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: AllowedOrigins,
}

impl Cors {
    /// Applies these origins.
    pub fn new(origins: AllowedOrigins) -> Self {
        Self { origins }
    }

    /// The origin of a request that may be answered, if it has one.
    ///
    /// # Errors
    /// It is not allowed, or there is more than one.
    pub fn admit(&self, request: &HeaderMap) -> Result<Option<HeaderValue>, ForeignOrigin> {
        let mut origins = request.get_all(ORIGIN).iter();
        let (origin, another) = (origins.next(), origins.next());
        let host = request.get(HOST).map(HeaderValue::as_bytes);
        if another.is_some() || !self.origins.admit(origin.map(HeaderValue::as_bytes), host) {
            return Err(ForeignOrigin);
        }
        Ok(origin.cloned())
    }

    /// The answer to a preflight, if this is one. With the same origin only there are none: a page does not ask before it
    /// turns to where it came from.
    pub fn preflight<B: Default>(&self, method: &Method, request: &HeaderMap) -> Option<Response<B>> {
        if self.origins == AllowedOrigins::Same || method != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers
            .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        Some(response)
    }

    /// Adds the headers for the origin that [`Self::admit`] gave, to errors and the 101 too; `None` for one that it
    /// refused. Listed ones may send credentials, which the standard forbids for `*`.
    pub fn apply(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        match (&self.origins, origin) {
            (AllowedOrigins::Any, _) => {
                response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            (AllowedOrigins::Same, _) => {}
            (AllowedOrigins::Listed(_), origin) => {
                response.append(VARY, HeaderValue::from_name(ORIGIN));
                if let Some(origin) = origin {
                    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                    response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "https://app.example";

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(AllowedOrigins::new(&origins.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }

    /// Is a request with these origins answered, and what permission does the answer have?
    fn permission(allowed: &[&str], asking: &[&'static str]) -> Result<Option<String>, ForeignOrigin> {
        let cors = cors(allowed);
        let mut request = HeaderMap::new();
        for origin in asking {
            request.append(ORIGIN, HeaderValue::from_static(origin));
        }
        let origin = cors.admit(&request)?;
        let mut headers = HeaderMap::new();
        cors.apply(origin.as_ref(), &mut headers);
        Ok(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn an_answer_is_for_allowed_origins_only() {
        assert_eq!(permission(&[], &[SITE]), Err(ForeignOrigin));
        assert_eq!(permission(&["*"], &[SITE]), Ok(Some("*".to_owned())));
        assert_eq!(permission(&[SITE], &[SITE]), Ok(Some(SITE.to_owned())));
        assert_eq!(permission(&["https://*.example"], &[SITE]), Ok(Some(SITE.to_owned())));
        assert_eq!(permission(&[SITE], &["https://evil.example"]), Err(ForeignOrigin));
        assert_eq!(permission(&[SITE], &[]), Ok(None));
        assert_eq!(permission(&[SITE], &[SITE, SITE]), Err(ForeignOrigin), "which of them is it?");
    }

    #[test]
    fn a_preflight_is_answered_only_where_other_origins_are_allowed() {
        let mut request = HeaderMap::new();
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-token"));
        assert!(cors(&[]).preflight::<()>(&Method::OPTIONS, &request).is_none());
        let on = cors(&["*"]);
        assert!(on.preflight::<()>(&Method::GET, &request).is_none());
        let response = on.preflight::<()>(&Method::OPTIONS, &request).unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "x-token");
    }
}
