// Real clients over https and wss.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startTcpBalancer } from "./support/balancer.mjs";
import { TRANSPORT_MODES, askOk, connect, member, numbers, receive, received } from "./support/clients.mjs";
import { issueCertificate } from "./support/certificates.mjs";
import { until } from "./support/conditions.mjs";
import { OPEN_ROOMS, broadgate, startGateway } from "./support/gateway.mjs";
import { startRedis } from "./support/redis.mjs";

const LARGE = `[engine]\nmax_payload_bytes = 8000000\n[limits]\nmax_received_bytes_per_second = 0\n${OPEN_ROOMS()}`;

for (const { mode, options, settled } of TRANSPORT_MODES) {
  test(`${mode}: messages of every size in both directions over TLS`, async (t) => {
    const tls = await issueCertificate(t);
    const gateway = await startGateway(t, { tls, config: LARGE });
    const [writer, reader] = [
      await connect(t, gateway, { ...options, ca: tls.ca }),
      await member(t, gateway, "room", { ...options, ca: tls.ca }),
    ];
    for (const socket of [writer, reader]) {
      await until(`it is on ${settled}`, () => socket.io.engine.transport.name === settled);
    }
    const sizes = [1, 16_384, 70_000, 1_500_000];
    for (const size of sizes) {
      await askOk(writer, "publish", "room", "text", "x".repeat(size));
      await askOk(writer, "publish", "room", "bytes", Buffer.alloc(size, 7));
    }
    const texts = await receive(reader, "text", sizes.length);
    const bytes = await receive(reader, "bytes", sizes.length);
    assert.deepEqual(texts.map(([text]) => text.length), sizes);
    assert.deepEqual(bytes.map(([data]) => data.equals(Buffer.alloc(data.length, 7)) && data.length), sizes);
    for (const number of numbers(500)) writer.emit("publish", "room", "number", number);
    assert.deepEqual((await receive(reader, "number", 500)).map(([number]) => number), numbers(500));
  });
}

test("members of one room with and without TLS, on two nodes; the ops listener stays plain", async (t) => {
  const redis = await startRedis(t);
  const tls = await issueCertificate(t);
  const [secure, plain] = [await startGateway(t, { redis, tls }), await startGateway(t, { redis })];
  const members = [
    await member(t, secure, "room", { ca: tls.ca }),
    await member(t, secure, "room", { ca: tls.ca, transports: ["polling"] }),
    await member(t, plain, "room"),
  ];
  for (const gateway of [secure, plain]) {
    for (const number of numbers(50)) await gateway.publish({ rooms: ["room"], event: `by ${gateway.port}`, data: number });
  }
  for (const socket of members) {
    for (const gateway of [secure, plain]) {
      const got = await receive(socket, `by ${gateway.port}`, 50);
      assert.deepEqual(got.map(([number]) => number), numbers(50));
    }
  }
  await broadgate("healthcheck", "--ops", secure.opsUrl);
});

test("sessions move between nodes behind a balancer that passes TLS through", async (t) => {
  const redis = await startRedis(t);
  const tls = await issueCertificate(t);
  const nodes = await Promise.all([1, 2, 3].map(() => startGateway(t, { redis, tls })));
  const { port } = await startTcpBalancer(t, nodes);
  const url = `https://127.0.0.1:${port}`;
  const moves = async () => {
    const counts = await Promise.all(nodes.map((node) => node.metric("broadgate_sessions_moved_total", { direction: "in" })));
    return counts.reduce((sum, count) => sum + count);
  };
  const sockets = [];
  // Which connection goes to which node is a matter of turns: sooner or later an upgrade is not where its session is.
  await until("a session has moved", async () => {
    const socket = await member(t, { url }, "room", { ca: tls.ca, transports: ["polling", "websocket"] });
    sockets.push(socket);
    await until("it is on websocket", () => socket.io.engine.transport.name === "websocket");
    return (await moves()) > 0;
  });
  for (const node of nodes) await node.publish({ rooms: ["room"], event: "said", data: "x".repeat(70_000) });
  for (const socket of sockets) {
    const lengths = (await receive(socket, "said", 3)).map(([text]) => text.length);
    assert.deepEqual(lengths, [70_000, 70_000, 70_000]);
    await askOk(socket, "leave", "room");
  }
});

test("a new certificate is used while clients stay connected", async (t) => {
  const tls = await issueCertificate(t);
  const gateway = await startGateway(t, { tls });
  const socket = await member(t, gateway, "room", { ca: tls.ca });
  const { id } = socket;
  await tls.renew();
  await until("it is in use", async () => (await gateway.metric("broadgate_tls_reloads_total", { result: "ok" })) === 1);
  const other = await connect(t, gateway, { ca: tls.ca });
  await askOk(other, "publish", "room", "after", 1);
  await receive(socket, "after");
  assert.equal(socket.id, id);
  assert.equal(received(socket, "after").length, 1);
});
