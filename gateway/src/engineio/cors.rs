//! Cross-origin rules for browsers (wire.md 1.12): which origins may read answers. Headers only; refusing an origin
//! outright is a matter of access, not of CORS.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
    },
};

/// The origins of `engine.cors_origins`.
#[derive(Debug, Clone)]
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Takes origins that were checked by the configuration; `*` allows all, without credentials.
    pub fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|origin| origin == "*"),
            origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
        }
    }

    /// With no origins there is no CORS: a preflight is a request like any other.
    pub fn is_on(&self) -> bool {
        self.any || !self.origins.is_empty()
    }

    /// The answer to a preflight, if this is one.
    pub fn preflight<B: Default>(&self, method: &Method, request: &HeaderMap) -> Option<Response<B>> {
        if !self.is_on() || method != Method::OPTIONS {
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

    /// Adds the headers for the asking origin, to errors and the 101 too.
    pub fn apply(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        if self.any {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        }
        if self.origins.is_empty() {
            return;
        }
        response.append(VARY, HeaderValue::from_name(ORIGIN));
        if let Some(origin) = origin.filter(|origin| self.origins.contains(origin)) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], asking: Option<&'static str>) -> Option<String> {
        let cors = Cors::new(&origins.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut headers = HeaderMap::new();
        cors.apply(asking.map(HeaderValue::from_static).as_ref(), &mut headers);
        headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_answer_may_be_read_by_listed_origins_only() {
        let site = "https://app.example";
        assert_eq!(allowed(&[], Some(site)), None);
        assert_eq!(allowed(&["*"], Some(site)).as_deref(), Some("*"));
        assert_eq!(allowed(&[site], Some(site)).as_deref(), Some(site));
        assert_eq!(allowed(&[site], Some("https://evil.example")), None);
        assert_eq!(allowed(&[site], None), None);
    }

    #[test]
    fn a_preflight_is_answered_only_where_cors_is_on() {
        let mut request = HeaderMap::new();
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-token"));
        assert!(Cors::new(&[]).preflight::<()>(&Method::OPTIONS, &request).is_none());
        let on = Cors::new(&["*".to_owned()]);
        assert!(on.preflight::<()>(&Method::GET, &request).is_none());
        let response = on.preflight::<()>(&Method::OPTIONS, &request).unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "x-token");
    }
}
