//! A master and a replica under three sentinels.

use crate::support::{
    eventually_async,
    redis_server::{RedisServer, words},
};

/// What the sentinels call the master.
pub const MASTER: &str = "mymaster";

pub struct Sentinels {
    /// The first one starts as the master.
    pub servers: [RedisServer; 2],
    pub sentinels: [RedisServer; 3],
}

impl Sentinels {
    /// Starts all and waits until the sentinels know each other and the replica.
    pub async fn start() -> Self {
        let master = RedisServer::start_with(|_| replication());
        let replica = RedisServer::start_with(|_| {
            let mut arguments = replication();
            arguments.extend(words(&["--replicaof", "127.0.0.1", &master.place().port.to_string()]));
            arguments
        });
        let servers = [master, replica];
        eventually_async("the replica follows", async || is_following(&servers[1]).await).await;
        let monitor = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {} 2\nsentinel down-after-milliseconds {MASTER} 5000\n\
             sentinel failover-timeout {MASTER} 5000\n",
            servers[0].place().port
        );
        let sentinels = [(); 3].map(|()| RedisServer::start_sentinel(&monitor, None));
        let started = Self { servers, sentinels };
        eventually_async("the sentinels know each other and the replica", async || {
            for sentinel in &started.sentinels {
                if !started.knows_all(sentinel).await {
                    return false;
                }
            }
            true
        })
        .await;
        started
    }

    async fn knows_all(&self, sentinel: &RedisServer) -> bool {
        let facts: Vec<String> = sentinel.command(&["SENTINEL", "MASTER", MASTER]).await;
        let fact = |name: &str| {
            let at = facts.iter().position(|fact| fact == name).expect("sentinels tell it");
            facts[at + 1].clone()
        };
        fact("num-other-sentinels") == "2" && fact("num-slaves") == "1" && fact("flags") == "master"
    }

    /// Waits until one of the servers follows the other.
    pub async fn eventually_replica(&self, server: usize) {
        eventually_async("the server is a replica", async || is_following(&self.servers[server]).await).await;
    }

    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }
}

fn replication() -> Vec<String> {
    // Without it, a replica waits five seconds for others who may come.
    words(&["--repl-diskless-sync-delay", "0"])
}

async fn is_following(replica: &RedisServer) -> bool {
    let info: Option<String> = replica.try_command(&["INFO", "replication"]).await;
    info.is_some_and(|info| info.contains("master_link_status:up"))
}
