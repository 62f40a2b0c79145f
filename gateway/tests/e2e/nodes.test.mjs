// Which nodes there are, as each of them says on its ops listener.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { redisCli, startRedis } from "./support/redis.mjs";

const namesOf = async (gateway) => (await gateway.nodes()).map((node) => node.name);

/** The one name that `gateway` has for itself. */
async function nameOf(gateway) {
  const own = (await gateway.nodes()).filter((node) => node.this);
  assert.equal(own.length, 1);
  return own[0].name;
}

/** Waits until each of the nodes knows exactly all of them. */
async function untilAllKnow(gateways) {
  const expected = (await Promise.all(gateways.map(nameOf))).sort();
  for (const gateway of gateways) {
    await until(`exactly ${expected} are known`, async () => {
      return JSON.stringify((await namesOf(gateway)).sort()) === JSON.stringify(expected);
    });
    assert.equal(await gateway.metric("broadgate_cluster_nodes"), expected.length);
  }
}

async function workspaceVersion() {
  const manifest = await readFile(new URL("../../../Cargo.toml", import.meta.url), "utf8");
  return /^version = "(.+)"$/m.exec(manifest)[1];
}

test("a node alone knows itself", async (t) => {
  const gateway = await startGateway(t);
  const [{ name, ...node }, ...others] = await gateway.nodes();
  assert.match(name, /^[\w-]{5}$/);
  assert.deepEqual(node, { version: await workspaceVersion(), this: true, seconds_since_heard: 0 });
  assert.deepEqual(others, []);
});

test("nodes of one Redis know each other; who is killed disappears, who starts appears", async (t) => {
  const redis = await startRedis(t);
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => startGateway(t, { redis })));
  await untilAllKnow([first, second, third]);
  for (const node of await first.nodes()) {
    assert.equal(node.version, await workspaceVersion());
    assert.ok(node.seconds_since_heard < 10, `${node.name} says hello`);
  }

  await third.kill();
  await untilAllKnow([first, second]);
  const again = await startGateway(t, { redis, port: third.port, opsPort: third.opsPort });
  await untilAllKnow([first, second, again]);
});

test("who stops says goodbye", async (t) => {
  const redis = await startRedis(t);
  const [first, second] = [await startGateway(t, { redis }), await startGateway(t, { redis })];
  await untilAllKnow([first, second]);
  await second.stop();
  // It is gone from Redis only after its goodbye, and nobody else waits for its lease.
  await untilAllKnow([first]);
  assert.match(first.output, /lost another node/);
});

test("nodes of another prefix are another cluster", async (t) => {
  const redis = await startRedis(t);
  const config = `[adapter.redis]\nurl = "${redis.url}"\nprefix = "other"\n`;
  const [first, other] = [await startGateway(t, { redis }), await startGateway(t, { config })];
  const channels = async () => (await redisCli(redis, "PUBSUB", "CHANNELS", "*-broadgate#")).trim().split("\n").sort();
  assert.deepEqual(await channels(), ["other-broadgate#", "socket.io-broadgate#"]);
  await untilAllKnow([first]);
  await untilAllKnow([other]);
});
