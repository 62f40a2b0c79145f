//! A Redis Cluster on loopback: three masters that share the slots, each with a replica.

use crate::support::{
    eventually_async,
    redis_server::{RedisServer, words},
};

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

pub struct ClusterNodes {
    /// The masters, then their replicas in the same order.
    pub servers: Vec<RedisServer>,
}

impl ClusterNodes {
    /// Starts the servers, makes a cluster of them and waits until all agree about it.
    pub async fn start() -> Self {
        let launch = |_| {
            RedisServer::start_with(|place| {
                let bus_port = place.second_port.to_string();
                let mut arguments = words(&["--cluster-enabled", "yes", "--cluster-port", &bus_port]);
                arguments.extend(words(&[
                    "--cluster-node-timeout",
                    "5000",
                    "--repl-diskless-sync-delay",
                    "0",
                    "--repl-ping-replica-period",
                    "1",
                ]));
                arguments
            })
        };
        let cluster = Self { servers: (0..2 * MASTERS).map(launch).collect() };
        cluster.form().await;
        cluster
    }

    async fn form(&self) {
        for (index, server) in self.servers.iter().enumerate() {
            let epoch = (index + 1).to_string();
            let () = server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        let (masters, replicas) = self.servers.split_at(MASTERS);
        for (index, master) in masters.iter().enumerate() {
            let [first, last] = [index * SLOTS / MASTERS, (index + 1) * SLOTS / MASTERS - 1];
            let () =
                master.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        for server in &self.servers[1..] {
            let place = server.place();
            let (port, bus_port) = (place.port.to_string(), place.second_port.to_string());
            let () = masters[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]).await;
        }
        for (replica, master) in replicas.iter().zip(masters) {
            let id: String = master.command(&["CLUSTER", "MYID"]).await;
            eventually_async("the replica knows its master", async || {
                replica.command::<String>(&["CLUSTER", "NODES"]).await.contains(&id)
            })
            .await;
            let () = replica.command(&["CLUSTER", "REPLICATE", &id]).await;
        }
        for server in &self.servers {
            eventually_async("every server knows the whole cluster", async || knows_all(server).await).await;
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(RedisServer::url).collect()
    }

    /// Which of the servers serves this slot as a master.
    pub fn serving(&self, slot: u16) -> usize {
        usize::from(slot) * MASTERS / SLOTS
    }
}

/// A replica is shown when its offset in the replication is known.
async fn knows_all(server: &RedisServer) -> bool {
    let info: String = server.command(&["CLUSTER", "INFO"]).await;
    let ranges: Vec<Vec<redis::Value>> = server.command(&["CLUSTER", "SLOTS"]).await;
    // First and last slot, master, replica.
    info.contains("cluster_state:ok")
        && ranges.len() == MASTERS
        && ranges.iter().all(|range| range.len() == 4)
}
