// The dashboard against the schema that Grafana itself is built from, and what that does not say.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const dashboard = JSON.parse(readFileSync(new URL("../broadgate.json", import.meta.url), "utf8"));
const panels = dashboard.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
const graphs = panels.filter((panel) => panel.type !== "row");

function validator(type) {
  const path = fileURLToPath(
    new URL("node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen.d.ts", import.meta.url),
  );
  const schema = createGenerator({ path, type, skipTypeCheck: true, additionalProperties: false }).createSchema(type);
  return new Ajv({ strict: false, allErrors: true }).compile(schema);
}

test("Grafana's schema accepts the dashboard", () => {
  const validate = validator("Dashboard");
  assert.ok(validate(dashboard), JSON.stringify(validate.errors, null, 1));
  // It is a schema that can refuse.
  for (const wrong of [{ panels: [{ type: 1 }] }, { templating: { list: [{}] } }, { graphTooltip: 9 }, { titel: "" }]) {
    assert.ok(!validate({ ...dashboard, ...wrong }), JSON.stringify(wrong));
  }
});

test("a panel accepted by the schema of dashboards is one by that of panels", () => {
  // In the dashboard a panel may be one thing or another, which makes the errors vague and the check lenient.
  const validate = validator("Panel");
  for (const { ...panel } of graphs) assert.ok(validate(panel), `${panel.title}: ${JSON.stringify(validate.errors)}`);
});

test("every panel has a description, a unit, a legend and the one data source", () => {
  for (const { title, description, datasource, fieldConfig, targets, type } of graphs) {
    assert.ok(title && description?.endsWith("."), title);
    assert.ok(fieldConfig.defaults.unit, title);
    assert.equal(datasource.uid, "${datasource}", title);
    assert.ok(targets.length > 0, title);
    for (const target of targets) {
      assert.equal(target.datasource.uid, "${datasource}", title);
      assert.ok(type !== "timeseries" || target.legendFormat, `${title}: ${target.expr}`);
    }
  }
});

test("ids are different and panels do not overlap", () => {
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const cells = new Set();
  for (const { title, gridPos } of panels) {
    assert.ok(gridPos.x + gridPos.w <= 24, title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        assert.ok(!cells.has(`${x} ${y}`), `${title} overlaps`);
        cells.add(`${x} ${y}`);
      }
    }
  }
});
