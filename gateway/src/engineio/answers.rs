//! HTTP answers of the Engine.IO path: the documented errors, polls and their compression (wire.md 1.3 and 1.6).

use std::io::Write;

use axum::body::Body;
use broadgate_protocol::engineio::RequestError;
use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY},
};

use super::{polling::PollBody, respond::HttpContext};
use crate::{
    limits::AddressRefusal,
    telemetry::{Counter, ShardCounters},
};

/// The documented error, as JSON for a request and as bare text for an upgrade (wire.md 1.3).
pub(super) fn refuse<M>(http: &HttpContext<M>, error: RequestError, is_upgrade: bool) -> Response<Body> {
    let counters = &http.counters;
    let counter = match error {
        RequestError::TransportUnknown => &counters.rejected_transport_unknown,
        RequestError::SessionUnknown => &counters.rejected_session_unknown,
        RequestError::BadHandshakeMethod => &counters.rejected_bad_method,
        RequestError::BadRequest => &counters.rejected_bad_request,
        RequestError::Forbidden => &counters.rejected_forbidden,
        RequestError::UnsupportedProtocolVersion => &counters.rejected_protocol_version,
    };
    counter.add(1);
    if is_upgrade {
        let mut response = Response::new(Body::from(error.message()));
        *response.status_mut() = StatusCode::from_u16(error.upgrade_status()).expect("400 or 403");
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        return response;
    }
    let mut response = Response::new(Body::from(error.json_body()));
    *response.status_mut() = StatusCode::from_u16(error.http_status()).expect("400 or 403");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Why a client is to come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryLater {
    /// The node has as many sessions as it may.
    Capacity,
    /// The node is going away: its client is to come back over another connection, to another node.
    Draining,
    /// There is no room for a body; whoever noticed has counted it.
    Body,
    /// As many sessions as may be have not joined a namespace yet.
    Pending,
    /// The node uses as much memory as it may.
    Memory,
    /// The client's address has opened as much as it may, or asks too often.
    Address(AddressRefusal),
}

impl RetryLater {
    /// What is to be said, and what counts it.
    fn status(self, counters: &ShardCounters) -> (StatusCode, Option<&Counter>) {
        match self {
            Self::Body => (StatusCode::SERVICE_UNAVAILABLE, None),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, Some(&counters.rejected_draining)),
            Self::Capacity => (StatusCode::SERVICE_UNAVAILABLE, Some(&counters.rejected_capacity)),
            Self::Pending => (StatusCode::SERVICE_UNAVAILABLE, Some(&counters.rejected_pending)),
            Self::Memory => (StatusCode::SERVICE_UNAVAILABLE, Some(&counters.rejected_memory)),
            Self::Address(AddressRefusal::Connections) => {
                (StatusCode::TOO_MANY_REQUESTS, Some(&counters.rejected_address_connections))
            }
            Self::Address(AddressRefusal::Handshakes { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, Some(&counters.rejected_address_rate))
            }
        }
    }
}

/// Seconds after which clients are to come back: not all of them at once.
const RETRY_AFTER_S: std::ops::Range<u64> = 5..16;

/// Refuses for now, and counts it. The connection ends: it would only hold a place.
pub(super) fn retry_later<M>(http: &HttpContext<M>, why: RetryLater) -> Response<Body> {
    let (status, counter) = why.status(&http.counters);
    let count = counter.map_or(0, |counter| {
        counter.add(1);
        counter.get()
    });
    // Neighbours in the count are far from each other in time: 7 and 11 have no divisor in common.
    let spread_s = count % 11 * 7 % (RETRY_AFTER_S.end - RETRY_AFTER_S.start);
    let after_s = match why {
        RetryLater::Address(AddressRefusal::Handshakes { wait_ms }) => wait_ms.div_ceil(1000),
        // The clients of a drain are paced already.
        RetryLater::Draining => 1,
        _ => RETRY_AFTER_S.start + spread_s,
    };
    let mut response = empty(status);
    response.headers_mut().insert(RETRY_AFTER, after_s.into());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A status and nothing else.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A POST was taken.
pub(super) fn pushed() -> Response<Body> {
    let mut response = Response::new(Body::from("ok"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What waits for the session, as the answer to a poll (wire.md 1.6).
pub(super) fn poll_response<M>(
    http: &HttpContext<M>,
    request: &HeaderMap,
    body: &PollBody,
) -> Response<Body> {
    let threshold_bytes = http.settings.compression_threshold_bytes.unwrap_or(usize::MAX);
    let compressed = if body.compress && body.bytes.len() >= threshold_bytes {
        compress(request.get(ACCEPT_ENCODING), &body.bytes)
    } else {
        None
    };
    let (bytes, encoding) = match compressed {
        Some((bytes, encoding)) => (Bytes::from(bytes), Some(encoding)),
        None => (body.bytes.clone(), None),
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// gzip or deflate, whichever is accepted first in that order (wire.md 1.6).
fn compress(accepted: Option<&HeaderValue>, bytes: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    let accepted = accepted?.to_str().ok()?;
    let accepts = |coding: &str| {
        accepted.split(',').any(|item| {
            let mut parts = item.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding))
                && !parts
                    .any(|weight| weight.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32))
        })
    };
    // Level 1: a poll is read once, and the node has better things to do (rust.md A.10).
    if accepts("gzip") {
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
        encoder.write_all(bytes).ok()?;
        return Some((encoder.finish().ok()?, "gzip"));
    }
    if accepts("deflate") {
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
        encoder.write_all(bytes).ok()?;
        return Some((encoder.finish().ok()?, "deflate"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_is_one_that_the_client_accepts() {
        for (accepted, expected) in [
            (None, None),
            (Some("gzip, deflate, br"), Some("gzip")),
            (Some("deflate"), Some("deflate")),
            (Some("gzip;q=0, deflate;q=0.5"), Some("deflate")),
            (Some("br"), None),
            (Some("identity"), None),
        ] {
            let value = accepted.map(HeaderValue::from_static);
            assert_eq!(
                compress(value.as_ref(), &[b'a'; 2000]).map(|(_, coding)| coding),
                expected,
                "{accepted:?}"
            );
        }
    }
}
