// Revocations by the ops API and by any backend: every node knows them, those that start later too, until they are lifted
// or over.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Manager } from "socket.io-client";

import { TRANSPORT_MODES, ask, askRefused, connect, open, settle } from "./support/clients.mjs";
import { atEnd, nextEvent, until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { startMover } from "./support/mover.mjs";
import { redisCli, startRedis } from "./support/redis.mjs";
import { startGuarded, tokenOf } from "./support/tokens.mjs";

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

for (const { mode, options, settled } of TRANSPORT_MODES) {
  test(`whoever has a token that is revoked is disconnected on every node and stays away (${mode})`, async (t) => {
    const redis = await startRedis(t);
    const [first, second] = await Promise.all([startGuarded(t, { redis }), startGuarded(t, { redis })]);
    const token = (jti) => tokenOf({ sub: "alice", jti, iat: Math.floor(Date.now() / 1000) - 100 });
    const clients = [];
    for (const gateway of [first, second]) {
      for (const jti of ["t1", "t2"]) {
        clients.push(await connect(t, gateway, { ...options, auth: { token: token(jti) } }));
      }
    }
    const bob = await connect(t, second, { ...options, auth: { token: tokenOf({ sub: "bob" }) } });
    for (const client of [...clients, bob]) await settle(client, settled);
    const gone = (client) => nextEvent(client, "disconnect");

    // One token, of which there is a client on each node.
    const revoked = [clients[0], clients[2]].map(gone);
    assert.equal((await revocations(first, "POST", { token_id: "t1", for_ms: HOUR_MS })).status, 200);
    for (const [reason] of await Promise.all(revoked)) assert.equal(reason, "io server disconnect");
    for (const client of [clients[1], clients[3], bob]) assert.ok((await ask(client, "leave", "nowhere")).ok);
    for (const client of [clients[0], clients[2]]) {
      assert.equal(client.active, false, "it does not come back by itself");
      const refused = nextEvent(client, "connect_error");
      client.connect();
      const [error] = await refused;
      assert.equal(error.data.code, "token_revoked");
    }
    await askRefused("token_revoked", clients[1], "auth", token("t1"));

    // All of the user's that were issued before now, by a backend.
    const left = [clients[1], clients[3]].map(gone);
    const nowS = Math.floor(Date.now() / 1000);
    const told = { user: "alice", issued_before_s: nowS - 10, until_s: nowS + 3600 };
    await redisCli(redis, "PUBLISH", CHANNEL, JSON.stringify(told));
    for (const [reason] of await Promise.all(left)) assert.equal(reason, "io server disconnect");
    assert.ok((await ask(bob, "leave", "nowhere")).ok);
    await connect(t, first, { ...options, auth: { token: tokenOf({ sub: "alice", iat: nowS }) } });
    for (const gateway of [first, second]) {
      assert.equal(await gateway.metric("broadgate_sockets_revoked_total"), 2);
      assert.equal(await gateway.metric("broadgate_connections_closed_total", { reason: "token_revoked" }), 2);
      assert.equal(await gateway.metric("broadgate_connects_total", { result: "token_revoked" }), 1);
    }

    // A typo is cured.
    assert.equal((await revocations(first, "DELETE", undefined, "?token_id=t1")).status, 200);
    assert.equal((await revocations(first, "DELETE", undefined, "?user=alice")).status, 200);
    await until("it is lifted", async () => (await list(second)).total === 0);
    const connected = nextEvent(clients[2], "connect");
    clients[2].connect();
    await connected;
  });
}

test("a lift that a node could not hear of holds there when its link is back", async (t) => {
  const redis = await startRedis(t);
  const setUser = (...rules) => redisCli(redis, "ACL", "SETUSER", "away", ...rules);
  await setUser("on", ">secret", "+@all", "allkeys", "allchannels");
  const url = redis.url.replace("redis://", "redis://away:secret@");
  const [here, away] = await Promise.all([startGuarded(t, { redis }), startGuarded(t, { redis: { ...redis, url } })]);
  for (const body of [{ user: "alice", for_ms: HOUR_MS }, { user: "bob", for_ms: HOUR_MS }]) {
    assert.equal((await revocations(here, "POST", body)).status, 200);
  }
  await until("it knows both", async () => (await list(away)).total === 2);
  const alice = { auth: { token: tokenOf({ sub: "alice" }) }, reconnection: false };
  const refused = async (options) => {
    const [error] = await nextEvent(open(t, away, options), "connect_error");
    assert.equal(error.data.code, "token_revoked");
  };
  await refused(alice);

  await setUser("off");
  await redisCli(redis, "CLIENT", "KILL", "USER", "away");
  await until("its links are down", async () =>
    (await away.metric("broadgate_adapter_link_up", { link: "subscribe" })) === 0 &&
    (await away.metric("broadgate_adapter_link_up", { link: "publish" })) === 0);
  assert.equal((await revocations(here, "DELETE", undefined, "?user=alice")).status, 200);
  await refused(alice);
  await setUser("on");
  await until("it is lifted", async () => (await list(away)).total === 1);
  assert.ok((await ask(await connect(t, away, alice), "leave", "nowhere")).ok);
  await refused({ auth: { token: tokenOf({ sub: "bob" }) }, reconnection: false });
});

test("a session that is on its way while its token is revoked is caught where it arrives", async (t) => {
  const redis = await startRedis(t);
  const [a, c] = await Promise.all([startGuarded(t, { redis }), startGuarded(t, { redis })]);
  for (const gateway of [a, c]) await until("both are known", async () => (await gateway.nodes()).length === 2);
  const mover = await startMover(t, a, [], { auth: { token: tokenOf({ sub: "ada" }) } });
  await mover.moveTo(c);
  await until("it is at the other node", async () => (await c.metric("broadgate_sessions_moved_total", { direction: "in" })) === 1);
  assert.equal((await revocations(a, "POST", { user: "ada", for_ms: HOUR_MS })).status, 200);
  await until("it is told", () => mover.received.includes("41"));
  await mover.socket.closed();
  assert.equal(await c.metric("broadgate_connections_closed_total", { reason: "token_revoked" }), 1);

  // Known there before it comes.
  await revocations(a, "DELETE", undefined, "?user=ada");
  await until("it is lifted", async () => (await list(a)).total + (await list(c)).total === 0);
  const second = await startMover(t, a, [], { auth: { token: tokenOf({ sub: "ada" }) } });
  await second.probe(c);
  await revocations(a, "POST", { user: "ada", for_ms: HOUR_MS });
  await until("it is told", () => second.received.includes("41"));
});

test("a user has no more connections than he may, over all nodes and however they end", async (t) => {
  const redis = await startRedis(t);
  const more = "[limits]\nmax_connections_per_user = 3\n";
  const settings = { redis, more };
  const [first, second, third] = await Promise.all([1, 2, 3].map(() => startGuarded(t, settings)));
  const nodes = [first, second, third];
  for (const gateway of nodes) await until("all are known", async () => (await gateway.nodes()).length === 3);
  const alice = { auth: { token: tokenOf({ sub: "alice" }) }, reconnection: false };
  const refused = async (gateway) => {
    const socket = open(t, gateway, alice);
    const [error] = await nextEvent(socket, "connect_error");
    assert.equal(error.data.code, "too_many_connections");
    socket.disconnect();
  };
  const clients = [];
  for (const gateway of nodes) clients.push(await connect(t, gateway, alice));
  for (const gateway of nodes) await refused(gateway);
  await connect(t, first, { auth: { token: tokenOf({ sub: "bob" }) } });
  assert.equal(await first.metric("broadgate_connects_total", { result: "too_many_connections" }), 1);

  // One leaves.
  clients[1].disconnect();
  clients[1] = await connectWhenThereIsRoom(t, first, alice);
  await refused(second);

  // A node dies, and with it its connection.
  await third.kill();
  clients[2] = await connectWhenThereIsRoom(t, second, alice);
  await refused(first);

  // Redis forgets everything; the nodes tell it again.
  await redis.kill();
  await until("the link is known to be down", async () =>
    (await second.metric("broadgate_adapter_link_up", { link: "publish" })) === 0);
  await startRedis(t, { port: redis.port });
  await until("the numbers are there again", async () => {
    const numbers = await redisCli(redis, "HVALS", "{socket.io}-broadgate#user#alice");
    return numbers.trim().split(/\s+/).sort().join() === "1,2";
  });
  await refused(first);
});

test("namespaces share their connection's place among those of its user", async (t) => {
  const redis = await startRedis(t);
  const more = '[limits]\nmax_connections_per_user = 1\n[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/more"\n';
  const [first, second] = await Promise.all([1, 2].map(() => startGuarded(t, { redis, more })));
  for (const gateway of [first, second]) await until("all are known", async () => (await gateway.nodes()).length === 2);
  const manager = new Manager(first.url, { reconnection: false, transports: ["websocket"] });
  atEnd(t, () => manager._close());
  const auth = { token: tokenOf({ sub: "alice" }) };
  // Both CONNECTs are there before the place is.
  const sockets = ["/", "/more"].map((namespace) => manager.socket(namespace, { auth }));
  await Promise.all(sockets.map((socket) => socket.connected || nextEvent(socket, "connect")));
  const refused = async () => {
    const other = open(t, second, { auth, reconnection: false });
    const [error] = await nextEvent(other, "connect_error");
    assert.equal(error.data.code, "too_many_connections");
    other.disconnect();
  };
  await refused();

  // The place is free when the last of them has left.
  sockets[0].disconnect();
  await until("it has left", async () => (await first.metric("broadgate_sockets")) === 1);
  await refused();
  sockets[1].disconnect();
  await connectWhenThereIsRoom(t, second, { auth, reconnection: false });
});

/** That one has left is told to the others a little later, and that a node has died when it is missed. */
async function connectWhenThereIsRoom(t, gateway, options) {
  return until("there is room", async () => {
    const socket = open(t, gateway, options);
    const error = await Promise.race([
      nextEvent(socket, "connect").then(() => undefined),
      nextEvent(socket, "connect_error").then(([error]) => error),
    ]);
    if (!error) return socket;
    socket.disconnect();
    assert.equal(error.data.code, "too_many_connections");
    return undefined;
  });
}

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
