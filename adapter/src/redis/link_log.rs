//! What the log says about one link, at a bounded rate.

use tracing::{info, warn};

use super::{Clock, driver::LinkError, endpoint::Address, log_bound::LogBound};

/// Losses and attempts to connect that failed: a few lines at first, then one now and then.
const MAX_FAILURES_LOGGED: u32 = 3;
/// Of a link that comes back again and again.
const MAX_RECOVERIES_LOGGED: u32 = 3;
const WINDOW_MS: u64 = 30_000;

/// Lines about the publish or the subscribe link.
pub(super) struct LinkLog {
    link: &'static str,
    server: String,
    clock: Clock,
    lost_at_ms: Option<u64>,
    failures: LogBound,
    ups: LogBound,
    gaps: LogBound,
    attempts: u64,
}

impl LinkLog {
    /// `server` is what it is called until its address is known.
    pub(super) fn new(link: &'static str, server: String, clock: Clock) -> Self {
        let failures = LogBound::new(MAX_FAILURES_LOGGED, WINDOW_MS);
        let [ups, gaps] = [(); 2].map(|()| LogBound::new(MAX_RECOVERIES_LOGGED, WINDOW_MS));
        Self { link, server, clock, lost_at_ms: None, failures, ups, gaps, attempts: 0 }
    }

    pub(super) fn up(&mut self, server: &Address) {
        self.server = server.to_string();
        let outage_ms = self.lost_at_ms.take().map(|at_ms| self.clock.now_ms() - at_ms);
        let failed_attempts = std::mem::take(&mut self.attempts);
        if let Some(left_out) = self.ups.allow(self.clock.now_ms()) {
            let (link, server) = (self.link, &self.server);
            info!(
                link,
                server,
                outage_ms,
                failed_attempts,
                lines_left_out = left_out,
                "the link to Redis is up"
            );
        }
    }

    /// Subscriptions are confirmed again.
    pub(super) fn recovered(&mut self, gap_ms: u64) {
        if let Some(left_out) = self.gaps.allow(self.clock.now_ms()) {
            warn!(
                duration_ms = gap_ms,
                lines_left_out = left_out,
                "a gap: messages of other nodes may be missing; all subscriptions are back"
            );
        }
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
