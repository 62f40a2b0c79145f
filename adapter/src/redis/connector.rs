//! Makes one link again and again, for ever: owns when the next attempt is due, and what the log says about it.

use std::time::Instant;

use tokio::sync::watch;

use super::{
    backoff::{Backoff, random},
    driver::{Link, RedisDriver, Timeouts},
    endpoint::Endpoint,
    link_log::LinkLog,
};

/// Of the publish or of the subscribe link.
pub(super) struct Connector {
    driver: RedisDriver,
    endpoint: Endpoint,
    timeouts: Timeouts,
    shutdown: watch::Receiver<bool>,
    log: LinkLog,
    backoff: Backoff,
    up_since: Option<Instant>,
    /// The next attempt comes after a failure or a loss.
    wait: bool,
}

impl Connector {
    pub(super) fn new(
        driver: RedisDriver,
        endpoint: Endpoint,
        timeouts: Timeouts,
        shutdown: watch::Receiver<bool>,
        log: LinkLog,
    ) -> Self {
        Self {
            driver,
            endpoint,
            timeouts,
            shutdown,
            log,
            backoff: Backoff::new(),
            up_since: None,
            wait: false,
        }
    }

    /// The next link, however long it takes; `None` at shutdown. `on_message` must not block.
    pub(super) async fn connect(
        &mut self,
        on_message: impl Fn(&[u8], &[u8]) + Clone + Send + Sync + 'static,
    ) -> Option<Link> {
        while !self.is_shutdown() {
            if std::mem::replace(&mut self.wait, true) {
                let wait = self.backoff.wait(random());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shutdown() => return None,
                }
            }
            let connected = tokio::select! {
                link = self.driver.connect(&self.endpoint, self.timeouts, on_message.clone()) => link,
                _ = self.shutdown.changed() => return None,
            };
            match connected {
                Ok(link) => {
                    self.log.up();
                    self.up_since = Some(Instant::now());
                    return Some(link);
                }
                Err(error) => self.log.failed(&error),
            }
        }
        None
    }

    /// The link that [`Connector::connect`] gave is of no more use.
    pub(super) fn lost(&mut self, reason: &str) {
        self.log.lost(reason);
        if let Some(since) = self.up_since.take() {
            self.backoff.link_lasted(since.elapsed());
        }
    }

    /// All that the link was used for before it was lost works again.
    pub(super) fn recovered(&mut self, gap_ms: u64) {
        self.log.recovered(gap_ms);
    }

    pub(super) fn is_shutdown(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Resolves once, when shutdown begins.
    pub(super) async fn shutdown(&mut self) {
        // An error means that the engine is gone, which is the same.
        let _ = self.shutdown.changed().await;
    }
}
