//! Makes one link again and again, for ever: owns when the next attempt is due, and what the log says about it.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    backoff::{Backoff, random},
    driver::{Link, LinkError, RedisDriver, Timeouts},
    endpoint::Endpoint,
    link_log::LinkLog,
    topology::{Check, Resolver},
};

/// Of the publish or of the subscribe link.
pub(super) struct Connector {
    driver: RedisDriver,
    resolver: Arc<Resolver>,
    /// Where the last link led to.
    endpoint: Option<Endpoint>,
    /// The last link led to another server than the one before.
    elsewhere: bool,
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
        resolver: Arc<Resolver>,
        timeouts: Timeouts,
        shutdown: watch::Receiver<bool>,
        log: LinkLog,
    ) -> Self {
        Self {
            driver,
            resolver,
            endpoint: None,
            elsewhere: false,
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
            let attempt = attempt(self.driver, Arc::clone(&self.resolver), self.timeouts, on_message.clone());
            let connected = tokio::select! {
                link = attempt => link,
                _ = self.shutdown.changed() => return None,
            };
            match connected {
                Ok((endpoint, link)) => {
                    self.log.up(&endpoint.address);
                    self.elsewhere =
                        self.endpoint.as_ref().is_some_and(|before| before.address != endpoint.address);
                    self.endpoint = Some(endpoint);
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

    /// How long the link has been up; 0 where there is none.
    pub(super) fn up_for(&self) -> Duration {
        self.up_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Does the link lead to another server than the one before?
    pub(super) fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// How to see whether the link is of use.
    pub(super) fn check(&self) -> Check {
        self.resolver.check()
    }

    /// Resolves when the link leads to the wrong server, as another is the master now.
    pub(super) fn moved(&self) -> impl Future<Output = ()> + Send + use<> {
        let moved = self.endpoint.clone().map(|endpoint| self.resolver.moved(endpoint));
        async move {
            match moved {
                Some(moved) => moved.await,
                None => std::future::pending().await,
            }
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

async fn attempt(
    driver: RedisDriver,
    resolver: Arc<Resolver>,
    timeouts: Timeouts,
    on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
) -> Result<(Endpoint, Link), LinkError> {
    let told_before = resolver.told();
    let endpoint = resolver.find().await?;
    if !resolver.changes() {
        let link = driver.connect(&endpoint, timeouts, on_message).await?;
        return Ok((endpoint, link));
    }
    let connected = async {
        let mut link = driver.connect(&endpoint, timeouts, on_message).await?;
        let checked = tokio::time::timeout(timeouts.connect, resolver.check().run(&mut link)).await;
        checked.map_err(|_| LinkError::Timeout)??;
        Ok(link)
    };
    match connected.await {
        Ok(link) => {
            // Not before it has proven to be the master, and not over something newer: a stale answer would cut the other
            // link off the true one.
            if resolver.told() == told_before {
                resolver.tell(&endpoint);
            }
            Ok((endpoint, link))
        }
        Err(error) => {
            resolver.distrust();
            let error: LinkError = error;
            Err(LinkError::Failed(format!("{}: {error}", endpoint.address)))
        }
    }
}
