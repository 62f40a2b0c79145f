// Real Socket.IO clients, and what they received.

import assert from "node:assert/strict";

import { io } from "socket.io-client";

import { DEADLINE_MS, atEnd, nextEvent, until } from "./conditions.mjs";

/** The three ways to connect: how the client is told, and where it ends up. */
export const TRANSPORT_MODES = [
  { mode: "WebSocket only", options: { transports: ["websocket"] }, settled: "websocket" },
  { mode: "polling only", options: { transports: ["polling"] }, settled: "polling" },
  { mode: "polling with upgrade", options: { transports: ["polling", "websocket"] }, settled: "websocket" },
];

/** A client that is on its way; every event it gets is kept in `socket.inbox`. */
export function open(t, server, { namespace = "/", ...options } = {}) {
  const socket = io(server.url + namespace, {
    transports: ["websocket"],
    forceNew: true,
    reconnectionDelay: 100,
    reconnectionDelayMax: 500,
    ...options,
  });
  socket.inbox = [];
  socket.onAny((event, ...args) => socket.inbox.push({ event, args }));
  // All namespaces of the connection, so that nothing of it outlives the test.
  atEnd(t, () => Object.values(socket.io.nsps).forEach((each) => each.disconnect()));
  return socket;
}

/** A connected client. */
export async function connect(t, server, options) {
  const socket = open(t, server, options);
  await nextEvent(socket, "connect");
  return socket;
}

/**
 * Waits until the client is where its transport leads, on both sides: one whose server closes its session in the middle of an
 * upgrade does not hear of it before its ping is overdue.
 */
export async function settle(socket, transport) {
  await until(`transport ${transport}`, () => socket.io.engine.transport.name === transport);
  await ask(socket, "leave", "nowhere");
}

/** A connected client that is a member of the rooms. */
export async function member(t, server, rooms, options) {
  const socket = await connect(t, server, options);
  for (const room of [rooms].flat()) await askOk(socket, "join", room);
  return socket;
}

/** Emits and resolves to the ack's one argument. */
export function ask(socket, event, ...args) {
  return socket.timeout(DEADLINE_MS).emitWithAck(event, ...args);
}

/** Emits, and the ack must be `{ok: true, ...}`. */
export async function askOk(socket, event, ...args) {
  const ack = await ask(socket, event, ...args);
  assert.equal(ack?.ok, true, `${event} ${JSON.stringify(args).slice(0, 200)}: ${JSON.stringify(ack)}`);
  return ack;
}

/** Emits, and the ack must be a refusal with this code and a message for people. */
export async function askRefused(code, socket, event, ...args) {
  const ack = await ask(socket, event, ...args);
  assert.equal(ack?.ok, false, `${event} should be refused: ${JSON.stringify(ack)}`);
  assert.equal(ack.error, code, JSON.stringify(ack));
  assert.ok(typeof ack.message === "string" && ack.message.length > 0, "a refusal explains itself");
}

/** The argument lists of all `event`s received so far. */
export function received(socket, event) {
  return socket.inbox.filter((entry) => entry.event === event).map((entry) => entry.args);
}

/** Waits for `count` `event`s at least, and resolves to the argument lists of all that are there then. */
export async function receive(socket, event, count = 1) {
  await until(`${count} × "${event}", got ${JSON.stringify(received(socket, event)).slice(0, 500)}`, () =>
    received(socket, event).length >= count,
  );
  return received(socket, event);
}

let fences = 0;

/**
 * Resolves when everything that was on its way to these sockets has arrived: `send(fence)` must send an event named
 * `fence` to all of them by the way that is tested. It makes "did not receive" a fact and not a guess.
 */
export async function fence(sockets, send) {
  const name = `fence ${(fences += 1)}`;
  await send(name);
  for (const socket of sockets) await receive(socket, name);
}

/** The fence for what goes through one node only. */
export function fenceBy(gateway, ...sockets) {
  return fence(sockets, async (event) => {
    const { status, body } = await gateway.publish({ rooms: sockets.map((socket) => socket.id), event });
    assert.equal(status, 200, JSON.stringify(body));
  });
}

export const numbers = (count, from = 0) => Array.from({ length: count }, (_, index) => from + index);
