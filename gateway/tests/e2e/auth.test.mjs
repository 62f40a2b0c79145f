// Who gets in and who may do what, as real clients see it.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";

import {
  TRANSPORT_MODES, ask, askOk, askRefused, connect, fence, open, receive, received,
} from "./support/clients.mjs";
import { nextEvent, until } from "./support/conditions.mjs";
import { startMover } from "./support/mover.mjs";
import { connectPython, refusedPython } from "./support/python.mjs";
import { openPolling } from "./support/raw.mjs";
import { redisClient, startRedis } from "./support/redis.mjs";
import { rule, startGuarded, tokenOf } from "./support/tokens.mjs";

const hasMoved = (gateway) =>
  until("it is at the other node", async () =>
    (await gateway.metric("broadgate_sessions_moved_total", { direction: "in" })) === 1,
  );

for (const { mode, options, settled } of TRANSPORT_MODES) {
  describe(mode, () => {
    test("a token is taken from each place that may have one", async (t) => {
      const auth = 'cookie = "session"\nquery_key = "token"';
      const gateway = await startGuarded(t, { auth, more: rule("*", "authenticated", "nobody") });
      const token = tokenOf({ sub: "ada" });
      const places = [
        { auth: { token } },
        { auth: (give) => give({ token }) },
        { extraHeaders: { Authorization: `Bearer ${token}` } },
        { extraHeaders: { Cookie: `theme=dark; session=${token}` } },
        { query: { token } },
      ];
      for (const place of places) {
        const socket = await connect(t, gateway, { ...options, ...place });
        await askOk(socket, "join", "room");
        await until("the upgrade", () => socket.io.engine.transport.name === settled);
        socket.disconnect();
      }
    });

    test("a refusal has a code, and a client that then has a token gets in", async (t) => {
      const gateway = await startGuarded(t);
      const table = [
        [undefined, "authentication_required"],
        ["nonsense", "token_malformed"],
        [`${tokenOf({ sub: "ada" })}x`, "token_invalid"],
        [tokenOf({ sub: "ada" }, -1), "token_expired"],
        [tokenOf({ sub: "ada", nbf: Date.now() }), "token_not_yet_valid"],
        [tokenOf({}), "token_claims"],
      ];
      let token;
      const socket = open(t, gateway, { ...options, autoConnect: false, auth: (give) => give({ token }) });
      for (const [bad, code] of table) {
        token = bad;
        const refused = nextEvent(socket, "connect_error");
        socket.connect();
        const [error] = await refused;
        assert.equal(error.data.code, code);
        assert.ok(error.message.length > 0);
        assert.equal(socket.active, false, "the client waits for its application");
      }
      token = tokenOf({ sub: "ada" });
      const connected = nextEvent(socket, "connect");
      socket.connect();
      await connected;
    });

    test("when the token expires the client comes back with a fresh one from its `auth` function", async (t) => {
      const gateway = await startGuarded(t, { auth: "expiry_grace_ms = 300", more: rule("*", "nobody", "anyone") });
      const given = [];
      const auth = (give) => {
        given.push(tokenOf({ sub: "ada", rooms: ["room"] }, given.length === 0 ? 9 : 3600));
        give({ token: given.at(-1) });
      };
      const socket = await connect(t, gateway, { ...options, auth });
      const first = socket.id;
      const [reason] = await nextEvent(socket, "disconnect");
      assert.notEqual(reason, "io server disconnect");
      await until("it is back", () => socket.connected);
      assert.equal(given.length, 2);
      assert.notEqual(socket.id, first);
      await gateway.publish({ rooms: ["room"], event: "hello" });
      await receive(socket, "hello");
      assert.equal(await gateway.metric("broadgate_connections_closed_total", { reason: "token_expired" }), 1);
    });

    test("a fresh token by emit keeps the socket where it is", async (t) => {
      const more = rule("room-*", "token", "nobody");
      const gateway = await startGuarded(t, { auth: "expiry_grace_ms = 20000", more });
      const auth = { token: tokenOf({ sub: "ada", join: "room-1" }, 9) };
      const socket = await connect(t, gateway, { ...options, auth });
      const { id } = socket;
      await askOk(socket, "join", "room-1");
      const [[told]] = await receive(socket, "token_expired");
      assert.ok(told.grace_ms > 0 && told.grace_ms <= 20_000, JSON.stringify(told));
      await askRefused("token_expired", socket, "auth", tokenOf({ sub: "ada" }, -1));
      await askRefused("token_user", socket, "auth", tokenOf({ sub: "eve" }));
      const { expires_at_s } = await askOk(socket, "auth", tokenOf({ sub: "ada", join: "room-2" }));
      assert.ok(expires_at_s > Date.now() / 1000 + 3000);
      await askOk(socket, "join", "room-2");
      await askRefused("forbidden", socket, "join", "room-1b");
      assert.equal(socket.id, id);
    });
  });
}

test("where a namespace is left after expiry, its client stays away", async (t) => {
  const gateway = await startGuarded(t, { auth: 'on_expiry = "disconnect"\nexpiry_grace_ms = 0' });
  const socket = await connect(t, gateway, { auth: { token: tokenOf({ sub: "ada" }, 9) } });
  const [reason] = await nextEvent(socket, "disconnect");
  assert.equal(reason, "io server disconnect");
  assert.equal(socket.active, false);
});

test("a message to a user reaches all devices on all nodes, and nobody else", async (t) => {
  const redis = await startRedis(t);
  const nodes = await Promise.all([startGuarded(t, { redis }), startGuarded(t, { redis })]);
  const emitter = new Emitter(redisClient(t, redis));
  const devices = [];
  for (const [index, { options }] of TRANSPORT_MODES.entries()) {
    const auth = { token: tokenOf({ sub: "ada", rooms: [`by-${index}`] }) };
    for (const node of nodes) devices.push(await connect(t, node, { ...options, auth }));
  }
  const others = await Promise.all(nodes.map((node) => connect(t, node, { auth: { token: tokenOf({ sub: "bob" }) } })));
  emitter.to("user:ada").emit("hello", 1);
  for (const [index] of TRANSPORT_MODES.entries()) emitter.to(`by-${index}`).emit("rooms", index);
  for (const device of devices) {
    assert.deepEqual(await receive(device, "hello"), [[1]]);
    await receive(device, "rooms");
  }
  await fence([...devices, ...others], (event) => emitter.emit(event));
  for (const device of devices) assert.equal(received(device, "rooms").length, 1);
  for (const other of others) assert.deepEqual(received(other, "hello"), []);
});

test("what is published right behind the answer to CONNECT arrives", async (t) => {
  const redis = await startRedis(t);
  const nodes = await Promise.all([startGuarded(t, { redis }), startGuarded(t, { redis })]);
  const emitter = new Emitter(redisClient(t, redis));
  for (let round = 0; round < 20; round += 1) {
    const auth = { token: tokenOf({ sub: `user ${round}`, rooms: [`room ${round}`] }) };
    const socket = await connect(t, nodes[round % 2], { auth });
    emitter.to(`user:user ${round}`).emit("user");
    emitter.to(`room ${round}`).emit("room");
    await receive(socket, "user");
    await receive(socket, "room");
    socket.disconnect();
  }
});

test("joins and publishes go by the token's patterns", async (t) => {
  const rules = [rule("inbox-{sub}", "authenticated", "nobody"), rule("chat-*", "token", "token")];
  const gateway = await startGuarded(t, { more: rules.join("") });
  const claims = { sub: "ada", join: ["chat-*"], publish: ["chat-{1,2}"] };
  const ada = await connect(t, gateway, { auth: { token: tokenOf(claims) } });
  const bob = await connect(t, gateway, { auth: { token: tokenOf({ sub: "bob", join: ["chat-1"] }) } });
  await askOk(ada, "join", "inbox-ada");
  await askRefused("forbidden", ada, "join", "inbox-bob");
  for (const room of ["chat-1", "chat-2", "chat-3"]) await askOk(ada, "join", room);
  await askOk(bob, "join", "chat-1");
  await askRefused("forbidden", bob, "join", "chat-2");
  await askRefused("forbidden", bob, "publish", "chat-1", "hello");
  await askRefused("forbidden", ada, "publish", "chat-3", "hello");
  await askRefused("forbidden", bob, "join", "user:ada");
  await askRefused("forbidden", bob, "join", ada.id);
  await askOk(ada, "publish", "chat-1", "hello", 1);
  assert.deepEqual(await receive(bob, "hello"), [[1]]);
});

test("the id of a socket of another node is no room to join", async (t) => {
  const redis = await startRedis(t);
  const more = rule("*", "anyone", "anyone");
  const [a, b] = await Promise.all([startGuarded(t, { redis, more }), startGuarded(t, { redis, more })]);
  for (const gateway of [a, b]) await until("both are known", async () => (await gateway.nodes()).length === 2);
  const victim = await connect(t, a, { auth: { token: tokenOf({ sub: "ada" }) } });
  const spy = await connect(t, b, { auth: { token: tokenOf({ sub: "eve" }) } });
  await askRefused("forbidden", spy, "join", victim.id);
});

for (const how of ["packet", "handshake"]) {
  test(`a session that moves keeps its token (of the ${how}), its rights and its expiry`, async (t) => {
    const redis = await startRedis(t);
    const auth = 'expiry_grace_ms = 1000\nquery_key = "token"';
    const settings = { redis, auth, more: rule("chat-{sub}", "authenticated", "nobody") };
    const [a, c] = await Promise.all([startGuarded(t, settings), startGuarded(t, settings)]);
    for (const gateway of [a, c]) await until("both are known", async () => (await gateway.nodes()).length === 2);
    const token = tokenOf({ sub: "ada", rooms: ["room"] }, 10);
    const mover = await startMover(t, a, [], how === "packet" ? { auth: { token } } : { query: { token } });
    await mover.moveTo(c);
    await hasMoved(c);
    mover.socket.send('421["join","chat-ada"]', '422["join","chat-bob"]', '423["join","user:bob"]');
    const acks = [];
    for (const number of [1, 2, 3]) {
      const frame = await mover.socket.take(`ack ${number}`, (text) => text.startsWith(`43${number}[`));
      acks.push(JSON.parse(frame.slice(3))[0].ok);
    }
    assert.deepEqual(acks, [true, false, false]);
    await a.publish({ rooms: ["user:ada"], event: "hello", args: [1] });
    await mover.receive("hello");
    await mover.receive("token_expired");
    await mover.socket.closed();
    assert.equal(await c.metric("broadgate_connections_closed_total", { reason: "token_expired" }), 1);
  });
}

test("a client without a token does not get in where one is required by moving there", async (t) => {
  const redis = await startRedis(t);
  const namespace = (authentication) => `[[namespaces]]\nname = "/"\nauthentication = "${authentication}"\n`;
  const [a, c] = await Promise.all(
    ["optional", "required"].map((authentication) => startGuarded(t, { redis, more: namespace(authentication) })),
  );
  for (const gateway of [a, c]) await until("both are known", async () => (await gateway.nodes()).length === 2);
  const mover = await startMover(t, a, []);
  assert.ok(mover.id, "it is connected");
  await mover.moveTo(c);
  await mover.socket.closed();
  for (const gateway of [a, c]) {
    for (const gauge of ["connections", "sockets", "room_memberships"]) {
      await until(`${gauge} is 0`, async () => (await gateway.metric(`broadgate_${gauge}`)) === 0);
    }
  }
  const refused = await openPolling(c);
  await refused.push("40");
  assert.match((await refused.poll())[0], /^44\{.*"code":"authentication_required"/);
});

test("a session moves in the middle of its CONNECT, and is answered", async (t) => {
  const redis = await startRedis(t);
  const [a, c] = await Promise.all([startGuarded(t, { redis }), startGuarded(t, { redis })]);
  for (const gateway of [a, c]) await until("both are known", async () => (await gateway.nodes()).length === 2);
  const mover = await startMover(t, a, null);
  await mover.session.push(`40${JSON.stringify({ token: tokenOf({ sub: "ada", rooms: ["x", "y", "z"] }) })}`);
  await mover.moveTo(c);
  await until("the answer", () => mover.received.some((packet) => packet.startsWith('40{"sid"')));
  await hasMoved(c);
  await c.publish({ rooms: ["user:ada"], event: "hello", args: [1] });
  await mover.receive("hello");
});

for (const transport of ["websocket", "polling"]) {
  test(`python-socketio over ${transport}`, async (t) => {
    const gateway = await startGuarded(t, { more: rule("room-{sub}", "authenticated", "nobody") });
    const token = tokenOf({ sub: "ada" });
    for (const options of [{ auth: { token } }, { headers: { Authorization: `Bearer ${token}` } }]) {
      const python = await connectPython(t, gateway, transport, options);
      assert.equal((await python.call("join", "room-ada")).ok, true);
      assert.equal((await python.call("auth", tokenOf({ sub: "ada" }, 60))).ok, true);
      await python.disconnect();
    }
    const refused = await refusedPython(t, gateway, transport, { auth: { token: "nonsense" } });
    assert.equal(refused.data.code, "token_malformed");
    assert.equal(typeof refused.message, "string");
  });
}

test("an anonymous client among others", async (t) => {
  const more = `[[namespaces]]\nname = "/"\nauthentication = "optional"\n${rule("*", "authenticated", "anyone")}`;
  const gateway = await startGuarded(t, { more });
  const socket = await connect(t, gateway);
  await askRefused("forbidden", socket, "join", "room");
  await askOk(socket, "publish", "room", "hello");
  await askRefused("token_user", socket, "auth", tokenOf({ sub: "ada" }));
  assert.equal((await ask(socket, "auth")).error, "invalid_argument");
});
