// The master of Redis dies, under sentinels and in a cluster: another takes over, clients stay, and delivery resumes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";
import { Cluster } from "ioredis";

import { ask, connect, member, received } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";
import { emitter, redisCli } from "./support/redis.mjs";
import { MASTER, startCluster, startSentinels } from "./support/redis-topologies.mjs";

/** Sentinels that could not agree try again after ten seconds. */
const FAILOVER_MS = 60_000;

test("sentinels make the replica the master", async (t) => {
  const { master, replica, urls } = await startSentinels(t);
  const nodes = await startNodes(t, `mode = "sentinel"\nurls = ${JSON.stringify(urls)}\nsentinel_master = "${MASTER}"\n`);
  await survives(t, nodes, () => master.kill());
  await hears(nodes, emitter(t, replica), "at the new master");
});

test("a cluster makes the replica the master", async (t) => {
  const { masters, replicas, urls } = await startCluster(t);
  const nodes = await startNodes(t, `mode = "cluster"\nurls = ${JSON.stringify(urls)}\n`);
  const meetingPlace = await serving(masters, "socket.io");
  const another = masters.find((server) => server !== meetingPlace);
  await hears(nodes, emitter(t, another), "at another master");
  await survives(t, nodes, () => meetingPlace.kill());
  await hears(nodes, emitter(t, another), "at another master, later");

  // As a backend has it that knows of the cluster.
  const cluster = new Cluster([...masters, ...replicas].map(({ port }) => ({ host: "127.0.0.1", port })));
  atEnd(t, () => cluster.disconnect());
  await hears(nodes, new Emitter(cluster), "anywhere");
});

/** Two nodes, each with a member of the room. */
async function startNodes(t, redis) {
  const config = `[adapter.redis]\nprobe_max_age_ms = 0\n${redis}\n${OPEN_ROOMS()}`;
  const gateways = await Promise.all([startGateway(t, { config }), startGateway(t, { config })]);
  const members = [await member(t, gateways[0], "room"), await member(t, gateways[1], "room", { transports: ["polling"] })];
  const disconnects = [];
  for (const socket of members) socket.on("disconnect", (reason) => disconnects.push(reason));
  return { gateways, members, disconnects };
}

/** Messages cross the nodes, in both directions, before and after; every node tells the gap, and no client leaves. */
async function survives(t, { gateways, members, disconnects }, kill) {
  const writers = [await connect(t, gateways[0]), await connect(t, gateways[1])];
  const cross = async (name) => {
    for (const [index, writer] of writers.entries()) {
      const reader = members[1 - index];
      await until(`${name}: node ${index} reaches the other`, async () => {
        await ask(writer, "publish", "room", name, index);
        return received(reader, name).some(([from]) => from === index);
      });
    }
  };
  await cross("before");
  await kill();
  for (const gateway of gateways) {
    await until("the gap is counted", async () => (await gateway.metric("broadgate_adapter_gaps_total")) > 0, FAILOVER_MS);
    assert.ok(await gateway.isReady(), "no node is taken away");
    assert.ok((await gateway.metric("broadgate_redis_topology_changes_total")) > 0, "another server");
    assert.ok((await gateway.metric("broadgate_redis_resubscribe_duration_seconds_count")) > 0);
  }
  await cross("after");
  assert.deepEqual(disconnects, []);
}

async function hears({ members }, backend, what) {
  backend.to("room").emit("backend", what);
  for (const reader of members) {
    await until(`a message published ${what} arrives`, () => received(reader, "backend").some(([text]) => text === what));
  }
}

/** The master that serves the key's slot. */
async function serving(masters, key) {
  const slot = Number(await redisCli(masters[0], "CLUSTER", "KEYSLOT", key));
  return masters[Math.floor((slot * masters.length) / 16_384)];
}
