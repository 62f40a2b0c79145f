// Poll responses are compressed where it pays (wire.md 1.6). Raw requests: clients hide the encoding.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { describe, test } from "node:test";
import { gunzipSync, inflateSync } from "node:zlib";

import { startGateway } from "./support/gateway.mjs";

const LONG = "compressible ".repeat(1_000);

async function http(method, url, { headers = {}, body } = {}) {
  const sent = request(url, { method, headers });
  sent.end(body);
  const [response] = await once(sent, "response");
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}

/** A polling session that has joined the room; `poll` sends the GET. */
async function pollingMember(gateway) {
  const base = `${gateway.url}/socket.io/?EIO=4&transport=polling`;
  const open = await http("GET", base);
  const { sid } = JSON.parse(open.body.toString().slice(1));
  const url = `${base}&sid=${sid}`;
  const push = async (body) => assert.equal((await http("POST", url, { body })).body.toString(), "ok");
  const poll = (headers) => http("GET", url, { headers });
  await push("40");
  assert.match((await poll()).body.toString(), /^40\{"sid":"/);
  await push('420["join","room"]');
  assert.match((await poll()).body.toString(), /^430\[\{"ok":true/);
  return { poll };
}

async function pollFor(gateway, acceptEncoding, text) {
  const { poll } = await pollingMember(gateway);
  const { status } = await gateway.publish({ rooms: ["room"], event: "said", args: [text] });
  assert.equal(status, 200);
  return poll(acceptEncoding === undefined ? {} : { "accept-encoding": acceptEncoding });
}

describe("poll responses", () => {
  const expected = `42${JSON.stringify(["said", LONG])}`;
  const decoders = { gzip: gunzipSync, deflate: inflateSync };
  const compressed = [
    ["gzip", "gzip"],
    ["gzip, deflate, br", "gzip"],
    ["deflate", "deflate"],
  ];
  for (const [accepted, encoding] of compressed) {
    test(`over 1 KiB are compressed with ${encoding} for Accept-Encoding: ${accepted}`, async (t) => {
      const response = await pollFor(await startGateway(t), accepted, LONG);
      assert.equal(response.status, 200);
      assert.equal(response.headers["content-encoding"], encoding);
      assert.equal(response.headers["content-type"], "text/plain; charset=UTF-8");
      assert.equal(response.headers["cache-control"], "no-store");
      assert.ok(response.body.length < expected.length / 4, `${response.body.length} bytes`);
      assert.equal(decoders[encoding](response.body).toString(), expected);
    });
  }

  for (const accepted of [undefined, "identity", "br", "gzip;q=0"]) {
    test(`over 1 KiB are sent as they are for Accept-Encoding: ${accepted ?? "(none)"}`, async (t) => {
      const response = await pollFor(await startGateway(t), accepted, LONG);
      assert.equal(response.headers["content-encoding"], undefined);
      assert.equal(response.headers["content-length"], String(expected.length));
      assert.equal(response.body.toString(), expected);
    });
  }

  test("that are small are sent as they are", async (t) => {
    const response = await pollFor(await startGateway(t), "gzip", "short");
    assert.equal(response.headers["content-encoding"], undefined);
    assert.equal(response.body.toString(), '42["said","short"]');
  });
});
