// The log filter of a node that runs, changed through the ops API.

import assert from "node:assert/strict";
import { test } from "node:test";

import { until } from "./support/conditions.mjs";
import { broadgate, startGateway } from "./support/gateway.mjs";

async function ask(gateway, method, body, authorization) {
  const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
  const request = { method, headers, body: body && JSON.stringify(body) };
  const response = await fetch(`${gateway.opsUrl}/api/v1/log-level`, request);
  return { status: response.status, ...(await response.json()) };
}

/** Publishes, and gives a look for the debug line about that. */
async function publishMarked(gateway) {
  const mark = `mark ${Math.random()}`;
  const { status } = await gateway.publish({ room: mark, event: "said" });
  assert.equal(status, 200);
  return () => gateway.output.split("\n").some((line) => line.includes("DEBUG") && line.includes(mark));
}

test("a change takes effect, is shown, and is taken back", async (t) => {
  const gateway = await startGateway(t);
  const before = await ask(gateway, "GET");
  assert.deepEqual(before, { status: 200, ok: true, filter: "info", configured: "info", reverts_in_seconds: null });

  const quiet = await publishMarked(gateway);
  const filter = "info,broadgate::node=debug";
  const changed = await ask(gateway, "PUT", { filter, for_seconds: 3600 });
  assert.deepEqual([changed.status, changed.filter, changed.configured], [200, filter, "info"]);
  assert.ok(changed.reverts_in_seconds > 3000 && changed.reverts_in_seconds <= 3600);
  await until("debug lines are written", await publishMarked(gateway));
  assert.equal(quiet(), false, "not before");
  assert.equal((await ask(gateway, "GET")).filter, filter);

  const reverted = await ask(gateway, "DELETE");
  assert.deepEqual([reverted.filter, reverted.reverts_in_seconds], ["info", null]);
  assert.match(gateway.output, /the log filter was changed/);
  const quietAgain = await publishMarked(gateway);
  await gateway.stop();
  await until("its last line", () => gateway.output.includes("stopped"));
  assert.equal(quietAgain(), false, "not after");
});

test("a change ends by itself", async (t) => {
  const gateway = await startGateway(t);
  assert.equal((await ask(gateway, "PUT", { filter: "debug", for_seconds: 1 })).status, 200);
  await until("the configured filter holds again", async () => (await ask(gateway, "GET")).filter === "info");
  await until("it is logged", () => gateway.output.includes("the log filter is the configured one again"));
});

test("what is no filter changes nothing, and the answer says what is wrong", async (t) => {
  const gateway = await startGateway(t);
  for (const [body, message] of [
    [{ filter: "broadgate=loud" }, /"filter" is no list of directives/],
    [{ filter: "a,".repeat(1000) }, /"filter" is longer than 1024 bytes/],
    [{ filter: "debug", for_seconds: 0 }, /"for_seconds" is 1 to 86400/],
    [{ filter: "debug", for_seconds: 86_401 }, /"for_seconds" is 1 to 86400/],
    [{ filter: "debug", seconds: 5 }, /unknown field `seconds`/],
    [{}, /missing field `filter`/],
  ]) {
    const refused = await ask(gateway, "PUT", body);
    assert.deepEqual([refused.status, refused.ok, refused.error], [400, false, "invalid_argument"], JSON.stringify(body));
    assert.match(refused.message, message);
  }
  assert.equal((await ask(gateway, "GET")).filter, "info");
});

test("to look needs the scope read, to change it control", async (t) => {
  const config = `[[ops.keys]]\nname = "reader"\nkey = "reader-key-0123456789"\nscopes = ["read"]\n[[ops.keys]]\nname = "operator"\nkey = "operator-key-0123456789"\nscopes = ["control"]\n`;
  const gateway = await startGateway(t, { config, environment: { BROADGATE__OPS__ANONYMOUS: undefined } });
  const [reader, operator] = ["Bearer reader-key-0123456789", "Bearer operator-key-0123456789"];
  const change = { filter: "debug" };
  const statuses = [];
  for (const [method, body, key] of [
    ["GET"], ["PUT", change], ["GET", undefined, reader], ["PUT", change, reader], ["PUT", change, operator], ["DELETE", undefined, reader], ["DELETE", undefined, operator],
  ]) {
    statuses.push((await ask(gateway, method, body, key)).status);
  }
  assert.deepEqual(statuses, [401, 401, 200, 403, 200, 403, 200]);
});

test("`broadgate log-level` shows, changes and takes back", async (t) => {
  const gateway = await startGateway(t);
  const run = (...args) => broadgate("log-level", "--ops", gateway.opsUrl, ...args);
  assert.match(await run(), /^info\n?$/);
  assert.match(await run("debug", "--for-seconds", "60"), /^debug for (5\d|60) s, then info\n?$/);
  assert.match(await run(), /^debug for \d+ s, then info\n?$/);
  assert.match(await run("--revert"), /^info\n?$/);
});
