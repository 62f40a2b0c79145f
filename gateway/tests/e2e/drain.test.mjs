// A node that is told to stop while clients are on it: what it still does, and for whom.

import assert from "node:assert/strict";
import { Agent } from "node:http";
import { test } from "node:test";

import { TRANSPORT_MODES, askOk, connect, member, numbers, receive } from "./support/clients.mjs";
import { nextEvent, until } from "./support/conditions.mjs";
import { drainOver, startGateway } from "./support/gateway.mjs";
import { http, openPolling, openWebSocket, refusedUpgrade } from "./support/raw.mjs";

const NEW_SESSION = "/socket.io/?EIO=4&transport=polling";
const SHUTDOWN = { reason: "server_shutdown" };

const closedByDrain = (gateway) => gateway.metric("broadgate_connections_closed_total", SHUTDOWN);

/** Sessions by hand on long-polling, joined, with nothing of the client on its way. */
async function startPollers(gateway, count) {
  const pollers = [];
  for (const _ of numbers(count)) {
    const session = await openPolling(gateway);
    pollers.push({ session, id: await session.connect() });
  }
  return pollers;
}

test("at first only readiness fails; then new sessions are refused, and the others are served until their turn", async (t) => {
  const gateway = await startGateway(t, { environment: drainOver({ delayMs: 8000, windowMs: 60_000 }) });
  const pollers = await startPollers(gateway, 20);
  const sockets = await Promise.all(numbers(20).map(() => connect(t, gateway, { reconnection: false })));
  assert.equal(await gateway.metric("broadgate_drain_seconds"), 0);
  await gateway.drain();
  assert.equal(await gateway.metric("broadgate_draining"), 1);
  assert.ok((await gateway.metric("broadgate_drain_seconds")) > 0);
  assert.equal(await gateway.metric("broadgate_drain_timeout_seconds"), 78);

  const early = await connect(t, gateway, { reconnection: false });
  await askOk(early, "join", "room");
  assert.equal(await closedByDrain(gateway), 0);

  const refused = await until("new sessions are refused", async () => {
    const answer = await http("GET", gateway.url + NEW_SESSION);
    return answer.status !== 200 && answer;
  });
  assert.equal(refused.status, 503);
  assert.match(refused.headers["retry-after"], /^\d+$/);
  assert.equal(refused.headers.connection, "close");
  assert.equal((await refusedUpgrade(t, gateway, NEW_SESSION.replace("polling", "websocket"))).status, 503);
  assert.equal(await gateway.metric("broadgate_handshake_rejected_total", { reason: "draining" }), 2);

  // Of so many some are left for sure. Each request is a TCP connection of its own.
  const agent = new Agent({ keepAlive: false });
  let served = 0;
  for (const { session, id } of pollers) {
    if ((await http("POST", session.url, { body: "3", agent })).status !== 200) continue;
    await gateway.publish({ rooms: [id], event: "private" });
    const [packet] = await session.poll();
    if (packet === '42["private"]') served += 1;
  }
  assert.ok(served > 0, "sessions on polling are served");
  const alive = sockets.filter((socket) => socket.connected);
  assert.ok(alive.length > 0, "sessions on WebSocket are served");
  await gateway.publish({ rooms: alive.map(({ id }) => id), event: "private" });
  await receive(alive.at(-1), "private");
  assert.ok((await gateway.metric("broadgate_drain_sessions_left")) > 0);

  gateway.signal("SIGTERM");
  await gateway.ended();
  assert.match(gateway.output, /told to stop again/);
});

test("a client between two polls is told the end when it polls again, and the node waits for that", async (t) => {
  const gateway = await startGateway(t, { environment: drainOver({ windowMs: 6000 }) });
  const pollers = await startPollers(gateway, 6);
  await gateway.drain();
  await until("the first is closed", async () => (await closedByDrain(gateway)) > 0);
  assert.equal(gateway.hasEnded, false);
  const last = await Promise.all(pollers.map(({ session }) => session.poll()));
  assert.deepEqual(last, pollers.map(() => ["1"]));
  await gateway.ended();
});

test("the clients of each transport see a transport that closes, so they come back by themselves", async (t) => {
  const gateway = await startGateway(t, { environment: drainOver({ windowMs: 3000 }) });
  const modes = numbers(8).flatMap(() => TRANSPORT_MODES);
  const sockets = await Promise.all(modes.map(({ options }) => member(t, gateway, "room", options)));
  const reasons = sockets.map((socket) => nextEvent(socket, "disconnect"));
  await gateway.drain();
  for (const reason of reasons) assert.equal((await reason)[0], "transport close");
  await gateway.ended();
  const reconnected = sockets.map((socket) => nextEvent(socket, "connect"));
  const again = await startGateway(t, { port: gateway.port, opsPort: gateway.opsPort });
  await Promise.all(reconnected);
  assert.ok(again.port === gateway.port);
});

test("a node without sessions leaves after the delay", async (t) => {
  const gateway = await startGateway(t, { environment: drainOver({ delayMs: 200, windowMs: 3_000_000 }) });
  const socket = await connect(t, gateway);
  socket.disconnect();
  await until("it is gone", async () => (await gateway.metric("broadgate_connections")) === 0);
  await gateway.stop();
});

test("idle connections and half-open ones do not keep a node, nor do clients that never answer", async (t) => {
  const gateway = await startGateway(t, { environment: drainOver({ windowMs: 300, timeoutMs: 6000 }) });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  await http("GET", gateway.url + "/socket.io/", { agent });
  const [silent] = await startPollers(gateway, 1);
  assert.ok(silent.id);
  const socket = openWebSocket(t, gateway);
  await socket.opened();
  await gateway.stop();
});
