// One cluster of a Broadgate node and a Node.js socket.io server with @socket.io/redis-adapter.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { askOk, connect, fence, member, numbers, receive, received } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, broadgate, startGateway } from "./support/gateway.mjs";
import { Process, freePort } from "./support/processes.mjs";
import { redisCli, startRedis } from "./support/redis.mjs";

const SERVER = fileURLToPath(new URL("support/socketio-server.mjs", import.meta.url));

async function startMixedCluster(t) {
  const redis = await startRedis(t);
  const port = await freePort();
  const child = new Process(process.execPath, [SERVER, redis.url, String(port)]);
  const nodeServer = { url: `http://127.0.0.1:${port}` };
  atEnd(t, async () => {
    assert.equal(child.exit, undefined, `the Node.js server died:\n${child.output}`);
    await child.stop("SIGKILL");
    assert.equal(child.output, "", "the Node.js server complained");
  });
  await child.until("answers", async () => (await fetch(`${nodeServer.url}/socket.io/`)).status === 400);
  await until("the Node.js server is subscribed", async () => (await redisCli(redis, "PUBSUB", "NUMPAT")).trim() === "2");
  const config = `[[namespaces]]\nname = "/"\n[[namespaces]]\nname = "/custom"\n${OPEN_ROOMS()}${OPEN_ROOMS("/custom")}`;
  return { redis, nodeServer, gateway: await startGateway(t, { redis, config }) };
}

/** Nothing of the other side's messages may look malformed to the node. */
async function assertNothingMalformed(gateway) {
  assert.equal(await gateway.metric("broadgate_adapter_malformed_total"), 0);
}

const ARGUMENTS = [
  "text €😀",
  { number: 1.5, big: 2 ** 40, negative: -129, list: [null, true, false, []], nested: { "": {} } },
  0,
];

test("each side's broadcasts reach the other's clients, once and in order", async (t) => {
  const { nodeServer, gateway } = await startMixedCluster(t);
  const theirs = await member(t, nodeServer, "news");
  const ours = await member(t, gateway, "news");

  for (const index of numbers(200)) await askOk(ours, "publish", "news", "from us", index, ...ARGUMENTS);
  for (const index of numbers(200)) await askOk(theirs, "publish", "news", "from them", index, ...ARGUMENTS);
  const expected = numbers(200).map((index) => [index, ...ARGUMENTS]);
  assert.deepEqual(await receive(theirs, "from us", 200), expected);
  assert.deepEqual(await receive(ours, "from them", 200), expected);
  await fence([ours, theirs], (event) => theirs.emit("everyone", event));
  assert.equal(received(theirs, "from us").length, 200);
  assert.equal(received(ours, "from them").length, 200);
  assert.deepEqual([...received(ours, "from us"), ...received(theirs, "from them")], [], "never the sender");
  await assertNothingMalformed(gateway);
});

test("binary crosses both ways", async (t) => {
  const { nodeServer, gateway } = await startMixedCluster(t);
  const theirs = await member(t, nodeServer, "files");
  const ours = await member(t, gateway, "files", { transports: ["polling"] });
  const args = [Buffer.from([0, 1, 255]), { deep: [Buffer.alloc(100_000, 7), "€"] }, Buffer.alloc(0)];
  await askOk(ours, "publish", "files", "from us", ...args);
  await askOk(theirs, "publish", "files", "from them", ...args);
  assert.deepEqual(await receive(theirs, "from us"), [args]);
  assert.deepEqual(await receive(ours, "from them"), [args]);
  await assertNothingMalformed(gateway);
});

test("the Node.js server reaches everyone, several rooms, all but some, and one socket of the node's", async (t) => {
  const { nodeServer, gateway } = await startMixedCluster(t);
  const theirs = await connect(t, nodeServer);
  const [a, ab, none] = [await member(t, gateway, "a"), await member(t, gateway, ["a", "b"]), await connect(t, gateway)];
  theirs.emit("everyone", "said", "everyone");
  theirs.emit("rooms", ["a", "b"], "said", "rooms");
  theirs.emit("except", "b", "said", "except");
  theirs.emit("rooms", [none.id], "said", "one");
  await receive(none, "said", 3);
  await fence([a, ab, none], (event) => theirs.emit("everyone", event));
  assert.deepEqual(received(a, "said").flat(), ["everyone", "rooms", "except"]);
  assert.deepEqual(received(ab, "said").flat(), ["everyone", "rooms"]);
  assert.deepEqual(received(none, "said").flat(), ["everyone", "except", "one"]);
  await assertNothingMalformed(gateway);
});

test("the node's ops API reaches everyone, several rooms, all but some, and one socket of the server's", async (t) => {
  const { nodeServer, gateway } = await startMixedCluster(t);
  const [a, ab, none] = [
    await member(t, nodeServer, "a"),
    await member(t, nodeServer, ["a", "b"]),
    await connect(t, nodeServer),
  ];
  await gateway.publish({ event: "said", args: ["everyone"] });
  await gateway.publish({ rooms: ["a", "b"], event: "said", args: ["rooms"] });
  await gateway.publish({ except: ["b"], event: "said", args: ["except"] });
  await gateway.publish({ rooms: [none.id], event: "said", args: ["one"] });
  await receive(none, "said", 3);
  await fence([a, ab, none], (event) => gateway.publish({ event }));
  assert.deepEqual(received(a, "said").flat(), ["everyone", "rooms", "except"]);
  assert.deepEqual(received(ab, "said").flat(), ["everyone", "rooms"]);
  assert.deepEqual(received(none, "said").flat(), ["everyone", "except", "one"]);
});

test("a publish that says when and in which trace it was published reaches the Node.js server's clients", async (t) => {
  const { redis, nodeServer, gateway } = await startMixedCluster(t);
  const theirs = await member(t, nodeServer, "news");
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const headers = { "content-type": "application/json", traceparent };
  const body = JSON.stringify({ room: "news", event: "said", args: ARGUMENTS });
  const response = await fetch(`${gateway.opsUrl}/api/v1/publish`, { method: "POST", headers, body });
  assert.equal(response.status, 200);
  await broadgate("publish", "--redis", redis.url, "--traceparent", traceparent, "--room", "news", "said", '"again"');
  assert.deepEqual(await receive(theirs, "said", 2), [ARGUMENTS, ["again"]]);
});

test("namespaces stay apart", async (t) => {
  const { nodeServer, gateway } = await startMixedCluster(t);
  const theirs = await member(t, nodeServer, "room", { namespace: "/custom" });
  const ours = await member(t, gateway, "room", { namespace: "/custom" });
  const roots = [await member(t, nodeServer, "room"), await member(t, gateway, "room")];
  await askOk(ours, "publish", "room", "said", "by us");
  await askOk(theirs, "publish", "room", "said", "by them");
  assert.deepEqual(await receive(theirs, "said"), [["by us"]]);
  assert.deepEqual(await receive(ours, "said"), [["by them"]]);
  await fence(roots, (event) => gateway.publish({ event }));
  for (const root of roots) assert.deepEqual(received(root, "said"), []);
});
