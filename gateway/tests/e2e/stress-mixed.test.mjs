// The stress test, with its invariants (stress.test.mjs), in one cluster of three Broadgate nodes and two Node.js
// socket.io servers with the Redis adapter, which are killed too. Node.js servers need affinity for polling, so clients that
// poll go to the Broadgate nodes, and WebSocket-only clients to all five in turn.

import { test } from "node:test";

import { settingsFromEnvironment, stress } from "./support/stress/run.mjs";

test("nothing is lost, doubled or out of order in one cluster with Node.js servers", (t) =>
  stress(t, { ...settingsFromEnvironment(), nodeServers: 2 }));
