// A python-socketio client in a process of its own.

import { fileURLToPath } from "node:url";

import { atEnd, until } from "./conditions.mjs";
import { Process } from "./processes.mjs";

const SCRIPT = fileURLToPath(new URL("python_client.py", import.meta.url));
/** With python-socketio, as .ci/install makes it. */
export const PYTHON =
  process.env.BROADGATE_PYTHON ?? fileURLToPath(new URL("../../../../.tools/venv/bin/python", import.meta.url));

/** Connects; `transport` is "websocket" or "polling", `options` are more arguments of python-socketio's `connect`. */
export async function connectPython(t, server, transport, options = {}) {
  const { child, client } = startPython(t, server, transport, options);
  await child.until("connects", () => client.reports("connected").length === 1);
  return client;
}

/** Connects, which the server must refuse; resolves to what it says. */
export async function refusedPython(t, server, transport, options) {
  const { child, client } = startPython(t, server, transport, options);
  await child.until("is refused", () => client.reports("refused").length === 1);
  return client.reports("refused")[0].refused;
}

function startPython(t, server, transport, options) {
  const child = new Process(PYTHON, [SCRIPT, server.url, transport, JSON.stringify(options)]);
  atEnd(t, () => (child.exit ? undefined : child.stop("SIGKILL")));
  return { child, client: new PythonClient(child) };
}

class PythonClient {
  #child;

  constructor(child) {
    this.#child = child;
  }

  /** All reports so far that have this field. */
  reports(field) {
    const lines = this.#child.output.split("\n").slice(0, -1);
    return lines
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line, restoreBytes))
      .filter((report) => field in report);
  }

  get connection() {
    return this.reports("connected")[0];
  }

  /** Emits and resolves to the ack. */
  async call(event, ...args) {
    const answered = this.reports("ack").length;
    this.#tell({ call: event, args: args.map(describeBytes) });
    await this.#child.until(`ack of ${event}`, () => this.reports("ack").length > answered);
    return this.reports("ack").at(-1).ack;
  }

  received(event) {
    return this.reports("event").filter((report) => report.event === event).map((report) => report.args);
  }

  async receive(event, count = 1) {
    await this.#child.until(`${count} × ${event}`, () => this.received(event).length >= count);
    return this.received(event);
  }

  /** Disconnects; resolves to the exit of the process. */
  async disconnect() {
    this.#tell({ disconnect: true });
    return until("the python client ends", () => this.#child.exit);
  }

  #tell(order) {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
  }
}

/** JSON has no bytes. */
export function describeBytes(value) {
  if (Buffer.isBuffer(value)) return { $bytes: value.toString("base64") };
  if (Array.isArray(value)) return value.map(describeBytes);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, describeBytes(item)]));
}

function restoreBytes(_key, value) {
  return typeof value?.$bytes === "string" ? Buffer.from(value.$bytes, "base64") : value;
}
