// The ways to publish numbered messages, and to go on doing it while a test does something else.

import assert from "node:assert/strict";

import { Emitter } from "@socket.io/redis-emitter";

import { askOk } from "./clients.mjs";
import { atEnd } from "./conditions.mjs";
import { redisClient } from "./redis.mjs";
import { COUNT, Publisher } from "./sequences.mjs";

const EVERY_MS = 10;

/** A backend with the Socket.IO emitter. */
export function byEmitter(t, redis, name = "emitter") {
  const client = redisClient(t, redis);
  const io = new Emitter(client);
  const send = async (room, message) => {
    io.to(room).emit(COUNT, ...message);
    // The answer to a later command on the same connection: Redis has the message.
    await client.ping();
  };
  return { publisher: new Publisher(name), send };
}

/** A backend that calls one node's ops API. */
export function byOps(gateway, name = "ops") {
  const send = async (room, message) => {
    const { status, body } = await gateway.publish({ room, event: COUNT, args: message });
    assert.equal(status, 200, JSON.stringify(body));
  };
  return { publisher: new Publisher(name, { binary: false }), send };
}

/** A client that publishes. */
export function byClient(socket, name = "client") {
  return { publisher: new Publisher(name), send: (room, message) => askOk(socket, "publish", room, COUNT, ...message) };
}

/**
 * Publishes to the rooms in turn, each message when the one before is through, until `stop`, which resolves to what was
 * sent last in each room. `rooms` may grow meanwhile.
 */
export function publishSteadily(t, { publisher, send }, rooms) {
  let isStopping = false;
  const run = async () => {
    for (let turn = 0; !isStopping; turn += 1) {
      const room = rooms[turn % rooms.length];
      await send(room, publisher.next(room));
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  };
  const running = run();
  running.catch(() => {});
  const stop = async () => {
    isStopping = true;
    await running;
    return publisher.sent();
  };
  atEnd(t, () => stop().catch(() => {}));
  return { stop };
}
