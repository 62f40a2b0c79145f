// One unmodified socket.io-client that joins, leaves, publishes and reconnects at random, and the check of all that it
// receives. A new connection starts a new check and publishes under a new name.

import { io } from "socket.io-client";

import { COUNT, DeliveryCheck, Publisher, monotonicMs } from "../sequences.mjs";
import { pause } from "./random.mjs";

const ACK_DEADLINE_MS = 60_000;
/** Of each connection's messages, and of all else that a client did. */
const MAX_HISTORY = 200;
const MAX_ROOMS = 4;
const ACTIONS = { publish: 12, join: 3, leave: 3, disconnect: 0.4, "drop the connection": 0.4 };
/** Between two actions of one client. */
const PAUSE_MS = [300, 3_500];

export class StressClient {
  #random;
  #allRooms;
  #report;
  #isActing = true;
  #events = [];
  #messages = [];
  #engine;
  #endsItself = false;
  /** Has anything come over the WebSocket? To the client an upgrade is done when it has sent its last word, which is when a
   *  session begins to move; what comes over the WebSocket says that it has moved. */
  #isSettled = false;
  #attemptedMs;
  #verified;

  /** `report(kind, details)` tells of `violation`s and of connections that `ended` without the client's doing. */
  constructor({ index, mode, transports, url, rooms, random, report }) {
    Object.assign(this, { index, mode, connections: 0, received: 0, upgrades: 0, published: 0 });
    this.#random = random;
    this.#allRooms = rooms;
    this.#report = report;
    this.rooms = new Map([random.pick(rooms), random.pick(rooms)].map((room) => [room, "wanted"]));
    /** What of its earlier connections was acked, so must arrive: `{publisher, room, number, begunMs}`. */
    this.sentBefore = [];
    this.#open(url, transports);
  }

  #open(url, transports) {
    this.#attemptedMs = monotonicMs();
    this.socket = io(url, {
      transports,
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      timeout: ACK_DEADLINE_MS,
      query: { client: this.index },
    });
    const { socket } = this;
    socket.io.on("reconnect_attempt", () => this.#attempt());
    socket.io.on("open", () => this.#watchEngine(socket.io.engine));
    socket.on("connect", () => this.#connected());
    socket.on("disconnect", (reason, details) => this.#disconnected(reason, details));
    socket.on("connect_error", (error) => this.#failed(error));
    socket.on(COUNT, (...message) => {
      this.received += 1;
      keep(this.#messages, ["got", message[0], message[1], message[2]]);
      // Without a connection there is nothing that could bring it.
      if (!this.check) return this.#violated(`message ${message[2]} of ${message[0]} without a connection`);
      this.check.receive(message);
    });
  }

  #attempt() {
    this.#attemptedMs = monotonicMs();
    this.#note("attempt");
  }

  #watchEngine(engine) {
    this.#engine = engine;
    this.#note("open", engine.id, engine.transport.name);
    this.#isSettled = false;
    engine.on("packet", () => (this.#isSettled ||= engine.transport.name === "websocket"));
    engine.on("upgrade", (transport) => {
      this.upgrades += 1;
      this.#note("upgraded", transport.name);
    });
    engine.on("upgradeError", (error) => {
      this.#note("upgrade failed", error.message);
      // The session lives on with polling, but nothing but a killed node makes an upgrade fail.
      if (!this.#endsItself) this.#report("failed", this.#ending(`upgrade failed: ${error.message}`));
    });
  }

  #connected() {
    const { socket } = this;
    this.#endsItself = false;
    this.connections += 1;
    this.#note("connect", socket.id);
    const publisher = new Publisher(`client ${this.index}, connection ${this.connections}`);
    this.connection = { publisher, acked: new Map() };
    this.check = new DeliveryCheck((text) => this.#violated(text), { own: publisher.name });
    this.check.joining(socket.id);
    this.check.joined(socket.id);
    for (const room of this.rooms.keys()) this.#join(room);
  }

  #disconnected(reason, details) {
    this.#note("disconnect", reason, details?.description?.message ?? details?.description ?? "");
    if (!this.#endsItself) this.#report("ended", this.#ending(`disconnect: ${reason}`));
    // Also comes where the transport was open, and closed before the server's CONNECT.
    this.sentBefore.push(...(this.connection?.acked.values() ?? []));
    for (const room of this.rooms.keys()) this.rooms.set(room, "wanted");
    this.check = undefined;
    this.connection = undefined;
  }

  #failed(error) {
    this.#note("connect_error", error.message, error.description?.message ?? error.context?.responseText ?? error.context?.status ?? "");
    this.#report("failed", this.#ending(`connect_error: ${error.message}`));
  }

  #ending(what) {
    return { ...this.#describe(what), isSettled: this.#isSettled, beganMs: this.#attemptedMs, endedMs: monotonicMs() };
  }

  #violated(text) {
    this.#note("VIOLATION", text);
    this.#report("violation", this.#describe(text));
  }

  /** What it is that happened, and what the connection has lived through. */
  #describe(what) {
    const { index, mode } = this;
    const entries = [...this.#events, ...this.#messages].sort(([one], [other]) => one - other);
    return { what, client: index, mode, history: entries.map(([ms, ...words]) => `${ms.toFixed(1)} ${words.join(" | ")}`) };
  }

  #note(...words) {
    keep(this.#events, words);
  }

  /**
   * Asks for something, once in each connection: a client that only listens may not know yet that its session has gone
   * with a node. Resolves to whether the session lives.
   */
  async verify() {
    const { check } = this;
    if (this.isSettled && this.#verified !== check) {
      const [room] = this.rooms.keys();
      if (await this.#ask(check, "join", room)) this.#verified = check;
    }
    return this.isSettled && this.#verified === this.check;
  }

  /** Is it connected, and a member of all the rooms that it wants? */
  get isSettled() {
    return this.socket.connected && [...this.rooms.values()].every((state) => state === "member");
  }

  /** What it waits for, for people. */
  get state() {
    const states = [...this.rooms].map(([room, state]) => `${room}: ${state}`).join(", ");
    return `client ${this.index} (${this.mode}) is ${this.socket.connected ? "connected" : "not connected"}, ${states}`;
  }

  get recentHistory() {
    return this.#describe("").history;
  }

  /** What must have reached all members: the last acked message of each of its publishers to each room. */
  get sent() {
    return [...this.sentBefore, ...(this.connection?.acked.values() ?? [])];
  }

  /** Does one thing after the other until `stopActing`. */
  async act() {
    while (this.#isActing) {
      await pause(this.#random.between(...PAUSE_MS));
      // Drawn in any case, so that the stream does not depend on what came in between.
      const action = this.#random.weighted(ACTIONS);
      const room = this.#random.pick(this.#allRooms);
      if (!this.#isActing || !this.isSettled) continue;
      await this.#do(action, room);
    }
  }

  stopActing() {
    this.#isActing = false;
  }

  async #do(action, room) {
    const { socket } = this;
    switch (action) {
      case "publish":
        return this.#publish(room);
      case "join":
        return this.rooms.has(room) || this.rooms.size === MAX_ROOMS ? undefined : this.#join(room);
      case "leave":
        return this.rooms.size > 1 ? this.#leave([...this.rooms.keys()][0]) : undefined;
      case "disconnect":
        this.#end(action, () => socket.disconnect());
        await pause(this.#random.between(0, 500));
        this.#attempt();
        return socket.connect();
      default:
        return this.#end(action, () => this.#drop());
    }
  }

  /** Without a goodbye where there is a WebSocket. */
  #drop() {
    const { ws } = this.#engine.transport;
    if (ws) ws.terminate();
    else this.#engine.close();
  }

  #end(how, end) {
    this.#note(how);
    this.#endsItself = true;
    end();
  }

  async #join(room) {
    const { check } = this;
    this.rooms.set(room, "joining");
    this.#note("join", room);
    check.joining(room);
    if (!(await this.#ask(check, "join", room))) return;
    check.joined(room);
    this.rooms.set(room, "member");
  }

  async #leave(room) {
    const { check } = this;
    this.rooms.delete(room);
    this.#note("leave", room);
    check.leaving(room);
    if (await this.#ask(check, "leave", room)) check.left(room);
  }

  async #publish(room) {
    const { check, connection } = this;
    const message = connection.publisher.next(room);
    this.#note("publish", room, message[2]);
    const ack = await this.#ask(check, "publish", room, COUNT, ...message);
    if (!ack) return;
    this.published += 1;
    // A Node.js server acks before Redis has the message, so nothing is promised should it be killed. Its acks are bare.
    if (ack.delivered === undefined) return;
    connection.acked.set(room, connection.publisher.sent().find((sent) => sent.room === room));
  }

  /** Resolves to the ack, or to undefined if the connection ended meanwhile. */
  async #ask(check, event, ...args) {
    let ack;
    try {
      ack = await this.socket.timeout(ACK_DEADLINE_MS).emitWithAck(event, ...args);
    } catch (error) {
      if (check === this.check) this.#violated(`no ack of ${event} ${args[0]}: ${error.message}`);
      return undefined;
    }
    this.#note(`acked ${event}`, args[0]);
    if (check !== this.check) return undefined;
    if (ack?.ok === true) return ack;
    this.#violated(`${event} ${args[0]} was refused: ${JSON.stringify(ack)}`);
    return undefined;
  }

  close() {
    this.#endsItself = true;
    this.socket.disconnect();
  }
}

/** The last ones of what happened, each with its time. */
function keep(entries, words) {
  entries.push([monotonicMs(), ...words]);
  if (entries.length > 2 * MAX_HISTORY) entries.splice(0, MAX_HISTORY);
}
