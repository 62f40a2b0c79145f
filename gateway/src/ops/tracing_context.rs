//! Requests of the API as spans: the trace that they come with (W3C Trace Context) goes on with them, to the handlers and into
//! the log.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, request::Parts},
    middleware::Next,
    response::Response,
};
use broadgate_adapter::TraceParent;
use tracing::Instrument;

use crate::telemetry::{SpanKind, Traces};

const HEADER: &str = "traceparent";

/// The trace that a request belongs to, for its handler.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestTrace(pub(super) Option<TraceParent>);

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().copied()))
    }
}

/// Makes a span of a request with the name `name`; for [`axum::middleware::from_fn_with_state`].
pub(super) async fn trace(
    State((traces, name)): State<(Traces, &'static str)>,
    mut request: Request,
    next: Next,
) -> Response {
    let parent = parent_of(request.headers());
    let mut span = traces.span(name, SpanKind::Server, parent.as_ref());
    // Where it is not recorded here it may be by others.
    let Some(context) = span.as_ref().map(crate::telemetry::Span::context).or(parent) else {
        return next.run(request).await;
    };
    if let Some(span) = &mut span {
        span.set("http.request.method", request.method().as_str());
        span.set("url.path", request.uri().path());
    }
    request.extensions_mut().insert(context);
    // Of the highest level, so that no filter with a global level leaves it out; one for other modules alone does.
    let trace_id = context.to_string();
    let log = tracing::error_span!("request", api = name, trace_id = &trace_id[3..35]);
    let response = next.run(request).instrument(log).await;
    if let Some(span) = &mut span {
        let status = response.status();
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail(status.as_str());
        }
    }
    response
}

/// A header that is there twice, or no `traceparent`, is ignored (W3C Trace Context, section 3.2.2).
fn parent_of(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(HEADER).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    TraceParent::parse(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_header_counts_where_there_is_one() {
        const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (values, expected) in [
            (&[VALID][..], Some(VALID)),
            (&[VALID, VALID], None),
            (&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for &value in values {
                headers.append(HEADER, HeaderValue::from_static(value));
            }
            assert_eq!(
                parent_of(&headers).map(|parent| parent.to_string()).as_deref(),
                expected,
                "{values:?}"
            );
        }
    }
}
