// Socket.IO on the wire, row by row of wire.md 2.

import assert from "node:assert/strict";
import { test } from "node:test";

import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";
import { connectWebSocket, openPolling, openWebSocket } from "./support/raw.mjs";

const CONFIG = `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/custom"\n${OPEN_ROOMS()}${OPEN_ROOMS("/custom")}`;
const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;

/** A WebSocket session that has joined nothing yet. */
async function openSession(t, gateway) {
  const socket = openWebSocket(t, gateway);
  await socket.take("open", (frame) => frame.startsWith("0{"));
  return socket;
}

test("connecting to namespaces (2.2)", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const rows = [
    ["40", /^40\{"sid":"[\w-]{20}"\}$/],
    ['40{"token":"x"}', /^40\{"sid":"[\w-]{20}"\}$/],
    ["40/,", /^40\{"sid":"[\w-]{20}"\}$/],
    ["40/custom,", /^40\/custom,\{"sid":"[\w-]{20}"\}$/],
    ["40/custom", /^40\/custom,\{"sid":"[\w-]{20}"\}$/],
    ['40/custom,{"token":"x"}', /^40\/custom,\{"sid":"[\w-]{20}"\}$/],
    ["40/nope,", /^44\/nope,\{"message":"Invalid namespace"\}$/],
    ["40/custom?token=x,", /^44\/custom\?token=x,\{"message":"Invalid namespace"\}$/],
  ];
  for (const [packet, answer] of rows) {
    await t.test(`${packet} is answered with ${answer.source}`, async () => {
      const socket = await openSession(t, gateway);
      socket.send(packet);
      assert.match(await socket.take("answer", () => true), answer);
    });
  }

  await t.test("a refused namespace leaves the connection open", async () => {
    const socket = await openSession(t, gateway);
    socket.send("40/nope,");
    await socket.take("refusal", (frame) => frame.startsWith("44/nope,"));
    socket.send("40");
    await socket.take("CONNECT", (frame) => frame.startsWith("40{"));
  });

  await t.test("a namespace that was left can be joined again (2.5)", async () => {
    const socket = await connectWebSocket(t, gateway);
    socket.send("41", "40/custom,");
    await socket.take("CONNECT", (frame) => frame.startsWith("40/custom,"));
    socket.send("40");
    await socket.take("CONNECT", (frame) => frame.startsWith("40{"));
    socket.send('427["join","room"]');
    await socket.take("ack", (frame) => frame.startsWith('437[{"ok":true'));
  });
});

test("a connection that joins nothing is closed, refused namespaces or not (2.2)", async (t) => {
  const gateway = await startGateway(t, { config: `[engine]\nconnect_timeout_ms = 6000\n${CONFIG}` });
  const idle = await openSession(t, gateway);
  const refused = await openSession(t, gateway);
  refused.send("40/nope,");
  const polling = (await openPolling(gateway)).poll();
  const stays = await connectWebSocket(t, gateway);
  assert.equal(await idle.closed(), 1005);
  assert.equal(await refused.closed(), 1005);
  assert.deepEqual(await polling, ["1"]);
  assert.ok(stays.isOpen());
});

test("invalid input closes the connection (2.4)", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const rows = [
    ["a second CONNECT", ["40"]],
    ["CONNECT_ERROR from a client", ['44{"message":"x"}']],
    ["an event in a namespace that was not joined", ['42/custom,["join","room"]']],
    ["an unknown type", ["49"]],
    ["another unknown type", ["47[]"]],
    ["an empty message", ["4"]],
    ["an event that is an object", ["42{}"]],
    ["an event without a name", ["42[]"]],
    ["an event whose name is an object", ["42[{}]"]],
    ["an event whose name is null", ["42[null]"]],
    ["bad JSON", ['42["join"']],
    ["JSON and more", ['42["join"]x']],
    ["a reserved event name", ['42["disconnect"]']],
    ["another reserved event name", ['42["newListener",1]']],
    ["DISCONNECT with a payload", ['41{"a":1}']],
    ["CONNECT with a list", ["40/custom,[1]"]],
    ["CONNECT with a text", ['40/custom,"a"']],
    ["an ack that is an object", ["430{}"]],
    ["binary without a header", [Buffer.from([1])]],
    ["text between attachments", [`451-["join",${placeholder(0)}]`, '42["join","room"]']],
    ["11 attachments", [`4511-["publish","room","x"]`]],
    ["a binary event without a dash", [`451["publish","room","x",${placeholder(0)}]`]],
    ["a binary event without attachments", ['450-["publish","room","x"]']],
    ["an attachment that is not there", [`451-["publish","room","x",${placeholder(1)}]`, Buffer.from([1])]],
  ];
  for (const [what, frames] of rows) {
    await t.test(what, async () => {
      const socket = await connectWebSocket(t, gateway);
      socket.send(...frames);
      assert.equal(await socket.closed(), 1005);
    });
  }

  await t.test("an event before CONNECT", async () => {
    const socket = await openSession(t, gateway);
    socket.send('42["join","room"]');
    assert.equal(await socket.closed(), 1005);
  });

  for (const packet of ['42["join","room"]', "430[]", "41"]) {
    await t.test(`${packet} after the namespace was left`, async () => {
      const socket = await connectWebSocket(t, gateway);
      socket.send("41", "40/custom,");
      await socket.take("CONNECT", (frame) => frame.startsWith("40/custom,"));
      socket.send(packet);
      assert.equal(await socket.closed(), 1005);
    });
  }

  await t.test("on polling too", async () => {
    const session = await openPolling(gateway);
    await session.connect();
    const { poll } = await session.beginPoll();
    await session.push("42[]");
    assert.deepEqual(await poll, ["1"]);
    assert.ok(await session.isGone());
  });
});

test("odd input that is no fault (2.1, 2.4)", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const rows = [
    ["a numeric event name", ["42[1,2]"]],
    ["an event without a payload", ["42"]],
    ["an ack that nobody waits for", ["4399[]"]],
    ["an ack without an id", ["43[1]"]],
    ["an event that nobody knows", ['42["unknown",{"a":[1]}]']],
    ["an empty text and a null", ['42["",null]']],
    ["white space in the JSON", ['42 [ "unknown" , 1 ]']],
  ];
  for (const [what, frames] of rows) {
    await t.test(what, async () => {
      const socket = await connectWebSocket(t, gateway);
      socket.send(...frames, '427["join","room"]');
      await socket.take("ack", (frame) => frame.startsWith('437[{"ok":true'));
      assert.ok(socket.isOpen());
    });
  }
});

test("acks carry the id and the namespace of the event (2.3)", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const socket = await connectWebSocket(t, gateway);
  socket.send("40/custom,");
  await socket.take("CONNECT", (frame) => frame.startsWith("40/custom,"));
  for (const [event, ack] of [
    ['420["join","a"]', '430[{"ok":true'],
    ['42123456789["join","a"]', '43123456789[{"ok":true'],
    ['42/custom,7["join","a"]', '43/custom,7[{"ok":true'],
    ['427["nothing"]', '437[{"ok":false'],
  ]) {
    socket.send(event);
    const frame = await socket.take("ack", () => true);
    assert.ok(frame.startsWith(ack), frame);
    assert.equal(JSON.parse(frame.slice(frame.indexOf("["))).length, 1);
  }
});

test("binary events on both transports (1.5, 2.1)", async (t) => {
  const gateway = await startGateway(t, { config: CONFIG });
  const reader = await connectWebSocket(t, gateway);
  const polling = await openPolling(gateway);
  await polling.connect();
  for (const send of [(packet) => reader.send(packet), (packet) => polling.push(packet)]) await send('420["join","room"]');
  await reader.take("ack", (frame) => frame.startsWith("430"));
  await polling.poll();

  const event = `["publish","room","file",${placeholder(0)},{"deep":[${placeholder(1)}]}]`;
  const forwarded = `452-["file",${placeholder(0)},{"deep":[${placeholder(1)}]}]`;
  const attachments = [Buffer.from([1, 2, 3, 4]), Buffer.from("€")];
  const base64 = attachments.map((bytes) => `b${bytes.toString("base64")}`);
  const writer = await connectWebSocket(t, gateway);
  const senders = {
    "binary frames": () => writer.send(`452-${event}`, ...attachments),
    "base64 in text frames": () => writer.send(`452-${event}`, ...base64),
  };
  for (const [what, send] of Object.entries(senders)) {
    await t.test(what, async () => {
      send();
      assert.equal(await reader.take("header", (frame) => typeof frame === "string"), forwarded);
      for (const bytes of attachments) assert.deepEqual(await reader.take("attachment", Buffer.isBuffer), bytes);
      assert.deepEqual(await polling.poll(), [forwarded, ...base64]);
    });
  }

  await t.test("base64 in a poll body, over several bodies", async () => {
    const poster = await openPolling(gateway);
    await poster.connect();
    await poster.push(`452-${event}`, base64[0]);
    await poster.push(base64[1]);
    assert.equal(await reader.take("header", (frame) => typeof frame === "string"), forwarded);
    for (const bytes of attachments) assert.deepEqual(await reader.take("attachment", Buffer.isBuffer), bytes);
    assert.deepEqual(await polling.poll(), [forwarded, ...base64]);
  });
});
