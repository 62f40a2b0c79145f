// python-socketio's client, on both transports.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { askOk, member, numbers, receive } from "./support/clients.mjs";
import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { connectPython } from "./support/python.mjs";

for (const transport of ["websocket", "polling"]) {
  describe(`python-socketio over ${transport}`, () => {
    test("joins, publishes, receives and leaves", async (t) => {
      const gateway = await startGateway(t);
      const python = await connectPython(t, gateway, transport);
      const other = await member(t, gateway, "room");
      assert.equal(python.connection.transport, transport);
      assert.equal(python.connection.connected.length, 20);
      assert.deepEqual(await python.call("join", "room"), { ok: true, room: "room", joined: true });

      const args = ["text €😀", { list: [1, 2.5, null, true], nested: { key: "value" } }];
      assert.equal((await python.call("publish", "room", "from python", ...args)).delivered, 1);
      assert.deepEqual(await receive(other, "from python"), [args]);
      await askOk(other, "publish", "room", "to python", ...args);
      assert.deepEqual(await python.receive("to python"), [args]);

      assert.deepEqual(await python.call("leave", "room"), { ok: true, room: "room", left: true });
      assert.equal((await python.call("join", "")).error, "invalid_argument");
    });

    test("carries binary both ways", async (t) => {
      const gateway = await startGateway(t);
      const python = await connectPython(t, gateway, transport);
      const other = await member(t, gateway, "room");
      await python.call("join", "room");
      const args = [Buffer.from([0, 1, 255]), { deep: [Buffer.alloc(70_000, 7)] }];
      assert.equal((await python.call("publish", "room", "from python", ...args)).ok, true);
      assert.deepEqual(await receive(other, "from python"), [args]);
      await askOk(other, "publish", "room", "to python", ...args);
      assert.deepEqual(await python.receive("to python"), [args]);
    });

    test("receives 200 messages, each once", async (t) => {
      const gateway = await startGateway(t);
      const python = await connectPython(t, gateway, transport);
      const other = await member(t, gateway, "room");
      await python.call("join", "room");
      // The library takes at most 16 packets out of one poll, and handles each in a thread: so few at a time, unordered.
      for (let sent = 0; sent < 200; sent += 10) {
        for (const index of numbers(10, sent)) other.emit("publish", "room", "count", index);
        await python.receive("count", sent + 10);
      }
      const counts = python.received("count").flat();
      assert.deepEqual(counts.sort((one, another) => one - another), numbers(200));
    });

    test("disconnects cleanly", async (t) => {
      const gateway = await startGateway(t);
      const python = await connectPython(t, gateway, transport);
      assert.deepEqual(await python.disconnect(), { code: 0, signal: null });
      await until("no connection is left", async () => (await gateway.metric("broadgate_connections")) === 0);
    });
  });
}
