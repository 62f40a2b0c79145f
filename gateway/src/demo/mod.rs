//! The demo page of development mode: plain files of our own, compiled in.

use axum::{
    Router,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS,
    },
    routing::get,
};

/// Only files of this node, and connections to any: the page can be pointed at another node.
const POLICY: &str = "default-src 'self'; connect-src *; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("index.html")),
    ("/demo.css", "text/css; charset=utf-8", include_str!("demo.css")),
    ("/demo.js", "text/javascript; charset=utf-8", include_str!("demo.js")),
    ("/socketio.js", "text/javascript; charset=utf-8", include_str!("socketio.js")),
];

/// The page with its files.
pub(crate) fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(async move || (headers(kind), content)))
    })
}

fn headers(kind: &'static str) -> [(HeaderName, &'static str); 4] {
    [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ]
}
