//! Which server the links are made to. Under sentinels and in a cluster the master changes, so it is found anew for each
//! connection, and looked for while the links are up: a server that was demoted does not always cut its clients.
//!
//! [`Resolver`] owns where the master is, as far as this node knows; both links follow it, so they are at one server.

mod census;
mod cluster;
mod discovery;
mod sentinel;
mod servers;
mod slots;

use std::{fmt, future::Future, time::Duration};

use tokio::sync::watch;

pub(super) use census::Census;
pub use servers::Servers;

use super::{
    StartError,
    config::RedisConfig,
    driver::{Link, LinkError, Reply},
    endpoint::Endpoint,
};
use cluster::Cluster;
use discovery::Discovery;
use sentinel::Sentinels;
use servers::Parsed;

/// How often the master is looked for while the links are up. Most failovers cut the links and are noticed at once.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Finds the server that all nodes meet at.
pub(super) struct Resolver {
    topology: Topology,
    /// The server that was found last.
    current: watch::Sender<Option<Endpoint>>,
}

enum Topology {
    Standalone(Endpoint),
    Sentinel(Sentinels),
    Cluster(Cluster),
}

/// How to see whether a link is up, and leads to where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Ping,
    /// A server that hangs does not answer this, either.
    IsMaster,
}

impl Check {
    /// Resolves when the server has answered.
    pub(super) async fn run(self, link: &mut Link) -> Result<(), LinkError> {
        if self == Self::Ping {
            return link.ping().await;
        }
        match link.query(["ROLE"]).await? {
            Reply::Array(items) if matches!(items.first(), Some(Reply::Text(role)) if role == b"master") => {
                Ok(())
            }
            Reply::Error(error) => Err(LinkError::Failed(error)),
            _ => Err(LinkError::Failed("the server is no master".to_owned())),
        }
    }
}

impl Resolver {
    /// # Errors
    /// For servers that can never be found.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, StartError> {
        let discovery = Discovery::new(config.driver, config.connect_timeout);
        let parsed = config.servers.parse(config.login.as_ref(), &config.tls)?;
        parsed.check_tls()?;
        let topology = match parsed {
            Parsed::Standalone(endpoint) => Topology::Standalone(endpoint),
            Parsed::Sentinel { sentinels, master, access } => {
                Topology::Sentinel(Sentinels::new(sentinels, master, access, discovery))
            }
            Parsed::Cluster { seeds, access } => {
                Topology::Cluster(Cluster::new(seeds, access, &config.prefix, discovery))
            }
        };
        Ok(Self { topology, current: watch::Sender::new(None) })
    }

    /// May the server be another one tomorrow?
    pub(super) fn changes(&self) -> bool {
        !matches!(self.topology, Topology::Standalone(_))
    }

    /// How a link is checked.
    pub(super) fn check(&self) -> Check {
        if self.changes() { Check::IsMaster } else { Check::Ping }
    }

    /// Finds the server and tells it to whoever watches.
    pub(super) async fn resolve(&self) -> Result<Endpoint, LinkError> {
        let endpoint = self.find().await?;
        self.tell(&endpoint);
        Ok(endpoint)
    }

    /// Where the server is, by what one of those says that know.
    pub(super) async fn find(&self) -> Result<Endpoint, LinkError> {
        match &self.topology {
            Topology::Standalone(endpoint) => Ok(endpoint.clone()),
            Topology::Sentinel(sentinels) => sentinels.find_master().await,
            Topology::Cluster(cluster) => cluster.find_master().await,
        }
    }

    /// What was told last.
    pub(super) fn told(&self) -> Option<Endpoint> {
        self.current.borrow().clone()
    }

    /// Both links are to be at this server.
    pub(super) fn tell(&self, endpoint: &Endpoint) {
        self.current.send_if_modified(|current| {
            let is_new = current.as_ref() != Some(endpoint);
            *current = Some(endpoint.clone());
            is_new
        });
    }

    /// The server that was found is none: whoever said so is not asked first again.
    pub(super) fn distrust(&self) {
        match &self.topology {
            Topology::Standalone(_) => {}
            Topology::Sentinel(sentinels) => sentinels.discovery.distrust(),
            Topology::Cluster(cluster) => cluster.discovery.distrust(),
        }
    }

    /// Resolves when the server to meet at is another than `endpoint`.
    pub(super) fn moved(&self, endpoint: Endpoint) -> impl Future<Output = ()> + Send + use<> {
        let mut current = self.current.subscribe();
        async move {
            let is_other = |now: &Option<Endpoint>| now.as_ref().is_some_and(|now| *now != endpoint);
            if current.wait_for(is_other).await.is_err() {
                // The engine is gone, and whoever waits here is told so in another way.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Looks for the master again and again, so that links which are up follow it. Never returns.
    pub(super) async fn watch(&self) {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            // While nobody can be asked the links stay where they are.
            if let Err(error) = self.resolve().await {
                tracing::debug!(%error, "can't tell whether the master of Redis is still the same");
            }
        }
    }

    /// The servers where others may subscribe: in a cluster, all but the one that the nodes meet at.
    fn other_servers(&self) -> Vec<Endpoint> {
        let Topology::Cluster(cluster) = &self.topology else { return Vec::new() };
        let mut servers = cluster.servers();
        servers.retain(|server| self.current.borrow().as_ref() != Some(server));
        servers
    }
}

/// For the log, until the server is found.
impl fmt::Display for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topology {
            Topology::Standalone(endpoint) => write!(formatter, "{}", endpoint.address),
            Topology::Sentinel(sentinels) => write!(formatter, "{}, by its sentinels", sentinels.name()),
            Topology::Cluster(_) => write!(formatter, "the cluster"),
        }
    }
}
