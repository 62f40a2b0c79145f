// Three nodes behind a balancer without any affinity: each request of a client goes to another node. What a client of each
// transport may expect of them; what becomes of nodes and sessions is in balancer-nodes.test.mjs.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { startHttpBalancer, startNodes, startTcpBalancer } from "./support/balancer.mjs";
import { TRANSPORT_MODES, ask, askOk, connect, fence, member, numbers, open, receive, received } from "./support/clients.mjs";
import { nextEvent, until } from "./support/conditions.mjs";
import { startNodeServer } from "./support/node-server.mjs";
import { byClient, byEmitter, byOps, publishSteadily } from "./support/publishers.mjs";
import { emitter } from "./support/redis.mjs";
import { COUNT, DeliveryCheck } from "./support/sequences.mjs";

const CLIENTS = 12;
const settledOn = (socket, transport) =>
  until(`transport ${transport}`, () => socket.io.engine.transport.name === transport);

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
