// Who is reached, and who may do what, on one node.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ask,
  askOk,
  askRefused,
  connect,
  fenceBy,
  member,
  numbers,
  receive,
  received,
} from "./support/clients.mjs";
import { nextEvent } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";

const rule = (match, join, publish) => `[[rooms]]\nmatch = "${match}"\njoin = "${join}"\npublish = "${publish}"\n`;

test("policy: the first rule that matches decides, and no rule means no", async (t) => {
  const config =
    rule("news-secret", "nobody", "anyone") + rule("news*", "anyone", "nobody") + rule("chat-?", "anyone", "anyone");
  const gateway = await startGateway(t, { config });
  const socket = await connect(t, gateway);

  await askOk(socket, "join", "news");
  await askOk(socket, "join", "news-sport");
  await askRefused("forbidden", socket, "publish", "news", "headline", 1);
  await askRefused("forbidden", socket, "join", "news-secret");
  await askOk(socket, "publish", "news-secret", "tip", 1);
  await askOk(socket, "join", "chat-1");
  await askOk(socket, "publish", "chat-1", "said", 1);
  await askRefused("forbidden", socket, "join", "chat-12");
  await askRefused("forbidden", socket, "publish", "elsewhere", "said", 1);
});

test("policy: a socket's own id is a room like any other to those who publish", async (t) => {
  const gateway = await startGateway(t, { config: rule("news", "anyone", "anyone") });
  const [target, writer] = [await connect(t, gateway), await connect(t, gateway)];
  await askRefused("forbidden", writer, "publish", target.id, "private", 1);
  await askRefused("forbidden", writer, "join", target.id);

  const open = await startGateway(t);
  const [openTarget, openWriter] = [await connect(t, open), await connect(t, open)];
  assert.equal((await askOk(openWriter, "publish", openTarget.id, "private", 1)).delivered, 1);
  assert.deepEqual(await receive(openTarget, "private"), [[1]]);
});

test("policy: rules speak of one namespace", async (t) => {
  const config = `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/open"\n${OPEN_ROOMS("/open")}`;
  const gateway = await startGateway(t, { config });
  await askRefused("forbidden", await connect(t, gateway), "join", "room");
  await askOk(await connect(t, gateway, { namespace: "/open" }), "join", "room");
});

test("only the namespaces of the config exist", async (t) => {
  const gateway = await startGateway(t, { config: `[[namespaces]]\nname = "/only"\n${OPEN_ROOMS("/only")}` });
  const only = await connect(t, gateway, { namespace: "/only" });
  const root = only.io.socket("/");
  const [error] = await nextEvent(root, "connect_error");
  assert.equal(error.message, "Invalid namespace");
});

test("wrong arguments are refused with a reason, and the socket lives on", async (t) => {
  const gateway = await startGateway(t);
  const socket = await connect(t, gateway);
  const wrong = [
    ["join"],
    ["join", 7],
    ["join", null],
    ["join", { room: "x" }],
    ["join", ""],
    ["join", "x".repeat(20_000)],
    ["join", Buffer.from("room")],
    ["leave"],
    ["leave", ["x"]],
    ["publish"],
    ["publish", "room"],
    ["publish", 7, "event"],
    ["publish", "room", 7],
    ["publish", "room", null],
    ["publish", "room", "x".repeat(20_000)],
    ["publish", "room", "connect"],
    ["publish", "room", "connect_error"],
    ["publish", "room", "disconnect"],
    ["publish", "room", "disconnecting"],
    ["publish", "room", "newListener"],
    ["publish", "room", "removeListener"],
  ];
  for (const [event, ...args] of wrong) await askRefused("invalid_argument", socket, event, ...args);
  for (const event of ["subscribe", "JOIN", "toString", ""]) await askRefused("unknown_event", socket, event, "room");
  await askOk(socket, "join", "room");
});

test("a client need not ask for acks", async (t) => {
  const gateway = await startGateway(t);
  const [reader, writer] = [await connect(t, gateway), await connect(t, gateway)];
  reader.emit("join", "room");
  reader.emit("unknown", 1, 2);
  reader.emit("join");
  await askOk(reader, "join", "second");
  writer.emit("publish", "room", "said", 1);
  assert.deepEqual(await receive(reader, "said"), [[1]]);
  reader.emit("leave", "room");
  await askOk(reader, "leave", "second");
  assert.equal((await askOk(writer, "publish", "room", "said", 2)).delivered, 0);
});

test("a socket joins no more rooms than the limit, and may join again after leaving", async (t) => {
  const gateway = await startGateway(t, { config: `[limits]\nmax_rooms_per_socket = 3\n${OPEN_ROOMS()}` });
  const socket = await connect(t, gateway);
  for (const index of numbers(3)) await askOk(socket, "join", `room ${index}`);
  await askRefused("limit_reached", socket, "join", "room 3");
  await askOk(socket, "leave", "room 0");
  await askOk(socket, "join", "room 3");
});

test("the ops API reaches whom it names, each once", async (t) => {
  const gateway = await startGateway(t, {
    config: `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/other"\n${OPEN_ROOMS()}${OPEN_ROOMS("/other")}`,
  });
  const sockets = {
    none: await connect(t, gateway),
    a: await member(t, gateway, ["a"]),
    b: await member(t, gateway, ["b"], { transports: ["polling"] }),
    ab: await member(t, gateway, ["a", "b"]),
    c: await member(t, gateway, ["c"]),
    other: await member(t, gateway, ["a"], { namespace: "/other" }),
  };
  const { a, b } = sockets;
  const cases = [
    [{}, ["none", "a", "b", "ab", "c"]],
    [{ rooms: [] }, ["none", "a", "b", "ab", "c"]],
    [{ rooms: ["a"] }, ["a", "ab"]],
    [{ room: "a" }, ["a", "ab"]],
    [{ rooms: ["a", "b"] }, ["a", "b", "ab"]],
    [{ rooms: [a.id] }, ["a"]],
    [{ rooms: ["b", a.id] }, ["a", "b", "ab"]],
    [{ except: ["a"] }, ["none", "b", "c"]],
    [{ except: ["a", b.id] }, ["none", "c"]],
    [{ rooms: ["a"], except: ["b"] }, ["a"]],
    [{ rooms: ["a", "b", "c"], except: [a.id, "c"] }, ["b", "ab"]],
    [{ rooms: ["nobody is here"] }, []],
    [{ namespace: "/other" }, ["other"]],
    [{ namespace: "/other", rooms: ["a", "b"] }, ["other"]],
  ];
  for (const [index, [target, reached]] of cases.entries()) {
    const { status, body } = await gateway.publish({ ...target, event: "said", args: [index, { deep: ["€"] }] });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.ok, true);
    assert.equal(body.delivered, reached.length, `delivered of ${JSON.stringify(target)}`);
  }
  await fenceBy(gateway, ...Object.values(sockets).filter((socket) => socket !== sockets.other));
  await gateway.publish({ namespace: "/other", event: "fence" });
  await receive(sockets.other, "fence");
  for (const [name, socket] of Object.entries(sockets)) {
    const expected = numbers(cases.length).filter((index) => cases[index][1].includes(name));
    assert.deepEqual(received(socket, "said"), expected.map((index) => [index, { deep: ["€"] }]), name);
  }
});

test("the ops API takes one argument as data, a list as args, or none", async (t) => {
  const gateway = await startGateway(t);
  const socket = await member(t, gateway, "room");
  const cases = [
    [{ data: { title: "hi" } }, [{ title: "hi" }]],
    [{ data: [1, 2] }, [[1, 2]]],
    [{ data: null }, [null]],
    [{ args: [1, 2] }, [1, 2]],
    [{ args: [] }, []],
    [{}, []],
  ];
  for (const [fields] of cases) {
    assert.equal((await gateway.publish({ rooms: ["room"], event: "said", ...fields })).status, 200);
  }
  assert.deepEqual(await receive(socket, "said", cases.length), cases.map(([, args]) => args));
});

test("the ops API refuses what it does not understand, with a reason", async (t) => {
  const gateway = await startGateway(t);
  const socket = await connect(t, gateway);
  const wrong = [
    "",
    "not JSON",
    "[]",
    '{"event":"said"',
    {},
    { event: 7 },
    { event: "disconnect" },
    { event: "said", rooms: "room" },
    { event: "said", rooms: [7] },
    { event: "said", args: {} },
    { event: "said", args: [1], data: 2 },
    { event: "said", except: "room" },
    { event: "said", namespace: "/nope" },
  ];
  for (const request of wrong) {
    const { status, body } = await gateway.publish(request);
    assert.equal(status, 400, `${JSON.stringify(request)}: ${JSON.stringify(body)}`);
    assert.equal(body.ok, false);
    assert.ok(body.error.length > 0 && body.message.length > 0, JSON.stringify(body));
  }
  await fenceBy(gateway, socket);
  assert.deepEqual(received(socket, "said"), []);
  assert.equal((await ask(socket, "join", "room")).ok, true);
});
