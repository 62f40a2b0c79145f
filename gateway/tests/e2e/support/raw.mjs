// Engine.IO by hand: HTTP requests and WebSocket frames as they are on the wire.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";

import WebSocket from "ws";

import { atEnd, nextEvent, until } from "./conditions.mjs";

/** One request; resolves to `{status, headers, body}` with the body as bytes, not decoded. */
export async function http(method, url, { headers = {}, body, agent } = {}) {
  const sent = request(url, { method, headers, agent });
  sent.end(body);
  const [response] = await once(sent, "response");
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}

/** A polling session that was just opened; its first request may have more to its query. */
export async function openPolling(gateway, query = {}) {
  const base = `${gateway.url}/socket.io/?${new URLSearchParams({ EIO: "4", transport: "polling", ...query })}`;
  const response = await http("GET", base);
  const packet = response.body.toString();
  assert.match(packet, /^0\{/);
  return new PollingSession(gateway, response, JSON.parse(packet.slice(1)));
}

class PollingSession {
  #gateway;

  constructor(gateway, response, handshake) {
    this.#gateway = gateway;
    this.response = response;
    this.handshake = handshake;
    this.url = `${gateway.url}/socket.io/?EIO=4&transport=polling&sid=${handshake.sid}`;
    this.webSocketPath = `/socket.io/?EIO=4&transport=websocket&sid=${handshake.sid}`;
  }

  /** The same session, its requests at another node. */
  via(gateway) {
    return new PollingSession(gateway, this.response, this.handshake);
  }

  get(headers) {
    return http("GET", this.url, { headers });
  }

  /** The packets of one poll. */
  async poll() {
    const response = await this.get();
    assert.equal(response.status, 200, response.body.toString());
    return response.body.toString().split("\x1e");
  }

  /** Starts a poll, and resolves to `{poll}` when the node has it: nothing orders requests on different connections. */
  async beginPoll() {
    const requests = () => this.#gateway.metric("broadgate_session_requests_total");
    const before = await requests();
    const poll = this.poll();
    poll.catch(() => {});
    await until("the node has the poll", async () => (await requests()) > before);
    return { poll };
  }

  post(body, headers) {
    return http("POST", this.url, { headers, body });
  }

  /** Sends packets, and the node must take them. */
  async push(...packets) {
    const response = await this.post(packets.join("\x1e"));
    assert.equal(response.status, 200);
    assert.equal(response.body.toString(), "ok");
  }

  async isGone() {
    const response = await this.get();
    return response.status === 400 && JSON.parse(response.body).code === 1;
  }

  /** Joins namespace `/`, with `auth` in its CONNECT, and resolves to the socket's id. */
  async connect(auth) {
    await this.push(`40${auth ? JSON.stringify(auth) : ""}`);
    const [packet] = await this.poll();
    return JSON.parse(packet.slice(2)).sid;
  }
}

/** A WebSocket whose frames are kept: text as strings, binary as buffers. */
export function openWebSocket(t, gateway, path = "/socket.io/?EIO=4&transport=websocket", options = {}) {
  const socket = new WebSocket(gateway.url.replace("http:", "ws:") + path, options);
  const frames = [];
  socket.on("message", (data, isBinary) => frames.push(isBinary ? data : data.toString()));
  socket.on("error", () => {});
  let closeCode;
  socket.on("close", (code) => (closeCode = code));
  atEnd(t, () => socket.terminate());
  return {
    frames,
    /** Resolves to the close code; 1005 stands for an empty close frame, 1006 for none at all. */
    closed: () => until("the WebSocket is closed", () => closeCode),
    opened: () => nextEvent(socket, "open"),
    send: (...messages) => messages.forEach((message) => socket.send(message)),
    terminate: () => socket.terminate(),
    extensions: () => socket.extensions,
    protocol: () => socket.protocol,
    isOpen: () => socket.readyState === WebSocket.OPEN,
    /** Waits for a frame for which the test holds, and takes it out. */
    take: (what, matches) =>
      until(`frame ${what}; there are ${JSON.stringify(frames).slice(0, 300)}`, () => {
        const index = frames.findIndex(matches);
        return index >= 0 && { frame: frames.splice(index, 1)[0] };
      }).then(({ frame }) => frame),
  };
}

/** A WebSocket session that has joined namespace `/`. */
export async function connectWebSocket(t, gateway) {
  const socket = openWebSocket(t, gateway);
  await socket.take("open", (frame) => frame.startsWith("0{"));
  socket.send("40");
  await socket.take("CONNECT", (frame) => frame.startsWith('40{"sid":"'));
  return socket;
}

/** Resolves to the raw answer to an upgrade request that was refused: `{status, body}`. */
export function refusedUpgrade(t, gateway, path) {
  const socket = new WebSocket(gateway.url.replace("http:", "ws:") + path);
  atEnd(t, () => socket.terminate());
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("open", () => reject(new Error(`${path} was upgraded`)));
    socket.on("unexpected-response", async (_request, response) => {
      let body = "";
      for await (const chunk of response) body += chunk;
      resolve({ status: response.statusCode, body });
    });
  });
}
