// Validates custom resources against their projects' own schemas. Reads a JSON list of objects, prints one line per fault.
import { readFileSync } from "node:fs";
import { Certificate } from "@kubernetes-models/cert-manager/cert-manager.io/v1";
import { PodMonitor, PrometheusRule, ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";

const classes = { Certificate, PodMonitor, PrometheusRule, ServiceMonitor, HTTPRoute, ScaledObject };
let faults = 0;
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new classes[object.kind](object).validate();
  } catch (error) {
    faults += 1;
    console.log(`${object.kind} ${object.metadata.name}: ${error.message}`);
  }
}
process.exitCode = faults > 0 ? 1 : 0;
