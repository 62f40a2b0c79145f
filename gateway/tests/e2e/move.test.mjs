// Sessions that move to another node with their upgrade, while everybody publishes and the links to Redis are slow.

import assert from "node:assert/strict";
import { globalAgent } from "node:http";
import { test } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";

import { askOk, connect, numbers, open } from "./support/clients.mjs";
import { DEADLINE_MS, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, drainOver, startGateway } from "./support/gateway.mjs";
import { startMover } from "./support/mover.mjs";
import { countNodes, startNodeServer } from "./support/node-server.mjs";
import { http, openPolling, refusedUpgrade } from "./support/raw.mjs";
import { redisClient, startRedis } from "./support/redis.mjs";
import { startSlowLink } from "./support/slow-link.mjs";

const MOVERS = 4;
const EVERY_MS = 10;

/** A node with two shards; `more` is TOML. */
function startNode(t, redis, more = "", environment = {}) {
  const config = `${OPEN_ROOMS()}\n[server]\nshards = 2\n[adapter.redis]\nurl = "${redis.url}"\n${more}`;
  return startGateway(t, { config, environment });
}

async function untilTheyKnowEachOther(gateways) {
  for (const gateway of gateways) {
    await until("all nodes are known", async () => (await gateway.nodes()).length === gateways.length);
  }
}

/** Publishes numbered messages until it is stopped; each to what the next of the targets names. */
class Publisher {
  count = 0;
  #stopped = false;

  constructor(name, targets, publish) {
    this.name = name;
    this.done = this.#run(targets, publish);
  }

  async #run(targets, publish) {
    while (!this.#stopped) {
      const number = this.count++;
      await publish(targets[number % targets.length], { event: "n", args: [this.name, number] });
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async stop() {
    this.#stopped = true;
    await this.done;
  }
}

/** By every way that there is. `rooms` has one room for what can name one only. */
async function startPublishers(t, redis, nodes, targets) {
  const client = redisClient(t, redis);
  await client.ping();
  const io = new Emitter(client);
  const publishers = [];
  for (const [name, gateway] of Object.entries(nodes)) {
    // Connections are dealt to the shards in turn.
    for (const number of numbers(3)) {
      const client = await connect(t, gateway);
      publishers.push(
        new Publisher(`client ${number} of ${name}`, targets, ({ rooms }, { event, args }) =>
          client.emit("publish", rooms[0], event, ...args),
        ),
      );
    }
    publishers.push(
      new Publisher(`ops of ${name}`, targets, async ({ rooms, except }, message) => {
        const { status } = await gateway.publish({ rooms, except, ...message });
        assert.equal(status, 200);
      }),
    );
  }
  publishers.push(
    new Publisher("emitter", targets, ({ rooms, except }, { event, args }) => io.to(rooms).except(except).emit(event, ...args)),
  );
  return publishers;
}

/** What is wrong with numbers that should be all from 0 to `count`, in order. */
function faults(got, count) {
  const missing = numbers(count).filter((number) => !got.includes(number));
  const twice = got.filter((number, index) => got.indexOf(number) !== index);
  const late = got.filter((number, index) => number < got[index - 1]);
  const said = Object.entries({ missing, twice, late }).filter(([, list]) => list.length > 0);
  return said.map(([what, list]) => `${what}: ${list}`).join("; ");
}

const SLOW = {
  "no delay": {},
  "slow to the old node": { a: { subscribe: { up: 0, down: 80 }, publish: { up: 0, down: 0 } } },
  "slow from the old node": { a: { subscribe: { up: 0, down: 0 }, publish: { up: 80, down: 0 } } },
  "slow to the new node": { c: { subscribe: { up: 0, down: 80 }, publish: { up: 0, down: 0 } } },
  "slow from the new node": { c: { subscribe: { up: 0, down: 0 }, publish: { up: 80, down: 0 } } },
  "slow everywhere": {
    a: { subscribe: { up: 20, down: 90 }, publish: { up: 40, down: 10 } },
    c: { subscribe: { up: 50, down: 30 }, publish: { up: 70, down: 20 } },
  },
};

for (const [name, delays] of Object.entries(SLOW)) {
  test(`every message arrives once and in order: ${name}`, async (t) => {
    const redis = await startRedis(t);
    const links = { a: await startSlowLink(t, redis), c: await startSlowLink(t, redis) };
    const [a, c, b] = await Promise.all([startNode(t, links.a), startNode(t, links.c), startNode(t, redis)]);
    await untilTheyKnowEachOther([a, b, c]);
    const movers = [];
    for (const number of numbers(MOVERS)) movers.push(await startMover(t, a, ["all", `one ${number}`]));
    const nobody = await connect(t, b);
    await askOk(nobody, "join", "nobody");
    const targets = [
      { rooms: ["all"], except: [] },
      { rooms: ["all", ...movers.map(({ id }) => id)], except: ["nobody", nobody.id] },
    ];
    for (const [place, delay] of Object.entries(delays)) links[place].delays = delay;
    const publishers = await startPublishers(t, redis, { a, b, c }, targets);
    await Promise.all(
      movers.map(async (mover, number) => {
        await new Promise((resolve) => setTimeout(resolve, 37 * number));
        await mover.moveTo(c);
      }),
    );
    await until("all have moved", async () => (await c.metric("broadgate_connections", { transport: "websocket" })) >= 3 + MOVERS);
    const counts = publishers.map(({ count }) => count);
    await until("publishing goes on", () => publishers.every(({ count }, index) => count > counts[index] + 5));
    for (const publisher of publishers) await publisher.stop();
    for (const publisher of publishers) {
      for (const mover of movers) {
        await mover.receive("n", (from, number) => from === publisher.name && number === publisher.count - 1);
        const got = mover.events("n").filter(([from]) => from === publisher.name).map(([, number]) => number);
        assert.equal(faults(got, publisher.count), "", `${publisher.name}, mover ${movers.indexOf(mover)}`);
      }
    }
  });
}

/** Two nodes that know each other, each behind a link of its own. */
async function startPair(t, more, moreOfC = more, environment = {}, environmentOfC = environment) {
  const redis = await startRedis(t);
  const links = { a: await startSlowLink(t, redis), c: await startSlowLink(t, redis) };
  const [a, c] = await Promise.all([startNode(t, links.a, more, environment), startNode(t, links.c, moreOfC, environmentOfC)]);
  await untilTheyKnowEachOther([a, c]);
  return { redis, a, c, links };
}

const hasMoved = (gateway) =>
  until("the session has moved", async () => (await gateway.metric("broadgate_sessions_moved_total", { direction: "in" })) === 1);

const GAUGES = ["connections", "sockets", "rooms", "room_memberships", "acks_pending", "client_acks_pending", "inbound_buffer_bytes"];

/** Waits until the nodes have nothing of any client left. */
async function untilNothingIsLeft(...gateways) {
  for (const gateway of gateways) {
    for (const gauge of GAUGES) {
      await until(`${gauge} is 0`, async () => (await gateway.metric(`broadgate_${gauge}`)) === 0);
    }
    const { body } = await gateway.sockets("?namespace=/");
    assert.deepEqual(body.sockets, []);
  }
}

test("what is published to rooms that a server adds on the way is not lost", async (t) => {
  const { redis, a, c, links } = await startPair(t);
  const mover = await startMover(t, a, ["first"]);
  const letSubscribe = links.c.hold("subscribe", "up");
  await mover.moveTo(c);
  await until("the new node subscribes", async () => (await c.metric("broadgate_sockets")) === 1);
  const memberships = await a.metric("broadgate_room_memberships");
  assert.equal((await a.command("join", { rooms: [mover.id], join: ["late"] })).status, 200);
  await until("it is a member", async () => (await a.metric("broadgate_room_memberships")) === memberships + 1);
  // From here on it is due everything that is published to the room.
  const client = redisClient(t, redis);
  await client.ping();
  const io = new Emitter(client);
  const publisher = new Publisher("emitter", ["late"], (room, { event, args }) => io.to(room).emit(event, ...args));
  links.c.delays.subscribe.up = 50;
  letSubscribe();
  await hasMoved(c);
  const { count } = publisher;
  await until("publishing goes on", () => publisher.count > count + 10);
  await publisher.stop();
  await mover.receive("n", (_from, number) => number === publisher.count - 1);
  assert.equal(faults(mover.events("n").map(([, number]) => number), publisher.count), "");
});

for (const where of ["a", "c"]) {
  test(`a client that is disconnected on its way is told so, from node ${where}`, async (t) => {
    const { a, c, links } = await startPair(t);
    const mover = await startMover(t, a, ["room"]);
    const goOn = links.c.hold("subscribe", "up");
    await mover.moveTo(c);
    await until("the new node subscribes", async () => (await c.metric("broadgate_sockets")) === 1);
    const command = { rooms: [mover.id], close: true };
    assert.equal((await { a, c }[where].command("disconnect", command)).status, 200);
    goOn();
    // Without this its client would come back.
    await until("DISCONNECT", () => mover.received.includes("41"));
    await mover.socket.closed();
    await untilNothingIsLeft(a, c);
  });
}

for (const where of ["a", "c"]) {
  test(`a session on its way ends with node ${where}, which drains, and leaves nothing behind`, async (t) => {
    const { a, c, links } = await startPair(t, "", "", drainOver({ windowMs: 500 }));
    const mover = await startMover(t, a, ["room"]);
    const goOn = links.c.hold("subscribe", "up");
    await mover.moveTo(c);
    await until("the new node subscribes", async () => (await c.metric("broadgate_sockets")) === 1);
    const [leaving, staying] = where === "a" ? [a, c] : [c, a];
    leaving.signal("SIGTERM");
    await mover.socket.closed();
    goOn();
    await leaving.ended();
    await untilNothingIsLeft(staying);
    assert.ok(!mover.received.includes("41"), "the client comes back by itself");
  });
}

test("sessions may move away from a node that drains, but none moves there", async (t) => {
  const { a, c } = await startPair(t, "", "", drainOver({ windowMs: 60_000 }), {});
  const movers = [];
  for (const _ of numbers(MOVERS)) movers.push(await startMover(t, a, ["room"]));
  const stays = await startMover(t, c, ["room"]);
  await a.drain();
  await until("no session begins any more", async () => (await http("GET", `${a.url}/socket.io/?EIO=4&transport=polling`)).status === 503);
  const refused = await refusedUpgrade(t, a, stays.session.webSocketPath);
  assert.equal(refused.status, 503);
  // Few of them can have been closed yet.
  const moved = [];
  for (const mover of movers) {
    await mover.moveTo(c).then(() => moved.push(mover), () => {});
  }
  assert.ok(moved.length > 0);
  await until("they have moved", async () => (await c.metric("broadgate_sessions_moved_total", { direction: "in" })) > 0);
  a.signal("SIGTERM");
  await a.ended();
  await c.publish({ rooms: ["room"], event: "still here", args: [1] });
  await stays.receive("still here", (number) => number === 1);
});

const RECEIVED = { result: "received" };

test("a node that goes away lets the polls go that it holds for others", async (t) => {
  const { a, c } = await startPair(t);
  const session = await openPolling(a);
  const id = await session.connect();
  const before = await a.metric("broadgate_cluster_node_messages_total", RECEIVED);
  const poll = http("GET", session.url.replace(a.url, c.url));
  poll.catch(() => {});
  await until("the poll is held", async () => (await a.metric("broadgate_cluster_node_messages_total", RECEIVED)) > before);
  await c.stop();
  assert.equal((await poll).body.toString(), "6");
  await a.publish({ rooms: [id], event: "still here" });
  assert.deepEqual(await session.poll(), ['42["still here"]']);
});

test("a node that ends answers the polls that others hold", async (t) => {
  const { a, c } = await startPair(t);
  const session = await openPolling(a);
  // Nothing but the answer keeps the node: no connection of this client is left there.
  globalAgent.destroy();
  session.url = session.url.replace(a.url, c.url);
  await session.connect();
  const before = await a.metric("broadgate_cluster_node_messages_total", RECEIVED);
  const poll = session.poll();
  poll.catch(() => {});
  await until("the poll is held", async () => (await a.metric("broadgate_cluster_node_messages_total", RECEIVED)) > before);
  await a.stop();
  assert.deepEqual(await poll, ["1"]);
});

test("a session that the new node has no place for ends, and leaves nothing behind", async (t) => {
  const namespaces = '[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/two"\n';
  const { a, c } = await startPair(t, namespaces, "");
  const mover = await startMover(t, a, ["room"]);
  await mover.session.push("40/two,");
  await until("the second socket", () => mover.received.some((packet) => packet.startsWith("40/two,")));
  await mover.moveTo(c);
  await mover.socket.closed();
  await untilNothingIsLeft(a, c);
});

test("an id of a shard that its node does not have is unknown at once", async (t) => {
  const { a, c } = await startPair(t);
  const session = await openPolling(a);
  const { sid } = session.handshake;
  for (const gateway of [a, c]) {
    for (const method of ["GET", "POST", "PUT"]) {
      const url = session.url.replace(a.url, gateway.url).replace(sid, `${sid.slice(0, 5)}9${sid.slice(6)}`);
      const { status, body } = await http(method, url, { body: method === "POST" ? "3" : undefined });
      assert.deepEqual([status, JSON.parse(body).code], [400, 1], `${method} at ${gateway.url}`);
    }
  }
});

test("a socket that is connected anew after a move has its new id everywhere", async (t) => {
  const { a, c } = await startPair(t, '[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/two"\n');
  const mover = await startMover(t, a, []);
  await mover.session.push("40/two,");
  await until("the second socket", () => mover.received.some((packet) => packet.startsWith('40/two,')));
  const old = JSON.parse(mover.received.at(-1).slice(7)).sid;
  await mover.moveTo(c);
  await hasMoved(c);
  mover.socket.send("41/two,", "40/two,");
  const packet = await mover.socket.take("CONNECT", (frame) => frame.startsWith("40/two,"));
  const { sid } = JSON.parse(packet.slice(7));
  assert.notEqual(sid, old);
  for (const gateway of [a, c]) {
    const { body } = await gateway.sockets("?namespace=/two");
    assert.deepEqual(body.sockets.map(({ id }) => id), [sid]);
    const { status } = await gateway.publish({ namespace: "/two", rooms: [sid], event: "hello", args: [gateway.port] });
    assert.equal(status, 200);
    await mover.socket.take("event", (frame) => frame === `42/two,["hello",${gateway.port}]`);
  }
  mover.socket.terminate();
  await untilNothingIsLeft(a, c);
});

test("what a client sends right behind its upgrade is handled in order, attachments included", async (t) => {
  const { a, c, links } = await startPair(t);
  const reader = await connect(t, a);
  await askOk(reader, "join", "room");
  const mover = await startMover(t, a, []);
  // A packet of two attachments, one of them before the move.
  const placeholder = (num) => ({ _placeholder: true, num });
  const header = `452-7${JSON.stringify(["publish", "room", "binary", placeholder(0), placeholder(1)])}`;
  await mover.session.push(header, `b${Buffer.from([1, 2]).toString("base64")}`);
  const goOn = links.c.hold("subscribe", "up");
  const texts = numbers(50).map((number) => `42${JSON.stringify(["publish", "room", "text", number])}`);
  await mover.moveTo(c, Buffer.from([3]), ...texts);
  await until("the node keeps them", async () => (await c.metric("broadgate_inbound_buffer_bytes")) > 0);
  goOn();
  await mover.socket.take("ack of the binary publish", (frame) => frame.startsWith("437["));
  await until("all have arrived", () => reader.inbox.length === 51);
  assert.deepEqual(reader.inbox[0], { event: "binary", args: [Buffer.from([1, 2]), Buffer.from([3])] });
  assert.deepEqual(reader.inbox.slice(1).map(({ args }) => args[0]), numbers(50));
  mover.socket.terminate();
  reader.disconnect();
  await untilNothingIsLeft(a, c);
});

test("acks that a client owes its old node arrive from the new one", async (t) => {
  const { redis, a, c } = await startPair(t);
  const { io } = await startNodeServer(t, redis);
  const mover = await startMover(t, a, ["room"]);
  await until("the server counts them", async () => (await countNodes(redis)) === 3);
  const answers = io.timeout(DEADLINE_MS).to("room").emitWithAck("question");
  await until("the question", () => mover.received.some((packet) => /^42\d+\["question"/.test(packet)));
  const [, ack] = /^42(\d+)/.exec(mover.received.find((packet) => packet.includes("question")));
  await mover.moveTo(c);
  await hasMoved(c);
  mover.socket.send(`43${ack}["answer"]`);
  assert.deepEqual(await answers, ["answer"]);
  mover.socket.terminate();
  await untilNothingIsLeft(a, c);
});

test("a server finds a session at every moment of its move, once", async (t) => {
  const { redis, a, c, links } = await startPair(t);
  const { io } = await startNodeServer(t, redis);
  const mover = await startMover(t, a, ["room"]);
  await until("the server counts them", async () => (await countNodes(redis)) === 3);
  // Between the cut and the session itself there is a good while.
  links.c.delays.subscribe.down = 50;
  links.a.delays.subscribe.down = 150;
  const moved = mover.moveTo(c).then(() => hasMoved(c));
  let isOver = false;
  moved.finally(() => (isOver = true)).catch(() => {});
  for (let rounds = 0; !isOver || rounds < 10; rounds += 1) {
    const found = await io.in("room").fetchSockets();
    assert.deepEqual(found.map(({ id }) => id), [mover.id]);
    const { body } = await c.sockets("?namespace=/");
    assert.ok(body.sockets.length <= 1, JSON.stringify(body));
  }
  await moved;
});
