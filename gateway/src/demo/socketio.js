// A small Socket.IO client of our own, for Broadgate's demo page. No library, no build step.
//
//   PollingTransport, WebSocketTransport   carry Engine.IO v4 packets
//   EngineSession                          owns one Engine.IO session: handshake, heartbeat, upgrade
//   SocketClient                           owns the Socket.IO socket: CONNECT, events, acks, reconnection
//
// Applications use the official clients; this one exists so that the page can be read in one go.

const PATH = "/socket.io/";
const CONNECT_TIMEOUT_MS = 20_000;
const ACK_TIMEOUT_MS = 10_000;
const RECONNECT_MIN_MS = 1_000;
const RECONNECT_MAX_MS = 5_000;
const RECONNECT_JITTER = 0.5;

// ---------------------------------------------------------------------------------------------------------------
// Engine.IO v4

const Engine = { OPEN: "0", CLOSE: "1", PING: "2", PONG: "3", MESSAGE: "4", UPGRADE: "5", NOOP: "6" };
const RECORD_SEPARATOR = "\x1e";

/** HTTP long-polling: one GET held open for what the server sends, one POST at a time for what we send. */
class PollingTransport {
  name = "polling";
  /** Largest POST body that the server takes, from the open packet. */
  maxPayloadBytes = Infinity;
  onPacket = () => {};
  onClose = () => {};
  #url;
  #abort = new AbortController();
  #outgoing = [];
  #poll = null;
  #push = null;
  #paused = false;
  #closed = false;

  /** `url` is a function, since the session's id is known only after the first answer. */
  constructor(url) {
    this.#url = url;
  }

  open() {
    this.#paused = false;
    this.#poll ??= this.#run(() => this.#pollUntilPaused());
  }

  send(packet) {
    this.#outgoing.push(packet);
    this.#push ??= this.#run(() => this.#pushAll());
  }

  /** Resolves when the poll and the push that are under way have ended; aborting them would end the session. */
  async pause() {
    this.#paused = true;
    await Promise.all([this.#poll, this.#push]);
  }

  /** `tell`: the server does not know yet. */
  async close(tell) {
    this.#closed = true;
    if (tell) {
      if (this.#push) await this.#push;
      // `keepalive` lets the request outlive the page, so that the server need not wait for a ping timeout.
      await fetch(this.#url(), { method: "POST", body: Engine.CLOSE, keepalive: true }).catch(() => {});
    }
    this.#abort.abort();
  }

  async #run(work) {
    try {
      await work();
    } catch {
      if (this.#closed) return;
      this.#closed = true;
      this.onClose("transport error");
    }
  }

  async #pollUntilPaused() {
    while (!this.#paused && !this.#closed) {
      const body = await this.#request({ method: "GET" });
      for (const packet of body.split(RECORD_SEPARATOR)) {
        this.onPacket(packet.startsWith("b") ? bytesFromBase64(packet.slice(1)) : packet);
      }
    }
    this.#poll = null;
  }

  async #pushAll() {
    while (this.#outgoing.length > 0 && !this.#closed) {
      await this.#request({ method: "POST", body: this.#takeBatch() });
    }
    this.#push = null;
  }

  /** As many queued packets as fit into one body, but at least one. */
  #takeBatch() {
    const encoder = new TextEncoder();
    let bytes = 0;
    let count = 0;
    for (const packet of this.#outgoing) {
      bytes += encoder.encode(packet).length + 1;
      if (count > 0 && bytes > this.maxPayloadBytes) break;
      count += 1;
    }
    return this.#outgoing.splice(0, count).join(RECORD_SEPARATOR);
  }

  async #request(options) {
    const response = await fetch(this.#url(), { ...options, cache: "no-store", signal: this.#abort.signal });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response.text();
  }
}

/** One WebSocket; one packet per frame, binary messages without a type digit. */
class WebSocketTransport {
  name = "websocket";
  onPacket = () => {};
  onClose = () => {};
  #url;
  #socket;
  #early = [];

  constructor(url) {
    this.#url = url;
  }

  open() {
    const url = new URL(this.#url());
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#early.splice(0).forEach((packet) => this.#socket.send(packet));
    this.#socket.onmessage = ({ data }) => this.onPacket(data instanceof ArrayBuffer ? new Uint8Array(data) : data);
    this.#socket.onclose = () => this.onClose("transport close");
  }

  send(packet) {
    if (this.#socket.readyState === WebSocket.CONNECTING) this.#early.push(packet);
    else this.#socket.send(packet);
  }

  close() {
    this.#socket.onclose = null;
    this.#socket.close();
  }
}

/** One Engine.IO session, from the open packet to its close. Never reused. */
class EngineSession {
  onOpen = () => {};
  onMessage = () => {};
  onTransport = () => {};
  /** Called once, with the reason; null if it was `close()`. */
  onClose = () => {};
  #mode;
  #transport;
  #handshake = null;
  #closed = false;
  #silence;
  /** The WebSocket that is being tried beside polling. */
  #probe = null;
  /** Packets that wait while the session moves from one transport to the other; null at other times. */
  #held = null;

  /** `mode`: "auto" (polling, then upgrade), "websocket" or "polling". */
  constructor(mode) {
    this.#mode = mode;
    this.#transport = mode === "websocket" ? this.#webSocket() : this.#polling();
    this.#use(this.#transport);
    this.#transport.open();
  }

  get transportName() {
    return this.#transport.name;
  }

  send(data) {
    this.#write(data instanceof Uint8Array ? data : Engine.MESSAGE + data);
  }

  close() {
    this.#end(null);
  }

  #polling() {
    return new PollingTransport(() => this.#url("polling"));
  }

  #webSocket() {
    return new WebSocketTransport(() => this.#url("websocket"));
  }

  #url(transport) {
    const url = new URL(PATH, location.href);
    url.searchParams.set("EIO", "4");
    url.searchParams.set("transport", transport);
    if (this.#handshake) url.searchParams.set("sid", this.#handshake.sid);
    return url.href;
  }

  #use(transport) {
    this.#transport = transport;
    transport.onPacket = (packet) => this.#receive(packet);
    transport.onClose = (reason) => this.#end(reason);
  }

  #write(packet) {
    if (this.#closed) return;
    if (this.#held) this.#held.push(packet);
    else this.#transport.send(packet);
  }

  #receive(packet) {
    if (this.#closed) return;
    if (packet instanceof Uint8Array) return this.onMessage(packet);
    const data = packet.slice(1);
    switch (packet[0]) {
      case Engine.OPEN:
        return this.#start(JSON.parse(data));
      case Engine.PING:
        this.#expectPing();
        return this.#write(Engine.PONG + data);
      case Engine.MESSAGE:
        return this.onMessage(data);
      case Engine.CLOSE:
        return this.#end("transport close");
    }
  }

  #start(handshake) {
    this.#handshake = handshake;
    this.#transport.maxPayloadBytes = handshake.maxPayload;
    this.#expectPing();
    this.onOpen();
    if (this.#mode === "auto" && handshake.upgrades.includes("websocket")) this.#upgrade();
  }

  /** The server pings; a session without pings for this long is dead although its connection looks alive. */
  #expectPing() {
    clearTimeout(this.#silence);
    const { pingInterval, pingTimeout } = this.#handshake;
    this.#silence = setTimeout(() => this.#end("ping timeout"), pingInterval + pingTimeout);
  }

  /** Probes a WebSocket beside the polling session and moves over. Whatever fails, polling goes on. */
  #upgrade() {
    const polling = this.#transport;
    const socket = this.#webSocket();
    this.#probe = socket;
    socket.onClose = () => {
      this.#probe = null;
      polling.open();
      this.#releaseHeld();
    };
    socket.onPacket = async (packet) => {
      if (packet !== Engine.PONG + "probe") {
        this.#probe = null;
        return socket.close();
      }
      this.#held = [];
      await polling.pause();
      if (this.#closed || this.#probe === null) return;
      this.#probe = null;
      socket.send(Engine.UPGRADE);
      this.#use(socket);
      this.#releaseHeld();
      this.onTransport();
    };
    socket.open();
    socket.send(Engine.PING + "probe");
  }

  #releaseHeld() {
    const held = this.#held ?? [];
    this.#held = null;
    held.forEach((packet) => this.#write(packet));
  }

  #end(reason) {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#silence);
    this.#probe?.close();
    this.#transport.close(reason === null && this.#handshake !== null);
    this.onClose(reason);
  }
}

function bytesFromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// ---------------------------------------------------------------------------------------------------------------
// Socket.IO, protocol revision 5, namespace "/"

const Packet = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4, BINARY_EVENT: 5, BINARY_ACK: 6 };
const PACKET = /^([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?(.*)$/s;

/** Throws on what is not a packet. */
function decodePacket(text) {
  const [, type, attachments, , ackId, payload] = PACKET.exec(text);
  return {
    type: Number(type),
    missing: Number(attachments ?? 0),
    ackId,
    data: payload ? JSON.parse(payload) : undefined,
    attachments: [],
  };
}

/** Puts the attachments where their placeholders stand. */
function withAttachments(value, attachments) {
  if (Array.isArray(value)) return value.map((item) => withAttachments(item, attachments));
  if (value === null || typeof value !== "object") return value;
  if (value._placeholder === true) return attachments[value.num];
  const entries = Object.entries(value).map(([key, item]) => [key, withAttachments(item, attachments)]);
  return Object.fromEntries(entries);
}

/** A Socket.IO client that stays connected until told otherwise. */
export class SocketClient {
  id = null;
  /** "disconnected", "connecting" or "connected"; `detail` says why or for how long. */
  onState = (_state, _detail) => {};
  onTransport = () => {};
  onEvent = (_name, _args) => {};
  #session = null;
  #mode = "auto";
  #partial = null;
  #acks = new Map();
  #nextAckId = 0;
  #failures = 0;
  #retry;
  #deadline;

  get transportName() {
    return this.#session?.transportName ?? null;
  }

  /** Connects, in place of any connection there is. */
  connect(mode) {
    this.#drop();
    this.#mode = mode;
    this.#failures = 0;
    this.#open();
  }

  disconnect() {
    this.#drop();
    this.onState("disconnected", "by this page");
  }

  /** Emits an event and resolves to the first argument of its ack. */
  emit(event, ...args) {
    if (!this.id) return Promise.reject(new Error("not connected"));
    const ackId = this.#nextAckId++;
    this.#session.send(`${Packet.EVENT}${ackId}${JSON.stringify([event, ...args])}`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(ackId)?.reject(new Error("no ack in time")), ACK_TIMEOUT_MS);
      this.#acks.set(ackId, { resolve, reject, timer });
    });
  }

  #open() {
    this.onState("connecting", this.#failures > 0 ? `attempt ${this.#failures + 1}` : "");
    const session = new EngineSession(this.#mode);
    this.#session = session;
    session.onOpen = () => session.send(String(Packet.CONNECT));
    session.onMessage = (message) => this.#receive(message);
    session.onTransport = () => this.onTransport();
    session.onClose = (reason) => {
      if (reason !== null) this.#retryLater(reason);
    };
    this.#deadline = setTimeout(() => this.#retryLater("no answer in time"), CONNECT_TIMEOUT_MS);
  }

  #receive(message) {
    try {
      if (message instanceof Uint8Array) return this.#attach(message);
      const packet = decodePacket(message);
      if (packet.missing > 0) this.#partial = packet;
      else this.#handle(packet);
    } catch {
      this.#retryLater("parse error");
    }
  }

  #attach(bytes) {
    const packet = this.#partial;
    packet.attachments.push(bytes);
    if (packet.attachments.length < packet.missing) return;
    this.#partial = null;
    packet.data = withAttachments(packet.data, packet.attachments);
    this.#handle(packet);
  }

  #handle({ type, data, ackId }) {
    switch (type) {
      case Packet.CONNECT:
        clearTimeout(this.#deadline);
        this.#failures = 0;
        this.id = data.sid;
        return this.onState("connected", "");
      case Packet.CONNECT_ERROR:
        this.#drop();
        return this.onState("disconnected", data?.message ?? "refused");
      case Packet.DISCONNECT:
        // As the official clients do: the server meant it, so there is no reconnection.
        this.#drop();
        return this.onState("disconnected", "by the server");
      case Packet.EVENT:
      case Packet.BINARY_EVENT:
        if (ackId !== undefined) this.#session.send(`${Packet.ACK}${ackId}[]`);
        return this.onEvent(data[0], data.slice(1));
      case Packet.ACK:
      case Packet.BINARY_ACK:
        return this.#settle(Number(ackId))?.resolve(data[0]);
    }
  }

  #settle(ackId) {
    const waiting = this.#acks.get(ackId);
    clearTimeout(waiting?.timer);
    this.#acks.delete(ackId);
    return waiting;
  }

  /** Backs off with jitter, so that the clients of a lost node do not all return at once. */
  #retryLater(reason) {
    const backoff = Math.min(RECONNECT_MIN_MS * 2 ** this.#failures, RECONNECT_MAX_MS);
    const delay = backoff * (1 + RECONNECT_JITTER * (2 * Math.random() - 1));
    this.#failures += 1;
    this.#drop();
    this.#retry = setTimeout(() => this.#open(), delay);
    this.onState("connecting", `${reason}, next try in ${(delay / 1000).toFixed(1)} s`);
  }

  /** Forgets the connection and all that hung on it. */
  #drop() {
    clearTimeout(this.#retry);
    clearTimeout(this.#deadline);
    const session = this.#session;
    this.#session = null;
    session?.close();
    this.#partial = null;
    this.id = null;
    for (const ackId of [...this.#acks.keys()]) this.#settle(ackId).reject(new Error("connection lost"));
  }
}
