// Panels as Grafana wants them, and their places on the page.

const COLUMNS = 24;
const DATASOURCE = { type: "prometheus", uid: "${datasource}" };

/** Steps of `[color, from]`; the first is from null. */
const steps = (thresholds) => thresholds.map(([color, value]) => ({ color, value }));

const targets = (queries, more) =>
  queries.map(([expr, legendFormat], index) => ({
    refId: String.fromCharCode(65 + index),
    datasource: DATASOURCE,
    expr,
    legendFormat,
    ...more,
  }));

/** A graph. `queries`: `[expression, legend]` each. */
export function panel(title, description, queries, { unit = "short", stack, max, thresholds } = {}) {
  return {
    type: "timeseries",
    title,
    description,
    size: { w: 8, h: 8 },
    targets: targets(queries, { range: true }),
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        ...(max !== undefined && { max }),
        ...(thresholds && { thresholds: { mode: "absolute", steps: steps(thresholds) } }),
        custom: {
          lineWidth: 1,
          fillOpacity: stack ? 30 : 10,
          showPoints: "never",
          stacking: { mode: stack ? "normal" : "none", group: "A" },
          thresholdsStyle: { mode: thresholds ? "dashed" : "off" },
        },
      },
      overrides: [],
    },
    options: {
      legend: { displayMode: "table", placement: "bottom", calcs: ["lastNotNull", "max"], showLegend: true },
      tooltip: { mode: "multi", sort: "desc" },
    },
  };
}

/** One number. */
export function stat(title, description, [expression], { unit = "short", thresholds, decimals } = {}) {
  return {
    type: "stat",
    title,
    description,
    size: { w: 3, h: 4 },
    targets: targets([[expression, ""]], { instant: true }),
    fieldConfig: {
      defaults: {
        unit,
        ...(decimals !== undefined && { decimals }),
        thresholds: { mode: "absolute", steps: steps(thresholds ?? [["blue", null]]) },
      },
      overrides: [],
    },
    options: {
      colorMode: thresholds ? "background" : "value",
      graphMode: "none",
      reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
    },
  };
}

/** How values are spread over time; of a histogram's buckets. */
export function heatmap(title, description, expression, { unit }) {
  return {
    type: "heatmap",
    title,
    description,
    size: { w: 8, h: 8 },
    targets: targets([[expression, "{{le}}"]], { range: true, format: "heatmap" }),
    fieldConfig: {
      defaults: { unit: "short", custom: { scaleDistribution: { type: "linear" } } },
      overrides: [],
    },
    options: {
      calculate: false,
      cellGap: 1,
      color: { mode: "scheme", scheme: "Oranges", steps: 64, exponent: 0.5, fill: "dark-orange" },
      rowsFrame: { layout: "auto" },
      yAxis: { axisPlacement: "left", unit },
      tooltip: { mode: "single", yHistogram: false },
      legend: { show: true },
    },
  };
}

/** The labels and values of one query. */
export function table(title, description, expression) {
  return {
    type: "table",
    title,
    description,
    size: { w: 8, h: 10 },
    targets: targets([[expression, ""]], { instant: true, format: "table" }),
    fieldConfig: { defaults: { unit: "none" }, overrides: [] },
    transformations: [{ id: "organize", options: { excludeByName: { Time: true } } }],
    options: { showHeader: true },
  };
}

export const row = (title, panels, { collapsed = false } = {}) => ({ title, panels, collapsed });

/** A dashboard of these rows. `of`: the metric whose labels the variables offer. */
export function layout({ title, uid, description, of, rows }) {
  const panels = [];
  let [id, y] = [0, 0];
  for (const { title, panels: inside, collapsed } of rows) {
    const head = { type: "row", id: (id += 1), title, collapsed, gridPos: { x: 0, y, w: COLUMNS, h: 1 }, panels: [] };
    panels.push(head);
    y += 1;
    // A collapsed row holds its panels; those of an open one come after it.
    const into = collapsed ? head.panels : panels;
    let [x, height] = [0, 0];
    for (const { size, ...rest } of inside) {
      if (x + size.w > COLUMNS) [x, y, height] = [0, y + height, 0];
      into.push({ id: (id += 1), ...rest, datasource: DATASOURCE, gridPos: { x, y, ...size } });
      [x, height] = [x + size.w, Math.max(height, size.h)];
    }
    y += height;
  }
  return {
    title,
    uid,
    description,
    tags: ["broadgate"],
    schemaVersion: 39,
    editable: true,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-1h", to: "now" },
    timezone: "browser",
    templating: { list: variables(of) },
    panels,
  };
}

function variables(of) {
  const labelValues = (name, label, selector, more) => ({
    type: "query",
    name,
    label,
    datasource: DATASOURCE,
    query: { qryType: 1, query: `label_values(${of}${selector}, ${name})`, refId: name },
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    current: { text: "All", value: "$__all" },
    ...more,
  });
  return [
    { type: "datasource", name: "datasource", label: "Data source", query: "prometheus" },
    labelValues("job", "Job", ""),
    // Without Kubernetes nothing has a namespace; this also matches a label that is not there.
    labelValues("namespace", "Namespace", `{job=~"$job"}`, { allValue: ".*" }),
    labelValues("instance", "Node", `{job=~"$job",namespace=~"$namespace"}`),
  ];
}
