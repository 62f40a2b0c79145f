// Three nodes behind a round-robin balancer are replaced one after the other, while more than a hundred clients receive and events
// are published all the time.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";

import { startHttpBalancer } from "./support/balancer.mjs";
import { TRANSPORT_MODES, ask, numbers, open } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, drainOver, startGateway } from "./support/gateway.mjs";
import { redisClient, startRedis } from "./support/redis.mjs";
import { monotonicMs } from "./support/sequences.mjs";

const CLIENTS_PER_MODE = 40;
const PUBLISH_EVERY_MS = 300;
const DELAY_MS = 1500;
const WINDOW_MS = 6000;
const TIMEOUT_MS = 20_000;
const SHARDS = 2;
/** A client that loses its WebSocket between probe and switch notices by the ping that is overdue. */
const HEARTBEAT = "[engine]\nping_interval_ms = 5000\nping_timeout_ms = 30000\n";
const CONFIG = `${HEARTBEAT}${OPEN_ROOMS()}[server]\nshards = ${SHARDS}\n`;
const LOOK_EVERY_MS = 100;
const BACK_DEADLINE_MS = 100_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A place behind the balancer; nodes come and go there. The balancer sends it nothing while its readiness fails. */
class Place {
  isReady = false;

  constructor(t, redis) {
    Object.assign(this, { t, redis });
  }

  async start() {
    const environment = drainOver({ delayMs: DELAY_MS, windowMs: WINDOW_MS, timeoutMs: TIMEOUT_MS });
    const { t, redis, port, opsPort } = this;
    this.gateway = await startGateway(t, { redis, config: CONFIG, port, opsPort, environment });
    ({ port: this.port, opsPort: this.opsPort } = this.gateway);
    this.isReady = true;
  }

  /** The health check of the balancer. */
  async look() {
    this.isReady = await this.gateway.isReady().catch(() => false);
  }

  /** Stops the node and watches its pace until its end. */
  async drain() {
    const { gateway } = this;
    const sessions = await gateway.metric("broadgate_connections");
    gateway.signal("SIGTERM");
    let looks = 0;
    while (!gateway.hasEnded) {
      const page = await gateway.metrics().catch(() => undefined);
      if (page) looks += assertPace(page, sessions);
      await pause(LOOK_EVERY_MS);
    }
    await gateway.ended();
    assert.ok(looks > 0, "its pace was seen");
    return sessions;
  }
}

/**
 * What one page of metrics says: by its own clock the node has closed no more than the pace allows. New sessions came during
 * the delay, perhaps, so the bound is of what the node had at the end of that. Returns 1 if it was closing.
 */
function assertPace(page, sessionsBefore) {
  const sum = (name, labels = {}) =>
    page
      .filter((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
      .reduce((total, { value }) => total + value, 0);
  const closed = sum("broadgate_connections_closed_total", { reason: "server_shutdown" });
  if (closed === 0) return 0;
  const sessions = Math.max(sessionsBefore, closed + sum("broadgate_connections"));
  const seconds = sum("broadgate_drain_seconds") - DELAY_MS / 1000;
  const allowed = (sessions * seconds * 1000) / WINDOW_MS + 2 * SHARDS;
  assert.ok(closed <= allowed, `${closed} of ${sessions} closed after ${seconds} s of ${WINDOW_MS} ms`);
  return 1;
}

/** Publishes numbered events until it is stopped; knows when it began each. */
class Publisher {
  begunMs = [];
  #stopped = false;

  constructor(client) {
    this.done = this.#run(client);
  }

  async #run(client) {
    const emitter = new Emitter(client);
    while (!this.#stopped) {
      this.begunMs.push(monotonicMs());
      emitter.to("all").emit("n", this.begunMs.length - 1);
      // The answer to a later command on the same connection: Redis has the event.
      await client.ping();
      await pause(PUBLISH_EVERY_MS);
    }
  }

  async stop() {
    this.#stopped = true;
    await this.done;
  }
}

/** A client that joins whenever it is connected, and keeps what it got in each of its times as a member. */
class Client {
  /** `{joinedMs, numbers}`, one for each time. */
  memberships = [];
  reasons = [];
  #membership;

  constructor(t, balancer, { mode, options }) {
    this.mode = mode;
    this.socket = open(t, balancer, options);
    this.socket.on("connect", () => this.#join());
    this.socket.on("disconnect", (reason) => {
      this.reasons.push(reason);
      this.#membership = undefined;
    });
    this.socket.on("n", (number) => this.#membership?.numbers.push(number));
  }

  async #join() {
    const membership = { joinedMs: undefined, numbers: [] };
    this.#membership = membership;
    let ack;
    while (!ack?.ok) {
      ack = await ask(this.socket, "join", "all").catch(() => undefined);
      if (this.#membership !== membership) return;
    }
    membership.joinedMs = monotonicMs();
    this.memberships.push(membership);
  }

  get isMember() {
    return this.socket.connected && this.memberships.at(-1) === this.#membership && this.#membership !== undefined;
  }

  get last() {
    return this.memberships.at(-1)?.numbers.at(-1) ?? -1;
  }

  describe() {
    const { connected, id } = this.socket;
    return `${this.mode}, ${connected ? id : "away"}, memberships ${JSON.stringify(this.memberships).slice(-300)}, ${this.reasons}`;
  }

  /** What is missing or doubled while it was a member; what was published while it was not is not owed. */
  faults(begunMs) {
    return this.memberships.flatMap(({ joinedMs, numbers: got }, index) => {
      const owed = begunMs.findIndex((begun) => begun > joinedMs);
      const faults = [];
      if (got.length > 0 && owed >= 0 && got[0] > owed) faults.push(`time ${index}: began with ${got[0]}, owed ${owed}`);
      got.forEach((number, place) => {
        if (place > 0 && number !== got[place - 1] + 1) faults.push(`time ${index}: ${number} after ${got[place - 1]}`);
      });
      return faults;
    });
  }
}

test("a rolling restart takes each client once round, at a pace, and nothing is lost while it is connected", { timeout: 500_000 }, async (t) => {
  const redis = await startRedis(t);
  const places = numbers(3).map(() => new Place(t, redis));
  await Promise.all(places.map((place) => place.start()));
  const balancer = await startHttpBalancer(t, places);
  const checks = setInterval(() => places.forEach((place) => place.look()), LOOK_EVERY_MS);
  atEnd(t, () => clearInterval(checks));

  const clients = numbers(CLIENTS_PER_MODE).flatMap(() => TRANSPORT_MODES.map((mode) => new Client(t, balancer, mode)));
  const allAreMembers = () =>
    until("all clients are members", () => clients.every(({ isMember }) => isMember), BACK_DEADLINE_MS).catch((error) => {
      const missing = clients.filter(({ isMember }) => !isMember);
      throw new Error(`${error.message}: not ${missing.map((client) => client.describe()).join("; ")}`);
    });
  await allAreMembers();
  const publisher = new Publisher(redisClient(t, redis));
  atEnd(t, () => publisher.stop());

  let drained = 0;
  for (const place of places) {
    drained += await place.drain();
    await place.start();
    await allAreMembers();
  }

  const { begunMs } = publisher;
  // So that each is owed one by its last membership.
  const count = begunMs.length;
  await until("publishing goes on", () => begunMs.length > count + 2);
  await publisher.stop();
  let behind;
  const allHaveTheLast = () => {
    behind = clients.filter(({ last }) => last !== begunMs.length - 1);
    return behind.length === 0;
  };
  await until("the last event is everywhere", allHaveTheLast, BACK_DEADLINE_MS).catch((error) => {
    throw new Error(`${error.message}: ${begunMs.length} were sent; behind: ${behind.map((client) => client.describe()).join("; ")}`);
  });
  for (const client of clients) assert.deepEqual(client.faults(begunMs), [], client.mode);
  const reasons = new Set(clients.flatMap((client) => client.reasons));
  assert.ok(!reasons.has("io server disconnect"), [...reasons].join());
  const reconnects = clients.reduce((sum, client) => sum + client.reasons.length, 0);
  const stayed = clients.filter(({ reasons }) => reasons.length === 0);
  assert.deepEqual(stayed.map((client) => client.mode), [], "each node was restarted");
  // Each node took all of its clients through one reconnect; who came to a node that was still to go took part again.
  assert.ok(reconnects <= 2 * drained, `${reconnects} reconnects, ${drained} sessions drained`);
});
