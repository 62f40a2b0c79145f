// Three nodes behind a balancer without any affinity: where sessions go, what crosses Redis for them, and what becomes of
// them when nodes die.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { startNodes } from "./support/balancer.mjs";
import { TRANSPORT_MODES, ask, askOk, connect, fence, member, numbers, open, receive, received } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { CONFIG, startNodeServer } from "./support/node-server.mjs";
import { connectPython } from "./support/python.mjs";
import { Process, freePort } from "./support/processes.mjs";
import { http, openPolling, refusedUpgrade } from "./support/raw.mjs";
import { emitter, redisClient, startRedis } from "./support/redis.mjs";

const settledOn = (socket, transport) =>
  until(`transport ${transport}`, () => socket.io.engine.transport.name === transport);

/** Longer than 60 s: after the heartbeats' 45 s, and the time for answers, the last trace of a request that died with its node
 *  is gone. */
const OVERDUE_MS = 90_000;

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
    await until("the second has it", async () => (await connections(second, "websocket")) === 1);
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
    const { id } = polling.io.engine;
    polling.disconnect();

    const moved = await connect(t, balancer, { transports: ["polling", "websocket"] });
    await settledOn(moved, "websocket");
    await ask(moved, "no such event");
    await until("the polling client's session has ended", async () => {
      const open = await Promise.all(nodes.map((node) => connections(node, "polling")));
      return open.every((count) => count === 0);
    });
    // Its answer comes behind those of the requests that ended the session.
    assert.equal((await http("POST", `${third.url}/socket.io/?EIO=4&transport=polling&sid=${id}`, { body: "3" })).status, 400);
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
  // ioredis' own sometimes takes the first command that it watches for the answer to its INFO.
  const monitor = new Process("redis-cli", ["-p", String(redis.port), "MONITOR"]);
  atEnd(t, () => monitor.stop("SIGKILL"));
  await monitor.until("watches", () => monitor.output.startsWith("OK"));
  return () => monitor.output;
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

test("a node is killed: its clients reconnect through any other and go on", { timeout: 400_000 }, async (t) => {
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

  const upgrading = sockets.filter((_, index) => TRANSPORT_MODES[Math.floor(index / 4)].options.transports.length > 1);
  for (const victim of [1, 2]) {
    // A client whose WebSocket is lost in the middle of its upgrade hangs until a ping is overdue.
    for (const socket of upgrading) await settledOn(socket, "websocket");
    const before = reconnected;
    await nodes[victim].kill();
    await until("its clients notice", () => reconnected > before);
    // A session whose poll the victim had not passed on yet has none, and waits for one until its ping is overdue.
    await until("only living sockets are found", async () => {
      await allAreMembers();
      const found = (await io.in("room").fetchSockets()).map(({ id }) => id).sort();
      assert.deepEqual(found, sockets.map(({ id }) => id).sort());
      return true;
    }, OVERDUE_MS);
    await nodes[0].publish({ room: "room", event: "said", args: [victim] });
    for (const socket of sockets) assert.deepEqual((await receive(socket, "said", victim)).at(-1), [victim]);
    const { port, opsPort } = nodes[victim];
    nodes[victim] = await startGateway(t, { redis, config: CONFIG, port, opsPort });
  }
  await fence(sockets, (event) => nodes[0].publish({ event }));
  for (const socket of sockets) assert.deepEqual(received(socket, "said"), [[1], [2]]);
});

test("a node that starts lets nobody in before it can ask the other nodes", { timeout: 60_000 }, async (t) => {
  const { redis, nodes } = await startNodes(t);
  const session = await openPolling(nodes[0]);
  await session.connect();
  const heartbeat = `/socket.io/?EIO=4&transport=polling&sid=${session.handshake.sid}`;
  let judged = 0;
  for (const _ of numbers(5)) {
    await nodes[1].kill();
    const { port, opsPort } = nodes[1];
    const first = until("the first answer", () => http("POST", `http://127.0.0.1:${port}${heartbeat}`, { body: "3" }));
    nodes[1] = await startGateway(t, { redis, config: CONFIG, port, opsPort });
    const { status, body } = await first;
    // Where Redis stood still for so long, nothing is to be learnt.
    if (nodes[1].output.includes("clients are let in before the node is linked")) continue;
    assert.equal(`${status} ${body}`, "200 ok");
    judged += 1;
  }
  assert.ok(judged > 0, "each time it was let in unlinked");
});

test("a node that finds no Redis lets clients in nevertheless, and is not ready", async (t) => {
  const redis = await startRedis(t);
  await redis.kill();
  const [port, opsPort] = [await freePort(), await freePort()];
  const ready = startGateway(t, { redis, config: CONFIG, port, opsPort });
  ready.catch(() => {});
  const readiness = () => http("GET", `http://127.0.0.1:${opsPort}/readyz`);
  const { handshake } = await until("a client is let in", () => openPolling({ url: `http://127.0.0.1:${port}` }));
  assert.ok(handshake.sid);
  assert.equal((await readiness()).status, 503);
  await startRedis(t, { port: redis.port });
  await ready;
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
