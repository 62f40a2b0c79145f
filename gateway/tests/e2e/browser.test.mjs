// Headless Chromium: the demo page on two nodes, and the official client's bundle.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";

import { POLL_BEHIND_GOODBYE, newPage, startBrowser } from "./support/browser.mjs";
import { askOk, connect, member, receive } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "./support/gateway.mjs";
import { freePort } from "./support/processes.mjs";
import { startRedis } from "./support/redis.mjs";

const BUNDLE = new URL("node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url);
const RECEIVED = '[data-testid=message][data-direction="received"]';
const SENT = '[data-testid=message][data-direction="sent"]';

async function openDemo(t, browser, gateway, options) {
  const page = await newPage(t, browser, options);
  page.tolerated = [POLL_BEHIND_GOODBYE];
  await page.goto(gateway.url);
  await isConnected(page);
  return page;
}

async function isConnected(page, transport) {
  await page.waitForSelector('[data-testid=connection-status][data-state="connected"]');
  if (transport) await page.waitForFunction((name) => document.getElementById("transport").textContent === name, transport);
}

async function joinRoom(page, room) {
  await page.getByLabel("Room to join").fill(room);
  await page.getByRole("button", { name: "Join", exact: true }).click();
  await page.waitForSelector(`[data-testid=room][data-room="${room}"][data-state="joined"]`);
}

async function publish(page, room, event, body) {
  await page.getByTestId("publish-room").fill(room);
  await page.getByTestId("publish-event").fill(event);
  await page.getByTestId("publish-body").fill(body);
  await page.getByTestId("publish-button").click();
}

async function twoNodes(t) {
  const redis = await startRedis(t);
  return Promise.all([startGateway(t, { redis }), startGateway(t, { redis })]);
}

test("two pages on two nodes see each other's messages and their latency", async (t) => {
  const [first, second] = await twoNodes(t);
  const browser = await startBrowser(t);
  const [here, there] = [await openDemo(t, browser, first), await openDemo(t, browser, second)];
  for (const page of [here, there]) {
    await isConnected(page, "WebSocket");
    await joinRoom(page, "news");
    assert.equal((await page.getByTestId("socket-id").textContent()).length, 20);
    assert.match(await page.getByTestId("round-trip").textContent(), /^[\d.]+ ms$/);
    assert.equal(await page.getByTestId("mode").textContent(), "Development mode");
  }

  await publish(here, "news", "headline", '{"title":"Grüße €😀"}');
  const message = there.locator(`${RECEIVED}[data-event="headline"][data-room="news"]`);
  await message.waitFor();
  assert.equal(await message.getByTestId("message-body").textContent(), '{"title":"Grüße €😀"}');
  assert.match(await message.getByTestId("message-latency").textContent(), /^after [\d.]+ ms$/);

  const sent = here.locator(`${SENT}[data-outcome="acked"]`);
  await sent.waitFor();
  assert.match(await sent.getByTestId("message-latency").textContent(), /^acked in [\d.]+ ms, 0 members on this node$/);

  await publish(there, "news", "answer", "plain text");
  await here.locator(`${RECEIVED}[data-event="answer"]`).waitFor();
  assert.equal(await here.locator(RECEIVED).count(), 1, "a publish never comes back to its sender");
});

test("messages from outside appear, binary too, and the list stays bounded", async (t) => {
  const gateway = await startGateway(t);
  const page = await openDemo(t, await startBrowser(t), gateway);
  await isConnected(page, "WebSocket");
  await page.waitForSelector('[data-testid=room][data-room="lobby"][data-state="joined"]');
  const writer = await connect(t, gateway);
  await askOk(writer, "publish", "lobby", "file", { name: "a.png", image: Buffer.alloc(70_000) });
  const file = page.locator(`${RECEIVED}[data-event="file"]`);
  await file.waitFor();
  assert.equal(await file.getByTestId("message-body").textContent(), '{"name":"a.png","image":"binary, 70000 bytes"}');

  for (let index = 0; index < 300; index += 1) writer.emit("publish", "lobby", "count", index);
  await page.waitForFunction(() => document.getElementById("received-count").textContent === "301");
  assert.equal(await page.locator(RECEIVED).count(), 200);
  assert.equal(await page.locator(RECEIVED).first().getByTestId("message-body").textContent(), "299");
  await page.getByTestId("clear").click();
  assert.equal(await page.locator(RECEIVED).count(), 0);
});

test("each transport can be chosen, and carries messages and binary", async (t) => {
  const gateway = await startGateway(t);
  const page = await openDemo(t, await startBrowser(t), gateway);
  const peer = await member(t, gateway, "news");
  for (const [choice, shown, metric] of [
    ["polling", "HTTP long-polling", "polling"],
    ["websocket", "WebSocket", "websocket"],
    ["auto", "WebSocket", "websocket"],
  ]) {
    await page.getByTestId(`transport-${choice}`).check();
    await isConnected(page, shown);
    await joinRoom(page, "news");
    const others = metric === "websocket" ? 1 : 0;
    await until(`counted as ${metric}`, async () => (await gateway.metric("broadgate_connections", { transport: metric })) === others + 1);
    await publish(page, "news", `by ${choice}`, "text");
    assert.equal((await receive(peer, `by ${choice}`))[0][0], "text");
    await askOk(peer, "publish", "news", `to ${choice}`, Buffer.from([1, 2, 3]));
    const message = page.locator(`${RECEIVED}[data-event="to ${choice}"]`);
    await message.waitFor();
    assert.equal(await message.getByTestId("message-body").textContent(), '"binary, 3 bytes"');
  }
});

test("everything works by keyboard alone", async (t) => {
  const gateway = await startGateway(t);
  const browser = await startBrowser(t);
  const page = await openDemo(t, browser, gateway);
  const peer = await member(t, gateway, "keys");
  const focused = () => page.evaluate(() => document.activeElement.dataset.testid ?? document.activeElement.id);
  const tabTo = async (testId) => {
    for (let steps = 0; (await focused()) !== testId; steps += 1) {
      assert.ok(steps < 60, `Tab reaches ${testId}`);
      await page.keyboard.press("Tab");
      const visible = await page.evaluate(() => document.activeElement.matches(":focus-visible"));
      assert.ok(visible || (await focused()) === "", "focus can be seen");
    }
  };

  await tabTo("transport-auto");
  await page.keyboard.press("ArrowRight");
  await isConnected(page, "WebSocket");
  await page.keyboard.press("ArrowRight");
  await isConnected(page, "HTTP long-polling");

  await tabTo("join-room");
  await page.keyboard.type("keys");
  await page.keyboard.press("Enter");
  await page.waitForSelector('[data-testid=room][data-room="keys"][data-state="joined"]');

  await tabTo("publish-body");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("typed");
  await page.keyboard.press("Control+Enter");
  assert.equal((await receive(peer, "message"))[0][0], "typed");

  await askOk(peer, "publish", "keys", "answer", 1);
  await page.locator(`${RECEIVED}[data-event="answer"]`).waitFor();
  assert.equal(await page.getByRole("log").getAttribute("aria-live"), "polite");

  const leave = page.getByRole("button", { name: "Leave keys" });
  await leave.focus();
  await page.keyboard.press("Enter");
  await until("the room is left", async () => (await askOk(peer, "publish", "keys", "x")).delivered === 0);
  assert.equal(await page.locator('[data-testid=room][data-room="keys"]').count(), 0);
});

test("the page fits a phone, in light and in dark", async (t) => {
  const gateway = await startGateway(t);
  const browser = await startBrowser(t);
  const grounds = [];
  for (const colorScheme of ["light", "dark"]) {
    const page = await openDemo(t, browser, gateway, { viewport: { width: 360, height: 740 }, colorScheme, hasTouch: true });
    await joinRoom(page, "a-room-with-a-rather-long-name-that-nobody-broke-into-words-for-us");
    await publish(page, "lobby", "event", "x".repeat(500));
    await page.locator(`${SENT}[data-outcome="acked"]`).waitFor();
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${overflow} px too wide`);
    grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
  }
  assert.notEqual(grounds[0], grounds[1]);
});

test("the page comes back by itself, rooms included, when the node was restarted", async (t) => {
  const gateway = await startGateway(t);
  const browser = await startBrowser(t);
  const pages = [await openDemo(t, browser, gateway), await openDemo(t, browser, gateway)];
  await pages[1].getByTestId("transport-polling").check();
  await isConnected(pages[1], "HTTP long-polling");
  for (const page of pages) await joinRoom(page, "news");
  await gateway.stop();
  for (const page of pages) await page.waitForSelector('[data-testid=connection-status][data-state="connecting"]');
  const again = await startGateway(t, { port: gateway.port, opsPort: gateway.opsPort });
  for (const page of pages) {
    await page.waitForSelector('[data-testid=room][data-room="news"][data-state="joined"]');
    // Connections refused while the node was away are the one thing a browser cannot keep to itself.
    page.complaints = page.complaints.filter((text) => !/ERR_|WebSocket connection to/.test(text));
  }
  await again.publish({ rooms: ["news"], event: "back", data: { room: "news" } });
  for (const page of pages) await page.locator(`${RECEIVED}[data-event="back"]`).waitFor();
});

test("with a config file there is no demo page", async (t) => {
  const gateway = await startGateway(t, { config: "" });
  const response = await fetch(gateway.url);
  assert.equal(response.status, 404);
});

test("the official client's bundle works in Chromium, cross-origin, on every transport", async (t) => {
  const gateway = await startGateway(t);
  const page = await newPage(t, await startBrowser(t));
  page.tolerated = [POLL_BEHIND_GOODBYE];
  await page.goto(await serveBundle(t));
  const peer = await member(t, gateway, "room");
  for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
    const result = page.evaluate(
      async ([url, transports]) => {
        const socket = window.io(url, { transports, forceNew: true });
        const ack = await new Promise((resolve) => socket.emit("join", "room", resolve));
        const message = new Promise((resolve) => socket.once("said", (...args) => resolve(args)));
        socket.emit("publish", "room", "hello", new Uint8Array([1, 2, 3]), "€");
        const [text, bytes] = await message;
        while (socket.io.engine.transport.name !== transports.at(-1)) await new Promise((next) => setTimeout(next, 10));
        socket.disconnect();
        return { ack, text, bytes: [...new Uint8Array(bytes)] };
      },
      [gateway.url, transports],
    );
    await receive(peer, "hello");
    assert.deepEqual(peer.inbox.splice(0), [{ event: "hello", args: [Buffer.from([1, 2, 3]), "€"] }]);
    await askOk(peer, "publish", "room", "said", "text 😀", Buffer.from([9, 8]));
    assert.deepEqual(await result, { ack: { ok: true, room: "room", joined: true }, text: "text 😀", bytes: [9, 8] });
  }
});

test("a page of an origin that is not allowed is refused on every transport, an allowed one works with credentials", async (t) => {
  const [allowedPage, foreignPage] = [await serveBundle(t), await serveBundle(t)];
  const config = `[engine]\nallowed_origins = ["${new URL(allowedPage).origin}"]\n${OPEN_ROOMS()}`;
  const gateway = await startGateway(t, { config });
  const browser = await startBrowser(t);
  const [allowed, foreign] = [await newPage(t, browser), await newPage(t, browser)];
  allowed.tolerated = [POLL_BEHIND_GOODBYE];
  await allowed.goto(allowedPage);
  await foreign.goto(foreignPage);
  const outcome = ([url, transports]) => {
    const socket = window.io(url, { transports, forceNew: true, withCredentials: true, reconnection: false });
    return new Promise((resolve) => {
      socket.once("connect_error", () => resolve("refused"));
      socket.once("connect", async () => {
        const ack = await socket.timeout(10_000).emitWithAck("join", "room");
        while (socket.io.engine.transport.name !== transports.at(-1)) await new Promise((next) => setTimeout(next, 10));
        socket.disconnect();
        resolve(ack.ok ? "joined" : "not joined");
      });
    });
  };
  for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
    const refused = () => gateway.metric("broadgate_handshake_rejected_total", { reason: "forbidden" });
    const before = await refused();
    assert.equal(await allowed.evaluate(outcome, [gateway.url, transports]), "joined", transports.join());
    assert.equal(await refused(), before);
    assert.equal(await foreign.evaluate(outcome, [gateway.url, transports]), "refused", transports.join());
    assert.equal(await refused(), before + 1);
  }
  assert.ok(foreign.complaints.some((text) => text.includes("blocked by CORS policy")), "the answer can't be read either");
  foreign.complaints = [];
});

/** A page of another origin with the official client; a real server, since Chromium keeps intercepted pages from the
 *  loopback address. */
async function serveBundle(t) {
  const bundle = await readFile(BUNDLE, "utf8");
  const server = createServer((request, response) => {
    const script = request.url === "/socket.io.min.js";
    response.setHeader("content-type", script ? "text/javascript" : "text/html; charset=utf-8");
    response.end(script ? bundle : '<!doctype html><link rel="icon" href="data:,"><script src="socket.io.min.js"></script>');
  }).listen(await freePort(), "127.0.0.1");
  await once(server, "listening");
  atEnd(t, () => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}
