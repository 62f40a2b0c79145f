// A Python backend that publishes through python-socketio's Redis manager, in a process of its own.

import { fileURLToPath } from "node:url";

import { atEnd } from "./conditions.mjs";
import { Process } from "./processes.mjs";
import { PYTHON, describeBytes } from "./python.mjs";

const SCRIPT = fileURLToPath(new URL("python_publisher.py", import.meta.url));

/** The channel is python-socketio's own unless the test says otherwise. */
export function startPublisher(t, redis, channel = "socketio") {
  const child = new Process(PYTHON, [SCRIPT, redis.url, channel]);
  atEnd(t, () => (child.exit ? undefined : child.stop("SIGKILL")));
  return new PythonPublisher(child);
}

/** What Python takes for several arguments. */
export const tuple = (...items) => ({ $tuple: items });

class PythonPublisher {
  #child;
  #orders = 0;

  constructor(child) {
    this.#child = child;
  }

  /** `emit(event, data, room=..., skip_sid=..., namespace=...)`; resolves when Redis has it. */
  emit(event, data, options = {}) {
    return this.#tell({ method: "emit", args: [event, data], kwargs: options });
  }

  /** Any other method of the manager. */
  call(method, ...args) {
    return this.#tell({ method, args });
  }

  /** Publishes what versions before 5.14 did. */
  pickle(value) {
    return this.#tell({ pickle: value });
  }

  async #tell(order) {
    this.#orders += 1;
    const done = `{"done": ${this.#orders}}\n`;
    this.#child.stdin.write(`${JSON.stringify(describeBytes(order))}\n`);
    await this.#child.until(JSON.stringify(order).slice(0, 200), () => this.#child.output.includes(done));
  }
}
