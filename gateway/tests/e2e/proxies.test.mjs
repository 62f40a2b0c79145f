// The balancers that stand in front of the nodes in other tests: they must have no affinity, and must not hide what dies.

import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import { test } from "node:test";

import { startHttpBalancer, startTcpBalancer } from "./support/balancer.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { freePort } from "./support/processes.mjs";
import { openWebSocket } from "./support/raw.mjs";
import { WebSocketServer } from "ws";

/** A backend that answers with its name; `serve` to do something else. */
async function startBackend(t, name, serve = (_request, response) => response.end(name)) {
  const server = createServer(serve).listen(0, "127.0.0.1");
  await once(server, "listening");
  const webSockets = new WebSocketServer({ server });
  webSockets.on("connection", (socket) => socket.on("message", (data) => socket.send(`${name} ${data}`)));
  const stop = () => {
    server.closeAllConnections();
    webSockets.clients.forEach((client) => client.terminate());
    server.close();
  };
  atEnd(t, stop);
  return { name, port: server.address().port, stop };
}

const startBackends = (t, ...names) => Promise.all(names.map((name) => startBackend(t, name)));

/** One request; resolves to the body, or rejects when the connection breaks. */
async function get(url, options = {}) {
  const sent = request(url, { agent: false, ...options });
  sent.end(options.body);
  const [response] = await once(sent, "response");
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, body };
}

test("HTTP: each request of one connection goes to the next backend", async (t) => {
  const balancer = await startHttpBalancer(t, await startBackends(t, "a", "b", "c"));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  atEnd(t, () => agent.destroy());
  const answers = [];
  for (let index = 0; index < 6; index += 1) answers.push((await get(balancer.url, { agent })).body);
  assert.deepEqual(answers, ["a", "b", "c", "a", "b", "c"]);
  assert.deepEqual(Object.values(balancer.counts), [2, 2, 2]);
});

test("HTTP: WebSockets take their turn with the requests", async (t) => {
  const balancer = await startHttpBalancer(t, await startBackends(t, "a", "b"));
  assert.equal((await get(balancer.url)).body, "a");
  const socket = openWebSocket(t, balancer, "/?transport=websocket&sid=x");
  await socket.opened();
  socket.send("hi");
  await socket.take("answer", (frame) => frame.toString() === "b hi");
  assert.equal((await get(balancer.url)).body, "a");
  const [route] = balancer.routesOf("x");
  assert.deepEqual([route.transport, route.isUpgrade, route.backend.name], ["websocket", true, "b"]);
});

test("HTTP: who does not take connections is passed over, until it does again", async (t) => {
  const [first, second] = [await startBackend(t, "first"), { name: "second", port: await freePort() }];
  const balancer = await startHttpBalancer(t, [first, second]);
  for (let index = 0; index < 4; index += 1) assert.equal((await get(balancer.url)).body, "first");
  const server = createServer((_request, response) => response.end("second")).listen(second.port, "127.0.0.1");
  atEnd(t, () => server.close());
  await once(server, "listening");
  const answers = [(await get(balancer.url)).body, (await get(balancer.url)).body].sort();
  assert.deepEqual(answers, ["first", "second"]);
  first.stop();
  server.close();
  assert.equal((await get(balancer.url)).status, 503);
});

test("HTTP: bodies are streamed both ways, and may be steered", async (t) => {
  const echo = await startBackend(t, "echo", (incoming, response) => incoming.pipe(response));
  const balancer = await startHttpBalancer(t, [await startBackend(t, "a"), echo], {
    steer: ({ url }) => (url === "/echo" ? echo : undefined),
  });
  const sent = request(`${balancer.url}/echo`, { method: "POST" });
  for (const part of ["one ", "two "]) {
    sent.write(part);
    const response = sent.res ?? (await once(sent, "response"))[0];
    sent.res = response;
    assert.equal((await once(response, "data"))[0].toString(), part, "comes back before the next part is sent");
  }
  sent.end();
  await once(sent.res, "end");
});

test("HTTP: a backend that dies before it answers makes a 502, one that dies in its answer a broken one", async (t) => {
  let held;
  const backend = await startBackend(t, "dying", (incoming, response) => {
    held = response;
    if (incoming.url === "/late") response.writeHead(200, { "content-length": 100 }).write("the beginning");
  });
  const balancer = await startHttpBalancer(t, [backend]);
  const early = get(`${balancer.url}/early`);
  await until("the request is there", () => held);
  held.socket.destroy();
  assert.equal((await early).status, 502);

  const sent = request(`${balancer.url}/late`).end();
  const [response] = await once(sent, "response");
  await once(response, "data");
  held.socket.destroy();
  const [error] = await once(response, "error");
  assert.equal(error.code, "ECONNRESET");
});

test("HTTP: a client that goes away takes its request with it, a backend its WebSockets", async (t) => {
  let isGone = false;
  const backend = await startBackend(t, "slow", (_incoming, response) => response.once("close", () => (isGone = true)));
  const balancer = await startHttpBalancer(t, [backend]);
  const sent = request(balancer.url).end();
  sent.on("error", () => {});
  await until("the request is routed", () => balancer.routes.length === 1);
  sent.destroy();
  await until("the backend sees the client go", () => isGone);

  const socket = openWebSocket(t, balancer, "/");
  await socket.opened();
  backend.stop();
  assert.equal(await socket.closed(), 1006);
});

test("TCP: each connection goes to the next backend, with all of its requests", async (t) => {
  const [a, b] = await startBackends(t, "a", "b");
  const balancer = await startTcpBalancer(t, [a, b]);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  atEnd(t, () => agent.destroy());
  for (let index = 0; index < 3; index += 1) assert.equal((await get(balancer.url, { agent })).body, "a");
  assert.equal((await get(balancer.url)).body, "b");
  b.stop();
  assert.equal((await get(balancer.url)).body, "a");
  assert.equal((await get(balancer.url)).body, "a");
  a.stop();
  await assert.rejects(get(balancer.url), /ECONNRESET|hang up/);
});
