// A stress run: starts the nodes, the balancers and the workers, kills and starts nodes at random, and judges what the
// workers report.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { startHttpBalancer } from "../balancer.mjs";
import { TRANSPORT_MODES, numbers } from "../clients.mjs";
import { freePort } from "../processes.mjs";
import { byEmitter } from "../publishers.mjs";
import { startRedis } from "../redis.mjs";
import { monotonicMs } from "../sequences.mjs";
import { BroadgateBackend, NodeBackend } from "./backends.mjs";
import { Random, pause } from "./random.mjs";

const WORKER = fileURLToPath(new URL("worker.mjs", import.meta.url));
const SETTLE_DEADLINE_MS = 120_000;
const UP_MS = [1_000, 5_000];
const DOWN_MS = [100, 2_500];
const SHOWN_VIOLATIONS = 3;
const SHOWN_LOG_LINES = 15;
const MAX_ROUTES_OF_CLIENT = 60;

/** From the environment: `SEED`, `STRESS_SECONDS`, `STRESS_CLIENTS`, `STRESS_WORKERS`. */
export function settingsFromEnvironment() {
  const number = (name, otherwise) => {
    const value = Number(process.env[name] ?? otherwise);
    assert.ok(Number.isFinite(value) && value > 0, `${name} is not a positive number: ${process.env[name]}`);
    return value;
  };
  return {
    seed: number("SEED", 1 + Math.floor(Math.random() * (2 ** 31 - 1))),
    seconds: number("STRESS_SECONDS", 30),
    clients: number("STRESS_CLIENTS", 300),
    workers: number("STRESS_WORKERS", 3),
  };
}

/** Three Broadgate nodes, and beside them as many Node.js servers; fails with the first breach of an invariant. */
export async function stress(t, { seed, seconds, clients, workers, nodeServers = 0 }) {
  t.diagnostic(`SEED=${seed} STRESS_SECONDS=${seconds} STRESS_CLIENTS=${clients} STRESS_WORKERS=${workers}`);
  const random = new Random(seed);
  const redis = await startRedis(t);
  const backends = await startBackends(t, redis, nodeServers);
  const judge = new Judge(backends);
  const observe = (route) => judge.observe(route);
  const everywhere = await startHttpBalancer(t, backends, { observe });
  const broadgate = backends.filter((backend) => backend instanceof BroadgateBackend);
  // Polling needs affinity where a Node.js server is among the backends.
  const withoutNode = await startHttpBalancer(t, broadgate, { observe });
  const rooms = numbers(Math.ceil(clients / 5)).map((index) => `room ${index}`);
  const plans = numbers(clients).map((index) => {
    const { mode, options, settled } = TRANSPORT_MODES[index % TRANSPORT_MODES.length];
    const isWebSocketOnly = options.transports.length === 1 && settled === "websocket";
    return { index, mode, transports: options.transports, url: (isWebSocketOnly ? everywhere : withoutNode).url };
  });
  const group = new Workers(judge, numbers(workers).map((worker) => ({
    worker,
    seed,
    redisUrl: redis.url,
    opsUrls: broadgate.map(({ opsUrl }) => opsUrl),
    rooms,
    clients: plans.filter(({ index }) => index % workers === worker),
  })));

  const begun = monotonicMs();
  const isOver = () => monotonicMs() - begun > seconds * 1000 || judge.violations.length > 0;
  try {
    await killAtRandom(random.fork("kills"), backends, isOver);
    judge.assertClean(t);
    const sent = (await group.order("settle", "settled")).flatMap((answer) => answer.sent);
    judge.assertClean(t);
    const last = byEmitter(t, redis, "the last word");
    // Twice, so that whoever got the first one twice is seen when the second one arrives.
    for (const room of [...rooms, ...rooms]) await last.send(room, last.publisher.next(room));
    const totals = await group.order("expect", "complete", { sent: [...sent, ...last.publisher.sent()] });
    judge.assertClean(t);
    report(t, totals, judge, { everywhere, withoutNode });
  } catch (error) {
    judge.assertClean(t);
    throw error;
  } finally {
    // Before the nodes, whose clients they are.
    await group.stop();
  }
}

async function startBackends(t, redis, nodeServers) {
  const backends = [];
  for (const index of numbers(3)) backends.push(new BroadgateBackend(t, redis, `broadgate ${index}`));
  for (const index of numbers(nodeServers)) backends.push(new NodeBackend(t, redis, `node ${index}`));
  for (const backend of backends) {
    backend.port = await freePort();
    backend.opsPort = await freePort();
  }
  await Promise.all(backends.map((backend) => backend.start()));
  return backends;
}

/** Kills and starts backends until the run is over; one Broadgate node at least is always there. */
async function killAtRandom(random, backends, isOver) {
  const returning = new Set();
  while (!isOver()) {
    await pause(random.between(...UP_MS));
    const downMs = random.between(...DOWN_MS);
    const victim = random.pick(backends);
    const survivors = backends.filter((each) => each !== victim && each.isUp && each instanceof BroadgateBackend);
    if (!victim.isUp || survivors.length === 0) continue;
    await victim.kill();
    const back = pause(downMs)
      .then(() => victim.start())
      .finally(() => returning.delete(back));
    returning.add(back);
  }
  await Promise.all(returning);
}

/** The processes of the clients. */
class Workers {
  #children;

  constructor(judge, configs) {
    this.#children = configs.map((config) => {
      const child = fork(WORKER, [JSON.stringify(config)], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
      child.on("message", (message) => judge.hear(message));
      child.once("exit", (code, signal) => judge.violated({ what: `worker ${config.worker} ended: ${code ?? signal}` }));
      return child;
    });
  }

  async stop() {
    for (const child of this.#children) {
      child.removeAllListeners("exit");
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    }
  }

  /** Orders something from all of them; resolves to their answers of this kind. */
  order(order, kind, details = {}) {
    const answers = this.#children.map(
      (child) =>
        new Promise((resolve, reject) => {
          const late = new Error(`no "${kind}" from a worker within ${SETTLE_DEADLINE_MS} ms`);
          const timer = setTimeout(() => reject(late), SETTLE_DEADLINE_MS);
          child.on("message", (message) => {
            if (message.kind !== kind) return;
            clearTimeout(timer);
            resolve(message);
          });
          child.send({ order, ...details });
        }),
    );
    return Promise.all(answers);
  }
}

/** Knows which backends died when, who was connected to them, and so what the clients' reports mean. */
class Judge {
  violations = [];
  ended = 0;
  failed = 0;
  longestWaitMs = 0;
  #backends;
  #clients = new Map();

  constructor(backends) {
    this.#backends = backends;
  }

  get kills() {
    return this.#backends.flatMap(({ kills }) => kills).length;
  }

  /** Where the requests of each client went, and when; its last WebSockets apart. */
  observe({ method, url, sid, isUpgrade, backend }) {
    const name = Number(new URL(url, "http://balancer").searchParams.get("client"));
    const client = this.#clients.get(name) ?? { routes: [], webSockets: [] };
    this.#clients.set(name, client);
    const atMs = monotonicMs();
    if (isUpgrade) keep(client.webSockets, { atMs, backend });
    const what = isUpgrade ? "upgrade" : method;
    keep(client.routes, `${atMs.toFixed(1)} ... ${what} ${sid ?? "handshake"} -> ${backend?.name}`);
  }

  /** The backend of the WebSocket that the client had at that time. Reports may come late, so the last one will not do. */
  #webSocketOf(client, ms) {
    return this.#clients.get(client)?.webSockets.findLast(({ atMs }) => atMs <= ms)?.backend;
  }

  hear({ kind, ...report }) {
    if (kind === "violation") this.violated(report);
    if (kind === "refused" && !this.#wasDown(report)) this.violated(report);
    if (kind !== "ended" && kind !== "failed") return;
    this[kind] += 1;
    const excuse = this.#excuse(kind, report);
    if (!excuse) this.violated({ ...report, what: `${report.what}, though no node was killed that it needed` });
    else this.longestWaitMs = Math.max(this.longestWaitMs, report.endedMs - excuse.killedMs);
  }

  /** Was the node of this ops API killed, and not ready again, while it was asked? */
  #wasDown({ opsUrl, beganMs, endedMs }) {
    const node = this.#backends.find((backend) => backend.opsUrl === opsUrl);
    return node?.kills.some(({ killedMs, upMs }) => killedMs <= endedMs && (upMs ?? Infinity) >= beganMs) ?? false;
  }

  /** The kill that explains why a connection ended, or failed to come about. */
  #excuse(kind, { isSettled, client, beganMs, endedMs }) {
    const suspects = kind === "ended" && isSettled ? [this.#webSocketOf(client, endedMs)] : this.#backends;
    const kills = suspects.flatMap((backend) => backend?.kills ?? []);
    return kills.findLast(({ killedMs, goneMs }) => killedMs <= endedMs && (goneMs ?? Infinity) >= beganMs);
  }

  violated(violation) {
    this.violations.push(violation);
  }

  assertClean(t) {
    if (this.violations.length === 0) return;
    for (const { what, client, mode, history = [] } of this.violations.slice(0, SHOWN_VIOLATIONS)) {
      t.diagnostic(`client ${client} (${mode}): ${what}`);
      const endMs = parseFloat(history.at(-1) ?? "0") + 50;
      const routes = (this.#clients.get(client)?.routes ?? []).filter((route) => parseFloat(route) < endMs);
      const inOrder = [...history, ...routes].sort((one, other) => parseFloat(one) - parseFloat(other));
      for (const line of inOrder) t.diagnostic(`  ${line}`);
    }
    for (const { name, kills, output } of this.#backends) {
      t.diagnostic(`${name}: kills, on the same clock: ${JSON.stringify(kills)}; the end of its log:`);
      for (const line of output.trimEnd().split("\n").slice(-SHOWN_LOG_LINES)) t.diagnostic(`  ${line}`);
    }
    const whats = this.violations.map(({ what, client, mode }) => `client ${client} (${mode}): ${what}`);
    assert.fail(`${this.violations.length} violations:\n${whats.slice(0, 10).join("\n")}`);
  }
}

function keep(entries, entry) {
  entries.push(entry);
  if (entries.length > 2 * MAX_ROUTES_OF_CLIENT) entries.splice(0, MAX_ROUTES_OF_CLIENT);
}

function report(t, totals, judge, balancers) {
  const sum = (field) => totals.reduce((total, each) => total + each[field], 0);
  t.diagnostic(
    `${judge.kills} kills; ${sum("connections")} connections, ${sum("upgrades")} upgrades, ${judge.ended} ended and ` +
      `${judge.failed} failed by kills, noticed after ${judge.longestWaitMs.toFixed(0)} ms at most; ` +
      `${sum("published")} publishes by clients; ${sum("received")} messages checked`,
  );
  const counts = Object.values(balancers).map((balancer) => JSON.stringify(balancer.counts));
  t.diagnostic(`requests by port of the backend: ${counts.join(" ")}`);
  assert.ok(judge.kills > 0, "nothing was killed");
  assert.ok(sum("received") > 0 && sum("published") > 0, "nothing was published");
}
