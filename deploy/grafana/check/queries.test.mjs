// Every query of the dashboard finds something: two nodes behind one Redis, clients that come, talk, misbehave and go,
// some of them through a balancer without affinity, a third node that speaks TLS, and a real Prometheus that scrapes the
// nodes and itself.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { startHttpBalancer } from "../../../gateway/tests/e2e/support/balancer.mjs";
import { issueCertificate } from "../../../gateway/tests/e2e/support/certificates.mjs";
import { connect, ask, askOk } from "../../../gateway/tests/e2e/support/clients.mjs";
import { DEADLINE_MS, atEnd, until } from "../../../gateway/tests/e2e/support/conditions.mjs";
import { OPEN_ROOMS, startGateway } from "../../../gateway/tests/e2e/support/gateway.mjs";
import { Process, freePort } from "../../../gateway/tests/e2e/support/processes.mjs";
import { emitter, redisClient, startRedis } from "../../../gateway/tests/e2e/support/redis.mjs";

const dashboard = JSON.parse(await readFile(new URL("../broadgate.json", import.meta.url), "utf8"));
const graphs = dashboard.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]).filter(({ type }) => type !== "row");

/** What Grafana puts in by itself, for a scrape every second. */
const BUILT_IN = { $__rate_interval: "10s", $__range: "60s", $__interval: "5s" };

test("every query of the dashboard finds something", { timeout: 110_000 }, async (t) => {
  const redis = await startRedis(t);
  const config = await configuration(t);
  const nodes = [await startGateway(t, { redis, config }), await startGateway(t, { redis, config })];
  const tls = await issueCertificate(t);
  const all = [...nodes, await startGateway(t, { redis, config, tls })];
  const prometheus = await startPrometheus(t, all);
  const stopLoad = await startLoad(t, nodes, redis);
  const values = await variables(prometheus, all);

  const instances = all.map(({ opsPort }) => `127.0.0.1:${opsPort}`);
  let queries = 0;
  for (const { title, targets } of graphs) {
    for (const { expr, legendFormat } of targets) {
      const query = substitute(expr, values);
      const samples = await until(
        `${title}: samples of ${query}`,
        async () => {
          const samples = await prometheus.query(query);
          const found = new Set(samples.map(({ metric }) => metric.instance));
          const expected = expr.includes("broadgate_tls_certificate") ? 1 : nodes.length;
          if (legendFormat.includes("{{instance}}") && found.size < expected) return false;
          // 0 through 0 is a sample as well, but shows nothing.
          return samples.some(({ value }) => Number.isFinite(Number(value[1]))) && samples;
        },
        2 * DEADLINE_MS,
      );
      for (const { instance } of samples.map(({ metric }) => metric)) {
        assert.ok(instance === undefined || instances.includes(instance), `${title}: ${instance} is not a node`);
      }
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
        assert.ok(samples.every(({ metric }) => metric[label]), `${title}: not all have ${label}`);
      }
      queries += 1;
    }
  }
  t.diagnostic(`${queries} queries of ${graphs.length} panels`);
  assert.ok(queries > 120);

  // The load reached what it is meant to reach: these are not 0 only because counters begin at 0.
  for (const series of [
    "deliveries_total",
    "adapter_malformed_total",
    "protocol_errors_total",
    "handshake_rejected_total",
    "transport_upgrades_total",
    'forwarded_requests_sent_total{result="ok"}',
    'forwarded_requests_received_total{result="ok"}',
    'sessions_moved_total{direction="in"}',
    'sessions_moved_total{direction="out"}',
    'cluster_requests_finished_total{result="complete"}',
    'delivery_latency_seconds_count{path="local"}',
    'delivery_latency_seconds_count{path="redis"}',
    'ping_rtt_seconds_count{transport="polling"}',
    'ping_rtt_seconds_count{transport="websocket"}',
    'ack_duration_seconds_count{request="join"}',
    "connection_duration_seconds_count",
    "redis_publish_duration_seconds_count",
    "cluster_request_duration_seconds_count",
  ]) {
    await until(`more than 0 of ${series}`, async () => {
      const [{ value }] = await prometheus.query(`sum(broadgate_${series})`);
      return Number(value[1]) > 0;
    });
  }
  // The nodes work well together, so what watches over that has not even begun to wait.
  await until("an alert, so that they are evaluated", async () => (await prometheus.query("ALERTS")).length > 0);
  const ofRouting = `ALERTS{alertname=~"BroadgateNodesDisagree|BroadgateForwardingFailing|BroadgateSessionsLostMoving"}`;
  assert.deepEqual(await prometheus.query(`count_over_time(${ofRouting}[5m])`), []);
  assert.deepEqual(await prometheus.query(substitute("nothing{job=~'$job'}", values)), [], "a query can find nothing");
  // Before the test's clients are taken from under it; what went wrong in it fails the test.
  await stopLoad();
});

/** Everything open, with an issuer of tokens that has its keys in a file, and with pings that come soon. */
async function configuration(t) {
  const directory = await mkdtemp(join(tmpdir(), "broadgate-keys-"));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const file = join(directory, "jwks.json");
  await writeFile(file, JSON.stringify({ keys: [publicKey.export({ format: "jwk" })] }));
  const issuer = `[[auth.issuers]]\nname = "login"\nissuer = "login"\njwks_file = "${file}"\n`;
  const namespace = `[[namespaces]]\nname = "/"\nauthentication = "optional"\n`;
  return `${issuer}${namespace}[engine]\nping_interval_ms = 1000\n${OPEN_ROOMS()}`;
}

/** What the variables offer when "All" is chosen, found as Grafana finds it. */
async function variables(prometheus, nodes) {
  const values = {};
  for (const { name, type, query, allValue } of dashboard.templating.list) {
    if (type !== "query") continue;
    const [, metric, label] = /^label_values\((.*), (\w+)\)$/.exec(query.query);
    const found = await until(`values of ${name}`, async () => {
      const samples = await prometheus.query(substitute(metric, values));
      return samples.length === nodes.length && samples.map((sample) => sample.metric[label]);
    });
    const all = [...new Set(found)].filter(Boolean);
    values[`$${name}`] = allValue ?? `(${all.map((value) => value.replaceAll(".", "\\\\.")).join("|")})`;
  }
  assert.deepEqual([values.$job, values.$namespace], ["(broadgate)", ".*"]);
  return values;
}

function substitute(text, values) {
  const names = { ...BUILT_IN, ...values };
  return text.replace(/\$\w+/g, (name) => {
    assert.ok(name in names, `${name} in ${text}`);
    return names[name];
  });
}

async function startPrometheus(t, nodes) {
  const directory = await mkdtemp(join(tmpdir(), "broadgate-prometheus-"));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  const address = `127.0.0.1:${await freePort()}`;
  const job = (name, targets) => ({ job_name: name, static_configs: [{ targets }] });
  const config = {
    global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" },
    rule_files: [fileURLToPath(new URL("../../prometheus/alerts.yaml", import.meta.url))],
    scrape_configs: [
      job("broadgate", nodes.map(({ opsPort }) => `127.0.0.1:${opsPort}`)),
      // Has process_* as well: the dashboard must not show them.
      job("prometheus", [address]),
    ],
  };
  // JSON is YAML.
  await writeFile(join(directory, "prometheus.yaml"), JSON.stringify(config));
  const process = new Process("prometheus", [
    `--config.file=${join(directory, "prometheus.yaml")}`,
    `--storage.tsdb.path=${join(directory, "data")}`,
    `--web.listen-address=${address}`,
  ]);
  atEnd(t, () => process.stop());
  await process.until("is ready", async () => (await fetch(`http://${address}/-/ready`)).ok);
  return {
    async query(query) {
      const response = await fetch(`http://${address}/api/v1/query?${new URLSearchParams({ query })}`);
      const { status, error, data } = await response.json();
      assert.equal(status, "success", `${query}: ${error}`);
      return data.result;
    },
  };
}

/** Each request goes to the next node, and each upgrade to the one without the session. */
async function withoutAffinity(t, nodes) {
  const known = await nodes[0].nodes();
  const first = known.find((node) => node.this).name;
  return startHttpBalancer(t, nodes, {
    steer: ({ isUpgrade, sid }) => isUpgrade && sid && nodes[sid.startsWith(first) ? 1 : 0],
  });
}

/** Some of everything, again and again; resolves to what ends it. */
async function startLoad(t, nodes, redis) {
  const [backend, raw] = [emitter(t, redis), redisClient(t, redis)];
  const balancer = await withoutAffinity(t, nodes);
  const clients = [];
  for (const node of nodes) {
    for (const transports of [["websocket"], ["polling"], ["websocket"], ["polling", "websocket"]]) {
      const client = await connect(t, node, { transports });
      await askOk(client, "join", "room");
      clients.push(client);
    }
  }
  const round = async (number) => {
    const node = nodes[number % nodes.length];
    for (let message = 0; message < 20; message += 1) backend.to("room").emit("news", { message });
    backend.volatile.to("room").emit("soon out of date");
    await askOk(clients[number % clients.length], "publish", "room", "chat", "hello");
    await ask(clients[0], "join", "");
    // Comes, joins, leaves, goes.
    const guest = await connect(t, balancer, { transports: ["polling", "websocket"] });
    await until("the upgrade", () => guest.io.engine.transport.name === "websocket");
    await askOk(guest, "join", `room ${number}`);
    await askOk(guest, "leave", `room ${number}`);
    guest.disconnect();
    await node.sockets("?room=room");
    // What no node can read, and what no client should send.
    await raw.publish("socket.io#/#room#", "{");
    await fetch(`${node.url}/socket.io/?EIO=4&transport=carrier-pigeon`);
    const handshake = await (await fetch(`${node.url}/socket.io/?EIO=4&transport=polling`)).text();
    const { sid } = JSON.parse(handshake.slice(1));
    await fetch(`${node.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "9" });
  };
  let ended = false;
  const load = (async () => {
    for (let number = 0; !ended; number += 1) {
      await round(number);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  // A failure is told when the load is ended; until then the queries run on what there was.
  load.catch(() => {});
  const stop = () => {
    ended = true;
    return load;
  };
  atEnd(t, () => void stop());
  return stop;
}
