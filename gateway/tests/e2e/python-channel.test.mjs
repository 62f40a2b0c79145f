// Python backends publish through python-socketio's own Redis manager, unchanged; Socket.IO clients of Broadgate nodes
// receive it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, fence, member, numbers, receive, received } from "./support/clients.mjs";
import { nextEvent, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";
import { startPublisher, tuple } from "./support/python-publisher.mjs";
import { redisCli, startRedis } from "./support/redis.mjs";

const config = (redis, channel = "socketio") =>
  `[adapter.redis]\nurl = "${redis.url}"\npython_channel = "${channel}"\n` +
  `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/custom"\n${OPEN_ROOMS()}${OPEN_ROOMS("/custom")}`;

/** Two nodes that read the channel, and a backend. */
async function start(t, channel) {
  const redis = await startRedis(t);
  const nodes = [
    await startGateway(t, { config: config(redis, channel) }),
    await startGateway(t, { config: config(redis, channel) }),
  ];
  return { redis, nodes, python: startPublisher(t, redis, channel) };
}

/** When it arrives, all that the backend published before has arrived. */
const fenceBy = (python, sockets) => fence(sockets, (event) => python.emit(event, null));

test("a Python backend publishes to a room, to several, to everyone, and to all but some", async (t) => {
  const { nodes, python } = await start(t);
  const [a, both, b, outside] = [
    await member(t, nodes[0], "a"),
    await member(t, nodes[1], ["a", "b"]),
    await member(t, nodes[0], "b", { transports: ["polling"] }),
    await connect(t, nodes[1]),
  ];
  const all = [a, both, b, outside];
  await python.emit("one room", { to: "a" }, { room: "a" });
  await python.emit("two rooms", { to: ["a", "b"] }, { room: ["a", "b"] });
  await python.emit("everyone", "text €😀");
  await python.emit("all but one", 1, { skip_sid: both.id });
  await python.emit("all but two", 1, { room: "b", skip_sid: [b.id, a.id] });
  await python.emit("one socket", 1, { to: outside.id });
  await python.emit("nobody", 1, { room: [] });
  await fenceBy(python, all);
  const who = (event) => all.filter((socket) => received(socket, event).length === 1);
  assert.deepEqual(who("one room"), [a, both]);
  assert.deepEqual(who("two rooms"), [a, both, b], "each once");
  assert.deepEqual(who("everyone"), all);
  assert.deepEqual(who("all but one"), [a, b, outside]);
  assert.deepEqual(who("all but two"), [both]);
  assert.deepEqual(who("one socket"), [outside]);
  assert.deepEqual(who("nobody"), []);
  assert.deepEqual(received(both, "two rooms"), [[{ to: ["a", "b"] }]]);
  assert.deepEqual(received(b, "everyone"), [["text €😀"]]);
});

test("arguments arrive as Python means them", async (t) => {
  const { nodes, python } = await start(t);
  const [websocket, polling] = [await connect(t, nodes[0]), await connect(t, nodes[1], { transports: ["polling"] })];
  const bytes = Buffer.from([0, 1, 255]);
  for (const [event, data, expected] of [
    ["none", null, []],
    ["several", tuple(1, "two", { three: 3.5 }), [1, "two", { three: 3.5 }]],
    ["a list", [1, 2], [[1, 2]]],
    ["nothing", tuple(), []],
    ["bytes", bytes, [bytes]],
    ["deep bytes", tuple({ x: [bytes, { y: Buffer.alloc(70_000, 7) }] }, "text"), [{ x: [bytes, { y: Buffer.alloc(70_000, 7) }] }, "text"]],
  ]) {
    await python.emit(event, data);
    for (const socket of [websocket, polling]) assert.deepEqual(await receive(socket, event), [expected], event);
  }
});

test("200 messages arrive in order, each once, on every node", async (t) => {
  const { nodes, python } = await start(t);
  const sockets = [await member(t, nodes[0], "room"), await member(t, nodes[1], "room")];
  for (const index of numbers(200)) await python.emit("count", index, { room: "room" });
  await fenceBy(python, sockets);
  for (const socket of sockets) assert.deepEqual(received(socket, "count").flat(), numbers(200));
});

test("namespaces are kept apart", async (t) => {
  const { nodes, python } = await start(t);
  const [root, custom] = [await connect(t, nodes[0]), await connect(t, nodes[1], { namespace: "/custom" })];
  await python.emit("to custom", 1, { namespace: "/custom" });
  await python.emit("to an unknown one", 1, { namespace: "/unknown" });
  await python.emit("to root", 1);
  assert.deepEqual(await receive(root, "to root"), [[1]]);
  assert.deepEqual(await receive(custom, "to custom"), [[1]]);
  assert.equal(root.inbox.length + custom.inbox.length, 2);
});

test("a Python backend lets sockets enter and leave rooms, and closes rooms", async (t) => {
  const { nodes, python } = await start(t);
  const [first, second] = [await connect(t, nodes[0]), await connect(t, nodes[1])];
  const membersOf = async (room) => {
    const { body } = await nodes[0].sockets(`?room=${room}`);
    return JSON.stringify(body.sockets.map((socket) => socket.id).sort());
  };
  const untilMembers = (room, sockets) =>
    until(`${sockets.length} sockets are in ${room}`, async () => {
      return (await membersOf(room)) === JSON.stringify(sockets.map((socket) => socket.id).sort());
    });
  await python.call("enter_room", first.id, "/", "room");
  await python.call("enter_room", second.id, "/", "room");
  await untilMembers("room", [first, second]);
  await python.call("leave_room", first.id, "/", "room");
  await untilMembers("room", [second]);
  await python.call("enter_room", first.id, "/", "room");
  await untilMembers("room", [first, second]);
  await python.call("close_room", "room", "/");
  await untilMembers("room", []);
  assert.ok(first.connected && second.connected);
});

test("a disconnect of a Python server disconnects the socket from its namespace", async (t) => {
  const { redis, nodes, python } = await start(t);
  const [leaving, staying] = [await connect(t, nodes[0]), await connect(t, nodes[1])];
  const disconnected = nextEvent(leaving, "disconnect");
  // A write-only manager can't do it itself (wire.md 4), a Python server publishes this.
  const message = { method: "disconnect", sid: leaving.id, namespace: "/", host_id: "0123456789abcdef0123456789abcdef" };
  await redisCli(redis, "PUBLISH", "socketio", JSON.stringify(message));
  assert.equal((await disconnected)[0], "io server disconnect");
  await fenceBy(python, [staying]);
  assert.ok(staying.connected);
});

test("a pickle and other nonsense are skipped and counted, and nothing is stuck", async (t) => {
  const { redis, nodes, python } = await start(t);
  const socket = await connect(t, nodes[0]);
  await python.pickle({ method: "emit", event: "pickled", data: "x", namespace: "/" });
  await redisCli(redis, "PUBLISH", "socketio", "nonsense");
  await redisCli(redis, "PUBLISH", "socketio", JSON.stringify({ method: "disconnect", namespace: "/" }));
  await fenceBy(python, [socket]);
  assert.deepEqual(received(socket, "pickled"), []);
  assert.equal(await nodes[0].metric("broadgate_adapter_malformed_total"), 3);
  assert.match(nodes[0].output, /a pickle, as before python-socketio 5\.14/);
});

test("the channel may have another name, such as that of Flask-SocketIO", async (t) => {
  const { nodes, python } = await start(t, "flask-socketio");
  const socket = await member(t, nodes[1], "room");
  await python.emit("from flask", { a: 1 }, { room: "room" });
  assert.deepEqual(await receive(socket, "from flask"), [[{ a: 1 }]]);
});

test("without the setting nobody reads the channel", async (t) => {
  const redis = await startRedis(t);
  await startGateway(t, { redis });
  assert.equal((await redisCli(redis, "PUBSUB", "CHANNELS", "*socketio*")).trim(), "");
});
