// `make soak`: a node under churn for SOAK_SECONDS. Prints what it takes over time, and fails where its memory grows after the
// warm-up, or something of a client is left at the end.
//
// The bound: the median of resident memory in the last third of the run may be above that of the second third by no more than
// SOAK_GROWTH_BYTES (default 8 MiB). A leak of 100 bytes per client would show at some 80,000 clients; the leftovers, which are
// exact, show at the first.

import { leftovers, Churn } from "./support/churn.mjs";
import { until } from "./support/conditions.mjs";
import { startGateway } from "./support/gateway.mjs";
import { startRedis } from "./support/redis.mjs";

const SECONDS = Number(process.env.SOAK_SECONDS || 300);
const CLIENTS = Number(process.env.SOAK_CLIENTS || 150);
const GROWTH_BYTES = Number(process.env.SOAK_GROWTH_BYTES || 8 * 1024 * 1024);
const ROWS = 30;
const SAMPLES_PER_ROW = 5;
const BAR = 20;

const releases = [];
/** What stands for a test, for what the tests share. */
const context = { after: (release) => releases.push(release) };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const mebibytes = (bytes) => (bytes / 1024 / 1024).toFixed(1);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function sample(gateway) {
  const page = await gateway.metrics();
  const sum = (name) => page.filter((one) => one.name === name).reduce((total, { value }) => total + value, 0);
  return {
    bytes: sum("process_resident_memory_bytes"),
    sessions: sum("broadgate_connections"),
    rooms: sum("broadgate_rooms"),
    opened: sum("broadgate_connections_opened_total"),
    deliveries: sum("broadgate_deliveries_total"),
    cpuSeconds: sum("process_cpu_seconds_total"),
  };
}

function row(cells) {
  console.log(cells.map((cell) => String(cell).padStart(12)).join(""));
}

async function run() {
  const gateway = await startGateway(context, { redis: await startRedis(context) });
  const churn = new Churn(gateway, CLIENTS);
  const memory = [];
  const began = Date.now();
  let before = { at: began, ...(await sample(gateway)) };
  row(["", "", "seconds", "MiB", "sessions", "rooms", "opened/s", "delivered/s", "CPU %"]);
  for (let number = 1; number <= ROWS; number += 1) {
    for (let part = 1; part <= SAMPLES_PER_ROW; part += 1) {
      const due = began + (SECONDS * 1000 * ((number - 1) * SAMPLES_PER_ROW + part)) / (ROWS * SAMPLES_PER_ROW);
      await pause(Math.max(0, due - Date.now()));
      memory.push((await sample(gateway)).bytes);
    }
    const now = { at: Date.now(), ...(await sample(gateway)) };
    const perSecond = (key) => ((now[key] - before[key]) * 1000) / (now.at - before.at);
    const done = Math.round((BAR * number) / ROWS);
    row([
      `[${"#".repeat(done).padEnd(BAR, ".")}]`, "", Math.round((now.at - began) / 1000), mebibytes(now.bytes), now.sessions, now.rooms,
      perSecond("opened").toFixed(1), perSecond("deliveries").toFixed(0), (100 * perSecond("cpuSeconds")).toFixed(0),
    ]);
    before = now;
  }
  await churn.stop();
  await until("nothing is left of any client", async () => (await leftovers(gateway)).length === 0, 90_000).catch(async () => {
    throw new Error(`left of clients that are gone: ${JSON.stringify(await leftovers(gateway))}`);
  });
  const third = Math.floor(memory.length / 3);
  const [settled, last] = [median(memory.slice(third, 2 * third)), median(memory.slice(2 * third))];
  console.log(`\n${churn.lives} clients came and went, ${churn.received} events arrived; nothing is left of them`);
  for (const [message, count] of churn.failures) console.log(`${count} clients ended early: ${message}`);
  console.log(`resident memory: ${mebibytes(settled)} MiB after the warm-up, ${mebibytes(last)} MiB at the end; bound +${mebibytes(GROWTH_BYTES)} MiB`);
  if (last - settled > GROWTH_BYTES) throw new Error(`resident memory grew by ${mebibytes(last - settled)} MiB`);
}

try {
  await run();
} catch (error) {
  console.error(`FAILED: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const release of releases.reverse()) await release();
}
