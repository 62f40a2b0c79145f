// Child processes: started with their output kept, stopped by their id.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

import { until } from "./conditions.mjs";

const MAX_OUTPUT_CHARACTERS = 1_000_000;
const EXIT_DEADLINE_MS = 15_000;

/** Below what the kernel gives to outgoing connections, which would take a port between our look and our use. */
const PORTS = { first: 12_000, count: 18_000 };

/** Where whoever has a port says so, as it is not in use until the process that it is for has started. */
const RESERVATIONS = "127.0.0.99";

/** A port of the loopback address that nobody listens on, and that no other test gets while this process runs. */
export async function freePort() {
  return until("a free port", async () => {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const reservation = createServer().listen(port, RESERVATIONS);
    await once(reservation, "listening");
    reservation.unref();
    const server = createServer().listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return port;
  });
}

export class Process {
  /** Standard output and standard error, as they came. */
  output = "";
  #child;
  #exit;

  constructor(command, args, options = {}) {
    this.name = `${command.split("/").at(-1)} ${args.join(" ")}`;
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => {
        this.output = (this.output + text).slice(-MAX_OUTPUT_CHARACTERS);
      });
    }
    this.#exit = new Promise((resolve) => {
      this.#child.on("error", (error) => resolve({ error }));
      this.#child.on("exit", (code, signal) => resolve({ code, signal }));
    });
    this.#exit.then((exit) => (this.exit = exit));
  }

  /** What became of it: `{code, signal}` or `{error}`; undefined while it runs. */
  exit;

  get stdin() {
    return this.#child.stdin;
  }

  /** Waits for `condition`, but not for a process that has ended. */
  async until(what, condition) {
    let holds = false;
    await until(`${this.name}: ${what}`, async () => {
      // In this order: what it said before its end counts.
      const { exit } = this;
      holds = Boolean(await Promise.resolve().then(condition).catch((error) => {
        if (!exit) throw error;
      }));
      return holds || exit;
    }).catch((error) => {
      throw new Error(`${error.message}\n${this.output}`, { cause: error });
    });
    if (!holds) throw new Error(`${this.name} ended: ${JSON.stringify(this.exit)}\n${this.output}`);
  }

  signal(signal) {
    this.#child.kill(signal);
  }

  /** Sends the signal and resolves to `{code, signal}`; kills the process and throws if it does not end. */
  async stop(signal = "SIGTERM") {
    this.#child.kill(signal);
    try {
      return await until(`${this.name} ends after ${signal}`, () => this.exit, EXIT_DEADLINE_MS);
    } catch (error) {
      this.#child.kill("SIGKILL");
      throw new Error(`${error.message}\n${this.output}`, { cause: error });
    }
  }
}

/** Runs a command to its end and returns its output; throws unless it exits with 0. */
export async function run(command, args, options) {
  const process = new Process(command, args, options);
  process.stdin.end();
  const exit = await until(`${process.name} ends`, () => process.exit);
  if (exit.code !== 0) throw new Error(`${process.name}: ${JSON.stringify(exit)}\n${process.output}`);
  return process.output;
}
