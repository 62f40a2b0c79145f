// A TCP proxy between a node and Redis that delays what passes, each direction of each kind of link by a time of its own.

import { connect as connectTcp, createServer } from "node:net";
import { once } from "node:events";

import { atEnd } from "./conditions.mjs";

/** What only the link says that receives. */
const SUBSCRIBES = /SUBSCRIBE/i;

/**
 * Starts a proxy to `redis`; what it returns can stand for `redis` where a node is started. `delays` may be changed at
 * any time: `subscribe` is the link that receives, `publish` any other; `up` is towards Redis, `down` from there; in
 * milliseconds.
 */
export async function startSlowLink(t, redis) {
  const link = new SlowLink(redis);
  link.server.listen(0, "127.0.0.1");
  await once(link.server, "listening");
  link.port = link.server.address().port;
  link.url = `redis://127.0.0.1:${link.port}/`;
  atEnd(t, async () => {
    const closed = once(link.server, "close");
    link.server.close();
    link.cut();
    await closed;
  });
  return link;
}

class SlowLink {
  delays = { subscribe: { up: 0, down: 0 }, publish: { up: 0, down: 0 } };
  #pairs = new Set();
  #held = {};

  constructor(redis) {
    this.server = createServer({ noDelay: true }, (client) => this.#connect(client, redis));
  }

  /** Closes the links of a kind, or all; the node may connect again at once. */
  cut(kind) {
    for (const pair of this.#pairs) if (kind === undefined || pair.kind === kind) pair.end();
  }

  /** Lets nothing pass in one direction of a kind of link until the function is called that this returns. */
  hold(kind, direction) {
    let release;
    this.#held[kind + direction] = new Promise((resolve) => (release = resolve));
    return () => {
      this.#held[kind + direction] = undefined;
      release();
    };
  }

  #connect(client, redis) {
    const server = connectTcp({ port: redis.port, host: "127.0.0.1", noDelay: true });
    const pair = {
      kind: "publish",
      end: () => {
        client.destroy();
        server.destroy();
        this.#pairs.delete(pair);
      },
    };
    this.#pairs.add(pair);
    for (const [from, to, direction] of [
      [client, server, "up"],
      [server, client, "down"],
    ]) {
      from.on("error", pair.end);
      from.on("close", pair.end);
      // A later piece never overtakes an earlier one, also where the delay was made shorter between them.
      let earlier = Promise.resolve();
      from.on("data", (bytes) => {
        if (direction === "up" && SUBSCRIBES.test(bytes.toString("latin1"))) pair.kind = "subscribe";
        const due = Date.now() + this.delays[pair.kind][direction];
        earlier = earlier
          .then(() => untilTime(due))
          .then(() => this.#held[pair.kind + direction])
          .then(() => to.destroyed || to.write(bytes));
      });
    }
  }
}

function untilTime(due) {
  const wait = due - Date.now();
  return wait > 0 ? new Promise((resolve) => setTimeout(resolve, wait)) : undefined;
}
