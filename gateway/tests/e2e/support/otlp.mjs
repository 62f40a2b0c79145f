// A real receiver of traces: OpenTelemetry's own messages behind Python's HTTP server.

import { fileURLToPath } from "node:url";

import { atEnd, until } from "./conditions.mjs";
import { Process, freePort } from "./processes.mjs";
import { PYTHON } from "./python.mjs";

const SCRIPT = fileURLToPath(new URL("otlp_receiver.py", import.meta.url));

/** Starts one; `tls` is what `issueCertificate` returned. */
export async function startReceiver(t, { port, tls } = {}) {
  port ??= await freePort();
  const files = tls ? [tls.env.BROADGATE__SERVER__TLS_CERT_FILE, tls.env.BROADGATE__SERVER__TLS_KEY_FILE] : [];
  const child = new Process(PYTHON, [SCRIPT, String(port), ...files]);
  const receiver = new Receiver(child, `${tls ? "https" : "http"}://127.0.0.1:${port}`);
  atEnd(t, () => receiver.stop());
  await child.until("listens", () => receiver.reports("port").length === 1);
  return receiver;
}

class Receiver {
  #child;

  constructor(child, url) {
    this.#child = child;
    this.url = url;
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
