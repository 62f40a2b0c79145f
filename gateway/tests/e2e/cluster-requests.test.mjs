// Requests between nodes in one cluster with Node.js servers: every row of the classic adapter's table, both ways. One
// Node.js server and two Broadgate nodes, unless the test says otherwise.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, fence, member, numbers, receive, received } from "./support/clients.mjs";
import { DEADLINE_MS, nextEvent, until } from "./support/conditions.mjs";
import { CONFIG, countNodes, startNodeServer, startTrio } from "./support/node-server.mjs";
import { emitter, redisCli, redisClient, startRedis } from "./support/redis.mjs";
import { startGateway } from "./support/gateway.mjs";

const ids = (sockets) => sockets.map((socket) => socket.id).sort();
const sorted = (list) => [...list].sort();

/** Two clients of each node of the cluster, one of which polls. */
async function clients(t, { server, first, second }, rooms = [], options = {}) {
  return [
    await member(t, server, rooms, options),
    await member(t, first, rooms, options),
    await member(t, first, rooms, { ...options, transports: ["polling"] }),
    await member(t, second, rooms, options),
    await member(t, second, rooms, { ...options, transports: ["polling"] }),
  ];
}

/** Waits until the sockets that Node.js finds in a room are these. */
async function untilInRoom(io, room, sockets) {
  await until(`exactly ${sockets.length} sockets are in ${room}`, async () => {
    const found = ids(await io.in(room).fetchSockets());
    return JSON.stringify(found) === JSON.stringify(ids(sockets));
  });
}

test("each node is counted once in each namespace", async (t) => {
  const { redis, first } = await startTrio(t);
  assert.equal(await countNodes(redis), 3);
  assert.equal(await countNodes(redis, "/custom"), 3);
  const responses = await redisCli(redis, "PUBSUB", "NUMSUB", "socket.io-response#/#");
  assert.equal(responses.trim().split("\n").at(-1), "3");
  await first.stop();
  await until("who stops is counted no more", async () => (await countNodes(redis)) === 2);
});

test("Node.js fetches the sockets of all nodes, with their rooms", async (t) => {
  const trio = await startTrio(t);
  const { io } = trio;
  const all = await clients(t, trio, ["room"]);
  const outside = await connect(t, trio.first);
  const custom = await member(t, trio.second, "room", { namespace: "/custom" });

  assert.deepEqual(ids(await io.fetchSockets()), ids([...all, outside]));
  assert.deepEqual(ids(await io.in("room").fetchSockets()), ids(all));
  assert.deepEqual(ids(await io.in("room").except(all[3].id).fetchSockets()), ids(all.filter((one) => one !== all[3])));
  assert.deepEqual(ids(await io.in([all[1].id, outside.id]).fetchSockets()), ids([all[1], outside]));
  assert.deepEqual(ids(await io.in("nobody is here").fetchSockets()), []);
  assert.deepEqual(ids(await io.of("/custom").fetchSockets()), [custom.id]);

  const [remote] = await io.in(all[3].id).fetchSockets();
  assert.deepEqual([...remote.rooms], [all[3].id, "room"]);
  assert.deepEqual(remote.data, {});
  const { time, issued, ...handshake } = remote.handshake;
  const nothing = { headers: {}, address: "", xdomain: false, secure: false, url: "", query: {}, auth: {} };
  assert.deepEqual(handshake, nothing);
  assert.equal(new Date(time).getTime(), issued);
  assert.ok(Math.abs(Date.now() - issued) < 600_000, "the time of the connection");
});

test("sockets of Broadgate nodes that Node.js fetched can be written to, moved and disconnected", async (t) => {
  const { io, first, second } = await startTrio(t);
  const [one, two] = [await connect(t, first), await connect(t, second)];
  const remotes = new Map((await io.fetchSockets()).map((remote) => [remote.id, remote]));
  remotes.get(one.id).emit("hello", 1);
  assert.deepEqual(await receive(one, "hello"), [[1]]);
  remotes.get(two.id).join(["a", "b"]);
  await untilInRoom(io, "a", [two]);
  remotes.get(two.id).leave("a");
  await untilInRoom(io, "a", []);
  await untilInRoom(io, "b", [two]);
  const disconnected = nextEvent(one, "disconnect");
  remotes.get(one.id).disconnect();
  assert.equal((await disconnected)[0], "io server disconnect");
});

test("Node.js lets sockets of all nodes join", async (t) => {
  const trio = await startTrio(t);
  const { io } = trio;
  const all = await clients(t, trio, ["old"]);
  const outside = await connect(t, trio.second);
  io.in("old").except(all[4].id).socketsJoin(["new", "newer"]);
  const joined = all.slice(0, 4);
  await untilInRoom(io, "new", joined);
  await untilInRoom(io, "newer", joined);
  await until("what is said in the new room arrives", async () => {
    io.to("new").emit("ping");
    return joined.every((socket) => received(socket, "ping").length > 0);
  });
  io.to("new").emit("said", 1);
  for (const socket of joined) assert.deepEqual(await receive(socket, "said"), [[1]]);
  await fence([all[4], outside], (event) => io.emit(event));
  for (const socket of [all[4], outside]) assert.deepEqual(received(socket, "said"), []);
  assert.equal(await trio.first.metric("broadgate_server_changes_total", { change: "joined" }), 4);
});

test("Node.js lets sockets of all nodes leave", async (t) => {
  const trio = await startTrio(t);
  const { io } = trio;
  const all = await clients(t, trio, ["a", "b"]);
  io.in("a").socketsLeave("b");
  await untilInRoom(io, "b", []);
  await untilInRoom(io, "a", all);
  io.to("b").emit("said");
  await fence(all, (event) => io.to("a").emit(event));
  for (const socket of all) assert.deepEqual(received(socket, "said"), []);
});

test("Node.js disconnects sockets of all nodes from their namespace; the connection stays", async (t) => {
  const trio = await startTrio(t);
  const { io } = trio;
  const [leaving, staying] = [await clients(t, trio, ["go"]), await clients(t, trio, ["stay"])];
  const reasons = Promise.all(leaving.map((socket) => nextEvent(socket, "disconnect")));
  // The same connection is in another namespace, too.
  const manager = leaving[1].io;
  const other = manager.socket("/custom", {});
  await nextEvent(other, "connect");
  io.in("go").disconnectSockets();
  for (const [reason] of await reasons) assert.equal(reason, "io server disconnect");
  assert.deepEqual(ids(await io.fetchSockets()), ids(staying));
  assert.equal(manager.engine.readyState, "open");
  leaving[1].connect();
  await nextEvent(leaving[1], "connect");
  assert.ok(other.connected && staying.every((socket) => socket.connected));
});

test("Node.js disconnects sockets and closes their connections", async (t) => {
  const trio = await startTrio(t);
  const { io } = trio;
  const [leaving, staying] = [await clients(t, trio, ["go"]), await clients(t, trio, ["stay"])];
  const other = leaving[3].io.socket("/custom", {});
  await nextEvent(other, "connect");
  const gone = [other, ...leaving].map((socket) => nextEvent(socket, "disconnect"));
  io.in("go").disconnectSockets(true);
  for (const [reason] of await Promise.all(gone)) assert.equal(reason, "io server disconnect");
  assert.deepEqual(ids(await io.fetchSockets()), ids(staying));
  for (const gateway of [trio.first, trio.second]) {
    await until("the connections are closed", async () => (await gateway.metric("broadgate_connections")) === 2);
    assert.equal(await gateway.metric("broadgate_sockets"), 2);
  }
});

test("Node.js sends an event to the servers; Broadgate nodes take no notice", async (t) => {
  const { redis, io, first, second } = await startTrio(t);
  const { io: other } = await startNodeServer(t, redis);
  await until("four nodes are counted", async () => (await countNodes(redis)) === 4);
  const heard = nextEvent(other, "hello");
  io.serverSideEmit("hello", 1, { two: [2] });
  assert.deepEqual(await heard, [1, { two: [2] }]);
  for (const gateway of [first, second]) {
    await until("it is counted", async () =>
      (await gateway.metric("broadgate_cluster_requests_received_total", { type: "server_side_emit" })) === 1,
    );
    assert.equal(await gateway.metric("broadgate_adapter_malformed_total"), 0);
  }
});

test("Node.js sends an event to the servers and waits for their acks", async (t) => {
  const { redis, io } = await startTrio(t);
  const { io: other } = await startNodeServer(t, redis);
  await until("four nodes are counted", async () => (await countNodes(redis)) === 4);
  other.on("sum", (a, b, ack) => ack(a + b));
  const responses = await io.serverSideEmitWithAck("sum", 1, 2);
  assert.deepEqual(sorted(responses), [3, undefined, undefined]);
});

test("Node.js broadcasts and gets the ack of every client of every node", async (t) => {
  const trio = await startTrio(t);
  const { io, first, second } = trio;
  const all = await clients(t, trio, ["room"]);
  for (const [index, socket] of all.entries()) {
    socket.on("ask", (question, ack) => ack({ question, index, text: "€😀" }, "only the first counts"));
  }
  const expected = numbers(all.length).map((index) => ({ question: 7, index, text: "€😀" }));
  for (let round = 0; round < 3; round += 1) {
    const answers = await io.to("room").timeout(DEADLINE_MS).emitWithAck("ask", 7);
    assert.deepEqual(answers.sort((a, b) => a.index - b.index), expected);
  }
  assert.deepEqual(await io.except("room").timeout(DEADLINE_MS).emitWithAck("ask", 7), [], "nobody is asked");
  assert.equal((await io.to([all[1].id, all[4].id]).timeout(DEADLINE_MS).emitWithAck("ask", 7)).length, 2);
  for (const gateway of [first, second]) {
    assert.equal(await gateway.metric("broadgate_client_acks_pending"), 0);
    assert.equal(await gateway.metric("broadgate_client_acks_total", { result: "matched" }), 7);
  }
});

test("Node.js broadcasts binary and gets binary acks", async (t) => {
  const trio = await startTrio(t);
  const all = await clients(t, trio, ["room"]);
  for (const socket of all) {
    socket.on("ask", (data, ack) => ack({ deep: [Buffer.from(data).reverse(), Buffer.alloc(0)], to: socket.id }, Buffer.alloc(9)));
  }
  const answers = await trio.io.to("room").timeout(DEADLINE_MS).emitWithAck("ask", Buffer.from([1, 2, 255]));
  assert.deepEqual(sorted(answers.map((answer) => answer.to)), ids(all));
  for (const { deep } of answers) assert.deepEqual(deep.map((data) => [...data]), [[255, 2, 1], []]);
});

test("Node.js gets acks in a namespace, without arguments, and from one remote socket", async (t) => {
  const { io, first, second } = await startTrio(t);
  const socket = await connect(t, first, { namespace: "/custom" });
  socket.on("ask", (ack) => ack());
  assert.deepEqual(await io.of("/custom").timeout(DEADLINE_MS).emitWithAck("ask"), [undefined]);
  const odd = await connect(t, first);
  odd.packet = ({ id }) => odd.io.engine.write(`3${id}[1e999]`);
  odd.on("ask", (ack) => ack());
  assert.deepEqual(await io.timeout(DEADLINE_MS).emitWithAck("ask"), [undefined], "what has no value is no reason to wait");
  odd.io.engine.close();
  const single = await connect(t, second, { transports: ["polling"] });
  single.on("ask", (number, ack) => ack(number + 1));
  const [remote] = await io.in(single.id).fetchSockets();
  assert.equal(await remote.timeout(DEADLINE_MS).emitWithAck("ask", 1), 2);
});

test("a client that does not answer costs the caller's own timeout, and is forgotten", async (t) => {
  const { io, first } = await startTrio(t);
  const [silent, loud] = [await member(t, first, "room"), await member(t, first, "room")];
  const late = new Promise((resolve) => silent.on("ask", (ack) => resolve(ack)));
  loud.on("ask", (ack) => ack("here"));
  await assert.rejects(io.to("room").timeout(10_000).emitWithAck("ask"), (error) => {
    assert.deepEqual(error.responses, ["here"]);
    return true;
  });
  await until("the ack is not waited for", async () =>
    (await first.metric("broadgate_client_acks_total", { result: "expired" })) === 1,
  );
  assert.equal(await first.metric("broadgate_client_acks_pending"), 0);
  (await late)("too late");
  await until("a late ack is ignored", async () =>
    (await first.metric("broadgate_client_acks_total", { result: "unknown" })) === 1,
  );
  assert.ok(silent.connected);
});

test("Node.js lists the rooms of all nodes", async (t) => {
  const { io, server, first, second } = await startTrio(t);
  const all = [await member(t, server, ["a"]), await member(t, first, ["b"]), await member(t, first, ["b", "€"]), await member(t, second, ["c", "b"])];
  const rooms = await io.of("/").adapter.allRooms();
  assert.deepEqual(sorted(rooms), sorted(["a", "b", "c", "€", ...all.map((socket) => socket.id)]));
  assert.deepEqual([...(await io.of("/custom").adapter.allRooms())], []);
});

/** Publishes requests of one's own and collects the answers of Broadgate nodes. */
async function rawRequests(t, redis) {
  const subscriber = redisClient(t, redis);
  const answers = [];
  subscriber.on("message", (_, message) => answers.push(JSON.parse(message)));
  await subscriber.subscribe("socket.io-response#/#");
  const publisher = redisClient(t, redis);
  return { answers, ask: (request) => publisher.publish("socket.io-request#/#", typeof request === "string" || Buffer.isBuffer(request) ? request : JSON.stringify(request)) };
}

test("the ids of sockets are told as older adapters ask for them", async (t) => {
  const { redis, first, second } = await startTrio(t);
  const [a, b, c] = [await member(t, first, "room"), await member(t, second, "room"), await connect(t, second)];
  const { answers, ask } = await rawRequests(t, redis);
  await ask({ uid: "asker1", requestId: "r1", type: 0, rooms: ["room"] });
  await until("three nodes answer", () => answers.length === 3);
  assert.deepEqual(sorted(answers.flatMap((answer) => answer.sockets)), ids([a, b]));
  answers.length = 0;
  await ask({ uid: "asker1", requestId: "r2", type: 0, rooms: [] });
  await until("three nodes answer", () => answers.length === 3);
  assert.deepEqual(sorted(answers.flatMap((answer) => answer.sockets)), ids([a, b, c]));
  assert.ok(answers.every((answer) => answer.requestId === "r2"));
});

test("commands for one socket in their old form are carried out, and answered by its node alone", async (t) => {
  const { redis, io, first, second } = await startTrio(t);
  const [socket] = [await connect(t, first), await connect(t, second)];
  const { answers, ask } = await rawRequests(t, redis);
  await ask({ requestId: "j1", type: 2, sid: socket.id, room: "old" });
  await until("it is answered", () => answers.some((answer) => answer.requestId === "j1"));
  await untilInRoom(io, "old", [socket]);
  await ask({ requestId: "l1", type: 3, sid: socket.id, room: "old" });
  await until("it is answered", () => answers.some((answer) => answer.requestId === "l1"));
  await untilInRoom(io, "old", []);
  const disconnected = nextEvent(socket, "disconnect");
  await ask({ requestId: "d1", type: 4, sid: socket.id, close: true });
  await until("it is answered", () => answers.some((answer) => answer.requestId === "d1"));
  assert.equal((await disconnected)[0], "io server disconnect");
  const ofCommands = answers.filter(({ requestId }) => ["j1", "l1", "d1"].includes(requestId));
  assert.deepEqual(ofCommands, [{ requestId: "j1" }, { requestId: "l1" }, { requestId: "d1" }]);
});

test("what is no request, or of an unknown type, is skipped and counted, and nothing is stuck", async (t) => {
  const { redis, io, first } = await startTrio(t);
  const socket = await member(t, first, "room");
  const { ask } = await rawRequests(t, redis);
  const malformed = ["", "junk", "{", "{}", "[]", '{"type":"2"}', '{"type":2}', '{"type":4,"close":true}', '{"type":5,"requestId":"x","opts":3}', '{"type":0}', Buffer.from([0xc1]), Buffer.from([0x80]), Buffer.from([0xdf, 255, 255, 255, 255]), Buffer.alloc(5_000, 0x91)];
  for (const message of malformed) await ask(message);
  await ask({ type: 99, requestId: "x" });
  await ask({ type: 8, requestId: "x", clientCount: 1 });
  await until("all is counted", async () => (await first.metric("broadgate_cluster_requests_unknown_total")) === 2);
  assert.equal(await first.metric("broadgate_adapter_malformed_total"), malformed.length);
  assert.deepEqual(ids(await io.in("room").fetchSockets()), [socket.id]);
});

test("the emitter's join, leave and disconnect reach all nodes", async (t) => {
  const trio = await startTrio(t);
  const { io } = trio;
  const emit = emitter(t, trio.redis);
  const all = await clients(t, trio, ["room"]);
  emit.in("room").except(all[0].id).socketsJoin("vip");
  await untilInRoom(io, "vip", all.slice(1));
  emit.in([all[1].id, all[3].id]).socketsLeave("vip");
  await untilInRoom(io, "vip", [all[2], all[4]]);
  emit.serverSideEmit("hello");
  const gone = [all[2], all[4]].map((socket) => nextEvent(socket, "disconnect"));
  emit.in("vip").disconnectSockets(true);
  for (const [reason] of await Promise.all(gone)) assert.equal(reason, "io server disconnect");
  assert.deepEqual(ids(await io.fetchSockets()), ids([all[0], all[1], all[3]]));
  assert.equal(await trio.first.metric("broadgate_adapter_malformed_total"), 0);
});

test("the ops API finds the sockets of all nodes, Node.js or not", async (t) => {
  const trio = await startTrio(t);
  const all = await clients(t, trio, ["room", "b"]);
  const outside = await connect(t, trio.server);
  const { status, body } = await trio.first.sockets("?room=room");
  assert.equal(status, 200);
  const { sockets, ...rest } = body;
  assert.deepEqual(rest, { ok: true, complete: true, expected: 2, answers: 2, total: 5 });
  assert.deepEqual(ids(sockets), ids(all));
  for (const socket of sockets) assert.deepEqual(socket.rooms, [socket.id, "room", "b"]);
  assert.deepEqual(ids((await trio.second.sockets("?namespace=/")).body.sockets), ids([...all, outside]));
  assert.deepEqual(ids((await trio.second.sockets(`?except=room`)).body.sockets), [outside.id]);
  const limited = (await trio.second.sockets("?limit=2")).body;
  assert.deepEqual([limited.sockets.length, limited.total], [2, 6]);
  assert.deepEqual((await trio.first.sockets("?namespace=/custom")).body.sockets, []);
  assert.equal((await trio.first.sockets("?rooms=a")).status, 400);
});

test("a Node.js server that answers on the asker's own channel is heard", async (t) => {
  const trio = await startTrio(t, { options: { publishOnSpecificResponseChannel: true } });
  const all = await clients(t, trio, ["room"]);
  const { body } = await trio.first.sockets("?room=room");
  assert.deepEqual([body.complete, body.answers, ids(body.sockets)], [true, 2, ids(all)]);
});

test("the ops API lets sockets of all nodes join and leave, once each", async (t) => {
  const trio = await startTrio(t);
  const all = await clients(t, trio, ["room"]);
  assert.deepEqual(await trio.first.command("join", { rooms: ["room"], except: [all[0].id], join: ["vip"] }), { status: 200, body: { ok: true } });
  await untilInRoom(trio.io, "vip", all.slice(1));
  assert.equal(await trio.first.metric("broadgate_server_changes_total", { change: "joined" }), 2);
  assert.equal((await trio.first.command("leave", { everyone: true, leave: ["vip", "nowhere"] })).status, 200);
  await untilInRoom(trio.io, "vip", []);
  await untilInRoom(trio.io, "room", all);
  assert.equal((await trio.first.command("join", { rooms: ["room"] })).status, 400);
});

test("the ops API disconnects sockets of all nodes", async (t) => {
  const trio = await startTrio(t);
  const [leaving, staying] = [await clients(t, trio, ["go"]), await clients(t, trio, ["stay"])];
  const gone = leaving.map((socket) => nextEvent(socket, "disconnect"));
  assert.equal((await trio.second.command("disconnect", { rooms: ["go"], close: true })).status, 200);
  for (const [reason] of await Promise.all(gone)) assert.equal(reason, "io server disconnect");
  assert.deepEqual(ids((await trio.first.sockets("")).body.sockets), ids(staying));
  assert.equal((await trio.first.command("disconnect", {})).status, 400, "nobody is disconnected by mistake");
});

test("a node that dies while it is asked costs its own answer, and is told", async (t) => {
  const { io, first, second, server } = await startTrio(t);
  const sockets = [await connect(t, server), await connect(t, first)];
  await connect(t, second, { reconnection: false });
  second.signal("SIGSTOP");
  const asked = first.sockets("");
  await until("the request waits", async () =>
    (await first.metric("broadgate_cluster_requests_pending", { from: "this_node" })) === 1,
  );
  await second.kill();
  const { status, body } = await asked;
  assert.equal(status, 200);
  assert.deepEqual({ ...body, sockets: ids(body.sockets) }, {
    ok: true, complete: false, expected: 2, answers: 1, total: 2, sockets: ids(sockets),
  });
  assert.equal(await first.metric("broadgate_cluster_requests_finished_total", { result: "partial" }), 1);
  const after = (await first.sockets("")).body;
  assert.deepEqual([after.complete, after.expected, after.answers], [true, 1, 1], "the dead node is counted no more");
  assert.deepEqual(ids(await io.fetchSockets()), ids(sockets));
});

test("without Redis the ops API knows the sockets of its own node, and says so", async (t) => {
  const redis = await startRedis(t);
  const gateway = await startGateway(t, { redis, config: CONFIG });
  const socket = await member(t, gateway, "room");
  await redis.kill();
  await until("the loss is noticed", async () => (await gateway.metric("broadgate_adapter_link_up")) === 0);
  const { body } = await gateway.sockets("?room=room");
  assert.deepEqual([body.ok, body.complete, body.expected, ids(body.sockets)], [true, false, 0, [socket.id]]);
  const { status, body: refused } = await gateway.command("disconnect", { everyone: true });
  assert.deepEqual([status, refused.error], [503, "adapter_unavailable"]);
  assert.ok(socket.connected);
});

test("a node alone, without Redis, answers for itself", async (t) => {
  const gateway = await startGateway(t, { config: `[adapter]\nkind = "memory"\n${CONFIG}` });
  const sockets = [await connect(t, gateway), await connect(t, gateway)];
  await gateway.command("join", { rooms: [sockets[0].id], join: ["room"] });
  await until("it is in the room", async () => (await gateway.sockets("?room=room")).body.total === 1);
  const { body } = await gateway.sockets("");
  assert.deepEqual([body.complete, body.expected, ids(body.sockets)], [true, 0, ids(sockets)]);
});

test("a join by a server respects the limits, but not the policy", async (t) => {
  const config = `[limits]\nmax_rooms_per_socket = 2\nmax_room_name_bytes = 64\n[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/custom"\n`;
  const { io, first } = await startTrio(t, { config });
  const socket = await connect(t, first);
  assert.equal((await socket.timeout(DEADLINE_MS).emitWithAck("join", "a")).error, "forbidden");
  io.socketsJoin(["a", "x".repeat(65), "b", "a", "c"]);
  await untilInRoom(io, "b", [socket]);
  const [remote] = await io.fetchSockets();
  assert.deepEqual([...remote.rooms], [socket.id, "a", "b"]);
  assert.equal(await first.metric("broadgate_server_changes_total", { change: "join_refused" }), 2);
});

test("many requests at once are all answered", async (t) => {
  const trio = await startTrio(t);
  const all = await clients(t, trio, ["room"]);
  const found = await Promise.all(numbers(200).map(() => trio.io.in("room").fetchSockets()));
  for (const sockets of found) assert.deepEqual(ids(sockets), ids(all));
  const answers = await Promise.all(numbers(100).map((index) => trio[index % 2 ? "first" : "second"].sockets("?room=room")));
  for (const { body } of answers) assert.deepEqual([body.complete, ids(body.sockets)], [true, ids(all)]);
});
