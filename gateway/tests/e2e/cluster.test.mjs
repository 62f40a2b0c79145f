// Two nodes on one Redis, published to by everyone who can.

import assert from "node:assert/strict";
import { test } from "node:test";

import { askOk, connect, fence, member, numbers, receive, received } from "./support/clients.mjs";
import { until } from "./support/conditions.mjs";
import { OPEN_ROOMS, broadgate, startGateway } from "./support/gateway.mjs";
import { emitter, redisCli, redisClient, startRedis } from "./support/redis.mjs";

async function startCluster(t, options = {}) {
  const redis = await startRedis(t);
  const [first, second] = await Promise.all([
    startGateway(t, { ...options, redis }),
    startGateway(t, { ...options, redis }),
  ]);
  return { redis, first, second };
}

test("a publish on one node reaches the members on both once and in order", async (t) => {
  const { first, second } = await startCluster(t);
  const writer = await member(t, first, "room");
  const readers = [
    await member(t, first, "room"),
    await member(t, second, "room"),
    await member(t, second, ["room", "another"], { transports: ["polling"] }),
  ];
  const outsider = await member(t, second, "another");
  for (const index of numbers(200)) writer.emit("publish", "room", "count", index, { text: `€ ${index}` });
  await askOk(writer, "publish", "room", "last");
  for (const reader of readers) {
    await receive(reader, "last");
    assert.deepEqual(received(reader, "count"), numbers(200).map((index) => [index, { text: `€ ${index}` }]));
  }
  await fence([writer, outsider], (event) => second.publish({ event }));
  assert.deepEqual(received(writer, "count"), [], "never the sender");
  assert.deepEqual(received(outsider, "count"), []);
});

test("publishers on both nodes at once: each one's messages stay in order", async (t) => {
  const { first, second } = await startCluster(t);
  const readers = [await member(t, first, "room"), await member(t, second, "room")];
  const writers = [await connect(t, first), await connect(t, second)];
  await Promise.all(
    numbers(100).map(async (index) => {
      await Promise.all(writers.map((writer, who) => askOk(writer, "publish", "room", "count", who, index)));
    }),
  );
  for (const reader of readers) {
    const messages = await receive(reader, "count", 200);
    assert.equal(messages.length, 200);
    for (const who of [0, 1]) {
      assert.deepEqual(messages.filter(([from]) => from === who).map(([, index]) => index), numbers(100));
    }
  }
});

test("binary crosses the cluster", async (t) => {
  const { first, second } = await startCluster(t);
  const reader = await member(t, second, "room");
  const writer = await connect(t, first);
  const big = Buffer.alloc(150_000, "broadgate");
  await askOk(writer, "publish", "room", "file", Buffer.from([0, 255]), { deep: [big, "€"] }, Buffer.alloc(0));
  assert.deepEqual(await receive(reader, "file"), [[Buffer.from([0, 255]), { deep: [big, "€"] }, Buffer.alloc(0)]]);
});

test("a socket's id works as a room from any node", async (t) => {
  const { first, second } = await startCluster(t);
  const [target, bystander] = [await connect(t, second), await connect(t, second)];
  await askOk(await connect(t, first), "publish", target.id, "private", 1);
  await first.publish({ rooms: [target.id], event: "private", args: [2] });
  assert.deepEqual(await receive(target, "private", 2), [[1], [2]]);
  await fence([bystander], (event) => first.publish({ event }));
  assert.deepEqual(received(bystander, "private"), []);
});

test("the ops API of one node reaches the members on both", async (t) => {
  const { first, second } = await startCluster(t);
  const members = [await member(t, first, ["a", "b"]), await member(t, second, ["a", "b"])];
  const excepted = await member(t, second, ["a", "quiet"]);
  for (const index of numbers(50)) {
    const { status } = await first.publish({ rooms: ["a", "b"], except: ["quiet"], event: "count", args: [index] });
    assert.equal(status, 200);
  }
  await fence([...members, excepted], (event) => first.publish({ event }));
  for (const socket of members) assert.deepEqual(received(socket, "count").flat(), numbers(50));
  assert.deepEqual(received(excepted, "count"), []);
});

test("the Socket.IO emitter reaches whom it names, on every node, each once", async (t) => {
  const config = `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/custom"\n${OPEN_ROOMS()}${OPEN_ROOMS("/custom")}`;
  const { redis, first, second } = await startCluster(t, { config });
  const io = emitter(t, redis);
  const sockets = {};
  for (const [name, gateway] of Object.entries({ first, second })) {
    sockets[`${name} none`] = await connect(t, gateway);
    sockets[`${name} a`] = await member(t, gateway, ["a"], { transports: ["polling"] });
    sockets[`${name} ab`] = await member(t, gateway, ["a", "b"]);
    sockets[`${name} c`] = await member(t, gateway, ["c"]);
    sockets[`${name} custom`] = await member(t, gateway, ["a"], { namespace: "/custom" });
  }
  const both = (...names) => names.flatMap((name) => [`first ${name}`, `second ${name}`]);
  const cases = [
    [io, both("none", "a", "ab", "c")],
    [io.to("a"), both("a", "ab")],
    [io.in("a").in("b").in("c"), both("a", "ab", "c")],
    [io.to(["a", "b"]), both("a", "ab")],
    [io.except("a"), both("none", "c")],
    [io.to("a").except("b"), both("a")],
    [io.to("a").except(sockets["second a"].id), ["first a", ...both("ab")]],
    [io.to(sockets["first c"].id), ["first c"]],
    [io.to(sockets["second none"].id).to("b"), ["second none", ...both("ab")]],
    [io.of("/custom"), both("custom")],
    [io.of("/custom").to("a"), both("custom")],
    [io.of("/custom").to(sockets["first custom"].id), ["first custom"]],
    [io.to("nobody is here"), []],
  ];
  const sent = new Date(1_795_262_362_307);
  const args = (index) => [index, { deep: ["€", null, 1.5, -7, 2 ** 40] }, sent, Buffer.from([index])];
  for (const [index, [target]] of cases.entries()) target.emit("said", ...args(index));
  const expected = (name) => numbers(cases.length).filter((index) => cases[index][1].includes(name));
  for (const [name, socket] of Object.entries(sockets)) await receive(socket, "said", expected(name).length);
  await fence(Object.values(sockets).filter((socket) => socket.nsp === "/"), (event) => io.emit(event));
  await fence(Object.values(sockets).filter((socket) => socket.nsp === "/custom"), (event) => io.of("/custom").emit(event));
  for (const [name, socket] of Object.entries(sockets)) {
    // One publisher's messages may overtake each other between channels, never within one.
    const messages = received(socket, "said").sort(([one], [other]) => one - other);
    assert.deepEqual(messages, expected(name).map((index) => args(index).with(2, sent.toISOString())), name);
  }
});

test("the emitter's messages to one room arrive once and in order", async (t) => {
  const { redis, first, second } = await startCluster(t);
  const io = emitter(t, redis);
  const members = [await member(t, first, "room"), await member(t, second, "room"), await member(t, second, "room")];
  for (const index of numbers(500)) io.to("room").emit("count", index);
  await fence(members, (event) => io.to("room").emit(event));
  for (const socket of members) assert.deepEqual(received(socket, "count").flat(), numbers(500));
});

test("the emitter's volatile messages reach clients that keep up", async (t) => {
  const { redis, first, second } = await startCluster(t);
  const io = emitter(t, redis);
  const members = [await member(t, first, "room"), await member(t, second, "room")];
  for (const socket of members) {
    // A client may miss a volatile message, so send until one is there.
    await until("a volatile message arrives", () => {
      io.to("room").volatile.emit("blink", 1);
      return received(socket, "blink").length > 0;
    });
  }
});

test("redis-cli publishes JSON", async (t) => {
  const { redis, first, second } = await startCluster(t);
  const sockets = [await member(t, first, "news"), await member(t, second, "news")];
  const quiet = await member(t, second, ["news", "quiet"]);
  const outside = await connect(t, first);
  const publish = (channel, message) => redisCli(redis, "PUBLISH", channel, JSON.stringify(message));

  await publish("socket.io#/#news#", { event: "headline", data: { title: "hi €" } });
  await publish("socket.io#/#news#", { event: "headline", args: [1, "two"] });
  await publish("socket.io#/#news#", { event: "headline" });
  await publish("socket.io#/#news#", { event: "headline", data: 3, except: ["quiet"] });
  await publish("socket.io#/#", { event: "everyone", data: 4 });
  await publish(`socket.io#/#${outside.id}#`, { event: "private", data: 5 });

  assert.deepEqual(await receive(outside, "private"), [[5]]);
  await fence([...sockets, quiet], (event) => publish("socket.io#/#news#", { event }));
  const toNews = [[{ title: "hi €" }], [1, "two"], []];
  for (const socket of sockets) assert.deepEqual(received(socket, "headline"), [...toNews, [3]]);
  assert.deepEqual(received(quiet, "headline"), toNews);
  assert.deepEqual(received(outside, "headline"), []);
  for (const socket of [...sockets, quiet, outside]) assert.deepEqual(await receive(socket, "everyone"), [[4]]);
});

test("the command `broadgate publish` reaches a room through Redis and through a node", async (t) => {
  const { redis, first, second } = await startCluster(t);
  const sockets = [await member(t, first, "news"), await member(t, second, "news")];
  await broadgate("publish", "--redis", redis.url, "--room", "news", "headline", '{"title":"hi"}');
  await broadgate("publish", "--ops", second.opsUrl, "--room", "news", "headline", '{"title":"again"}');
  for (const socket of sockets) {
    assert.deepEqual(await receive(socket, "headline", 2), [[{ title: "hi" }], [{ title: "again" }]]);
  }
});

test("what is not a message is skipped, and what follows arrives", async (t) => {
  const { redis, first, second } = await startCluster(t);
  const sockets = [await member(t, first, "room"), await member(t, second, "room")];
  const client = redisClient(t, redis);
  const junk = [
    Buffer.from(""),
    Buffer.from("junk"),
    Buffer.from("{"),
    Buffer.from("{}"),
    Buffer.from('{"event":7}'),
    Buffer.from('{"event":"disconnect"}'),
    Buffer.from("[1,2,3]"),
    Buffer.from([0xc1]),
    Buffer.from([0x93]),
    Buffer.from([0x80]),
    Buffer.from([0x93, 0xa1, 0x78, 0x80]),
    Buffer.from([0x93, 0xa1, 0x78, 0x80, 0x80, 0x00]),
    Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
    Buffer.alloc(5_000, 0x91),
  ];
  for (const message of junk) {
    await client.publish("socket.io#/#", message);
    await client.publish("socket.io#/#room#", message);
  }
  emitter(t, redis).to("room").emit("after", 1);
  for (const socket of sockets) {
    assert.deepEqual(await receive(socket, "after"), [[1]]);
    assert.equal(socket.inbox.length, 1);
  }
  for (const gateway of [first, second]) {
    assert.ok((await gateway.metric("broadgate_adapter_malformed_total")) >= junk.length, "junk is counted");
  }
});

test("a join's ack means subscribed: what is published after it from elsewhere arrives", async (t) => {
  const { redis, first, second } = await startCluster(t);
  const io = emitter(t, redis);
  const readers = [await connect(t, first), await connect(t, second, { transports: ["polling"] })];
  for (const index of numbers(200)) {
    const reader = readers[index % 2];
    await askOk(reader, "join", `room ${index}`);
    io.to(`room ${index}`).emit("joined", index);
  }
  for (const [which, reader] of readers.entries()) {
    const expected = numbers(200).filter((index) => index % 2 === which);
    assert.deepEqual((await receive(reader, "joined", 100)).flat().sort((a, b) => a - b), expected);
  }
});

test("a room that is left and joined again and again is never missed", async (t) => {
  const { redis, first } = await startCluster(t);
  const io = emitter(t, redis);
  const reader = await connect(t, first);
  for (const index of numbers(50)) {
    await askOk(reader, "join", "flapping");
    io.to("flapping").emit("seen", index);
    await receive(reader, "seen", index + 1);
    await askOk(reader, "leave", "flapping");
  }
  assert.deepEqual(received(reader, "seen").flat(), numbers(50));
});

test("joins and leaves take effect in the order asked, waited for or not", async (t) => {
  const { redis, first } = await startCluster(t);
  const io = emitter(t, redis);
  const reader = await connect(t, first);
  const requests = numbers(50).flatMap((index) => {
    const asked = index % 2 === 0 ? ["join", "leave", "join"] : ["join", "leave"];
    return asked.map((request) => askOk(reader, request, `room ${index}`));
  });
  await Promise.all(requests);
  for (const index of numbers(50)) io.to(`room ${index}`).emit("seen", index);
  const joined = numbers(50).filter((index) => index % 2 === 0);
  await receive(reader, "seen", joined.length);
  await fence([reader], (event) => io.emit(event));
  assert.deepEqual(received(reader, "seen").flat().sort((one, other) => one - other), joined);
});
