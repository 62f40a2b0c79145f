// Traces (OTLP) with a real receiver, and trace ids in the log.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { issueCertificate } from "./support/certificates.mjs";
import { askOk, member, numbers, receive } from "./support/clients.mjs";
import { atEnd, until } from "./support/conditions.mjs";
import { broadgate, startGateway } from "./support/gateway.mjs";
import { startReceiver } from "./support/otlp.mjs";
import { freePort } from "./support/processes.mjs";
import { redisCli, startRedis } from "./support/redis.mjs";

const ALL = "1000000";

/** A trace that somebody else began. */
function newTrace({ sampled = true } = {}) {
  const [trace, parent] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return { trace, parent, header: `00-${trace}-${parent}-${sampled ? "01" : "00"}` };
}

function startTraced(t, receiver, { samples = "0", environment = {}, ...options } = {}) {
  const traces = {
    BROADGATE__TRACES__ENDPOINT: receiver.url,
    BROADGATE__TRACES__SAMPLES_PER_MILLION: samples,
  };
  return startGateway(t, { ...options, environment: { ...traces, ...environment } });
}

async function publish(gateway, header, body = { room: "room", event: "said" }) {
  const headers = { "content-type": "application/json", ...(header && { traceparent: header }) };
  const response = await fetch(`${gateway.opsUrl}/api/v1/publish`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.equal(response.status, 200, await response.text());
}

/** What is recorded here, in order: a span that arrives later than all before it. */
async function lastSpan(gateway, receiver) {
  const { trace, header } = newTrace();
  await publish(gateway, header, { room: "nobody is here", event: "last" });
  await receiver.received({ trace, name: "publish" });
}

test("a publish is one trace over the nodes, from the caller's span to the deliveries", async (t) => {
  const receiver = await startReceiver(t);
  const redis = await startRedis(t);
  const [here, there] = [await startTraced(t, receiver, { redis }), await startTraced(t, receiver, { redis })];
  const members = [await member(t, here, "room"), await member(t, there, "room")];
  const { trace, parent, header } = newTrace();
  await publish(here, header);
  for (const one of members) await receive(one, "said");

  const [published] = await receiver.received({ trace, name: "publish" });
  assert.deepEqual([published.parent, published.kind, published.error], [parent, "SPAN_KIND_SERVER", null]);
  assert.equal(published.attributes["http.response.status_code"], 200);
  const [roundTrip] = await receiver.received({ trace, name: "adapter publish" });
  assert.equal(roundTrip.parent, published.id);
  const delivered = await receiver.received({ trace, name: "deliver" }, 2);
  assert.deepEqual(delivered.map((span) => span.parent), [published.id, published.id]);
  assert.deepEqual(delivered.map((span) => span.attributes["broadgate.delivered"]), [1, 1]);
  const instance = (span) => span.resource["service.instance.id"];
  assert.equal(new Set(delivered.map(instance)).size, 2, "one on each node");
  assert.ok(delivered.some((span) => instance(span) === instance(published)));
  for (const span of [published, roundTrip, ...delivered]) {
    assert.ok(span.nanoseconds >= 0 && span.nanoseconds < 60e9, `${span.nanoseconds} ns`);
    assert.deepEqual([span.resource["service.name"], span.scope], ["broadgate", "broadgate"]);
  }
  assert.equal(await here.metric("broadgate_trace_spans_total", { result: "export_failed" }), 0);
});

test("a backend's message on Redis carries its trace, and one without or not sampled leaves none", async (t) => {
  const receiver = await startReceiver(t);
  const redis = await startRedis(t);
  const gateway = await startTraced(t, receiver, { redis });
  const client = await member(t, gateway, "room");
  const [sampled, unsampled] = [newTrace(), newTrace({ sampled: false })];
  const send = (message) => redisCli(redis, "PUBLISH", "socket.io#/#room#", JSON.stringify({ event: "said", ...message }));
  await send({ traceparent: unsampled.header, published_at_us: Date.now() * 1000 });
  await send({ traceparent: "no traceparent" });
  await send({});
  await publish(gateway, unsampled.header);
  await publish(gateway, undefined);
  await send({ traceparent: sampled.header, published_at_us: Date.now() * 1000 });
  await receive(client, "said", 6);

  const [delivered] = await receiver.received({ trace: sampled.trace });
  assert.deepEqual([delivered.name, delivered.parent, delivered.kind], ["deliver", sampled.parent, "SPAN_KIND_CONSUMER"]);
  await lastSpan(gateway, receiver);
  assert.deepEqual(receiver.spans.filter((span) => span.name === "deliver").map((span) => span.trace), [sampled.trace]);
  assert.equal(await gateway.metric("broadgate_adapter_malformed_total"), 0);
});

test("a trace that is not recorded here is handed on all the same", async (t) => {
  const receiver = await startReceiver(t);
  const redis = await startRedis(t);
  const [silent, recording] = [await startGateway(t, { redis }), await startTraced(t, receiver, { redis })];
  const client = await member(t, recording, "room");
  const { trace, parent, header } = newTrace();
  await publish(silent, header);
  await receive(client, "said");
  const [delivered] = await receiver.received({ trace });
  assert.deepEqual([delivered.name, delivered.parent], ["deliver", parent]);
});

test("handshakes, clients' publishes and requests to other nodes are sampled", async (t) => {
  const receiver = await startReceiver(t);
  const redis = await startRedis(t);
  const gateway = await startTraced(t, receiver, { redis, samples: ALL });
  await startGateway(t, { redis });
  const [speaker, listener] = [await member(t, gateway, "room"), await member(t, gateway, "room")];
  const handshakes = await receiver.received({ name: "handshake" }, 2);
  assert.deepEqual(handshakes.map((span) => [span.parent, span.attributes["broadgate.namespace"]]), [["", "/"], ["", "/"]]);
  await askOk(speaker, "publish", "room", "said", 1);
  await receive(listener, "said");
  const [published] = await receiver.received({ name: "publish", kind: "SPAN_KIND_PRODUCER" });
  const [delivered] = await receiver.received({ name: "deliver" });
  assert.deepEqual([delivered.trace, delivered.parent], [published.trace, published.id]);

  const { trace, header } = newTrace();
  const found = await fetch(`${gateway.opsUrl}/api/v1/sockets?room=room`, { headers: { traceparent: header } });
  assert.equal((await found.json()).sockets.length, 2);
  const [[asked], [request]] = [await receiver.received({ trace, name: "read" }), await receiver.received({ trace, name: "request" })];
  assert.equal(request.parent, asked.id);
  assert.deepEqual([request.attributes["broadgate.expected"], request.attributes["broadgate.answers"]], [1, 1]);
});

/** A node with a file of headers for the receiver, and where that is. */
async function startWithHeaders(t, receiver, content) {
  const directory = await mkdtemp(join(tmpdir(), "broadgate-otlp-"));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  const headers = join(directory, "headers");
  await writeFile(headers, content);
  const gateway = await startTraced(t, receiver, { environment: { BROADGATE__TRACES__HEADERS_FILE: headers } });
  return { gateway, headers };
}

test("what waits is sent at the end, with the headers of the file", async (t) => {
  const receiver = await startReceiver(t);
  const { gateway } = await startWithHeaders(t, receiver, "Authorization: Bearer key-of-the-receiver\nX-Team: one\n");
  const { trace, header } = newTrace();
  await publish(gateway, header);
  await gateway.stop();
  await receiver.received({ trace, name: "publish" });
  const [request] = receiver.reports("path");
  assert.equal(request.path, "/v1/traces");
  const sent = ["authorization", "x-team", "content-type"].map((name) => request.headers[name]);
  assert.deepEqual(sent, ["Bearer key-of-the-receiver", "one", "application/x-protobuf"]);
  assert.doesNotMatch(gateway.output, /key-of-the-receiver/);
});

test("the receiver's key is changed while the node runs, and a bad file leaves it as it was", async (t) => {
  const receiver = await startReceiver(t);
  const { gateway, headers } = await startWithHeaders(t, receiver, "Authorization: Bearer first-key\n");
  const keys = () => receiver.reports("path").map((request) => request.headers.authorization);
  const reloads = (result) => gateway.metric("broadgate_trace_header_reloads_total", { result });
  await lastSpan(gateway, receiver);
  assert.deepEqual([...new Set(keys())], ["Bearer first-key"]);

  // By a rename, as an empty file in between would be no good.
  const change = async (text) => {
    await writeFile(`${headers}.new`, text);
    await rename(`${headers}.new`, headers);
  };
  await change("Authorization: Bearer second-key\n");
  await lastSpan(gateway, receiver);
  assert.equal(keys().at(-1), "Bearer second-key");
  await change("third-key without a name\n");
  await lastSpan(gateway, receiver);
  await rm(headers);
  await lastSpan(gateway, receiver);
  assert.deepEqual([...new Set(keys())], ["Bearer first-key", "Bearer second-key"]);
  assert.equal(await reloads("ok"), 1);
  assert.ok((await reloads("failed")) >= 2);
  assert.match(gateway.output, /headers_file can't be used/);
  assert.doesNotMatch(gateway.output, /(first|second|third)-key/);
});

test("`broadgate doctor` asks the receiver, and says what to change", async (t) => {
  const receiver = await startReceiver(t, { tls: await issueCertificate(t) });
  const plain = await startReceiver(t);
  const directory = await mkdtemp(join(tmpdir(), "broadgate-otlp-"));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  const headers = join(directory, "headers");
  await writeFile(headers, "Authorization: Bearer key-of-the-receiver\n");
  const examine = async (endpoint) => {
    const config = join(directory, "broadgate.toml");
    await writeFile(config, `[traces]\nendpoint = "${endpoint}"\nheaders_file = "${headers}"\n`);
    const said = await broadgate("doctor", "--config", config, "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0");
    assert.doesNotMatch(said, /key-of/);
    return said.slice(said.indexOf("\ntraces "));
  };
  assert.match(await examine(plain.url), /^\ntraces +ok +http:\/\/127.0.0.1:\d+ takes spans/);
  const [request] = plain.reports("path");
  assert.deepEqual([request.path, request.headers.authorization], ["/v1/traces", "Bearer key-of-the-receiver"]);
  assert.deepEqual(plain.spans, []);
  for (const [endpoint, what, remedy] of [
    [`${plain.url}/key-of-the-team`, /answered 404/, /path/],
    [plain.url.replace("http", "https"), /cannot connect/, /ca_file/],
    [receiver.url, /certificate/, /ca_file/],
    [receiver.url.replace("https", "http"), /takes no spans/, /https:/],
    [`http://127.0.0.1:${await freePort()}`, /cannot connect/, /4318/],
  ]) {
    const said = await examine(endpoint);
    assert.match(said, /^\ntraces +advice /);
    assert.match(said, what);
    assert.match(said, remedy);
  }
});

test("over TLS spans go only to a receiver whose certificate is trusted", async (t) => {
  const tls = await issueCertificate(t);
  const receiver = await startReceiver(t, { tls });
  const trusting = await startTraced(t, receiver, { environment: { BROADGATE__TRACES__CA_FILE: tls.caFile } });
  const distrustful = await startTraced(t, receiver);
  const [taken, refused] = [newTrace(), newTrace()];
  await publish(distrustful, refused.header);
  await until("it is lost", async () => (await distrustful.metric("broadgate_trace_spans_total", { result: "export_failed" })) > 0);
  await publish(trusting, taken.header);
  await receiver.received({ trace: taken.trace, name: "publish" });
  assert.deepEqual(receiver.spans.filter((span) => span.trace === refused.trace), []);
});

test("while the receiver is away the node serves, and counts what is lost", async (t) => {
  const port = await freePort();
  const gateway = await startTraced(t, { url: `http://127.0.0.1:${port}` }, { environment: { BROADGATE__TRACES__MAX_QUEUED_SPANS: "16" } });
  const client = await member(t, gateway, "room");
  const begun = Date.now();
  const lost = (result) => gateway.metric("broadgate_trace_spans_total", { result });
  await until("spans are lost in both ways", async () => {
    for (const _ of numbers(20)) await publish(gateway, newTrace().header);
    return (await lost("queue_full")) > 0 && (await lost("export_failed")) > 0;
  });
  assert.equal(await lost("exported"), 0);
  const [lines, minutes] = [gateway.output.split("took no spans").length - 1, (Date.now() - begun) / 60_000];
  assert.ok(lines >= 1 && lines <= 1 + minutes, `${lines} lines in ${minutes} minutes`);

  const receiver = await startReceiver(t, { port });
  const { trace, header } = newTrace();
  await until("there is room again", async () => {
    await publish(gateway, header);
    return receiver.spans.some((span) => span.trace === trace);
  }, 60_000);
  assert.ok((await lost("exported")) > 0);
  await publish(gateway, undefined, { room: "room", event: "still there" });
  await receive(client, "still there");
});

test("log lines of a request that is in a trace have its id", async (t) => {
  const redis = await startRedis(t);
  for (const format of ["json", "text"]) {
    const environment = { BROADGATE__LOG__FORMAT: format, BROADGATE__LOG__FILTER: "info,broadgate::node=debug" };
    const gateway = await startGateway(t, { redis, environment });
    const { trace, header } = newTrace();
    await publish(gateway, undefined);
    await publish(gateway, header);
    const lines = await until("both are logged", () => {
      const found = gateway.output.split("\n").filter((line) => line.includes("DEBUG") && line.includes("published"));
      return found.length >= 2 && found;
    });
    assert.deepEqual(lines.map((line) => line.includes(trace)), [false, true], lines.join("\n"));
    if (format === "json") assert.equal(JSON.parse(lines[1]).span.trace_id, trace);
  }
});

test("`broadgate publish` takes the trace of its environment along", async (t) => {
  const receiver = await startReceiver(t);
  const redis = await startRedis(t);
  const gateway = await startTraced(t, receiver, { redis });
  const client = await member(t, gateway, "room");
  const [direct, through] = [newTrace(), newTrace()];
  await broadgate("publish", "--redis", redis.url, "--traceparent", direct.header, "--room", "room", "said");
  await broadgate("publish", "--ops", gateway.opsUrl, "--traceparent", through.header, "--room", "room", "said");
  await receive(client, "said", 2);
  assert.equal((await receiver.received({ trace: direct.trace, name: "deliver" }))[0].parent, direct.parent);
  assert.equal((await receiver.received({ trace: through.trace, name: "publish" }))[0].parent, through.parent);
});
