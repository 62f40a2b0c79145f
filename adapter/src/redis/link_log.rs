//! What the log says about one link, at a bounded rate.

use tracing::{info, warn};

use super::{Clock, link::LinkError, log_bound::LogBound};

/// Attempts to connect that failed: a few lines at first, then one now and then.
const MAX_FAILURES_LOGGED: u32 = 3;
const FAILURE_WINDOW_MS: u64 = 30_000;

/// Lines about the publish or the subscribe link.
pub(super) struct LinkLog {
    link: &'static str,
    server: String,
    clock: Clock,
    lost_at_ms: Option<u64>,
    failures: LogBound,
    attempts: u64,
}

impl LinkLog {
    /// `server` is an address without user and password.
    pub(super) fn new(link: &'static str, server: String, clock: Clock) -> Self {
        let failures = LogBound::new(MAX_FAILURES_LOGGED, FAILURE_WINDOW_MS);
        Self { link, server, clock, lost_at_ms: None, failures, attempts: 0 }
    }

    pub(super) fn up(&mut self) {
        let outage_ms = self.lost_at_ms.take().map(|at_ms| self.clock.now_ms() - at_ms);
        let failed_attempts = std::mem::take(&mut self.attempts);
        info!(link = self.link, server = self.server, outage_ms, failed_attempts, "the link to Redis is up");
    }

    pub(super) fn lost(&mut self, reason: &str) {
        self.lost_at_ms = Some(self.clock.now_ms());
        if self.failures.allow(self.clock.now_ms()).is_some() {
            warn!(link = self.link, server = self.server, reason, "the link to Redis is lost; reconnecting");
        }
    }

    pub(super) fn failed(&mut self, error: &LinkError) {
        self.attempts += 1;
        if self.failures.allow(self.clock.now_ms()).is_some() {
            let (link, server, failed_attempts) = (self.link, &self.server, self.attempts);
            warn!(link, server, %error, failed_attempts, "can't connect to Redis; trying again");
        }
    }
}
