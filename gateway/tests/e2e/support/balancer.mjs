// Load balancers without any affinity, in the test's own process: nothing about a request but its turn decides where it
// goes. What a backend is: an object with `port`, on the loopback address; it gets nothing while its `isReady` is false,
// which stands for the health checks of a real balancer.

import { createServer as createHttpServer, request as httpRequest } from "node:http";
import { connect as connectTcp, createServer as createTcpServer } from "node:net";
import { once } from "node:events";

import { atEnd } from "./conditions.mjs";
import { startGateway } from "./gateway.mjs";
import { CONFIG } from "./node-server.mjs";
import { startRedis } from "./redis.mjs";

/** Routes that are remembered, the latest ones. */
const MAX_ROUTES = 50_000;
/** What a proxy says for itself and does not pass on (RFC 9110 7.6.1). */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "proxy-connection"]);

/** Three nodes of one cluster behind a balancer; `start` says of which kind. */
export async function startNodes(t, { start = startHttpBalancer } = {}) {
  const redis = await startRedis(t);
  const nodes = await Promise.all([1, 2, 3].map(() => startGateway(t, { redis, config: CONFIG })));
  return { redis, nodes, balancer: await start(t, nodes) };
}

/**
 * Starts an HTTP balancer: each request goes to the next backend, also the requests of one keep-alive connection, and so
 * does each WebSocket upgrade. Bodies are streamed both ways. A backend that does not take the connection is passed
 * over; one that dies later is answered for with 502 where nothing was answered yet, and else by closing the client's
 * connection. `steer` may decide for a request `{method, url, transport, sid, isUpgrade}` by giving a backend; `observe`
 * sees each of them with the `backend` that took it.
 */
export async function startHttpBalancer(t, backends, { steer, observe } = {}) {
  const rotation = new Rotation(backends, steer, observe);
  const server = createHttpServer((incoming, outgoing) => {
    forwardRequest(rotation, incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.on("upgrade", (incoming, client, head) => {
    forwardUpgrade(rotation, incoming, client, head).catch(() => client.destroy());
  });
  // Long polls are held for as long as the nodes like.
  Object.assign(server, { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 60_000 });
  return listen(t, server, rotation);
}

/** Starts a TCP balancer: each connection goes to the next backend that takes it. */
export async function startTcpBalancer(t, backends) {
  const rotation = new Rotation(backends);
  const server = createTcpServer({ allowHalfOpen: true }, async (client) => {
    client.on("error", () => client.destroy());
    const reached = await rotation.reach({ method: "connection" });
    if (!reached) return client.destroy();
    splice(client, reached.upstream);
  });
  return listen(t, server, rotation);
}

async function listen(t, server, rotation) {
  const clients = new Set();
  server.on("connection", (client) => {
    clients.add(client.setNoDelay(true));
    client.once("close", () => clients.delete(client));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(t, async () => {
    const closed = once(server, "close");
    server.close();
    clients.forEach((client) => client.destroy());
    await closed;
  });
  return new Balancer(rotation, server.address().port);
}

class Balancer {
  #rotation;

  constructor(rotation, port) {
    this.#rotation = rotation;
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** What went where, in order: `{method, transport, sid, isUpgrade, backend}`; `backend` is undefined if none took it. */
  get routes() {
    return this.#rotation.routes;
  }

  /** How much each backend got, by its port. */
  get counts() {
    const counts = {};
    for (const { backend } of this.routes) counts[backend?.port] = (counts[backend?.port] ?? 0) + 1;
    return counts;
  }

  /** The backends that requests of the Engine.IO session `sid` went to, in order. */
  routesOf(sid) {
    return this.routes.filter((route) => route.sid === sid);
  }

  /** Replaces what decides, for what comes from now on; `undefined`: the rotation. */
  steer(choose) {
    this.#rotation.choose = choose;
  }
}

class Rotation {
  routes = [];
  #backends;
  #next = 0;
  #observe;

  constructor(backends, choose, observe) {
    this.#backends = backends;
    this.choose = choose;
    this.#observe = observe;
  }

  /** Connects to the backend whose turn it is, or the next one that takes a connection; undefined if there is none. */
  async reach(route) {
    for (const backend of this.#order(route)) {
      const upstream = await connectTo(backend.port);
      if (upstream) {
        this.#remember({ ...route, backend });
        return { upstream, backend };
      }
    }
    this.#remember(route);
    return undefined;
  }

  #order(route) {
    const chosen = this.choose?.(route);
    if (chosen) return [chosen];
    const start = this.#next;
    this.#next = (start + 1) % this.#backends.length;
    const order = [...this.#backends.slice(start), ...this.#backends.slice(0, start)];
    return order.filter(({ isReady }) => isReady !== false);
  }

  #remember(route) {
    this.#observe?.(route);
    this.routes.push(route);
    if (this.routes.length > 2 * MAX_ROUTES) this.routes = this.routes.slice(-MAX_ROUTES);
  }
}

/** Resolves to the socket, or to undefined if nobody takes the connection. */
function connectTo(port) {
  return new Promise((resolve) => {
    const socket = connectTcp({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
    const failed = () => resolve(undefined);
    socket.once("error", failed);
    socket.once("connect", () => {
      socket.off("error", failed);
      socket.on("error", () => socket.destroy());
      resolve(socket);
    });
  });
}

function routeOf(incoming) {
  const { searchParams } = new URL(incoming.url, "http://balancer");
  return {
    method: incoming.method,
    url: incoming.url,
    transport: searchParams.get("transport") ?? undefined,
    sid: searchParams.get("sid") ?? undefined,
    isUpgrade: incoming.headers.upgrade !== undefined,
  };
}

/** Raw headers, in order, without what is between two neighbours only. */
function endToEnd(rawHeaders) {
  const kept = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (!HOP_BY_HOP.has(rawHeaders[index].toLowerCase())) kept.push(rawHeaders[index], rawHeaders[index + 1]);
  }
  return kept;
}

async function forwardRequest(rotation, incoming, outgoing) {
  const reached = await rotation.reach(routeOf(incoming));
  if (!reached) return fail(outgoing, 503);
  const { upstream } = reached;
  if (outgoing.destroyed) return upstream.destroy();
  // The client went away: so does its request.
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) upstream.destroy();
  });

  const forwarded = httpRequest({
    method: incoming.method,
    path: incoming.url,
    headers: [...endToEnd(incoming.rawHeaders), "Connection", "close"],
    setHost: false,
    createConnection: () => upstream,
  });
  forwarded.once("error", () => (outgoing.headersSent ? outgoing.destroy() : fail(outgoing, 502)));
  forwarded.once("response", (answer) => {
    outgoing.writeHead(answer.statusCode, answer.statusMessage, endToEnd(answer.rawHeaders));
    answer.once("error", () => outgoing.destroy());
    answer.pipe(outgoing);
  });
  incoming.once("error", () => upstream.destroy());
  incoming.pipe(forwarded);
}

function fail(outgoing, status) {
  if (outgoing.destroyed) return;
  outgoing.writeHead(status, { connection: "close", "content-type": "text/plain" });
  outgoing.end("no backend\n");
}

async function forwardUpgrade(rotation, incoming, client, head) {
  client.on("error", () => client.destroy());
  const reached = await rotation.reach(routeOf(incoming));
  if (!reached) {
    client.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
  for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
    lines.push(`${incoming.rawHeaders[index]}: ${incoming.rawHeaders[index + 1]}`);
  }
  reached.upstream.write(`${lines.join("\r\n")}\r\n\r\n`);
  reached.upstream.write(head);
  splice(client, reached.upstream);
}

/** Bytes flow both ways until one side is gone; what it said last still reaches the other. */
function splice(client, upstream) {
  for (const [from, to] of [
    [client, upstream],
    [upstream, client],
  ]) {
    from.pipe(to);
    from.once("close", () => to.destroySoon());
    if (from.destroyed) to.destroySoon();
  }
}
