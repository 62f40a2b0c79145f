// A real receiver of traces: OpenTelemetry's own messages behind Python's HTTP server.

import { fileURLToPath } from "node:url";

import { atEnd, until } from "./conditions.mjs";
import { Process, freePort } from "./processes.mjs";
import { PYTHON } from "./python.mjs";

const SCRIPT = fileURLToPath(new URL("otlp_receiver.py", import.meta.url));

export async function startReceiver(t, port) {
  port ??= await freePort();
  const child = new Process(PYTHON, [SCRIPT, String(port)]);
  const receiver = new Receiver(child, port);
  atEnd(t, () => receiver.stop());
  await child.until("listens", () => receiver.reports("port").length === 1);
  return receiver;
}

class Receiver {
  #child;

  constructor(child, port) {
    this.#child = child;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** All reports so far that have this field. */
  reports(field) {
    const lines = this.#child.output.split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
    return lines.map((line) => JSON.parse(line)).filter((report) => field in report);
  }

  get spans() {
    return this.reports("trace");
  }

  /** Resolves to the spans with these fields as soon as there are `count`. */
  async received(fields, count = 1) {
    const matches = (span) => Object.entries(fields).every(([key, value]) => span[key] === value);
    const found = () => this.spans.filter(matches);
    await until(`${count} spans like ${JSON.stringify(fields)}, not only ${JSON.stringify(this.spans)}`, () => found().length >= count);
    return found();
  }

  async stop() {
    if (!this.#child.exit) await this.#child.stop("SIGKILL");
  }
}
