// A Node.js socket.io server with the Redis adapter, in the test's own process, so that a test can call it.

import { once } from "node:events";
import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { Server } from "socket.io";

import { atEnd, until } from "./conditions.mjs";
import { startGateway, OPEN_ROOMS } from "./gateway.mjs";
import { redisCli, redisClient, startRedis } from "./redis.mjs";

export const CONFIG = `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/custom"\n${OPEN_ROOMS()}${OPEN_ROOMS("/custom")}`;

export async function startNodeServer(t, redis, options) {
  const http = createServer();
  const [publisher, subscriber] = [redisClient(t, redis), redisClient(t, redis)];
  // Closing the server unsubscribes on a connection that is closed right after.
  const unsubscribe = subscriber.unsubscribe.bind(subscriber);
  subscriber.unsubscribe = (...channels) => unsubscribe(...channels).catch(() => {});
  const punsubscribe = subscriber.punsubscribe.bind(subscriber);
  subscriber.punsubscribe = (...patterns) => punsubscribe(...patterns).catch(() => {});
  const io = new Server(http, { adapter: createAdapter(publisher, subscriber, options) });
  for (const namespace of [io.of("/"), io.of("/custom")]) {
    namespace.on("connection", (socket) => {
      socket.on("join", (room, ack) => {
        socket.join(room);
        ack({ ok: true });
      });
    });
  }
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  atEnd(t, () => io.close());
  return { io, url: `http://127.0.0.1:${http.address().port}` };
}

/** One Node.js server and two Broadgate nodes that count each other. */
export async function startTrio(t, { config = CONFIG, options } = {}) {
  const redis = await startRedis(t);
  const server = await startNodeServer(t, redis, options);
  const [first, second] = await Promise.all([
    startGateway(t, { redis, config }),
    startGateway(t, { redis, config }),
  ]);
  await until("three nodes are counted", async () => (await countNodes(redis)) === 3);
  return { redis, server, io: server.io, first, second };
}

/** How many nodes every node counts in a namespace. */
export async function countNodes(redis, namespace = "/") {
  const answer = await redisCli(redis, "PUBSUB", "NUMSUB", `socket.io-request#${namespace}#`);
  return Number(answer.trim().split("\n").at(-1));
}
