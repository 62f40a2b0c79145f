// What nodes measure of messages that cross Redis.

import assert from "node:assert/strict";
import { test } from "node:test";

import { askOk, connect, member, receive } from "./support/clients.mjs";
import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { emitter, startRedis } from "./support/redis.mjs";

const LATENCY = "broadgate_delivery_latency_seconds";

/** How many broadcasts a node has measured by now on a path, and how long they took together. */
async function latency(node, path) {
  return { count: await node.metric(`${LATENCY}_count`, { path }), sum: await node.metric(`${LATENCY}_sum`, { path }) };
}

test("the latency of a broadcast is that of its path, on each node with members", async (t) => {
  const redis = await startRedis(t);
  const [near, far] = [await startGateway(t, { redis }), await startGateway(t, { redis })];
  const members = [await member(t, near, "room"), await member(t, far, "room")];
  const publisher = await connect(t, near);
  const before = Date.now();
  await askOk(publisher, "publish", "room", "news", 1);
  for (const socket of members) await receive(socket, "news", 1);

  // Behind the write, which the member may have seen before.
  await until("the far node has measured it", async () => (await latency(far, "redis")).count === 1);
  await until("the near node has measured it", async () => (await latency(near, "local")).count === 1);
  const elapsed = (Date.now() - before) / 1000;
  for (const [node, path] of [[far, "redis"], [near, "local"]]) {
    const { sum } = await latency(node, path);
    assert.ok(sum > 0 && sum <= elapsed + 0.01, `${path}: ${sum} s of ${elapsed} s`);
  }
  assert.equal((await latency(far, "local")).count, 0);
  assert.equal((await latency(near, "redis")).count, 0, "its own message that comes back is none");

  // Node.js' emitter does not say when it publishes; what is not known is not measured.
  emitter(t, redis).to("room").emit("unstamped", 2);
  for (const socket of members) await receive(socket, "unstamped", 1);
  await far.publish({ rooms: ["room"], event: "late", data: 3 });
  for (const socket of members) await receive(socket, "late", 1);
  await until("the third is measured", async () => (await latency(near, "redis")).count === 1);
  assert.equal((await latency(far, "redis")).count, 1);
  await until("the third is measured where it was published", async () => (await latency(far, "local")).count === 1);
});

test("publishing and requests are measured until Redis and the other nodes have answered", async (t) => {
  const redis = await startRedis(t);
  const [node] = [await startGateway(t, { redis }), await startGateway(t, { redis })];
  const measured = (name) => node.metric(`broadgate_${name}_duration_seconds_count`);
  assert.equal(await measured("cluster_request"), 0);
  // A node tells of itself all the time, which is published, too.
  const published = await measured("redis_publish");
  assert.equal((await node.sockets("")).status, 200);
  assert.equal(await measured("cluster_request"), 1);
  await until("it is published", async () => (await measured("redis_publish")) > published);
});
