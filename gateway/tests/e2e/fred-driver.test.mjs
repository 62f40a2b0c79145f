// Nodes whose driver is fred, beside one whose driver is redis, a Node.js server and an emitter: one cluster, before and
// after Redis was killed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, askOk, member, numbers, received } from "./support/clients.mjs";
import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { CONFIG, countNodes, startNodeServer } from "./support/node-server.mjs";
import { emitter, redisCli, startRedis } from "./support/redis.mjs";

const MESSAGES = 200;
const driver = (name) => `${CONFIG}[adapter.redis]\ndriver = "${name}"\n`;

test("nodes of either driver, a Node.js server and an emitter exchange messages, also after an outage", async (t) => {
  const redis = await startRedis(t);
  const server = await startNodeServer(t, redis);
  const gateways = await Promise.all(
    ["fred", "fred", "redis"].map((name) => startGateway(t, { redis, config: driver(name) })),
  );
  await until("four nodes are counted", async () => (await countNodes(redis)) === 4);
  // What fred alone asks, once for each of its connections.
  const statistics = await redisCli(redis, "INFO", "commandstats");
  assert.match(statistics, /^cmdstat_client\|id:calls=4,/m, "two nodes with two links each");

  const clients = await Promise.all(gateways.map((gateway) => member(t, gateway, "room")));
  const theirs = await member(t, server, "room");
  const publishers = {
    ...Object.fromEntries(
      clients.map((client, index) => [`node ${index}`, (...event) => askOk(client, "publish", "room", ...event)]),
    ),
    "Node.js server": (...event) => server.io.to("room").emit(...event),
    emitter: (...event) => emitters.to("room").emit(...event),
  };
  const emitters = emitter(t, redis);

  const exchange = async (round) => {
    await Promise.all(
      Object.entries(publishers).map(async ([name, publish]) => {
        for (const number of numbers(MESSAGES)) await publish(name, round, number);
      }),
    );
    for (const [index, receiver] of [...clients, theirs].entries()) {
      for (const name of Object.keys(publishers)) {
        // A client does not get its own.
        const expected = name === `node ${index}` ? [] : numbers(MESSAGES);
        const arrived = () => received(receiver, name).filter(([of]) => of === round);
        await until(`${name} reaches client ${index}`, () => arrived().length >= expected.length);
        const seen = arrived().map(([, number]) => number);
        assert.deepEqual(seen, expected, `from ${name} to client ${index}, in order and once`);
      }
    }
  };
  await exchange("before");

  await redis.kill();
  for (const client of clients) {
    await until("publishes are refused", async () => {
      const ack = await ask(client, "publish", "room", "refused?");
      return ack.ok === false && ack.error === "adapter_unavailable";
    });
  }
  await startRedis(t, { port: redis.port });
  await until("four nodes are counted again", async () => (await countNodes(redis)) === 4);
  for (const gateway of gateways) {
    await until("the gap is counted", async () => (await gateway.metric("broadgate_adapter_gaps_total")) > 0);
  }
  await until("the publish links are back", async () => {
    const acks = await Promise.all(clients.map((client) => ask(client, "publish", "room", "again?")));
    return acks.every((ack) => ack.ok);
  });
  await until("the Node.js server is subscribed again", async () => {
    emitters.to("room").emit("back?");
    return received(theirs, "back?").length > 0;
  });
  await exchange("after");

  for (const gateway of gateways) {
    assert.equal(await gateway.metric("broadgate_adapter_malformed_total"), 0);
    assert.equal(await gateway.metric("broadgate_adapter_reconnects_total"), 1);
  }
});
