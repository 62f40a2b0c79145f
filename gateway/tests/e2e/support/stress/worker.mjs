// A process of a stress run: its share of the clients, and two backends that publish, one with the Socket.IO emitter and
// one with the nodes' ops API. It is told what to do by messages (`order`), and reports by messages (`kind`).

import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";

import { COUNT, Publisher, monotonicMs } from "../sequences.mjs";
import { until } from "../conditions.mjs";
import { StressClient } from "./client.mjs";
import { Random, pause } from "./random.mjs";

const SETTLE_DEADLINE_MS = 90_000;
const ARRIVAL_DEADLINE_MS = 30_000;
const OPENING_MS = 3_000;
const EMITTER_PAUSE_MS = [5, 60];
const OPS_PAUSE_MS = [20, 120];
/** How many of the emitter's messages go to one socket, by its id. */
const UNICAST_SHARE = 0.3;
const MAX_REPORTS = 5;

const config = JSON.parse(process.argv[2]);
const random = new Random(config.seed).fork(`worker ${config.worker}`);
const redis = new Redis(config.redisUrl);
const emitter = new Emitter(redis);
const clients = [];
let sentByBackends = [];
let isPublishing = true;
let violations = 0;

const say = (kind, details) => process.send({ kind, ...details });

function report(kind, details) {
  if (kind === "violation" && (violations += 1) > MAX_REPORTS) return;
  say(kind, details);
}

async function openClients() {
  for (const client of config.clients) {
    const stream = random.fork(`client ${client.index}`);
    clients.push(new StressClient({ ...client, rooms: config.rooms, random: stream, report }));
    await pause(random.between(0, (2 * OPENING_MS) / config.clients.length));
  }
  return Promise.all(clients.map((client) => client.act()));
}

/** Never fails: Redis lives as long as the run. */
async function emitSteadily() {
  const publisher = new Publisher(`emitter ${config.worker}`);
  const stream = random.fork("emitter");
  while (isPublishing) {
    await pause(stream.between(...EMITTER_PAUSE_MS));
    const connected = clients.filter(({ socket }) => socket.connected);
    const isUnicast = stream.next() < UNICAST_SHARE && connected.length > 0;
    const room = isUnicast ? stream.pick(connected).socket.id : stream.pick(config.rooms);
    emitter.to(room).emit(COUNT, ...publisher.next(room));
    // The answer to a later command on the same connection: Redis has the message.
    await redis.ping();
  }
  return publisher.sent();
}

/** Through one node, until that is killed; then under a new name through the next one. */
async function callOpsSteadily() {
  const stream = random.fork("ops");
  const sent = [];
  for (let turn = config.worker; isPublishing; turn += 1) {
    const url = config.opsUrls[turn % config.opsUrls.length];
    const publisher = new Publisher(`ops ${config.worker}, turn ${turn}`, { binary: false });
    const acked = new Map();
    while (isPublishing) {
      await pause(stream.between(...OPS_PAUSE_MS));
      const room = stream.pick(config.rooms);
      const message = publisher.next(room);
      const beganMs = monotonicMs();
      const status = await publishThrough(url, room, message);
      if (status === undefined) break;
      if (status === 503) {
        // Right while a node is starting: it has no link to Redis yet. Nobody got the message.
        report("refused", { what: "ops API: status 503", client: publisher.name, opsUrl: url, beganMs, endedMs: monotonicMs(), history: [] });
        break;
      }
      if (status !== 200) report("violation", { what: `ops API: status ${status}`, client: publisher.name, history: [] });
      acked.set(room, publisher.sent().find((last) => last.room === room));
    }
    sent.push(...acked.values());
  }
  return sent;
}

/** Resolves to the status, or to undefined if the node is away. */
async function publishThrough(url, room, message) {
  try {
    const body = JSON.stringify({ room, event: COUNT, args: message });
    const response = await fetch(`${url}/api/v1/publish`, { method: "POST", body, headers: { "content-type": "application/json" } });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return undefined;
  }
}

const acting = openClients();
const publishing = Promise.all([emitSteadily(), callOpsSteadily()]);

/** Ends all actions and publishes, and waits until all clients are connected and members. */
async function settle() {
  isPublishing = false;
  clients.forEach((client) => client.stopActing());
  sentByBackends = (await publishing).flat();
  await acting;
  let unsettled;
  const allAreSettled = async () => {
    const settled = await Promise.all(clients.map((client) => client.verify()));
    unsettled = clients.filter((_client, index) => !settled[index]);
    return unsettled.length === 0;
  };
  await until("all clients are connected and members", allAreSettled, SETTLE_DEADLINE_MS).catch(() => {
    for (const client of unsettled.slice(0, MAX_REPORTS)) {
      report("violation", { what: `not settled: ${client.state}`, client: client.index, mode: client.mode, history: client.recentHistory });
    }
  });
  say("settled", { sent: [...sentByBackends, ...clients.flatMap((client) => client.sent)] });
}

/** Waits until all that had to arrive has arrived. */
async function expect({ sent }) {
  const waiting = () => clients.filter(({ check }) => !check || check.missing(sent).length > 0);
  await until("the last messages arrive", () => waiting().length === 0, ARRIVAL_DEADLINE_MS).catch(() => {
    for (const client of waiting().slice(0, MAX_REPORTS)) {
      const what = `never arrived: ${JSON.stringify(client.check?.missing(sent) ?? "no connection")}`;
      report("violation", { what, client: client.index, mode: client.mode, history: client.recentHistory });
    }
  });
  const total = (field) => clients.reduce((sum, client) => sum + client[field], 0);
  say("complete", {
    received: total("received"),
    connections: total("connections"),
    upgrades: total("upgrades"),
    published: total("published"),
  });
}

const ORDERS = { settle, expect };
process.on("message", (message) => ORDERS[message.order](message));
process.on("disconnect", () => process.exit());
