//! Redis Cluster: which server all nodes meet at, and which servers there are.
//!
//! A cluster passes every PUBLISH on to all of its servers, so publishers may use any of them. The nodes themselves meet
//! at one, the master that serves the slot of the channels' prefix: one server gives all of them one order of messages.

use parking_lot::Mutex;

use super::{
    super::{
        driver::{LinkError, Reply},
        endpoint::{Address, Endpoint},
    },
    discovery::Discovery,
    servers::Access,
    slots::{ClusterMap, slot},
};

/// Owns what this node knows of the cluster.
pub(super) struct Cluster {
    seeds: Vec<Endpoint>,
    access: Access,
    slot: u16,
    map: Mutex<ClusterMap>,
    pub(super) discovery: Discovery,
}

impl Cluster {
    /// Of a cluster whose nodes meet where `key` would be.
    pub(super) fn new(seeds: Vec<Endpoint>, access: Access, key: &str, discovery: Discovery) -> Self {
        Self { seeds, access, slot: slot(key), map: Mutex::default(), discovery }
    }

    pub(super) async fn find_master(&self) -> Result<Endpoint, LinkError> {
        let mut sources = self.servers();
        sources.extend(self.seeds.iter().filter(|seed| !sources.contains(seed)).cloned().collect::<Vec<_>>());
        let map = self.discovery.ask(&sources, ["CLUSTER", "SLOTS"], read_map).await?;
        let master = map.master_of(self.slot).cloned();
        *self.map.lock() = map;
        let nobody = || LinkError::Failed(format!("no server of the cluster serves slot {}", self.slot));
        Ok(self.access.to(master.ok_or_else(nobody)?))
    }

    /// All that are known.
    pub(super) fn servers(&self) -> Vec<Endpoint> {
        let map = self.map.lock();
        map.servers().into_iter().map(|address| self.access.to(address.clone())).collect()
    }
}

fn read_map(reply: Reply, asked: &Endpoint) -> Result<ClusterMap, LinkError> {
    // A cluster listens on no Unix socket that could be a seed.
    let host = if let Address::Tcp { host, .. } = &asked.address { host.as_str() } else { "" };
    match reply {
        Reply::Error(error) => Err(LinkError::Failed(error)),
        reply => ClusterMap::read(&reply, host)
            .ok_or_else(|| LinkError::Failed("CLUSTER SLOTS was answered in another form".to_owned())),
    }
}
