// Three nodes behind a balancer without any affinity: each request of a client goes to another node.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { startHttpBalancer, startTcpBalancer } from "./support/balancer.mjs";
import {
  TRANSPORT_MODES,
  ask,
  askOk,
  connect,
  fence,
  member,
  numbers,
  open,
  receive,
  received,
} from "./support/clients.mjs";
import { nextEvent, until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { CONFIG, startNodeServer } from "./support/node-server.mjs";
import { byClient, byEmitter, byOps, publishSteadily } from "./support/publishers.mjs";
import { connectPython } from "./support/python.mjs";
import { http, openPolling, refusedUpgrade } from "./support/raw.mjs";
import { emitter, redisClient, startRedis } from "./support/redis.mjs";
import { COUNT, DeliveryCheck } from "./support/sequences.mjs";

const CLIENTS = 12;
const transportOf = (socket) => socket.io.engine.transport.name;
const settledOn = (socket, transport) => until(`transport ${transport}`, () => transportOf(socket) === transport);

async function startNodes(t, { start = startHttpBalancer, ...options } = {}) {
  const redis = await startRedis(t);
  const nodes = await Promise.all(numbers(3).map(() => startGateway(t, { redis, config: CONFIG })));
  return { redis, nodes, balancer: await start(t, nodes, options) };
}

/** Sends upgrades to `upgrades` and everything else to `rest`, which gives a node for a route. */
const steering = (upgrades, rest) => (route) => (route.transport === "websocket" ? upgrades : rest(route));

/** The sum of all metrics of all nodes that count requests for sessions of others. */
async function forwarded(nodes) {
  const pages = await Promise.all(nodes.map((node) => node.metrics()));
  const samples = pages.flat().filter(({ name }) => /^broadgate_.*forwarded/.test(name));
  assert.ok(samples.length > 0);
  return samples.reduce((sum, { value }) => sum + value, 0);
}

const connections = (node, transport) => node.metric("broadgate_connections", { transport });

for (const { mode, options, settled } of TRANSPORT_MODES) {
  describe(mode, () => {
    for (const [kind, start] of Object.entries({ HTTP: startHttpBalancer, TCP: startTcpBalancer })) {
      test(`clients connect, join, publish and receive behind an ${kind} balancer`, async (t) => {
        const { nodes, balancer } = await startNodes(t, { start });
        const sockets = await Promise.all(numbers(6).map(() => member(t, balancer, "room", options)));
        for (const socket of sockets) await settledOn(socket, settled);
        for (const index of numbers(10)) {
          await Promise.all(sockets.map((socket, who) => askOk(socket, "publish", "room", "said", who, index)));
        }
        for (const [who, socket] of sockets.entries()) {
          const messages = await receive(socket, "said", 50);
          assert.equal(messages.length, 50);
          for (const from of numbers(6)) {
            const expected = from === who ? [] : numbers(10);
            assert.deepEqual(messages.filter(([sender]) => sender === from).map(([, index]) => index), expected);
          }
        }
        assert.equal(Object.keys(balancer.counts).length, nodes.length, "all nodes had something to do");
        if (kind === "TCP" || settled !== "polling") return;
        const seenBy = new Set(balancer.routesOf(sockets[0].io.engine.id).map(({ backend }) => backend));
        assert.equal(seenBy.size, nodes.length, "requests of one session went to all nodes");
      });
    }

    test("what is published while clients connect and upgrade arrives once and in order", async (t) => {
      const { redis, nodes, balancer } = await startNodes(t);
      const rooms = ["room"];
      const publishers = [
        publishSteadily(t, byEmitter(t, redis), rooms),
        publishSteadily(t, byOps(nodes[1]), ["room"]),
        publishSteadily(t, byClient(await connect(t, balancer)), ["room"]),
        publishSteadily(t, byClient(await connect(t, balancer, options), "client of the mode"), ["room"]),
      ];
      const watched = [];
      const violations = [];
      for (const index of numbers(CLIENTS)) {
        const socket = open(t, balancer, options);
        const check = new DeliveryCheck((text) => violations.push(`client ${index}: ${text}`));
        socket.on(COUNT, (...message) => check.receive(message));
        await nextEvent(socket, "connect");
        check.joining(socket.id);
        check.joined(socket.id);
        rooms.push(socket.id);
        check.joining("room");
        await askOk(socket, "join", "room");
        check.joined("room");
        watched.push({ socket, check });
      }
      for (const { socket, check } of watched) {
        await settledOn(socket, settled);
        const before = check.received;
        await until("messages arrive", () => check.received >= before + 50);
      }
      const sent = (await Promise.all(publishers.map(({ stop }) => stop()))).flat();
      for (const { check } of watched) {
        await until(`the last messages arrive: ${JSON.stringify(violations)}`, () => check.missing(sent).length === 0);
      }
      assert.deepEqual(violations, []);
    });

    test("acks come before, during and after an upgrade, each once", async (t) => {
      const { balancer } = await startNodes(t);
      const socket = open(t, balancer, options);
      const ackIds = [];
      socket.io.decoder.on("decoded", ({ type, id }) => type === 3 && ackIds.push(id));
      await nextEvent(socket, "connect");
      let asked = 0;
      const askUntil = async (enough) => {
        while (!enough()) {
          const room = `room ${(asked += 1)}`;
          assert.deepEqual(await ask(socket, "publish", room, "said"), { ok: true, room, delivered: 0 });
        }
      };
      let isSettled = false;
      const all = numbers(4).map(() => askUntil(() => isSettled));
      await settledOn(socket, settled);
      const whenSettled = asked;
      await until("some more are answered", () => asked > whenSettled + 40);
      isSettled = true;
      await Promise.all(all);
      assert.equal(ackIds.length, asked);
      assert.equal(new Set(ackIds).size, asked);
    });

    test("binary crosses nodes and transports, both ways", async (t) => {
      const { balancer } = await startNodes(t);
      const reader = await member(t, balancer, "room", options);
      const writer = await connect(t, balancer, options);
      const args = [Buffer.from([0, 255, 30]), { deep: [Buffer.alloc(100_000, "broadgate"), "€"] }, Buffer.alloc(0)];
      for (const index of numbers(10)) await askOk(writer, "publish", "room", "file", index, ...args);
      await settledOn(writer, settled);
      for (const index of numbers(10, 10)) await askOk(writer, "publish", "room", "file", index, ...args);
      const expected = numbers(20).map((index) => [index, ...args]);
      assert.deepEqual(await receive(reader, "file", 20), expected);
    });

    test("a socket's id reaches it and nobody else, before and after an upgrade", async (t) => {
      const { redis, nodes, balancer } = await startNodes(t);
      const { io } = await startNodeServer(t, redis);
      const backend = emitter(t, redis);
      const sockets = await Promise.all(numbers(6).map(() => connect(t, balancer, options)));
      for (const [index, { id }] of sockets.entries()) backend.to(id).emit("private", "early", index);
      for (const socket of sockets) await settledOn(socket, settled);
      for (const [index, { id }] of sockets.entries()) {
        backend.to(id).emit("private", "emitter", index);
        io.to(id).emit("private", "node", index);
        await askOk(sockets[(index + 1) % 6], "publish", id, "private", "client", index);
        const { status } = await nodes[0].publish({ room: id, event: "private", args: ["ops", index] });
        assert.equal(status, 200);
      }
      const fences = numbers(3).map((index) => fence(sockets, (event) => nodes[index].publish({ event })));
      await Promise.all([fence(sockets, (event) => backend.emit(event)), ...fences]);
      for (const [index, socket] of sockets.entries()) {
        const messages = received(socket, "private").sort();
        const expected = ["client", "early", "emitter", "node", "ops"].map((by) => [by, index]);
        assert.deepEqual(messages, expected);
      }
    });

    test("a Node.js server finds each socket once, and disconnects them by id", async (t) => {
      const { redis, balancer } = await startNodes(t);
      const { io } = await startNodeServer(t, redis);
      const sockets = await Promise.all(numbers(6).map(() => member(t, balancer, "room", options)));
      for (const socket of sockets) await settledOn(socket, settled);
      const found = (await io.fetchSockets()).map(({ id, rooms }) => [id, [...rooms].sort()]);
      const expected = sockets.map(({ id }) => [id, [id, "room"].sort()]);
      assert.deepEqual(found.sort(), expected.sort());

      for (const socket of sockets.slice(0, 3)) {
        const disconnected = nextEvent(socket, "disconnect");
        io.in(socket.id).disconnectSockets();
        assert.equal((await disconnected)[0], "io server disconnect");
      }
      await until("the others remain", async () => {
        const remaining = (await io.in("room").fetchSockets()).map(({ id }) => id).sort();
        return JSON.stringify(remaining) === JSON.stringify(sockets.slice(3).map(({ id }) => id).sort());
      });
      for (const socket of sockets.slice(3)) assert.ok(socket.connected);
    });
  });
}

describe("an upgrade that lands on another node", () => {
  test("moves the session there, with its socket and its rooms", async (t) => {
    const { nodes, balancer } = await startNodes(t);
    const [first, second, third] = nodes;
    balancer.steer(steering(second, () => first));
    const socket = await member(t, balancer, ["a", "b"], { transports: ["polling", "websocket"] });
    const { id } = socket;
    await settledOn(socket, "websocket");
    await until("the first node has no session", async () => (await connections(first, "polling")) === 0);
    assert.equal(await connections(first, "websocket"), 0);
    assert.equal(await connections(second, "websocket"), 1);
    assert.equal(socket.id, id, "the client did not reconnect");

    for (const room of ["a", "b", id]) {
      for (const node of nodes) await node.publish({ room, event: "said", args: [room] });
    }
    const messages = (await receive(socket, "said", 9)).flat().sort();
    assert.deepEqual(messages, ["a", "a", "a", "b", "b", "b", id, id, id].sort());
    await askOk(socket, "leave", "a");
    await third.publish({ room: "a", event: "said", args: ["left"] });
    await fence([socket], (event) => third.publish({ event }));
    assert.equal(received(socket, "said").length, 9);
  });

  test("leaves nothing of the session's traffic on Redis", async (t) => {
    const { redis, nodes, balancer } = await startNodes(t);
    const [first, second, third] = nodes;
    // The handshake goes to the first, each later poll to the third.
    balancer.steer(steering(second, ({ sid }) => (sid ? third : first)));
    const commands = await watchRedis(t, redis);

    const polling = await connect(t, balancer, { transports: ["polling"] });
    const before = await forwarded(nodes);
    await ask(polling, "no such event", "forwarded marker");
    await until("the polling client's event crosses Redis", () => commands().includes("forwarded marker"));
    assert.ok((await forwarded(nodes)) > before, "and is counted");
    polling.disconnect();

    const moved = await connect(t, balancer, { transports: ["polling", "websocket"] });
    await settledOn(moved, "websocket");
    await ask(moved, "no such event");
    await until("the polling client's session has ended", async () => {
      const open = await Promise.all(nodes.map((node) => connections(node, "polling")));
      return open.every((count) => count === 0);
    });
    const afterMove = await forwarded(nodes);
    for (const index of numbers(20)) await ask(moved, "no such event", `moved marker ${index}`);
    await first.publish({ room: moved.id, event: "said" });
    await receive(moved, "said");
    await redisClient(t, redis).set("fence", "the watch has come so far");
    await until("the watch has come so far", () => commands().includes("the watch has come so far"));
    assert.ok(!commands().includes("moved marker"));
    assert.equal(await forwarded(nodes), afterMove);
  });
});

/** All commands that Redis is given from now on, as one text. */
async function watchRedis(t, redis) {
  const monitor = await redisClient(t, redis).monitor();
  t.after(() => monitor.disconnect());
  let text = "";
  monitor.on("monitor", (_time, args) => (text += `${args.join(" ")}\n`));
  return () => text;
}

describe("an id that no living node has", () => {
  /** Many in a row: with a wait for each, the deadline of the test would not do. */
  const ATTEMPTS = 200;

  async function assertRefusedAtOnce(t, nodes, sid) {
    const query = `/socket.io/?EIO=4&sid=${sid}&transport=`;
    for (const index of numbers(ATTEMPTS)) {
      const node = nodes[index % nodes.length];
      const { status, body } = await http(index % 2 ? "GET" : "POST", `${node.url}${query}polling`, { body: index % 2 ? undefined : "3" });
      assert.equal(status, 400);
      assert.deepEqual(JSON.parse(body), { code: 1, message: "Session ID unknown" });
    }
    for (const node of nodes) {
      assert.equal((await refusedUpgrade(t, node, `${query}websocket`)).status, 400);
    }
  }

  test("is refused at once where the node is unknown", { timeout: 60_000 }, async (t) => {
    const { nodes } = await startNodes(t);
    const { sid } = (await openPolling(nodes[0])).handshake;
    await assertRefusedAtOnce(t, nodes, `00000${sid.slice(5)}`);
    await assertRefusedAtOnce(t, nodes, "x");
  });

  test("is refused at once where the node was killed", { timeout: 60_000 }, async (t) => {
    const { nodes } = await startNodes(t);
    const { sid } = (await openPolling(nodes[2])).handshake;
    await nodes[2].kill();
    await assertRefusedAtOnce(t, nodes.slice(0, 2), sid);
  });

  test("is refused where the node lives and the session does not, and ends no other", async (t) => {
    const { nodes } = await startNodes(t);
    const session = await openPolling(nodes[0]);
    const { sid } = session.handshake;
    await assertRefusedAtOnce(t, nodes, `${sid.slice(0, 10)}AAAAAAAAAA`);
    await session.connect();
  });
});

test("a node is killed: its clients reconnect through any other and go on", async (t) => {
  const { redis, nodes, balancer } = await startNodes(t);
  const { io } = await startNodeServer(t, redis);
  let reconnected = 0;
  const sockets = TRANSPORT_MODES.flatMap(({ options }) => numbers(4).map(() => open(t, balancer, options)));
  for (const socket of sockets) {
    socket.on("connect", () => socket.emit("join", "room", () => (socket.memberAs = socket.id)));
    socket.on("disconnect", () => (reconnected += 1));
  }
  const allAreMembers = () =>
    until("all are members", () => sockets.every((socket) => socket.connected && socket.memberAs === socket.id));
  await allAreMembers();

  for (const victim of [1, 2]) {
    const before = reconnected;
    await nodes[victim].kill();
    await until("its clients notice", () => reconnected > before);
    await until("only living sockets are found", async () => {
      await allAreMembers();
      const found = (await io.in("room").fetchSockets()).map(({ id }) => id).sort();
      return JSON.stringify(found) === JSON.stringify(sockets.map(({ id }) => id).sort());
    });
    await nodes[0].publish({ room: "room", event: "said", args: [victim] });
    for (const socket of sockets) assert.deepEqual((await receive(socket, "said", victim)).at(-1), [victim]);
    const { port, opsPort } = nodes[victim];
    nodes[victim] = await startGateway(t, { redis, config: CONFIG, port, opsPort });
  }
  await fence(sockets, (event) => nodes[0].publish({ event }));
  for (const socket of sockets) assert.deepEqual(received(socket, "said"), [[1], [2]]);
});

for (const transport of ["polling", "websocket"]) {
  test(`a python-socketio client (${transport}) connects, joins, publishes and receives`, async (t) => {
    const { redis, nodes, balancer } = await startNodes(t);
    const python = await connectPython(t, balancer, transport);
    const reader = await member(t, balancer, "room", { transports: ["polling"] });
    assert.equal((await python.call("join", "room")).ok, true);
    for (const index of numbers(10)) {
      assert.equal((await python.call("publish", "room", "from python", index, Buffer.from([index]))).ok, true);
    }
    assert.deepEqual(await receive(reader, "from python", 10), numbers(10).map((index) => [index, Buffer.from([index])]));
    const backend = emitter(t, redis);
    for (const index of numbers(50)) {
      backend.to("room").emit("to python", index);
      // The library takes at most 16 packets out of one poll, and handles each in a thread: so few at a time, unordered.
      if (index % 10 === 9) await python.receive("to python", index + 1);
    }
    assert.deepEqual(python.received("to python").flat().sort((one, other) => one - other), numbers(50));
    for (const node of nodes) await node.publish({ room: python.connection.connected, event: "private" });
    assert.deepEqual(await python.receive("private", 3), [[], [], []]);
  });
}
