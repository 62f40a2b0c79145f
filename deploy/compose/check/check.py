#!/usr/bin/env python3
"""The composition as far as it can be read: by a parser of the Compose specification, and what no schema sees. Grafana's
provisioning is held against what its documentation names.
"""

import copy
import json
import sys
from pathlib import Path

import yaml
from compose_spec import PyCompose

FOLDER = Path(__file__).resolve().parent.parent.parent
compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
services = compose["services"]


def faults_of(composition: dict) -> list[str]:
    try:
        PyCompose.from_yaml(yaml.safe_dump(composition)).validate()
    except Exception as error:  # The parser has no class of its own for it.
        return [str(error)]
    return []


def check(holds: bool, what: str):
    if not holds:
        sys.exit(f"compose.yaml: {what}")


check(faults_of(compose) == [], f"{faults_of(compose)}")
# It is a parser that can refuse.
for key, value in {"imag": "x", "restart": "sometimes", "stop_grace_period": "30q", "ulimits": {"nofile": "lots"}}.items():
    wrong = copy.deepcopy(compose)
    wrong["services"]["node-1"][key] = value
    check(faults_of(wrong) != [], f"{key}: {value!r} was not refused")

for name, service in services.items():
    for mount in service.get("volumes", []):
        source, target, options = mount.split(":")
        check((FOLDER / source).is_file(), f"{name}: {source} is not there")
        check(options == "ro", f"{name}: {mount} is not read-only")
    dependencies = service.get("depends_on", [])
    check(set(dependencies) <= services.keys(), f"{name} depends on what is not there")
    for dependency, condition in dependencies.items() if isinstance(dependencies, dict) else []:
        if condition["condition"] == "service_healthy":
            check("healthcheck" in services[dependency] or "build" in services[dependency], f"{dependency} has no health check")
    for port in service.get("ports", []):
        check(port.startswith("127.0.0.1:"), f"{name}: {port} is open to the network")
    if "build" in service:
        check((FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file(), f"{name}: no Dockerfile")
    else:
        check(":" in service["image"] and not service["image"].endswith(":latest"), f"{name}: an image without a version")

targets = yaml.safe_load((FOLDER / "compose/prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]["targets"]
nodes = {name for name in services if name.startswith("node-")}
check({target.split(":")[0] for target in targets} == nodes, "Prometheus does not scrape each node")

# Grafana: one data source with the name that the dashboard asks for, and a folder in which the dashboard is.
mounts = {mount.split(":")[1]: FOLDER / mount.split(":")[0] for mount in services["grafana"]["volumes"]}
[sources] = [yaml.safe_load(path.read_text()) for target, path in mounts.items() if "/provisioning/datasources/" in target]
[providers] = [yaml.safe_load(path.read_text()) for target, path in mounts.items() if "/provisioning/dashboards/" in target]
check(sources["apiVersion"] == providers["apiVersion"] == 1, "Grafana: unknown apiVersion")
[source] = sources["datasources"]
check(source.keys() <= {"name", "uid", "type", "access", "url", "isDefault", "jsonData"}, f"Grafana: {source.keys()}")
host, port = source["url"].removeprefix("http://").split(":")
check(host == "prometheus" and port == "9090" and source["type"] == "prometheus", f"Grafana: {source['url']}")
[provider] = providers["providers"]
check(provider.keys() <= {"name", "type", "options", "allowUiUpdates", "folder"}, f"Grafana: {provider.keys()}")
check(provider["type"] == "file", "Grafana: dashboards are no files")
boards = [target for target in mounts if target.startswith(f"{provider['options']['path']}/")]
check(len(boards) == 1, "Grafana: no dashboard in the provider's folder")
home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
check(home == boards[0], f"Grafana: {home} is not there")
board = json.loads(mounts[home].read_text())
variables = {variable["name"]: variable for variable in board["templating"]["list"]}
used = {panel["datasource"]["uid"] for panel in board["panels"] if panel.get("datasource")}
check(used == {"${datasource}"} and variables["datasource"]["query"] == source["type"], f"the dashboard asks for {used}")
print(f"ok: {len(services)} services, {len(mounts)} files for Grafana")
