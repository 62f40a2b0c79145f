//! Counts the subscriptions of a channel: over all servers of a cluster, as Node.js servers subscribe at any of them.
//!
//! Owns its links to the servers where this node's other links are not; each is used again until it fails.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    super::{
        driver::{Link, LinkError, RedisDriver, Timeouts},
        endpoint::Endpoint,
    },
    Resolver,
};

/// See the module.
pub(in super::super) struct Census {
    resolver: Arc<Resolver>,
    driver: RedisDriver,
    timeout: Duration,
    links: Mutex<HashMap<String, Link>>,
}

/// What a count came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Count {
    pub(in super::super) subscriptions: u64,
    /// Servers that did not tell in time.
    pub(in super::super) silent_servers: usize,
}

impl Census {
    pub(in super::super) fn new(resolver: Arc<Resolver>, driver: RedisDriver, timeout: Duration) -> Self {
        Self { resolver, driver, timeout, links: Mutex::default() }
    }

    /// Takes no longer than the timeout. `link` leads to the server that the nodes meet at.
    ///
    /// # Errors
    /// If that server does not tell in time. The others may be silent: without one of them there is still a count.
    pub(in super::super) async fn count(&self, mut link: Link, channel: &str) -> Result<Count, LinkError> {
        let others = self.resolver.other_servers();
        self.links
            .lock()
            .retain(|address, _| others.iter().any(|server| server.address.to_string() == *address));
        let others: FuturesUnordered<_> =
            others.iter().map(|server| self.count_at(server, channel)).collect();
        let here = timeout(self.timeout, link.count_subscriptions(channel));
        let (here, others) = futures_util::future::join(here, others.collect::<Vec<_>>()).await;
        let here = here.map_err(|_| LinkError::Timeout)??;
        Ok(Count {
            subscriptions: others.iter().flatten().fold(here, |sum, count| sum.saturating_add(*count)),
            silent_servers: others.iter().filter(|count| count.is_none()).count(),
        })
    }

    async fn count_at(&self, server: &Endpoint, channel: &str) -> Option<u64> {
        let counted = async {
            let link = self.links.lock().get(&server.address.to_string()).cloned();
            if let Some(mut link) = link
                && let Ok(count) = link.count_subscriptions(channel).await
            {
                return Ok(count);
            }
            let timeouts = Timeouts { connect: self.timeout, response: Some(self.timeout) };
            let mut link = self.driver.connect(server, timeouts, |_, _| {}).await?;
            let count = link.count_subscriptions(channel).await?;
            self.links.lock().insert(server.address.to_string(), link);
            Ok::<_, LinkError>(count)
        };
        let counted = timeout(self.timeout, counted).await;
        if !matches!(counted, Ok(Ok(_))) {
            self.links.lock().remove(&server.address.to_string());
        }
        counted.ok()?.ok()
    }
}
