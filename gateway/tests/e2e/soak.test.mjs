// The short form of `make soak`: after clients of all kinds have come and gone, a node has nothing left of them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Churn, leftovers } from "./support/churn.mjs";
import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { startRedis } from "./support/redis.mjs";

const LIVES = 150;

test("a node has nothing left of clients that came and went", async (t) => {
  const gateway = await startGateway(t, { redis: await startRedis(t) });
  const churn = new Churn(gateway, 25);
  await until(`${LIVES} lives`, () => churn.lives > LIVES, 60_000);
  await churn.stop();
  assert.ok(churn.received > 0);
  await until("all is gone", async () => (await leftovers(gateway)).length === 0, 60_000);
});
