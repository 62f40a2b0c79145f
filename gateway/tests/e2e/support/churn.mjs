// Clients of all kinds that come and go: what a node sees in a long life, in a short time. All that is random comes from the
// number of the client, so two runs of the same length ask for the same.

import { io } from "socket.io-client";
import WebSocket from "ws";

const MODES = [["websocket"], ["polling"], ["polling", "websocket"]];
const ROOMS = 40;
const LIFE_MS = { least: 100, most: 3000 };
const PUBLISH_EVERY_MS = 40;
/** One in so many is no good client: it reads nothing, or leaves in the middle of its handshake. */
const SLOW_READER_EVERY = 20;
const ABANDONED_EVERY = 10;
const BIG_EVENT_BYTES = 20_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A small generator of numbers from 0 to 1 (mulberry32). */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Keeps `clients` places taken, one short-lived client after the other, until it is stopped. */
export class Churn {
  lives = 0;
  received = 0;
  failures = new Map();
  #stopped = false;
  #places;

  constructor(gateway, clients) {
    this.gateway = gateway;
    this.#places = Array.from({ length: clients }, () => this.#keepPlace());
  }

  async stop() {
    this.#stopped = true;
    await Promise.all(this.#places);
  }

  async #keepPlace() {
    while (!this.#stopped) {
      const number = (this.lives += 1);
      const random = generator(number);
      try {
        if (number % SLOW_READER_EVERY === 0) await this.#slowReader(random);
        else if (number % ABANDONED_EVERY === 0) await this.#abandon();
        else await this.#live(number, random);
      } catch (error) {
        this.failures.set(error.message, (this.failures.get(error.message) ?? 0) + 1);
        await pause(100);
      }
    }
  }

  /** Connects, joins, publishes, and leaves in order or not. */
  async #live(number, random) {
    const transports = MODES[number % MODES.length];
    const socket = io(this.gateway.url, { transports, forceNew: true, reconnection: false });
    socket.onAny(() => (this.received += 1));
    try {
      await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
      const room = `room ${Math.floor(random() * ROOMS)}`;
      // One that many are in, and one that nobody else ever is in.
      for (const name of [room, `alone ${number}`]) await socket.timeout(20_000).emitWithAck("join", name);
      const end = Date.now() + LIFE_MS.least + random() * (LIFE_MS.most - LIFE_MS.least);
      while (Date.now() < end && socket.connected) {
        socket.emit("publish", room, "said", number, random() < 0.02 ? "x".repeat(BIG_EVENT_BYTES) : "short");
        await pause(PUBLISH_EVERY_MS * (1 + 10 * random()));
      }
      if (random() < 0.5) await socket.timeout(20_000).emitWithAck("leave", room);
    } finally {
      // Half of them leave without a word.
      if (random() < 0.5) socket.io.engine?.close();
      socket.disconnect();
    }
  }

  /** Joins every room and never reads. */
  async #slowReader(random) {
    const socket = new WebSocket(`${this.gateway.url.replace("http:", "ws:")}/socket.io/?EIO=4&transport=websocket`);
    try {
      await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
      socket.on("error", () => {});
      socket.send("40");
      socket.pause();
      for (let room = 0; room < ROOMS; room += 1) socket.send(`42${JSON.stringify(["join", `room ${room}`])}`);
      await pause(LIFE_MS.least + random() * LIFE_MS.most);
    } finally {
      socket.terminate();
    }
  }

  /** Opens a session on polling and comes back no more, but for its end. */
  async #abandon() {
    const response = await fetch(`${this.gateway.url}/socket.io/?EIO=4&transport=polling`);
    const { sid } = JSON.parse((await response.text()).slice(1));
    await pause(LIFE_MS.least);
    // A close packet, so that the test need not wait until a ping is overdue.
    const url = `${this.gateway.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    await (await fetch(url, { method: "POST", body: "1" })).text();
  }
}

const GAUGES = ["connections", "sockets", "rooms", "room_memberships", "acks_pending", "client_acks_pending", "inbound_buffer_bytes"];

/** What the node still has of any client: `[[gauge, value]]`, empty where all is gone. */
export async function leftovers(gateway) {
  const left = [];
  for (const gauge of GAUGES) left.push([gauge, await gateway.metric(`broadgate_${gauge}`)]);
  return left.filter(([, value]) => value !== 0);
}
