// Who may use the ops API: keys with scopes, changed while the node runs.

import assert from "node:assert/strict";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { member, receive } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, broadgate, startGateway } from "./support/gateway.mjs";

const PUBLISHER = "publisher-key-0123456789";
const OPERATOR = "operator-key-0123456789";
const SUPPORT = "support-key-0123456789";
const KEYS = `
[[ops.keys]]
name = "backend"
key = "${PUBLISHER}"
scopes = ["publish"]
[[ops.keys]]
name = "operator"
key = "${OPERATOR}"
[[ops.keys]]
name = "support"
key = "${SUPPORT}"
scopes = ["read"]
`;
const PUBLISH = { path: "publish", body: { room: "room", event: "said" } };
const LEAVE = { path: "sockets/leave", body: { rooms: ["room"], leave: ["room"] } };

/** A node that needs keys. */
function startClosed(t, config) {
  const environment = { BROADGATE__OPS__ANONYMOUS: undefined };
  return startGateway(t, { config: config + OPEN_ROOMS(), environment });
}

/** Resolves to `{status, error, challenge}`; without a body it is a GET. */
async function ask(gateway, { path, body }, authorization) {
  const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
  const request = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  const response = await fetch(`${gateway.opsUrl}/api/v1/${path}`, request);
  const { error, message } = await response.json();
  assert.equal(error === undefined, message === undefined, "an error says why");
  return { status: response.status, error, challenge: response.headers.get("www-authenticate") };
}

test("a key opens what its scopes say, and nothing is open without one", async (t) => {
  const gateway = await startClosed(t, KEYS);
  const requests = { publish: PUBLISH, read: { path: "nodes" }, control: LEAVE };
  const allowed = { [PUBLISHER]: ["publish"], [SUPPORT]: ["read"], [OPERATOR]: ["publish", "read", "control"] };
  for (const [scope, request] of Object.entries(requests)) {
    const none = await ask(gateway, request);
    assert.deepEqual(none, { status: 401, error: "unauthenticated", challenge: 'Bearer realm="broadgate"' }, scope);
    for (const wrong of ["Bearer not-one-of-the-keys", `Bearer ${PUBLISHER}x`]) {
      const { status, error, challenge } = await ask(gateway, request, wrong);
      assert.deepEqual([status, error], [401, "unauthenticated"], `${scope} with ${wrong}`);
      assert.match(challenge, /invalid_token/);
    }
    assert.equal((await ask(gateway, request, `Basic ${btoa(`a:${OPERATOR}`)}`)).status, 401);
    for (const [key, scopes] of Object.entries(allowed)) {
      const { status, error, challenge } = await ask(gateway, request, `Bearer ${key}`);
      if (scopes.includes(scope)) {
        assert.equal(status, 200, `${scope} with ${key}`);
      } else {
        assert.deepEqual([status, error], [403, "forbidden"], `${scope} with ${key}`);
        assert.match(challenge, new RegExp(`insufficient_scope.*"${scope}"`));
      }
    }
  }
  for (const [result, count] of Object.entries({ missing_key: 2, wrong_key: 2, allowed: 2, forbidden: 1, anonymous: 0 })) {
    assert.equal(await gateway.metric("broadgate_ops_requests_total", { scope: "publish", result }), count, result);
  }
  assert.match(gateway.output, /refused a request of the ops API peer=Some\(127\.0\.0\.1:/);
  for (const key of [PUBLISHER, OPERATOR, SUPPORT]) assert.ok(!gateway.output.includes(key), "no key is in the log");
});

test("probes and Prometheus need no key, and what is anonymous needs none either", async (t) => {
  const gateway = await startClosed(t, `[ops]\nanonymous = ["read"]\n${KEYS}`);
  for (const path of ["metrics", "livez", "readyz"]) {
    const response = await fetch(`${gateway.opsUrl}/${path}`);
    await response.arrayBuffer();
    assert.equal(response.status, 200, path);
  }
  assert.equal((await ask(gateway, { path: "sockets" })).status, 200);
  assert.equal((await ask(gateway, PUBLISH)).status, 401);
});

test("a file of keys is read again when it changes, and a bad one changes nothing", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "broadgate-keys-"));
  atEnd(t, () => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "keys");
  const [old, next] = ["the-old-key-0123456789", "the-next-key-0123456789"];
  const become = async (text) => {
    await writeFile(`${file}.new`, text);
    await rename(`${file}.new`, file);
  };
  const statusOf = async (key) => (await ask(gateway, PUBLISH, `Bearer ${key}`)).status;
  const reloads = (result) => gateway.metric("broadgate_ops_key_reloads_total", { result });

  await become(`${old}\n`);
  const gateway = await startClosed(t, `[[ops.keys]]\nname = "backend"\nkey_file = "${file}"\n`);
  assert.deepEqual([await statusOf(old), await statusOf(next)], [200, 401]);

  await become(`${next}\n${old}\n`);
  await until("the new key holds", async () => (await statusOf(next)) === 200);
  assert.equal(await statusOf(old), 200, "both hold");

  await become("short\n");
  await until("the bad file is noticed", async () => (await reloads("failed")) > 0);
  assert.equal(await statusOf(next), 200, "a bad file changes nothing");

  await become(`${next}\n`);
  await until("the old key is gone", async () => (await statusOf(old)) === 401);
  assert.equal(await statusOf(next), 200);
  assert.equal(await reloads("ok"), 2);
  assert.match(gateway.output, /line 1: expected 16 to 512/);
  assert.ok(!gateway.output.includes("short\""), "what a bad file holds is not shown");
});

test("broadgate publish shows the key of its file or of the environment", async (t) => {
  const gateway = await startClosed(t, KEYS);
  const reader = await member(t, gateway, "room");
  const folder = await mkdtemp(join(tmpdir(), "broadgate-keys-"));
  atEnd(t, () => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "key");
  await writeFile(file, `${PUBLISHER}\n`);
  const publish = (...args) => broadgate("publish", "--ops", gateway.opsUrl, "--room", "room", ...args);
  await assert.rejects(publish("said"), /refused it: 401/);
  await assert.rejects(publish("--key", SUPPORT, "said"), /refused it: 403/);
  await publish("--key-file", file, "said", "1");
  await publish("--key", OPERATOR, "said", "2");
  process.env.BROADGATE_OPS_KEY = PUBLISHER;
  try {
    await publish("said", "3");
  } finally {
    delete process.env.BROADGATE_OPS_KEY;
  }
  assert.deepEqual(await receive(reader, "said", 3), [[1], [2], [3]]);
});
