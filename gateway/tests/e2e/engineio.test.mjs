// Engine.IO on the wire, row by row of wire.md 1.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { test } from "node:test";

import { until } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";
import { http, openPolling, openWebSocket, refusedUpgrade } from "./support/raw.mjs";

const ERRORS = [
  [0, "Transport unknown"],
  [1, "Session ID unknown"],
  [2, "Bad handshake method"],
  [3, "Bad request"],
  [4, "Forbidden"],
  [5, "Unsupported protocol version"],
].map(([code, message]) => ({ code, message }));

function assertError(response, code) {
  assert.equal(response.status, code === 4 ? 403 : 400);
  assert.match(response.headers["content-type"], /^application\/json/);
  assert.deepEqual(JSON.parse(response.body), ERRORS[code]);
}

test("requests that are refused, in the order of the checks (1.3)", async (t) => {
  const gateway = await startGateway(t);
  const { handshake } = await openPolling(gateway);
  const { sid } = handshake;
  const rows = [
    ["GET", "", 0],
    ["GET", "EIO=4", 0],
    ["GET", "EIO=4&transport=tcp", 0],
    ["GET", "EIO=4&transport=webtransport", 0],
    ["GET", "EIO=4&transport=Polling", 0],
    ["POST", "EIO=3&transport=tcp", 0],
    ["GET", "EIO=4&transport=polling&transport=tcp", 0],
    ["GET", "EIO=4&transport=polling&sid=unknown", 1],
    ["GET", "EIO=4&transport=polling&sid=abcdefghijklmnopqrst", 1],
    ["GET", "EIO=3&transport=polling&sid=unknown", 1],
    ["POST", "EIO=4&transport=polling&sid=unknown", 1],
    ["GET", `EIO=4&transport=websocket&sid=${sid}`, 3],
    ["POST", "EIO=4&transport=polling", 2],
    ["PUT", "EIO=4&transport=polling", 2],
    ["DELETE", "EIO=3&transport=polling", 2],
    ["GET", "EIO=4&transport=websocket", 3],
    ["GET", "EIO=3&transport=polling", 5],
    ["GET", "EIO=5&transport=polling", 5],
    ["GET", "transport=polling", 5],
    ["GET", "EIO=4&EIO=3&transport=polling", 5],
  ];
  for (const [method, query, code] of rows) {
    await t.test(`${method} ?${query.replace(sid, "SID")}: ${ERRORS[code].message}`, async () => {
      assertError(await http(method, `${gateway.url}/socket.io/?${query}`), code);
    });
  }
});

test("upgrade requests that are refused (1.3)", async (t) => {
  const gateway = await startGateway(t);
  const rows = [
    ["EIO=4&transport=tcp", 0],
    ["EIO=4&transport=websocket&sid=unknown", 1],
    ["EIO=3&transport=websocket", 5],
    ["transport=websocket", 5],
  ];
  for (const [query, code] of rows) {
    await t.test(`?${query}: ${ERRORS[code].message}`, async () => {
      const { status, body } = await refusedUpgrade(t, gateway, `/socket.io/?${query}`);
      assert.equal(status, 400);
      assert.equal(body, ERRORS[code].message);
    });
  }

  await t.test("transport=polling on an upgrade is closed at once", async () => {
    const socket = openWebSocket(t, gateway, "/socket.io/?EIO=4&transport=polling");
    assert.ok([1005, 1006].includes(await socket.closed()));
    assert.deepEqual(socket.frames, []);
  });
});

test("paths and queries (1.2)", async (t) => {
  const gateway = await startGateway(t);
  const rows = [
    ["/socket.io/?EIO=4&transport=polling", 200],
    ["/socket.io/anything?EIO=4&transport=polling", 200],
    ["/socket.io/?EIO=3&EIO=4&transport=tcp&transport=polling&t=x&b64=1&other=%E2%82%AC+%zz", 200],
    ["/socket.io?EIO=4&transport=polling", 404],
    ["/engine.io/?EIO=4&transport=polling", 404],
    ["/nothing", 404],
  ];
  for (const [path, status] of rows) {
    await t.test(`${path}: ${status}`, async () => assert.equal((await http("GET", gateway.url + path)).status, status));
  }
});

test("the handshake (1.4)", async (t) => {
  const gateway = await startGateway(t);
  const { response, handshake } = await openPolling(gateway);
  assert.equal(response.headers["content-type"], "text/plain; charset=UTF-8");
  assert.equal(response.headers["cache-control"], "no-store");
  assert.deepEqual(Object.keys(handshake), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
  assert.match(handshake.sid, /^[A-Za-z0-9_-]{20}$/);
  const defaults = { upgrades: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 };
  assert.deepEqual(handshake, { sid: handshake.sid, ...defaults });

  const socket = openWebSocket(t, gateway);
  const open = JSON.parse((await socket.take("open", () => true)).slice(1));
  assert.deepEqual(open, { sid: open.sid, ...defaults, upgrades: [] });
  assert.notEqual(open.sid, handshake.sid);
});

test("a transport that is off is unknown, and not offered", async (t) => {
  const polling = await startGateway(t, { config: `[engine]\ntransports = ["polling"]\n` });
  assert.deepEqual((await openPolling(polling)).handshake.upgrades, []);
  const refused = await refusedUpgrade(t, polling, "/socket.io/?EIO=4&transport=websocket");
  assert.deepEqual(refused, { status: 400, body: "Transport unknown" });
  const webSocket = await startGateway(t, { config: `[engine]\ntransports = ["websocket"]\n` });
  assertError(await http("GET", `${webSocket.url}/socket.io/?EIO=4&transport=polling`), 0);
});

test("polling (1.6)", async (t) => {
  const gateway = await startGateway(t, { config: `[engine]\nmax_payload_bytes = 10000\n${OPEN_ROOMS()}` });

  await t.test("a push is answered with ok", async () => {
    const session = await openPolling(gateway);
    const response = await session.post("40");
    assert.equal(response.status, 200);
    assert.equal(response.headers["content-type"], "text/html");
    assert.equal(response.headers["content-length"], "2");
    assert.equal(response.body.toString(), "ok");
  });

  await t.test("one poll takes all that waits", async () => {
    const session = await openPolling(gateway);
    const id = await session.connect();
    const events = ["first", "second", "third"];
    for (const event of events) await gateway.publish({ rooms: [id], event });
    assert.deepEqual(await session.poll(), events.map((event) => `42["${event}"]`));
  });

  await t.test("a second poll ends the session", async () => {
    const session = await openPolling(gateway);
    await session.connect();
    const first = session.get();
    // Which of the two is second is for the node to say, so both are looked at together.
    const second = session.get();
    const answers = (await Promise.all([first, second])).map(({ status, body }) => [status, body.toString()]);
    assert.deepEqual(answers.sort(), [[200, "1"], [400, ""]]);
    assert.ok(await session.isGone());
  });

  await t.test("a client that drops its poll ends the session", async () => {
    const session = await openPolling(gateway);
    await session.connect();
    const poll = request(session.url, { agent: false });
    poll.on("error", () => {});
    poll.end();
    const [connection] = await once(poll, "socket");
    await once(connection, "connect");
    // The node has the request before it sees the end of the connection: TCP keeps the order.
    await until("the request is sent", () => poll.writableFinished && connection.bytesWritten > 0);
    poll.destroy();
    await until("the session is gone", async () => (await session.post("3")).status === 400);
    assert.ok(await session.isGone());
  });

  await t.test("a body over the limit is 413, and the session lives on", async () => {
    const session = await openPolling(gateway);
    const response = await session.post(`42${JSON.stringify(["x".repeat(10_000)])}`);
    assert.equal(response.status, 413);
    assert.equal(response.body.length, 0);
    await session.connect();
    await session.push('420["join","a"]');
    assert.match((await session.poll())[0], /^430\[\{"ok":true/);
  });

  await t.test("binary bodies are of the older revision: refused, and the session ends", async () => {
    const session = await openPolling(gateway);
    const response = await session.post("40", { "content-type": "application/octet-stream" });
    assert.equal(response.status, 400);
    assert.equal(response.body.length, 0);
    assert.ok(await session.isGone());
  });

  for (const body of ["", "7", "x", "abc", "\x1e"]) {
    await t.test(`the undecodable body ${JSON.stringify(body)} is ok, and the session ends`, async () => {
      const session = await openPolling(gateway);
      await session.push(body);
      assert.ok(await session.isGone());
    });
  }

  await t.test("packets before a bad one count", async () => {
    const session = await openPolling(gateway);
    const id = await session.connect();
    const watcher = await openPolling(gateway);
    await watcher.connect();
    await watcher.push('420["join","room"]');
    await watcher.poll();
    assert.equal(id.length, 20);
    await session.push('42["publish","room","said",1]', "7", '42["publish","room","said",2]');
    assert.deepEqual(await watcher.poll(), ['42["said",1]']);
    assert.ok(await session.isGone());
    await gateway.publish({ rooms: ["room"], event: "fence" });
    assert.deepEqual(await watcher.poll(), ['42["fence"]']);
  });

  await t.test("a close packet answers the poll with a noop and ends the session", async () => {
    const session = await openPolling(gateway);
    await session.connect();
    const { poll } = await session.beginPoll();
    await session.push("1");
    assert.deepEqual(await poll, ["6"]);
    assert.ok(await session.isGone());
  });

  for (const method of ["PUT", "DELETE", "PATCH"]) {
    await t.test(`${method} on a session is 500, and the session lives on`, async () => {
      const session = await openPolling(gateway);
      const response = await http(method, session.url);
      assert.equal(response.status, 500);
      assert.equal(response.body.length, 0);
      await session.connect();
    });
  }

  await t.test("open, upgrade and noop packets, and a stray pong, are ignored (1.10)", async () => {
    const session = await openPolling(gateway);
    await session.push("0", "5", "6", "3", "3probe");
    await session.connect();
  });

  await t.test("a ping of the client ends the session (1.9)", async () => {
    const session = await openPolling(gateway);
    await session.connect();
    await session.push("2");
    await until("the session is gone", () => session.isGone());
  });
});

test("CORS (1.12)", async (t) => {
  const gateway = await startGateway(t);
  const url = `${gateway.url}/socket.io/?EIO=4&transport=polling`;
  const origin = { origin: "http://app.test" };

  const preflight = await http("OPTIONS", url, {
    headers: { ...origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-mine" },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers["access-control-allow-origin"], "*");
  assert.match(preflight.headers["access-control-allow-methods"], /POST/);
  assert.equal(preflight.headers["access-control-allow-headers"], "content-type,x-mine");

  for (const query of ["", "&sid=unknown"]) {
    const response = await http("GET", url + query, { headers: origin });
    assert.equal(response.headers["access-control-allow-origin"], "*", `answer to ${query}`);
  }
});

test("WebSocket (1.7, 1.9, 1.10)", async (t) => {
  const gateway = await startGateway(t, {
    config: `[engine]\nmax_payload_bytes = 10000\nping_interval_ms = 25000\n${OPEN_ROOMS()}`,
  });
  const rows = [
    ["a message over the limit", "4".padEnd(10_001, "x"), 1009],
    ["a binary message over the limit", Buffer.alloc(10_001), 1009],
    ["a packet of no known type", "7", 1005],
    ["an empty packet", "", 1005],
    ["a ping of the client", "2", 1005],
    ["a probe outside of an upgrade", "2probe", 1005],
  ];
  for (const [what, frame, code] of rows) {
    await t.test(`${what} closes with ${code}`, async () => {
      const socket = openWebSocket(t, gateway);
      await socket.take("open", (packet) => packet.startsWith("0{"));
      socket.send(frame);
      assert.equal(await socket.closed(), code);
    });
  }

  await t.test("open, upgrade and noop packets, and a stray pong, are ignored", async () => {
    const socket = openWebSocket(t, gateway);
    socket.opened().then(() => socket.send("0", "5", "6", "3", "3probe", "40"));
    await socket.take("CONNECT", (packet) => packet.startsWith("40{"));
  });

  await t.test("no compression and no subprotocol is agreed on", async () => {
    const socket = openWebSocket(t, gateway, undefined, { perMessageDeflate: true });
    await socket.opened();
    assert.equal(socket.extensions(), "");
    assert.equal(socket.protocol(), "");
  });
});

test("upgrade (1.8)", async (t) => {
  const gateway = await startGateway(t, { config: OPEN_ROOMS() });
  const started = async (node = gateway) => {
    const session = await openPolling(node);
    await session.connect();
    const socket = openWebSocket(t, node, session.webSocketPath);
    await socket.opened();
    return { session, socket };
  };
  const isAlive = async (session) => {
    await session.push('427["join","alive"]');
    assert.match((await session.poll()).join(), /437\[\{"ok":true/);
  };

  await t.test("probe, release of the poll, switch", async () => {
    const { session, socket } = await started();
    const poll = session.poll();
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
    assert.deepEqual(await poll, ["6"]);
    socket.send("5", '420["join","room"]');
    await socket.take("ack", (frame) => frame.startsWith('430[{"ok":true'));
    assertError(await session.get(), 3);
    assertError(await session.post("3"), 3);
  });

  await t.test("a second WebSocket of an upgraded session is closed at once", async () => {
    const { session, socket } = await started();
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
    socket.send("5", '420["join","room"]');
    await socket.take("ack", (frame) => frame.startsWith("430"));
    const second = openWebSocket(t, gateway, session.webSocketPath);
    assert.ok([1005, 1006].includes(await second.closed()));
    socket.send('421["join","room"]');
    await socket.take("ack", (frame) => frame.startsWith("431"));
  });

  await t.test("what is sent between probe and switch goes by the poll, then by the WebSocket", async () => {
    const { session, socket } = await started();
    await session.push('420["join","during"]');
    await session.poll();
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
    await gateway.publish({ rooms: ["during"], event: "first" });
    const polled = [];
    await until("the message is polled", async () => {
      polled.push(...(await session.poll()));
      return polled.includes('42["first"]');
    });
    await gateway.publish({ rooms: ["during"], event: "second" });
    socket.send("5");
    await socket.take("the next message", (frame) => frame === '42["second"]');
  });

  await t.test("the switch without a probe is accepted", async () => {
    const { socket } = await started();
    socket.send("5", '420["join","room"]');
    await socket.take("ack", (frame) => frame.startsWith("430"));
  });

  await t.test("any other packet closes the WebSocket only", async () => {
    const { session, socket } = await started();
    socket.send('420["join","room"]');
    await socket.closed();
    await isAlive(session);
  });

  await t.test("a WebSocket that is dropped leaves the session polling", async () => {
    const { session, socket } = await started();
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
    socket.terminate();
    await isAlive(session);
  });

  await t.test("an upgrade that is never finished leaves the session polling", async () => {
    const impatient = await startGateway(t, { config: `[engine]\nupgrade_timeout_ms = 6000\n${OPEN_ROOMS()}` });
    const { session, socket } = await started(impatient);
    socket.send("2probe");
    await socket.take("3probe", (frame) => frame === "3probe");
    await socket.closed();
    await isAlive(session);
  });
});

test("heartbeat (1.9)", async (t) => {
  const gateway = await startGateway(t, {
    config: `[engine]\nping_interval_ms = 200\nping_timeout_ms = 6000\n${OPEN_ROOMS()}`,
  });

  await t.test("a WebSocket client that answers stays, one that does not is closed", async () => {
    const answering = openWebSocket(t, gateway);
    const silent = openWebSocket(t, gateway);
    for (let pings = 0; pings < 5; pings += 1) {
      await answering.take("ping", (frame) => frame === "2");
      answering.send("3");
    }
    assert.equal(await silent.closed(), 1005);
    assert.equal(silent.frames.filter((frame) => frame === "2").length, 1);
    assert.ok(answering.isOpen());
  });

  await t.test("a polling client that answers stays, one that does not is closed", async () => {
    const answering = await openPolling(gateway);
    for (let pings = 0; pings < 5; pings += 1) {
      assert.deepEqual(await answering.poll(), ["2"]);
      await answering.push("3");
    }
    const silent = await openPolling(gateway);
    assert.deepEqual(await silent.poll(), ["2"]);
    assert.deepEqual(await silent.poll(), ["1"]);
    assert.ok(await silent.isGone());
  });
});
