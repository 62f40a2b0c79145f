// A Redis server of the test's own, and the ways to publish through it.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";

import { atEnd } from "./conditions.mjs";
import { Process, freePort, run } from "./processes.mjs";

/** Starts redis-server without persistence; `port` to come back where an earlier one was, `more` arguments. */
export async function startRedis(t, { port, more = [] } = {}) {
  port ??= await freePort();
  const directory = await mkdtemp(join(tmpdir(), "broadgate-redis-"));
  const args = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory];
  const process = new Process("redis-server", [...args, ...more].map(String));
  const redis = {
    port,
    url: `redis://127.0.0.1:${port}/`,
    kill: () => process.stop("SIGKILL"),
  };
  atEnd(t, async () => {
    if (!process.exit) await redis.kill();
    await rm(directory, { recursive: true, force: true });
  });
  await process.until("answers PING", async () => (await redisCli(redis, "PING")).trim() === "PONG");
  return redis;
}

export function redisCli(redis, ...args) {
  return run("redis-cli", ["-h", "127.0.0.1", "-p", String(redis.port), ...args]);
}

export function redisClient(t, redis) {
  const client = new Redis(redis.port, "127.0.0.1");
  atEnd(t, () => client.disconnect());
  return client;
}

/** The reference emitter of backends written for Node.js. */
export function emitter(t, redis) {
  return new Emitter(redisClient(t, redis));
}
