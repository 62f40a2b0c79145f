// A Broadgate node: the binary that is tested, on ports of its own.

import assert from "node:assert/strict";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { atEnd, until } from "./conditions.mjs";
import { Process, freePort, run } from "./processes.mjs";

/** Rules that let everyone do everything, for tests that need a config file for another reason. */
export const OPEN_ROOMS = (namespace = "/") =>
  `[[rooms]]\nnamespace = "${namespace}"\nmatch = "*"\njoin = "anyone"\npublish = "anyone"\n`;

/** What nodes of tests have: an ops API that needs no key, an end at once, and more patience than a busy machine's pauses. */
const ENVIRONMENT = {
  BROADGATE__ADAPTER__REDIS__ANSWER_TIMEOUT_MS: "15000",
  BROADGATE__ADAPTER__REDIS__PUBLISH_TIMEOUT_MS: "15000",
  BROADGATE__ADAPTER__REDIS__SUBSCRIBE_TIMEOUT_MS: "15000",
  BROADGATE__OPS__ANONYMOUS: "publish,read,control",
  BROADGATE__SERVER__DRAIN_DELAY_MS: "0",
  BROADGATE__SERVER__DRAIN_WINDOW_MS: "0",
};

/**
 * Starts a node and waits until it is ready. `redis` is what `startRedis` returned; without `config` (TOML text) it
 * runs in development mode; `port` and `opsPort` to come back where an earlier node was; `tls` is what
 * `issueCertificate` returned; `environment` for what is to differ from other nodes of tests.
 */
export async function startGateway(t, { redis, config, port, opsPort, tls, environment = {} } = {}) {
  port ??= await freePort();
  opsPort ??= await freePort();
  const args = ["serve", "--listen", `127.0.0.1:${port}`, "--ops-listen", `127.0.0.1:${opsPort}`];
  if (redis) args.push("--redis", redis.url);
  if (config !== undefined) args.push("--config", await writeConfig(t, config));

  const child = new Process(await binary(), args, { env: { ...process.env, ...ENVIRONMENT, ...tls?.env, ...environment } });
  const gateway = new Gateway(child, port, opsPort, tls && "https");
  atEnd(t, async () => {
    if (!child.exit) await gateway.stop();
    assert.doesNotMatch(child.output, /panicked/, "the node panicked");
  });
  await child.until("is ready", () => gateway.isReady());
  return gateway;
}

/** The environment of a node that takes its time to go away. */
export function drainOver({ delayMs = 0, windowMs, timeoutMs = delayMs + windowMs + 10_000 }) {
  return {
    BROADGATE__SERVER__DRAIN_DELAY_MS: String(delayMs),
    BROADGATE__SERVER__DRAIN_WINDOW_MS: String(windowMs),
    BROADGATE__SERVER__SHUTDOWN_TIMEOUT_MS: String(timeoutMs),
  };
}

/** Runs a command of the binary to its end and returns its output. */
export async function broadgate(...args) {
  return run(await binary(), args);
}

async function binary() {
  const path = process.env.BROADGATE_BIN;
  assert.ok(path, "BROADGATE_BIN must name the broadgate binary");
  await access(path);
  return path;
}

async function writeConfig(t, text) {
  const directory = await mkdtemp(join(tmpdir(), "broadgate-config-"));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  const path = join(directory, "broadgate.toml");
  await writeFile(path, text);
  return path;
}

class Gateway {
  #child;

  constructor(child, port, opsPort, scheme = "http") {
    this.#child = child;
    this.port = port;
    this.opsPort = opsPort;
    this.url = `${scheme}://127.0.0.1:${port}`;
    this.opsUrl = `http://127.0.0.1:${opsPort}`;
  }

  get output() {
    return this.#child.output;
  }

  async isReady() {
    const response = await fetch(`${this.opsUrl}/readyz`);
    await response.arrayBuffer();
    return response.ok;
  }

  /** Ends the node; it must exit with 0 within the bound of `Process.stop`. */
  async stop(signal = "SIGTERM") {
    const exit = await this.#child.stop(signal);
    assert.deepEqual(exit, { code: 0, signal: null }, `exit of the node\n${this.output}`);
  }

  /** Tells the node to stop, and returns when its readiness fails. */
  async drain() {
    this.signal("SIGTERM");
    await until("the node drains", async () => !(await this.isReady()));
  }

  /** Waits for the node's end after a signal; it must exit with 0. */
  async ended(deadlineMs) {
    const exit = await until(`the node ends\n${this.output}`, () => this.#child.exit, deadlineMs);
    assert.deepEqual(exit, { code: 0, signal: null }, `exit of the node\n${this.output}`);
  }

  get hasEnded() {
    return this.#child.exit !== undefined;
  }

  /** Sends the process a signal that does not end it at once. */
  signal(signal) {
    this.#child.signal(signal);
  }

  async kill() {
    await this.#child.stop("SIGKILL");
  }

  /** The sum of a metric's samples whose labels include `labels`. */
  async metric(name, labels = {}) {
    const samples = (await this.metrics()).filter(
      (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    );
    assert.ok(samples.length > 0, `no metric ${name} with ${JSON.stringify(labels)}`);
    return samples.reduce((sum, sample) => sum + sample.value, 0);
  }

  /** All samples of `/metrics`: `{name, labels, value}`. */
  async metrics() {
    const response = await fetch(`${this.opsUrl}/metrics`);
    assert.equal(response.status, 200);
    const lines = (await response.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return lines.map(parseSample);
  }

  /** `POST /api/v1/publish`, answered with `{status, body}`. A string is sent as it is. */
  publish(request) {
    return this.#post("publish", request);
  }

  /** `POST /api/v1/sockets/...`: join, leave or disconnect. */
  command(command, request) {
    return this.#post(`sockets/${command}`, request);
  }

  /** `GET /api/v1/sockets` with this query. */
  async sockets(query) {
    const response = await fetch(`${this.opsUrl}/api/v1/sockets${query}`);
    return { status: response.status, body: await response.json() };
  }

  /** `GET /api/v1/nodes`: those that are known, by name. */
  async nodes() {
    const response = await fetch(`${this.opsUrl}/api/v1/nodes`);
    assert.equal(response.status, 200);
    return (await response.json()).nodes;
  }

  async #post(path, request) {
    const response = await fetch(`${this.opsUrl}/api/v1/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof request === "string" ? request : JSON.stringify(request),
    });
    return { status: response.status, body: await response.json() };
  }
}

function parseSample(line) {
  const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
  assert.ok(match, `not a Prometheus sample: ${line}`);
  const labels = Object.fromEntries(
    [...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [key, value]),
  );
  return { name: match[1], labels, value: Number(match[3]) };
}
