// Redis as it is run for availability: a master and a replica under sentinels, and a cluster.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { atEnd, until } from "./conditions.mjs";
import { Process, freePort } from "./processes.mjs";
import { redisCli, startRedis } from "./redis.mjs";

/** What the sentinels call the master. */
export const MASTER = "mymaster";

// Without them, replicas come late: they wait for others, and tell how far they are only every ten seconds.
const PROMPT = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
const CLUSTER_MASTERS = 3;
const SLOTS = 16_384;

/** Starts a master, its replica and three sentinels, which know each other when this resolves. */
export async function startSentinels(t) {
  const master = await startRedis(t, { more: PROMPT });
  const replica = await startRedis(t, { more: [...PROMPT, "--replicaof", "127.0.0.1", master.port] });
  await until("the replica follows", async () => {
    return (await redisCli(replica, "INFO", "replication")).includes("master_link_status:up");
  });
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(t, master)));
  for (const sentinel of sentinels) {
    await until("the sentinels know each other and the replica", async () => {
      const facts = (await redisCli(sentinel, "SENTINEL", "MASTER", MASTER)).split(/\r?\n/);
      const fact = (name) => facts[facts.indexOf(name) + 1];
      return fact("num-other-sentinels") === "2" && fact("num-slaves") === "1";
    });
  }
  return { master, replica, urls: sentinels.map(({ port }) => `redis://127.0.0.1:${port}`) };
}

async function startSentinel(t, master) {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), "broadgate-sentinel-"));
  const file = join(directory, "sentinel.conf");
  const lines = [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir ${directory}`,
    `sentinel monitor ${MASTER} 127.0.0.1 ${master.port} 2`,
    `sentinel down-after-milliseconds ${MASTER} 5000`,
    `sentinel failover-timeout ${MASTER} 5000`,
  ];
  await writeFile(file, lines.join("\n") + "\n");
  const process = new Process("redis-server", [file, "--sentinel"]);
  atEnd(t, async () => {
    if (!process.exit) await process.stop("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  });
  const sentinel = { port };
  await process.until("answers PING", async () => (await redisCli(sentinel, "PING")).trim() === "PONG");
  return sentinel;
}

/** Starts three masters, each with a replica, that agree about each other when this resolves: masters first. */
export async function startCluster(t) {
  const servers = await Promise.all(
    Array.from({ length: 2 * CLUSTER_MASTERS }, async () => {
      const busPort = await freePort();
      const more = ["--cluster-enabled", "yes", "--cluster-port", busPort, "--cluster-node-timeout", "5000", ...PROMPT];
      return { ...(await startRedis(t, { more })), busPort };
    }),
  );
  const [masters, replicas] = [servers.slice(0, CLUSTER_MASTERS), servers.slice(CLUSTER_MASTERS)];
  for (const [index, server] of servers.entries()) await redisCli(server, "CLUSTER", "SET-CONFIG-EPOCH", String(index + 1));
  for (const [index, master] of masters.entries()) {
    const [first, next] = [index, index + 1].map((part) => Math.floor((part * SLOTS) / CLUSTER_MASTERS));
    await redisCli(master, "CLUSTER", "ADDSLOTSRANGE", String(first), String(next - 1));
  }
  for (const { port, busPort } of servers.slice(1)) {
    await redisCli(masters[0], "CLUSTER", "MEET", "127.0.0.1", String(port), String(busPort));
  }
  for (const [index, replica] of replicas.entries()) {
    const id = (await redisCli(masters[index], "CLUSTER", "MYID")).trim();
    await until("the replica knows its master", async () => (await redisCli(replica, "CLUSTER", "NODES")).includes(id));
    await redisCli(replica, "CLUSTER", "REPLICATE", id);
  }
  for (const server of servers) {
    await until("every server knows the whole cluster", async () => {
      const slots = await redisCli(server, "CLUSTER", "SLOTS");
      return servers.every(({ port }) => slots.split(/\r?\n/).includes(String(port)));
    });
  }
  return { masters, replicas, urls: masters.map(({ port }) => `redis://127.0.0.1:${port}`) };
}
