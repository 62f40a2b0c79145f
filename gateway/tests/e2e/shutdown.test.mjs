// SIGTERM: the node leaves so that its clients come back, to it or to another.

import assert from "node:assert/strict";
import { test } from "node:test";

import { TRANSPORT_MODES, askOk, connect, member, receive, settle } from "./support/clients.mjs";
import { nextEvent } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { openPolling } from "./support/raw.mjs";

test("SIGTERM closes transports, never sockets, and the clients reconnect by themselves", async (t) => {
  const gateway = await startGateway(t);
  const sockets = await Promise.all(TRANSPORT_MODES.map(({ options }) => member(t, gateway, "room", options)));
  await Promise.all(sockets.map((socket, index) => settle(socket, TRANSPORT_MODES[index].settled)));
  const reasons = sockets.map((socket) => nextEvent(socket, "disconnect"));
  await gateway.stop();
  for (const [index, reason] of reasons.entries()) {
    // A polling client may be between two polls, and then sees the port closed.
    const expected = TRANSPORT_MODES[index].settled === "polling" ? /^transport (close|error)$/ : /^transport close$/;
    assert.match((await reason)[0], expected, TRANSPORT_MODES[index].mode);
  }
  await assert.rejects(gateway.isReady(), "the ops port is closed");

  const reconnected = sockets.map((socket) => nextEvent(socket, "connect"));
  const again = await startGateway(t, { port: gateway.port, opsPort: gateway.opsPort });
  await Promise.all(reconnected);
  for (const socket of sockets) await askOk(socket, "join", "room");
  await askOk(await connect(t, again), "publish", "room", "welcome back");
  for (const socket of sockets) assert.deepEqual(await receive(socket, "welcome back"), [[]]);
});

test("a poll that is held is answered with a close", async (t) => {
  const gateway = await startGateway(t);
  const session = await openPolling(gateway);
  await session.connect();
  const { poll } = await session.beginPoll();
  await gateway.stop();
  assert.deepEqual(await poll, ["1"]);
});

test("what was published before SIGTERM is delivered before the close", async (t) => {
  const gateway = await startGateway(t);
  const reader = await member(t, gateway, "room");
  const writer = await connect(t, gateway);
  await askOk(writer, "publish", "room", "last words", "x".repeat(200_000));
  const goodbye = nextEvent(reader, "disconnect");
  await gateway.stop();
  await goodbye;
  assert.equal(reader.inbox.length, 1);
});

test("SIGTERM ends a node without clients too, and SIGINT as well", async (t) => {
  await (await startGateway(t)).stop();
  const gateway = await startGateway(t);
  await gateway.stop("SIGINT");
});
