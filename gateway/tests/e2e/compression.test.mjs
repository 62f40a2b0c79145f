// Poll responses are compressed where it pays (wire.md 1.6). Raw requests: clients hide the encoding.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gunzipSync, inflateSync } from "node:zlib";

import { startGateway } from "./support/gateway.mjs";
import { openPolling } from "./support/raw.mjs";

const LONG = "compressible ".repeat(1_000);

async function pollFor(gateway, acceptEncoding, text) {
  const session = await openPolling(gateway);
  await session.connect();
  await session.push('420["join","room"]');
  assert.match((await session.poll())[0], /^430\[\{"ok":true/);
  const { status } = await gateway.publish({ rooms: ["room"], event: "said", args: [text] });
  assert.equal(status, 200);
  return session.get(acceptEncoding === undefined ? {} : { "accept-encoding": acceptEncoding });
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
