// Redis dies under load and comes back: nobody is disconnected, delivery resumes by itself, and the gap is on record.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, askOk, connect, member, receive, received } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, broadgate, startGateway } from "./support/gateway.mjs";
import { emitter, startRedis } from "./support/redis.mjs";

// Well below limits.max_messages_per_second.
const PUBLISH_EVERY_MS = 20;

test("Redis is killed and comes back under load", async (t) => {
  const redis = await startRedis(t);
  // A join without Redis is refused when this is over.
  const environment = { BROADGATE__ADAPTER__REDIS__SUBSCRIBE_TIMEOUT_MS: "5000" };
  const [first, second] = await Promise.all([1, 2].map(() => startGateway(t, { redis, environment })));
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

  for (const gateway of [first, second]) await until("the node gets new clients again", () => gateway.isReady());
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

const DRIVERS = ["redis", "fred"];
const config = (driver, more) => `${OPEN_ROOMS()}[adapter.redis]\ndriver = "${driver}"\n${more}\n`;

/** Two nodes, with a writer and a member of "room" on the first and a member on the second; then Redis dies. */
async function twoNodesWithoutRedis(t, text) {
  const redis = await startRedis(t);
  const [first, second] = await Promise.all([1, 2].map(() => startGateway(t, { redis, config: text })));
  const writer = await connect(t, first);
  const [near, far] = [await member(t, first, "room"), await member(t, second, "room")];
  await askOk(writer, "publish", "room", "said", "before");
  for (const reader of [near, far]) await receive(reader, "said");
  await redis.kill();
  await until("the link is known to be down", async () => {
    const up = await first.metric("broadgate_adapter_link_up", { link: "publish" });
    return up === 0;
  });
  const comeBack = async () => {
    await startRedis(t, { port: redis.port });
    for (const gateway of [first, second]) {
      await until("the gap is over", async () => (await gateway.metric("broadgate_adapter_gaps_total")) > 0);
    }
    await until("publishes are taken, and go on to the others", async () => {
      const answer = await ask(writer, "publish", "room", "said", "after");
      return answer.ok && !answer.local_only;
    });
    for (const reader of [near, far]) {
      await until("it arrives", () => received(reader, "said").some(([text]) => text === "after"));
    }
  };
  const heard = (reader) => [...new Set(received(reader, "said").map(([text]) => text))];
  return { first, writer, near, far, comeBack, heard };
}

for (const driver of DRIVERS) {
  test(`without Redis a publish reaches nobody (${driver})`, async (t) => {
    const { first, writer, near, far, comeBack, heard } = await twoNodesWithoutRedis(t, config(driver, ""));
    const ack = await ask(writer, "publish", "room", "said", "lost");
    assert.equal(ack.error, "adapter_unavailable");
    assert.match(ack.message, /nobody got it/);
    // Without an ack nobody is told; it is counted.
    writer.emit("publish", "room", "said", "lost without an ack");
    const { status, body } = await first.publish({ room: "room", event: "said", data: "lost by the ops API" });
    assert.deepEqual([status, body.ok, body.error, body.delivered], [503, false, "adapter_unavailable", 0]);
    assert.match(body.message, /nobody got it/);
    const command = broadgate("publish", "--ops", first.opsUrl, "--room", "room", "said", "lost by the command");
    await assert.rejects(command, /503.*adapter_unavailable/s);
    await until("all are counted", async () =>
      (await first.metric("broadgate_publishes_total", { result: "adapter_unavailable" })) === 2);

    await comeBack();
    // Each link keeps its order, so what had been delivered before would be here by now.
    for (const reader of [near, far]) assert.deepEqual(heard(reader), ["before", "after"]);
  });

  test(`without Redis a publish reaches the members of its node where the config says so (${driver})`, async (t) => {
    const text = config(driver, 'when_down = "local"');
    const { first, writer, near, far, comeBack, heard } = await twoNodesWithoutRedis(t, text);
    const ack = await askOk(writer, "publish", "room", "said", "near");
    assert.deepEqual([ack.delivered, ack.local_only], [1, true]);
    const { status, body } = await first.publish({ room: "room", event: "said", data: "by the ops API" });
    assert.deepEqual([status, body], [200, { ok: true, delivered: 1, local_only: true }]);
    const output = await broadgate("publish", "--ops", first.opsUrl, "--room", "room", "said", "by the command");
    assert.match(output, /on this node only/);
    assert.equal(await first.metric("broadgate_publishes_total", { result: "local_only" }), 1);
    await receive(near, "said", 4);

    await comeBack();
    assert.deepEqual(heard(near), ["before", "near", "by the ops API", "by the command", "after"]);
    assert.deepEqual(heard(far), ["before", "after"]);
    assert.equal((await askOk(writer, "publish", "room", "said", "more")).local_only, undefined);
  });
}

test("a node that nothing comes back to through Redis gets no new clients until something does", async (t) => {
  const redis = await startRedis(t);
  const gateway = await startGateway(t, { redis, config: config("redis", "probe_max_age_ms = 4000") });
  const client = await connect(t, gateway);
  assert.ok((await gateway.metric("broadgate_delivery_probe_round_trip_seconds")) > 0);
  await redis.kill();
  await until("it is not ready", async () => !(await gateway.isReady()));
  const { status, reason } = await readiness(gateway);
  assert.equal(status, 503);
  assert.match(reason, /no message came back through Redis for \d+ s \(adapter\.redis\.probe_max_age_ms = 4000\)/);
  assert.ok((await gateway.metric("broadgate_delivery_probe_age_seconds")) > 4);
  assert.equal(await gateway.metric("broadgate_ready"), 0);
  assert.equal((await fetch(`${gateway.opsUrl}/livez`)).status, 200, "a restart would mend nothing");
  await startRedis(t, { port: redis.port });
  await until("it is ready again", () => gateway.isReady());
  assert.ok(client.connected, "those that are there stay");
});

async function readiness(gateway) {
  const response = await fetch(`${gateway.opsUrl}/readyz`);
  return { status: response.status, ...(await response.json()) };
}

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
