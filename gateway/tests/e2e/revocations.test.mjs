// Revocations by the ops API and by any backend: every node knows them, those that start later too, until they are lifted
// or over.

import assert from "node:assert/strict";
import { test } from "node:test";

import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { redisCli, startRedis } from "./support/redis.mjs";

const CHANNEL = "socket.io-broadgate#revocations#";
const HOUR_MS = 3_600_000;

test("a revocation holds on every node until it is lifted", async (t) => {
  const redis = await startRedis(t);
  const [first, second] = await Promise.all([1, 2].map(() => startGateway(t, { redis })));
  const nowS = Math.floor(Date.now() / 1000);

  const byUser = await revocations(first, "POST", { user: "alice", issued_before_s: 1000, for_ms: HOUR_MS });
  assert.equal(byUser.status, 200, JSON.stringify(byUser.body));
  assert.ok(Math.abs(byUser.body.until_s - nowS - 3600) < 60, "an hour from now");
  assert.equal((await revocations(second, "POST", { token_id: "4b1f", for_ms: 2 * HOUR_MS })).status, 200);
  const untilS = nowS + 3 * 3600;
  const told = await redisCli(redis, "PUBLISH", CHANNEL, JSON.stringify({ user: "bob", until_s: untilS }));
  assert.equal(Number(told), 2, "both nodes listen");

  const names = (list) => list.map(({ user, token_id }) => user ?? token_id);
  const all = ["alice", "4b1f", "bob"];
  await until("all of them are kept", async () =>
    Number(await redisCli(redis, "ZCARD", "{socket.io}-broadgate#revocations")) === 3);
  const third = await startGateway(t, { redis });
  for (const gateway of [first, second, third]) {
    await until("it knows all of them", async () => (await list(gateway)).total === 3);
    const { revocations: found } = await list(gateway);
    assert.deepEqual(names(found), all, "those that end first come first");
    assert.deepEqual(found[0], { user: "alice", issued_before_s: 1000, until_s: byUser.body.until_s });
    assert.deepEqual(names((await list(gateway, "?limit=1")).revocations), ["alice"]);
    assert.equal(await gateway.metric("broadgate_revocations"), 3);
  }

  const lifted = await revocations(second, "DELETE", undefined, "?user=alice");
  assert.deepEqual([lifted.status, lifted.body], [200, { ok: true }]);
  await redisCli(redis, "PUBLISH", CHANNEL, JSON.stringify({ user: "bob", lifted: true }));
  for (const gateway of [first, second, third]) {
    await until("it is lifted", async () => (await list(gateway)).total === 1);
    assert.deepEqual(names((await list(gateway)).revocations), ["4b1f"]);
  }
});

test("a request that is none is refused, and says what is wrong", async (t) => {
  const gateway = await startGateway(t);
  for (const [body, expected] of [
    [{ for_ms: 1000 }, /user/],
    [{ user: "a" }, /for_ms/],
    [{ user: "a", for_ms: 1000, issued_before: 1 }, /issued_before/],
  ]) {
    const refused = await revocations(gateway, "POST", body);
    assert.deepEqual([refused.status, refused.body.error], [400, "invalid_argument"]);
    assert.match(refused.body.message, expected);
  }
  assert.equal((await revocations(gateway, "DELETE", undefined, "")).status, 400);
  assert.equal((await list(gateway)).total, 0);
});

test("without Redis nothing is revoked, and it is said", async (t) => {
  const redis = await startRedis(t);
  const gateway = await startGateway(t, { redis });
  await redis.kill();
  await until("the link is known to be down", async () =>
    (await gateway.metric("broadgate_adapter_link_up", { link: "publish" })) === 0);
  const { status, body } = await revocations(gateway, "POST", { user: "alice", for_ms: HOUR_MS });
  assert.deepEqual([status, body.error], [503, "adapter_unavailable"]);
  assert.match(body.message, /nothing was done/);
  assert.equal((await list(gateway)).total, 0);
});

async function revocations(gateway, method, body, query = "") {
  const response = await fetch(`${gateway.opsUrl}/api/v1/revocations${query}`, {
    method,
    body: body && JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

async function list(gateway, query) {
  const { status, body } = await revocations(gateway, "GET", undefined, query);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}
