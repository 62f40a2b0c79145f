// Broadgate's demo page: what is on the screen, and what happens when it is used.

import { SocketClient } from "./socketio.js";

const MAX_MESSAGES = 200;
const MAX_BODY_CHARACTERS = 2_000;
const FIRST_ROOM = "lobby";
const ROUND_TRIP_EVERY_MS = 5_000;
/** Leaving a room that one is not in changes nothing and is acked at once: a round trip for free. */
const ROUND_TRIP_ROOM = "demo-page-round-trip";
/** A latency outside of this says that the two clocks differ, not how long the message took. */
const PLAUSIBLE_LATENCY_MS = [-1, 10 * 60_000];

const HINTS = {
  auto: "Starts with long-polling, then upgrades to WebSocket.",
  websocket: "WebSocket from the start; fails where a proxy blocks it.",
  polling: "HTTP long-polling only, as behind the strictest proxy.",
};

const byId = (id) => document.getElementById(id);
const client = new SocketClient();
/** Name to `{joined, count}`: the rooms the user wants to be in, joined again after a reconnection, and how many
 *  messages named each of them. */
const rooms = new Map();
let received = 0;
let connected = false;

/** Finer than `Date.now()`, to a tenth of a millisecond. */
const wallClockMs = () => Math.round((performance.timeOrigin + performance.now()) * 10) / 10;
const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

function fromTemplate(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

// Connection

client.onState = (state, detail) => {
  connected = state === "connected";
  byId("status").dataset.state = state;
  byId("status-text").textContent = detail ? `${state} (${detail})` : state;
  byId("socket-id").textContent = client.id ?? "–";
  byId("connect").textContent = state === "disconnected" ? "Connect" : "Disconnect";
  showTransport();
  if (connected) {
    for (const room of rooms.keys()) join(room);
    measureRoundTrip();
    return;
  }
  byId("round-trip").textContent = "–";
  for (const room of rooms.values()) room.joined = false;
  showRoomStates();
};

client.onTransport = showTransport;

function showTransport() {
  const name = client.transportName;
  byId("transport").textContent = name === "websocket" ? "WebSocket" : name === "polling" ? "HTTP long-polling" : "–";
}

function chosenTransport() {
  return document.querySelector("input[name=transport]:checked").value;
}

function connect() {
  const mode = chosenTransport();
  byId("transport-hint").textContent = HINTS[mode];
  client.connect(mode);
}

/** Emits and resolves to `{ack, elapsedMs}`; every ack is a measure of the round trip too. */
async function request(event, ...args) {
  const start = performance.now();
  const ack = await client.emit(event, ...args);
  const elapsedMs = performance.now() - start;
  byId("round-trip").textContent = milliseconds(elapsedMs);
  return { ack, elapsedMs };
}

function measureRoundTrip() {
  if (connected && !document.hidden) request("leave", ROUND_TRIP_ROOM).catch(() => {});
}

// Rooms

async function join(room) {
  const feedback = byId("join-feedback");
  try {
    const { ack } = await request("join", room);
    if (!ack.ok) return refuseRoom(room, `${ack.error}: ${ack.message}`);
    feedback.textContent = `Joined ${room}.`;
    feedback.dataset.kind = "done";
    if (rooms.has(room)) rooms.get(room).joined = true;
    else addRoom(room, true);
    showRoomStates();
  } catch (error) {
    feedback.textContent = `Could not join ${room}: ${error.message}.`;
    feedback.dataset.kind = "refused";
  }
}

function refuseRoom(room, why) {
  rooms.delete(room);
  byId("join-feedback").textContent = `Not joined ${room}: ${why}.`;
  byId("join-feedback").dataset.kind = "refused";
  showRooms();
}

async function leave(room) {
  rooms.delete(room);
  showRooms();
  byId("join-room").focus();
  if (!connected) return;
  await request("leave", room).catch(() => {});
  byId("join-feedback").textContent = `Left ${room}.`;
  byId("join-feedback").dataset.kind = "done";
}

function addRoom(room, joined) {
  rooms.set(room, { joined, count: 0 });
  showRooms();
}

function showRooms() {
  const filter = byId("filter");
  const chosen = rooms.has(filter.value) ? filter.value : "";
  const items = [];
  const options = [new Option("all rooms", "")];
  const names = [];
  for (const room of rooms.keys()) {
    const item = fromTemplate("room-template");
    item.dataset.room = room;
    const [name, leaveButton] = item.querySelectorAll("button");
    name.textContent = room;
    name.setAttribute("aria-pressed", String(room === chosen));
    name.title = `Show only the messages of ${room}`;
    name.onclick = () => setFilter(filter.value === room ? "" : room);
    leaveButton.setAttribute("aria-label", `Leave ${room}`);
    leaveButton.onclick = () => leave(room);
    items.push(item);
    options.push(new Option(room, room));
    names.push(new Option(room, room));
  }
  byId("rooms").replaceChildren(...items);
  byId("room-names").replaceChildren(...names);
  filter.replaceChildren(...options);
  showRoomStates();
  setFilter(chosen);
}

function showRoomStates() {
  for (const item of byId("rooms").children) {
    const { joined, count } = rooms.get(item.dataset.room);
    item.dataset.state = joined ? "joined" : "waiting";
    item.querySelector(".room-count").textContent = joined ? count.toLocaleString() : "not joined";
  }
}

function setFilter(room) {
  byId("filter").value = room;
  for (const item of byId("rooms").children) {
    item.querySelector(".room-name").setAttribute("aria-pressed", String(item.dataset.room === room));
  }
  for (const item of byId("messages").children) item.hidden = isFilteredOut(item);
  showEmpty();
}

function isFilteredOut(item) {
  const room = byId("filter").value;
  return room !== "" && item.dataset.room !== room;
}

// Messages

client.onEvent = (name, args) => {
  received += 1;
  const { room, sentAt } = stampOf(args);
  const item = addMessage("received", room, String(name), args);
  item.querySelector(".outcome").textContent = latencyText(sentAt);
  if (rooms.has(room)) rooms.get(room).count += 1;
};

const isObject = (value) => value !== null && typeof value === "object";

/** An event does not say which room it came by; publishers that want it known say so in one of its arguments. */
function stampOf(args) {
  const stamp = args.find((arg) => isObject(arg) && ("sentAt" in arg || "room" in arg));
  const { room, sentAt } = stamp ?? {};
  return {
    room: typeof room === "string" ? room : null,
    sentAt: typeof sentAt === "number" ? sentAt : null,
  };
}

function latencyText(sentAt) {
  if (sentAt === null) return "";
  const latency = wallClockMs() - sentAt;
  const [least, most] = PLAUSIBLE_LATENCY_MS;
  if (latency < least || latency > most) return "clocks differ";
  return `after ${milliseconds(Math.max(latency, 0))}`;
}

/** Messages wait here until the next batch goes on screen, so that a flood costs one layout per frame. */
let unshown = [];
let batch = null;

function addMessage(direction, room, event, args) {
  const item = fromTemplate("message-template");
  const now = new Date();
  item.dataset.direction = direction;
  item.dataset.event = event;
  if (room !== null) item.dataset.room = room;
  const time = item.querySelector("time");
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour12: false });
  item.querySelector(".direction").textContent = direction;
  item.querySelector(".message-room").textContent = room ?? "";
  item.querySelector(".message-event").textContent = event;
  item.querySelector(".message-body").textContent = bodyText(args);
  item.hidden = isFilteredOut(item);
  unshown.push(item);
  if (unshown.length > MAX_MESSAGES) unshown.shift();
  batch ??= setTimeout(showBatch, 16);
  return item;
}

function showBatch() {
  batch = null;
  const list = byId("messages");
  list.prepend(...unshown.reverse());
  unshown = [];
  while (list.children.length > MAX_MESSAGES) list.lastElementChild.remove();
  byId("received-count").textContent = received.toLocaleString();
  showRoomStates();
  showEmpty();
}

function showEmpty() {
  byId("empty").hidden = [...byId("messages").children].some((item) => !item.hidden);
}

/** Is it what this page adds to a publish, and nothing else? It is on screen already, in the message's head. */
const isOnlyStamp = (arg) => isObject(arg) && Object.keys(arg).join() === "room,sentAt";

function bodyText(args) {
  const shown = args.filter((arg) => !isOnlyStamp(arg));
  const text = shown.map((arg) => (typeof arg === "string" ? arg : JSON.stringify(arg, describeBytes))).join("\n");
  const cut = text.length - MAX_BODY_CHARACTERS;
  return cut > 0 ? `${text.slice(0, MAX_BODY_CHARACTERS)} … and ${cut} characters more` : text;
}

function describeBytes(_key, value) {
  return value instanceof Uint8Array ? `binary, ${value.length} bytes` : value;
}

// Publishing

async function publish() {
  const room = byId("publish-room").value;
  const event = byId("publish-event").value;
  const args = payload(room, byId("publish-body").value);
  const item = addMessage("sent", room, event, args);
  const outcome = item.querySelector(".outcome");
  outcome.textContent = "waiting for the ack";
  try {
    const { ack, elapsedMs } = await request("publish", room, event, ...args);
    item.dataset.outcome = ack.ok ? "acked" : "refused";
    outcome.textContent = ack.ok
      ? `acked in ${milliseconds(elapsedMs)}, ${ack.delivered} ${ack.delivered === 1 ? "member" : "members"} on this node`
      : `refused, ${ack.error}: ${ack.message}`;
  } catch (error) {
    item.dataset.outcome = "refused";
    outcome.textContent = `not acked: ${error.message}`;
  }
}

/** The arguments of the event: what was typed, and after it where and when it was sent, if wanted. */
function payload(room, text) {
  const value = jsonOrText(text);
  return byId("stamp").checked ? [value, { room, sentAt: wallClockMs() }] : [value];
}

function jsonOrText(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// Commands for publishing from outside

const shellQuoted = (text) => (/^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

const COMMANDS = [
  {
    id: "redis-cli",
    title: "Through Redis",
    text: (room, event) =>
      `redis-cli PUBLISH ${shellQuoted(`socket.io#/#${room}#`)} \\\n  ` +
      shellQuoted(JSON.stringify({ event, data: { title: "hi" } })),
  },
  {
    id: "broadgate",
    title: "With Broadgate's own command",
    text: (room, event) =>
      `broadgate publish --room ${shellQuoted(room)} ${shellQuoted(event)} \\\n  ` +
      shellQuoted(JSON.stringify({ title: "hi" })),
  },
  {
    id: "curl",
    title: "Over the ops API",
    text: (room, event) =>
      `curl http://127.0.0.1:8081/api/v1/publish \\\n  --json ` +
      shellQuoted(JSON.stringify({ room, event, data: { title: "hi" } })),
  },
  {
    id: "emitter",
    title: "From any Socket.IO emitter, here Node.js",
    text: (room, event) =>
      `new Emitter(redis).to(${JSON.stringify(room)})\n  .emit(${JSON.stringify(event)}, { title: "hi" });`,
  },
];

function buildCommands() {
  for (const command of COMMANDS) {
    const figure = fromTemplate("command-template");
    figure.dataset.testid = `command-${command.id}`;
    figure.querySelector("figcaption").textContent = command.title;
    const code = figure.querySelector("code");
    code.id = `command-${command.id}`;
    figure.querySelector("pre").setAttribute("aria-label", command.title);
    const button = figure.querySelector("button");
    button.setAttribute("aria-label", `Copy: ${command.title}`);
    button.onclick = () => copy(code, button);
    byId("commands").append(figure);
  }
  showCommands();
}

function showCommands() {
  const room = byId("publish-room").value || "news";
  const event = byId("publish-event").value || "headline";
  for (const command of COMMANDS) byId(`command-${command.id}`).textContent = command.text(room, event);
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // No clipboard outside of a secure context: select the text, so that the user can copy it.
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 2_000);
}

// Start

function start() {
  buildCommands();
  addRoom(FIRST_ROOM, false);
  byId("transports").onchange = connect;
  byId("connect").onclick = () => (byId("connect").textContent === "Connect" ? connect() : client.disconnect());
  byId("join-form").onsubmit = (submit) => {
    submit.preventDefault();
    const room = byId("join-room").value;
    byId("join-room").value = "";
    byId("publish-room").value = room;
    showCommands();
    join(room);
  };
  byId("publish-form").onsubmit = (submit) => {
    submit.preventDefault();
    publish();
  };
  byId("publish-form").oninput = showCommands;
  byId("publish-body").onkeydown = (key) => {
    if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) byId("publish-form").requestSubmit();
  };
  byId("filter").onchange = () => setFilter(byId("filter").value);
  byId("clear").onclick = () => {
    byId("messages").replaceChildren();
    showEmpty();
  };
  addEventListener("pagehide", () => client.disconnect());
  addEventListener("pageshow", (show) => show.persisted && connect());
  setInterval(measureRoundTrip, ROUND_TRIP_EVERY_MS);
  connect();
}

start();
