// Redis dies under load and comes back: nobody is disconnected, delivery resumes by itself, and the gap is on record.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, askOk, connect, member, receive, received } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { emitter, startRedis } from "./support/redis.mjs";

const PUBLISH_EVERY_MS = 5;

test("Redis is killed and comes back under load", async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await Promise.all([startGateway(t, { redis }), startGateway(t, { redis })]);
  const writer = await connect(t, first);
  const readers = [
    await member(t, first, "room"),
    await member(t, second, "room"),
    await member(t, second, "room", { transports: ["polling"] }),
  ];
  const disconnects = [];
  for (const socket of [writer, ...readers]) socket.on("disconnect", (reason) => disconnects.push(reason));
  const gapsBefore = [await first.metric("broadgate_adapter_gaps_total"), await second.metric("broadgate_adapter_gaps_total")];

  const load = publishSteadily(t, writer);
  for (const reader of readers) await receive(reader, "count", 50);

  await redis.kill();
  await until("publishes are refused", async () => {
    const ack = await ask(writer, "publish", "room", "refused?");
    return ack.ok === false && ack.error === "adapter_unavailable";
  });
  await until("joins are refused", async () => {
    const ack = await ask(readers[1], "join", "new room");
    return ack.ok === false && ack.error === "adapter_unavailable";
  });
  const again = await ask(readers[1], "join", "room");
  assert.equal(again.error, "adapter_unavailable", "a room that the node had is not subscribed either");

  const afterOutage = load.sent();
  await startRedis(t, { port: redis.port });
  for (const reader of readers) {
    await until("the load arrives again", () => lastCount(reader) > afterOutage);
  }

  // From here on there is no gap: every message must arrive.
  await load.stop();
  const from = load.sent();
  for (let index = from; index < from + 100; index += 1) await askOk(writer, "publish", "room", "count", index);
  for (const reader of readers) {
    await until("the last message arrives", () => lastCount(reader) === from + 99);
    const counts = received(reader, "count").flat();
    assert.deepEqual(counts, [...new Set(counts)].sort((a, b) => a - b), "in order and without duplicates");
    assert.deepEqual(counts.slice(-100), Array.from({ length: 100 }, (_, index) => from + index));
  }
  assert.deepEqual(disconnects, []);

  for (const gateway of [first, second]) assert.ok(await gateway.isReady(), "an outage of Redis takes no node away");
  await askOk(readers[1], "join", "new room");
  emitter(t, redis).to("new room").emit("welcome", 1);
  assert.deepEqual(await receive(readers[1], "welcome"), [[1]]);

  for (const [index, gateway] of [first, second].entries()) {
    // A node whose members got the load from their own node may be the last to have its link again.
    await until(
      "the gap is counted",
      async () => (await gateway.metric("broadgate_adapter_gaps_total")) > gapsBefore[index],
    );
    await until("the gap is in the log", () => /\bgap\b/i.test(gateway.output));
  }
});

test("a node that starts while Redis is away becomes ready when Redis comes", async (t) => {
  const redis = await startRedis(t);
  await redis.kill();
  const starting = startGateway(t, { redis });
  await startRedis(t, { port: redis.port });
  const gateway = await starting;
  const reader = await member(t, gateway, "room");
  emitter(t, redis).to("room").emit("said", 1);
  assert.deepEqual(await receive(reader, "said"), [[1]]);
});

/** Publishes 0, 1, 2 … into the room, whatever the acks say, until stopped. */
function publishSteadily(t, writer) {
  let count = 0;
  let pending = 0;
  const timer = setInterval(() => {
    pending += 1;
    ask(writer, "publish", "room", "count", count).then(
      () => (pending -= 1),
      () => (pending -= 1),
    );
    count += 1;
  }, PUBLISH_EVERY_MS);
  atEnd(t, () => clearInterval(timer));
  return {
    sent: () => count,
    stop: async () => {
      clearInterval(timer);
      await until("all publishes are answered", () => pending === 0);
    },
  };
}

function lastCount(reader) {
  return received(reader, "count").at(-1)?.[0] ?? -1;
}
