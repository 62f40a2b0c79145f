// Unmodified Socket.IO clients on each transport.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  TRANSPORT_MODES,
  ask,
  askOk,
  connect,
  fenceBy,
  member,
  numbers,
  open,
  receive,
  received,
} from "./support/clients.mjs";
import { nextEvent, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";

const transportOf = (socket) => socket.io.engine.transport.name;

for (const { mode, options, settled } of TRANSPORT_MODES) {
  describe(mode, () => {
    test("connects and settles on its transport", async (t) => {
      const gateway = await startGateway(t);
      const socket = await connect(t, gateway, options);
      await until(`transport ${settled}`, () => transportOf(socket) === settled);
      assert.equal(socket.id.length, 20);
      assert.notEqual(socket.id, socket.io.engine.id, "the Engine.IO session id is a secret");
      await until("the node counts it", async () => (await gateway.metric("broadgate_connections", { transport: settled })) === 1);
      const other = settled === "polling" ? "websocket" : "polling";
      assert.equal(await gateway.metric("broadgate_connections", { transport: other }), 0);
    });

    test("joins, receives what others publish, and leaves", async (t) => {
      const gateway = await startGateway(t);
      const reader = await connect(t, gateway, options);
      const writer = await connect(t, gateway, options);

      assert.deepEqual(await ask(reader, "join", "news"), { ok: true, room: "news", joined: true });
      assert.deepEqual(await ask(reader, "join", "news"), { ok: true, room: "news", joined: false });
      assert.deepEqual(await ask(writer, "publish", "news", "headline", "hi", 1), {
        ok: true,
        room: "news",
        delivered: 1,
      });
      assert.deepEqual(await receive(reader, "headline"), [["hi", 1]]);

      assert.deepEqual(await ask(reader, "leave", "news"), { ok: true, room: "news", left: true });
      assert.deepEqual(await ask(reader, "leave", "news"), { ok: true, room: "news", left: false });
      assert.equal((await askOk(writer, "publish", "news", "headline", "late")).delivered, 0);
      await fenceBy(gateway, reader, writer);
      assert.deepEqual(received(reader, "headline"), [["hi", 1]]);
      assert.deepEqual(received(writer, "headline"), []);
    });

    test("never receives its own publish", async (t) => {
      const gateway = await startGateway(t);
      const [first, second] = [await member(t, gateway, "room", options), await member(t, gateway, "room", options)];
      await askOk(first, "publish", "room", "said", "first");
      await askOk(second, "publish", "room", "said", "second");
      await fenceBy(gateway, first, second);
      assert.deepEqual(received(first, "said"), [["second"]]);
      assert.deepEqual(received(second, "said"), [["first"]]);
    });

    test("carries every kind of JSON and all of Unicode", async (t) => {
      const gateway = await startGateway(t);
      const reader = await member(t, gateway, "room", options);
      const writer = await connect(t, gateway, options);
      const argumentLists = [
        [],
        [""],
        ["plain"],
        ["Zoë €😀 \u{10FFFF} مرحبا 你好"],
        ["\u0000 \u001e \u2028 \u2029 \\ \" \n"],
        [null, true, false, 0, -1.5, 1e21, Number.MAX_SAFE_INTEGER],
        [{ nested: { list: [1, [2, [3]]], "key \u001e €": {} } }, []],
        ["x".repeat(100_000)],
        [{ text: "😀".repeat(20_000) }],
      ];
      for (const args of argumentLists) await askOk(writer, "publish", "room", "näme 😀", ...args);
      assert.deepEqual(await receive(reader, "näme 😀", argumentLists.length), argumentLists);
    });

    test("carries binary both ways", async (t) => {
      const gateway = await startGateway(t);
      const reader = await member(t, gateway, "room", options);
      const writer = await connect(t, gateway, options);
      const bytes = (count) => Buffer.from(numbers(count).map((index) => (index * 7 + count) % 256));
      const argumentLists = [
        [Buffer.from([1, 2, 3])],
        [Buffer.alloc(0), "and an empty one"],
        [bytes(1), { deep: [{ image: bytes(300), name: "a.png" }] }, bytes(65_536), "text between", bytes(17)],
        [bytes(200_000)],
        ["no binary at all"],
      ];
      for (const args of argumentLists) await askOk(writer, "publish", "room", "file", ...args);
      assert.deepEqual(await receive(reader, "file", argumentLists.length), argumentLists);
    });

    test("delivers 200 messages of one publisher once and in order", async (t) => {
      const gateway = await startGateway(t);
      const reader = await member(t, gateway, "room", options);
      const writer = await connect(t, gateway, options);
      for (const index of numbers(200)) writer.emit("publish", "room", "count", index);
      await receive(reader, "count", 200);
      await fenceBy(gateway, reader);
      assert.deepEqual(received(reader, "count").flat(), numbers(200));
    });

    test("joins and leaves take effect in the order asked, waited for or not", async (t) => {
      const gateway = await startGateway(t);
      const [socket, writer] = [await connect(t, gateway, options), await connect(t, gateway, options)];
      const joined = numbers(50).filter((index) => index % 3 === 0);
      const requests = numbers(50).flatMap((index) => {
        const room = `room ${index}`;
        const last = joined.includes(index) ? ["join", "leave", "join"] : ["join", "leave"];
        return last.map((request) => askOk(socket, request, room));
      });
      await Promise.all(requests);
      for (const index of numbers(50)) await askOk(writer, "publish", `room ${index}`, "seen", index);
      await fenceBy(gateway, socket);
      assert.deepEqual(received(socket, "seen").flat(), joined);
    });

    test("says goodbye by itself and is forgotten", async (t) => {
      const gateway = await startGateway(t);
      const leaver = await member(t, gateway, "room", options);
      const writer = await connect(t, gateway, options);
      const goodbye = nextEvent(leaver, "disconnect");
      leaver.disconnect();
      assert.equal((await goodbye)[0], "io client disconnect");
      await until("the room is empty", async () => (await askOk(writer, "publish", "room", "x")).delivered === 0);
      await until("one connection is left", async () => (await gateway.metric("broadgate_connections")) === 1);
    });

    test("comes back by itself after the node closed its transport", async (t) => {
      const gateway = await startGateway(t);
      const socket = await member(t, gateway, "room", options);
      const writer = await connect(t, gateway, options);
      const firstId = socket.id;
      const closed = nextEvent(socket, "disconnect");
      const back = closed.then(() => nextEvent(socket, "connect"));
      // A packet of no known type ends the connection (wire.md 2.4).
      socket.io.engine.write("9");
      assert.match((await closed)[0], /^transport (close|error)$/);
      await back;
      assert.notEqual(socket.id, firstId);
      assert.equal((await askOk(writer, "publish", "room", "x")).delivered, 0, "rooms end with the connection");
      await askOk(socket, "join", "room");
      await askOk(writer, "publish", "room", "again", 1);
      assert.deepEqual(await receive(socket, "again"), [[1]]);
    });

    test("joins several namespaces on one connection", async (t) => {
      const config = `${namespaces("/", "/custom")}${OPEN_ROOMS("/")}${OPEN_ROOMS("/custom")}`;
      const gateway = await startGateway(t, { config });
      const root = await connect(t, gateway, options);
      const custom = root.io.socket("/custom");
      custom.inbox = [];
      custom.onAny((event, ...args) => custom.inbox.push({ event, args }));
      await nextEvent(custom, "connect");
      assert.notEqual(custom.id, root.id);
      await askOk(root, "join", "room");
      await askOk(custom, "join", "room");

      const writer = await connect(t, gateway, { ...options, namespace: "/custom" });
      await askOk(writer, "publish", "room", "said", Buffer.from("in custom"));
      assert.deepEqual(await receive(custom, "said"), [[Buffer.from("in custom")]]);
      await fenceBy(gateway, root);
      assert.deepEqual(received(root, "said"), []);

      custom.disconnect();
      assert.equal((await askOk(root, "publish", "room", "x")).delivered, 0, "the other namespace goes on");
    });

    test("is told that a namespace does not exist, and stays connected", async (t) => {
      const gateway = await startGateway(t);
      const root = await connect(t, gateway, options);
      const refused = root.io.socket("/nope");
      const [error] = await nextEvent(refused, "connect_error");
      assert.equal(error.message, "Invalid namespace");
      assert.equal(root.connected, true);
      await askOk(root, "join", "room");
    });
  });
}

test("nothing is lost, doubled or reordered while both sides upgrade", async (t) => {
  const gateway = await startGateway(t);
  const upgrading = { transports: ["polling", "websocket"] };
  const [reader, writer] = [open(t, gateway, upgrading), open(t, gateway, upgrading)];
  await Promise.all([nextEvent(reader, "connect"), nextEvent(writer, "connect")]);
  await askOk(reader, "join", "room");
  let sent = 0;
  await until("both have upgraded and 200 were sent", async () => {
    writer.emit("publish", "room", "count", sent, Buffer.from([sent % 256]));
    sent += 1;
    return sent >= 200 && transportOf(reader) === "websocket" && transportOf(writer) === "websocket";
  });
  await receive(reader, "count", sent);
  await fenceBy(gateway, reader);
  assert.deepEqual(received(reader, "count"), numbers(sent).map((index) => [index, Buffer.from([index % 256])]));
});

test("clients of different transports share a room", async (t) => {
  const gateway = await startGateway(t);
  const members = [];
  for (const { options } of TRANSPORT_MODES) members.push(await member(t, gateway, "room", options));
  for (const [index, socket] of members.entries()) await askOk(socket, "publish", "room", "from", index);
  await fenceBy(gateway, ...members);
  for (const [index, socket] of members.entries()) {
    assert.deepEqual(received(socket, "from").flat(), numbers(3).filter((other) => other !== index));
  }
});

test("many clients of a page's life: 60 come, speak and go, and none is left", async (t) => {
  const gateway = await startGateway(t);
  const sockets = await Promise.all(
    numbers(60).map((index) => member(t, gateway, "room", TRANSPORT_MODES[index % 3].options)),
  );
  assert.equal((await askOk(sockets[0], "publish", "room", "hello")).delivered, 59);
  for (const socket of sockets.slice(1)) assert.deepEqual(await receive(socket, "hello"), [[]]);
  for (const socket of sockets) socket.disconnect();
  await until("no connection is left", async () => (await gateway.metric("broadgate_connections")) === 0);
});

function namespaces(...names) {
  return names.map((name) => `[[namespaces]]\nname = "${name}"\n`).join("");
}
