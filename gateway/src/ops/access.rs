//! Who may use which part of the ops API: `Authorization: Bearer` (RFC 6750), or nothing where `ops.anonymous` allows it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::json;

use super::keys::KeyRing;
use crate::config::{OpsScope, OpsScopes};

/// At most one log line about refused requests in this time, with how many there were.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Where a request of the ops listener comes from; in its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpsPeer(pub(super) SocketAddr);

/// What became of a request, by its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Everyone may do this.
    Anonymous,
    /// The key allows it.
    Allowed,
    /// There is no key.
    Missing,
    /// What is there is no key of ours.
    Wrong,
    /// The key is for something else.
    Forbidden,
}

/// What requests came to, and what became of the files of keys.
#[derive(Debug, Default)]
pub(crate) struct AccessCounters {
    requests: [[AtomicU64; Self::RESULTS.len()]; OpsScope::NAMES.len()],
    pub(super) reloads: AtomicU64,
    pub(super) reload_failures: AtomicU64,
}

impl AccessCounters {
    /// In the order of [`Verdict`].
    const RESULTS: [&'static str; 5] = ["anonymous", "allowed", "missing_key", "wrong_key", "forbidden"];

    fn count(&self, scope: OpsScope, verdict: Verdict) {
        self.requests[scope as usize][verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Scope, result, and how often.
    pub(super) fn requests(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        OpsScope::NAMES.into_iter().flat_map(move |(name, scope)| {
            let counts = Self::RESULTS.into_iter().zip(&self.requests[scope as usize]);
            counts.map(move |(result, count)| ([name, result], count.load(Ordering::Relaxed)))
        })
    }

    /// Files of keys that changed, and looks at one that can't be used.
    pub(super) fn reloads(&self) -> [(&'static str, u64); 2] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("ok", read(&self.reloads)), ("failed", read(&self.reload_failures))]
    }
}

/// What decides over requests. One for the whole listener.
pub(super) struct Access {
    anonymous: OpsScopes,
    keys: Arc<KeyRing>,
    counters: Arc<AccessCounters>,
    refusals: Mutex<RefusalLog>,
}

impl Access {
    pub(super) fn new(anonymous: OpsScopes, keys: Arc<KeyRing>, counters: Arc<AccessCounters>) -> Self {
        Self { anonymous, keys, counters, refusals: Mutex::default() }
    }

    fn decide(&self, scope: OpsScope, headers: &HeaderMap) -> Verdict {
        if self.anonymous.contains(scope) {
            return Verdict::Anonymous;
        }
        let Some(key) = bearer(headers) else { return Verdict::Missing };
        match self.keys.scopes_of(key) {
            None => Verdict::Wrong,
            Some(scopes) if scopes.contains(scope) => Verdict::Allowed,
            Some(_) => Verdict::Forbidden,
        }
    }

    fn log_refusal(&self, scope: OpsScope, verdict: Verdict, request: &Request) {
        let Some(since_last) = self.refusals.lock().admit(Instant::now()) else { return };
        let peer = request.extensions().get::<OpsPeer>().map(|OpsPeer(peer)| *peer);
        let path = request.uri().path();
        tracing::warn!(
            ?peer,
            path,
            scope = scope.name(),
            ?verdict,
            since_last,
            "refused a request of the ops API"
        );
    }
}

/// Lets requests with the right to `scope` through; for [`axum::middleware::from_fn_with_state`].
pub(super) async fn require(
    State((access, scope)): State<(Arc<Access>, OpsScope)>,
    request: Request,
    next: Next,
) -> Response {
    let verdict = access.decide(scope, request.headers());
    access.counters.count(scope, verdict);
    match verdict {
        Verdict::Anonymous | Verdict::Allowed => next.run(request).await,
        Verdict::Missing | Verdict::Wrong | Verdict::Forbidden => {
            access.log_refusal(scope, verdict, &request);
            refusal(scope, verdict)
        }
    }
}

/// The token of `Authorization: Bearer <token>`; the scheme's case does not matter (RFC 9110 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' ')).filter(|token| !token.is_empty())
}

/// What the answer says is as of RFC 6750 3.1, and in the API's own words.
fn refusal(scope: OpsScope, verdict: Verdict) -> Response {
    let name = scope.name();
    let (status, error, message, challenge) = match verdict {
        Verdict::Forbidden => (
            StatusCode::FORBIDDEN,
            "forbidden",
            format!("this key lacks the scope {name:?}"),
            format!("Bearer realm=\"broadgate\", error=\"insufficient_scope\", scope=\"{name}\""),
        ),
        Verdict::Wrong => (
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "the key is none of ops.keys".to_owned(),
            "Bearer realm=\"broadgate\", error=\"invalid_token\"".to_owned(),
        ),
        _ => (
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            format!("this needs a key with the scope {name:?}: Authorization: Bearer <key>"),
            "Bearer realm=\"broadgate\"".to_owned(),
        ),
    };
    let answer = json!({ "ok": false, "error": error, "message": message });
    let mut response = (status, Json(answer)).into_response();
    let challenge = HeaderValue::try_from(challenge).expect("made of constants");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// Says when a line about refusals is due. One that tries keys must not fill the disk.
#[derive(Debug, Default)]
struct RefusalLog {
    last_line: Option<Instant>,
    since_last: u64,
}

impl RefusalLog {
    /// Counts a refusal; how many there were since the last line, this one too, where a line is due.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        self.since_last += 1;
        if self.last_line.is_some_and(|at| now.duration_since(at) < LOG_INTERVAL) {
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.since_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        let cases = [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ];
        for (header, expected) in cases {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
            assert_eq!(bearer(&headers), expected, "{header:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn one_line_a_second_says_how_many_there_were() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let admitted: Vec<_> = [0, 1, 999, 1000, 1001, 5000].map(|ms| log.admit(at(ms))).into();
        assert_eq!(admitted, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
