// What a stress run kills and starts again, on the same ports. `isReady` is for the balancer, which has to find out by itself
// that one was killed; `isUp` and `kills` are the truth.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

import { atEnd } from "../conditions.mjs";
import { startGateway } from "../gateway.mjs";
import { CONFIG } from "../node-server.mjs";
import { Process } from "../processes.mjs";
import { monotonicMs } from "../sequences.mjs";

/** A client of engine.io-client whose WebSocket is lost between probe and switch has paused its polling and never resumes
 *  it. It comes back when a ping is overdue, so that is not to take 45 seconds here. */
const HEARTBEAT = "[engine]\nping_interval_ms = 5000\nping_timeout_ms = 15000\n";
const SERVER = fileURLToPath(new URL("../socketio-server.mjs", import.meta.url));

class Backend {
  isReady = false;
  isUp = false;
  /** `{killedMs, goneMs, upMs}`: from the signal to the end of the process, and until the next one is ready. */
  kills = [];

  constructor(t, redis, name) {
    Object.assign(this, { t, redis, name });
  }

  async start() {
    this.isReady = false;
    await this.startProcess();
    const lastKill = this.kills.at(-1);
    if (lastKill) lastKill.upMs = monotonicMs();
    this.isReady = true;
    this.isUp = true;
  }

  async kill() {
    this.isUp = false;
    const kill = { killedMs: monotonicMs() };
    this.kills.push(kill);
    await this.killProcess();
    kill.goneMs = monotonicMs();
  }
}

/** A Broadgate node. */
export class BroadgateBackend extends Backend {
  get opsUrl() {
    return `http://127.0.0.1:${this.opsPort}`;
  }

  async startProcess() {
    const { t, redis, port, opsPort } = this;
    this.gateway = await startGateway(t, { redis, config: HEARTBEAT + CONFIG, port, opsPort });
  }

  killProcess() {
    return this.gateway.kill();
  }

  get output() {
    return this.gateway.output;
  }
}

/** A Node.js socket.io server with the Redis adapter, in a process of its own. */
export class NodeBackend extends Backend {
  async startProcess() {
    const child = new Process(process.execPath, [SERVER, this.redis.url, String(this.port)]);
    this.child = child;
    atEnd(this.t, async () => {
      if (!child.exit) await child.stop("SIGKILL");
      assert.equal(child.output, "", "the Node.js server complained");
    });
    await child.until("answers", async () => (await fetch(`http://127.0.0.1:${this.port}/socket.io/`)).status === 400);
  }

  killProcess() {
    return this.child.stop("SIGKILL");
  }

  get output() {
    return this.child.output;
  }
}
