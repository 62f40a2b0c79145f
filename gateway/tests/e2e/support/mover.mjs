// A Socket.IO client by hand, whose session begins on polling at one node and moves to another with its upgrade; each step
// is the test's to take.

import assert from "node:assert/strict";

import { until } from "./conditions.mjs";
import { openPolling, openWebSocket } from "./raw.mjs";

/**
 * A client on polling at `gateway` that is a member of the rooms, and polls all the time. `auth` goes with its CONNECT,
 * `query` with its first request; with `rooms` null it has not connected yet.
 */
export async function startMover(t, gateway, rooms, { auth, query } = {}) {
  const session = await openPolling(gateway, query);
  const mover = new Mover(t, session);
  if (rooms) mover.id = await session.connect(auth);
  for (const [number, room] of (rooms ?? []).entries()) {
    await session.push(`42${number}${JSON.stringify(["join", room])}`);
    assert.match((await session.poll())[0], new RegExp(`^43${number}\\[\\{"ok":true`));
  }
  mover.startPolling();
  return mover;
}

class Mover {
  /** All packets but pings and noops, in the order in which they came. */
  packets = [];
  #t;
  #polling;
  #stop = false;

  constructor(t, session) {
    this.#t = t;
    this.session = session;
  }

  startPolling() {
    this.#polling = this.#poll();
    this.#polling.catch(() => {});
  }

  async #poll() {
    while (!this.#stop) {
      for (const packet of await this.session.poll()) {
        if (packet === "2") await this.session.push("3");
        else if (packet !== "6") this.packets.push(packet);
      }
    }
  }

  /** Opens a WebSocket at `gateway` and gets its probe answered. */
  async probe(gateway) {
    this.socket = openWebSocket(this.#t, gateway, this.session.webSocketPath);
    await this.socket.opened();
    this.socket.send("2probe");
    await this.socket.take("3probe", (frame) => frame === "3probe");
  }

  /** Stops polling as Engine.IO's client does: the poll that waits is let go by the node. */
  async pause() {
    this.#stop = true;
    await this.#polling;
  }

  /** The whole upgrade; `behind` is sent right behind its last packet. */
  async moveTo(gateway, ...behind) {
    await this.probe(gateway);
    await this.pause();
    this.socket.send("5", ...behind);
  }

  /** Everything so far, on both transports. */
  get received() {
    const frames = this.socket?.frames ?? [];
    return [...this.packets, ...frames.filter((frame) => frame !== "2" && frame !== "6")];
  }

  /** The arguments of all `event`s so far. */
  events(event) {
    const start = `42["${event}",`;
    const texts = this.received.filter((packet) => typeof packet === "string" && packet.startsWith(start));
    return texts.map((text) => JSON.parse(text.slice(2)).slice(1));
  }

  /** Waits for an `event` whose arguments pass. */
  receive(event, matches = () => true) {
    return until(`"${event}"; the last are ${JSON.stringify(this.received.slice(-5))}`, () =>
      this.events(event).find((args) => matches(...args)),
    );
  }
}
