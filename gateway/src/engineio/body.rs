//! Bodies of POSTs, read up to their bounds.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::respond::HttpContext;
use crate::telemetry::ShardCounters;

/// Why there is no body.
pub(super) enum BodyError {
    TooLarge,
    Aborted,
    NoRoom,
}

/// What a body that is not complete holds of `limits.max_inbound_buffer_bytes`.
struct Held<'a> {
    counters: &'a ShardCounters,
    bytes: u64,
}

impl Held<'_> {
    fn take(&mut self, bytes: usize, max_bytes: usize) -> bool {
        let buffered = &self.counters.inbound_buffer_bytes;
        if buffered.get() + bytes as u64 > max_bytes as u64 {
            self.counters.inbound_buffer_refused.add(1);
            return false;
        }
        buffered.add(bytes as u64);
        self.bytes += bytes as u64;
        true
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.counters.inbound_buffer_bytes.sub(self.bytes);
    }
}

/// Reads a body within its time (`limits.http_body_timeout_ms`) and up to its bound.
pub(super) async fn read_body<M>(body: Incoming, http: &HttpContext<M>) -> Result<Vec<u8>, BodyError> {
    let body = tokio::time::timeout(http.body_timeout, read(body, http)).await;
    body.unwrap_or_else(|_elapsed| {
        http.counters.limit_http_body_timeout.add(1);
        Err(BodyError::Aborted)
    })
}

/// Reads a body up to the bound. Of one above it, as much again is read and thrown away, so that a client that is
/// still writing gets to read the refusal.
async fn read<M>(mut body: Incoming, http: &HttpContext<M>) -> Result<Vec<u8>, BodyError> {
    let max_bytes = http.settings.max_payload_bytes;
    let mut held = Held { counters: &http.counters, bytes: 0 };
    let (mut bytes, mut total) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Aborted)?.into_data() else { continue };
        total += data.len();
        if total <= max_bytes {
            if !held.take(data.len(), http.max_inbound_buffer_bytes) {
                return Err(BodyError::NoRoom);
            }
            bytes.extend_from_slice(&data);
        } else if total > max_bytes.saturating_mul(2) {
            break;
        }
    }
    if total > max_bytes { Err(BodyError::TooLarge) } else { Ok(bytes) }
}

/// Throws a body away, within the same bounds: whoever is still writing gets to read why it is refused, where closing the
/// connection on unread bytes would reset it.
pub(super) async fn discard_body<M>(mut body: Incoming, http: &HttpContext<M>) {
    let mut left = http.settings.max_payload_bytes;
    let discard = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever takes longer has had its chance.
    let _late = tokio::time::timeout(http.body_timeout, discard).await;
}
