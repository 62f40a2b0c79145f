// A session whose requests arrive at any node, request by request: `owner` made it, `other` and `third` are asked. What
// the client sees is what it sees where the owner is asked (engineio.test.mjs).

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { test } from "node:test";

import { numbers } from "./support/clients.mjs";
import { until } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";
import { http, openPolling, openWebSocket } from "./support/raw.mjs";
import { startRedis } from "./support/redis.mjs";

async function startNodes(t, engine = "") {
  const redis = await startRedis(t);
  const config = `[engine]\n${engine}\n${OPEN_ROOMS()}`;
  const [owner, other, third] = await Promise.all(numbers(3).map(() => startGateway(t, { redis, config })));
  return { redis, owner, other, third };
}

/** Polls at the nodes in turn until `count` packets are there. */
async function pollAll(session, nodes, count) {
  const packets = [];
  for (let turn = 0; packets.length < count; turn += 1) {
    packets.push(...(await session.via(nodes[turn % nodes.length]).poll()));
  }
  return packets;
}

async function assertGone(session, ...nodes) {
  for (const node of nodes) await until("the session is gone", () => session.via(node).isGone());
}

async function assertAlive(session, ...nodes) {
  for (const node of nodes) {
    await session.via(node).push('427["join","alive"]');
    // Before it there may be a packet that only lets the poll go.
    let packets = "";
    await until("it is answered", async () => {
      packets += (await session.via(node).poll()).join();
      return /437\[\{"ok":true/.test(packets);
    });
  }
}

test("polling", async (t) => {
  const { owner, other, third } = await startNodes(
    t,
    'max_payload_bytes = 300000\nallowed_origins = ["http://app.test"]',
  );
  const nodes = [owner, other, third];
  const watch = async (room) => {
    const watcher = await openPolling(owner);
    await watcher.connect();
    await watcher.push(`420["join","${room}"]`);
    await watcher.poll();
    return watcher;
  };

  await t.test("each request at another node", async () => {
    const session = await openPolling(owner);
    await session.via(other).push("40");
    assert.match((await session.via(third).poll())[0], /^40\{"sid":"/);
    await session.push('420["join","a"]');
    assert.match((await session.via(other).poll())[0], /^430\[\{"ok":true/);
    await session.via(third).push('421["leave","a"]');
    assert.match((await session.poll())[0], /^431\[\{"ok":true/);
  });

  await t.test("answers look the same as the owner's", async () => {
    const session = await openPolling(owner);
    const headers = ({ status, headers: { date, ...rest } }) => ({ status, ...rest });
    const pushed = [await session.post("40"), await session.via(other).post('420["join","a"]')];
    assert.deepEqual(headers(pushed[1]), headers(pushed[0]));
    await session.poll();
    const polled = [];
    for (const node of [owner, other]) {
      await owner.publish({ room: "a", event: "said", args: ["x".repeat(2000)] });
      polled.push(await session.via(node).get({ "accept-encoding": "gzip", origin: "http://app.test" }));
    }
    assert.equal(polled[0].headers["content-encoding"], "gzip");
    assert.deepEqual(headers(polled[1]), headers(polled[0]));
    assert.deepEqual(polled[1].body, polled[0].body);
  });

  await t.test("a poll held at one node gets what a push at another causes", async () => {
    const session = await openPolling(owner);
    await session.connect();
    const poll = session.via(other).poll();
    await session.via(third).push('420["join","a"]');
    assert.match((await poll)[0], /^430\[\{"ok":true/);
    const held = session.via(third).poll();
    await other.publish({ room: "a", event: "said", args: [1] });
    assert.deepEqual(await held, ['42["said",1]']);
  });

  await t.test("pushes keep their order, within one and from one to the next", async () => {
    const watcher = await watch("pushes");
    const session = await openPolling(owner);
    await session.via(other).connect();
    for (const lot of numbers(40)) {
      const packets = numbers(5, lot * 5).map((index) => `42["publish","pushes","count",${index}]`);
      await session.via(nodes[lot % 3]).push(...packets);
    }
    const packets = await pollAll(watcher, nodes, 200);
    assert.deepEqual(packets, numbers(200).map((index) => `42["count",${index}]`));
  });

  await t.test("polls keep the order of what is published at any node", async () => {
    const session = await openPolling(owner);
    await session.via(other).connect();
    await session.via(third).push('420["join","polls"]');
    await session.via(other).poll();
    const polled = pollAll(session, nodes, 300);
    for (const index of numbers(300)) await third.publish({ room: "polls", event: "count", args: [index] });
    assert.deepEqual(await polled, numbers(300).map((index) => `42["count",${index}]`));
  });

  await t.test("bodies as large as the limit, both ways; larger ones are 413, and the session lives on", async () => {
    const session = await openPolling(owner);
    await session.via(other).connect();
    const watcher = await watch("large");
    const packet = (text) => `42["publish","large","said","${text}"]`;
    const text = "x".repeat(300_000 - packet("").length);
    await session.via(third).push(packet(text));
    assert.deepEqual(await watcher.via(other).poll(), [`42["said","${text}"]`]);
    const response = await session.via(other).post(packet(`${text}x`));
    assert.equal(response.status, 413);
    assert.equal(response.body.length, 0);
    await assertAlive(session, other, third, owner);
  });

  await t.test("binary both ways", async () => {
    const session = await openPolling(owner);
    await session.via(other).connect();
    const watcher = await watch("binary");
    await session.via(third).push('451-["publish","binary","file",{"_placeholder":true,"num":0}]', "bAP8eHw==");
    const packets = await pollAll(watcher, [other], 2);
    assert.deepEqual(packets, ['451-["file",{"_placeholder":true,"num":0}]', "bAP8eHw=="]);
  });

  await t.test("a second poll ends the session, wherever both are", async () => {
    const session = await openPolling(owner);
    await session.connect();
    const answers = await Promise.all([session.via(other).get(), session.via(third).get()]);
    const seen = answers.map(({ status, body }) => [status, body.toString()]);
    assert.deepEqual(seen.sort(), [[200, "1"], [400, ""]]);
    await assertGone(session, ...nodes);
  });

  await t.test("a client that drops its poll ends the session", async () => {
    const session = await openPolling(owner);
    await session.connect();
    const poll = request(session.via(other).url, { agent: false });
    poll.on("error", () => {});
    poll.end();
    const [connection] = await once(poll, "socket");
    await once(connection, "connect");
    await until("the request is sent", () => poll.writableFinished && connection.bytesWritten > 0);
    poll.destroy();
    await assertGone(session, third, other, owner);
  });

  await t.test("a close packet answers the poll with a noop and ends the session", async () => {
    const session = await openPolling(owner);
    await session.connect();
    const received = () => owner.metric("broadgate_cluster_node_messages_total", { result: "received" });
    const before = await received();
    const poll = session.via(other).poll();
    poll.catch(() => {});
    await until("the owner has the poll", async () => (await received()) > before);
    await session.via(third).push("1");
    assert.deepEqual(await poll, ["6"]);
    await assertGone(session, ...nodes);
  });

  await t.test("what is undecodable is ok, and ends the session", async () => {
    const session = await openPolling(owner);
    await session.connect();
    await session.via(other).push("7");
    await assertGone(session, ...nodes);
  });

  await t.test("other methods are 500, and the session lives on", async () => {
    const session = await openPolling(owner);
    assert.equal((await http("PUT", session.via(other).url)).status, 500);
    await session.via(other).connect();
  });
});

test("heartbeat", async (t) => {
  const { owner, other, third } = await startNodes(t, "ping_interval_ms = 200\nping_timeout_ms = 6000");
  const nodes = [owner, other, third];

  await t.test("a client that answers at any node stays", async () => {
    const session = await openPolling(owner);
    for (const ping of numbers(6)) {
      assert.deepEqual(await session.via(nodes[ping % 3]).poll(), ["2"]);
      await session.via(nodes[(ping + 1) % 3]).push("3");
    }
  });

  await t.test("one that does not is closed", async () => {
    const session = await openPolling(owner);
    assert.deepEqual(await session.via(other).poll(), ["2"]);
    assert.deepEqual(await session.via(third).poll(), ["1"]);
    await assertGone(session, ...nodes);
  });

  await t.test("a session that moved is pinged where it is now", async () => {
    const session = await openPolling(owner);
    const socket = openWebSocket(t, other, session.webSocketPath);
    await socket.opened();
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
    socket.send("5");
    for (const _ping of numbers(5)) {
      await socket.take("ping", (frame) => frame === "2");
      socket.send("3");
    }
    assert.ok(socket.isOpen());
    assert.equal(await socket.closed(), 1005, "without a pong");
  });
});

test("an upgrade at another node", async (t) => {
  const nodes = await startNodes(t);
  const { owner, other, third } = nodes;
  const started = async ({ owner, other } = nodes) => {
    const session = await openPolling(owner);
    const id = await session.connect();
    const socket = openWebSocket(t, other, session.webSocketPath);
    await socket.opened();
    return { session, id, socket };
  };
  const probe = async (socket) => {
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
  };
  const asked = async (socket, id, ...args) => {
    socket.send(`42${id}${JSON.stringify(args)}`);
    await socket.take(`ack ${id}`, (frame) => frame.startsWith(`43${id}[{"ok":true`));
  };

  await t.test("probe, release of a poll at a third node, switch", async () => {
    const { session, socket } = await started();
    const poll = session.via(third).poll();
    await probe(socket);
    assert.deepEqual(await poll, ["6"]);
    socket.send("5");
    await asked(socket, 1, "join", "room");
    await until("the owner has let it go", async () => (await owner.metric("broadgate_connections", { transport: "polling" })) === 0);
    for (const node of [owner, other, third]) {
      assert.equal((await session.via(node).get()).status, 400);
      assert.equal((await session.via(node).post("3")).status, 400);
    }
    await asked(socket, 2, "leave", "room");
  });

  await t.test("what waits for a poll, and all that comes meanwhile, goes by the WebSocket in order", async () => {
    const { session, socket } = await started();
    await session.push('420["join","waiting"]');
    await session.poll();
    const publish = (index) => third.publish({ room: "waiting", event: "count", args: [index] });
    for (const index of numbers(50)) await publish(index);
    await probe(socket);
    const rest = (async () => {
      for (const index of numbers(150, 50)) await publish(index);
    })();
    socket.send("5");
    await rest;
    await until("the last one", () => socket.frames.includes('42["count",199]'));
    const counts = socket.frames.filter((frame) => frame.startsWith('42["count"'));
    assert.deepEqual(counts, numbers(200).map((index) => `42["count",${index}]`));
  });

  await t.test("what the client sends before and after the switch is published in order", async () => {
    const watcher = await openPolling(third);
    await watcher.connect();
    await watcher.push('420["join","sent"]');
    await watcher.poll();
    const { session, socket } = await started();
    const packet = (index) => `42["publish","sent","count",${index}]`;
    await probe(socket);
    for (const index of numbers(10)) await session.via(third).push(packet(index));
    socket.send("5", ...numbers(90, 10).map(packet));
    const packets = await pollAll(watcher, [third, owner, other], 100);
    assert.deepEqual(packets, numbers(100).map((index) => `42["count",${index}]`));
  });

  await t.test("what was asked before it is answered after it", async () => {
    const { session, socket } = await started();
    await probe(socket);
    const joins = numbers(20).map((index) => `42${index}["join","asked ${index}"]`);
    await session.via(third).push(...joins.slice(0, 10));
    socket.send("5", ...joins.slice(10));
    for (const index of numbers(20)) {
      await socket.take(`ack ${index}`, (frame) => frame.startsWith(`43${index}[{"ok":true`));
      await owner.publish({ room: `asked ${index}`, event: "said", args: [index] });
      await socket.take(`message ${index}`, (frame) => frame === `42["said",${index}]`);
    }
  });

  await t.test("its id and its rooms are reached from every node, each message once", async () => {
    const { session, id, socket } = await started();
    await session.push('420["join","rooms"]');
    await session.poll();
    await probe(socket);
    socket.send("5");
    await asked(socket, 1, "join", "more");
    for (const [index, node] of [owner, other, third].entries()) {
      for (const room of [id, "rooms", "more"]) await node.publish({ room, event: `from ${index}`, args: [room] });
      await node.publish({ rooms: [id, "rooms", "more"], event: `from ${index}`, args: ["all"] });
    }
    await owner.publish({ room: id, event: "fence" });
    await other.publish({ room: id, event: "fence" });
    await third.publish({ room: id, event: "fence" });
    await until("the fences", () => socket.frames.filter((frame) => frame === '42["fence"]').length === 3);
    const messages = socket.frames.filter((frame) => frame.startsWith('42["from'));
    const expected = numbers(3).flatMap((index) => [id, "rooms", "more", "all"].map((room) => `42["from ${index}","${room}"]`));
    assert.deepEqual([...messages].sort(), expected.sort());
  });

  await t.test("a WebSocket that is dropped leaves the session polling at the owner", async () => {
    const { session, socket } = await started();
    await probe(socket);
    socket.terminate();
    await assertAlive(session, third, other, owner);
  });

  await t.test("an upgrade that is never finished leaves the session polling", async () => {
    const impatient = await startNodes(t, "upgrade_timeout_ms = 6000");
    const { session, socket } = await started(impatient);
    await probe(socket);
    await socket.closed();
    await assertAlive(session, impatient.third, impatient.owner);
  });

  await t.test("any other packet closes the WebSocket only", async () => {
    const { session, socket } = await started();
    socket.send('420["join","room"]');
    await socket.closed();
    await assertAlive(session, other, owner);
  });

  await t.test("a second WebSocket, at a third node, is closed at once", async () => {
    const { session, socket } = await started();
    await probe(socket);
    const second = openWebSocket(t, third, session.webSocketPath);
    assert.ok([1005, 1006].includes(await second.closed()));
    socket.send("5");
    await asked(socket, 1, "join", "room");
  });

  await t.test("a moved session that is closed is gone everywhere", async () => {
    const { session, id, socket } = await started();
    await probe(socket);
    socket.send("5");
    await asked(socket, 1, "join", "closing");
    socket.terminate();
    await until("no node has it", async () => {
      const { body } = await third.sockets("?room=closing");
      return body.complete && body.sockets.every((found) => found.id !== id);
    });
    for (const node of [owner, other, third]) assert.equal((await session.via(node).get()).status, 400);
  });

  await t.test("killed with the node it moved to, not with the one it came from", async () => {
    const redis = await startRedis(t);
    const [first, second] = await Promise.all(numbers(2).map(() => startGateway(t, { redis, config: OPEN_ROOMS() })));
    const session = await openPolling(first);
    const id = await session.connect();
    const socket = openWebSocket(t, second, session.webSocketPath);
    await socket.opened();
    await probe(socket);
    socket.send("5");
    await asked(socket, 1, "join", "room");
    await first.kill();
    await asked(socket, 2, "join", "another");
    await second.publish({ rooms: [id], event: "said" });
    await socket.take("message", (frame) => frame === '42["said"]');
  });
});
