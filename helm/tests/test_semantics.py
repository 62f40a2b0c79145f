"""What no schema sees: names that must match, times that must add up, a configuration that the node must take."""

import json
import math
import os
import re
import subprocess

import pytest
import yaml
from conftest import CHART, REPOSITORY, TESTS, named, objects, render, template

BINARY = os.environ.get("BROADGATE_BIN", str(REPOSITORY / "target/debug/broadgate"))


def matches(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()


def pods(rendered: list[dict]) -> list[tuple[dict, dict]]:
    """Labels and spec of everything that becomes a pod."""
    templates = [o["spec"]["template"] for o in rendered if o["kind"] == "Deployment"]
    templates += [o for o in rendered if o["kind"] == "Pod"]
    return [(t["metadata"]["labels"], t["spec"]) for t in templates]


def ports_of(spec: dict) -> set[str]:
    return {port["name"] for container in spec["containers"] for port in container.get("ports", [])}


def gateway(rendered: list[dict]) -> dict:
    [found] = [
        o for o in rendered
        if o["kind"] == "Deployment" and o["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    ]
    return found


def config_of(rendered: list[dict]) -> dict:
    name = gateway(rendered)["metadata"]["name"]
    return json.loads(named(rendered, "ConfigMap", name)["data"]["broadgate.json"])


def test_names_are_unique(rendered):
    keys = [(o["kind"], o["metadata"]["name"]) for o in rendered]
    assert len(keys) == len(set(keys))


def test_every_object_names_its_namespace(rendered):
    assert {o["metadata"]["namespace"] for o in rendered} == {"prod"}


def test_each_workload_selects_its_own_pods_only(rendered):
    for workload in (o for o in rendered if o["kind"] == "Deployment"):
        selector = workload["spec"]["selector"]["matchLabels"]
        assert matches(selector, workload["spec"]["template"]["metadata"]["labels"])
        assert sum(matches(selector, labels) for labels, _ in pods(rendered)) == 1


def test_each_service_selects_one_workload_and_a_port_of_it(rendered):
    for service in (o for o in rendered if o["kind"] == "Service"):
        [spec] = [spec for labels, spec in pods(rendered) if matches(service["spec"]["selector"], labels)]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports_of(spec)


def test_policies_budgets_and_spread_select_a_workload(rendered):
    selectors = [o["spec"]["podSelector"]["matchLabels"] for o in rendered if o["kind"] == "NetworkPolicy"]
    selectors += [o["spec"]["selector"]["matchLabels"] for o in rendered if o["kind"] == "PodDisruptionBudget"]
    for _, spec in pods(rendered):
        selectors += [c["labelSelector"]["matchLabels"] for c in spec.get("topologySpreadConstraints", [])]
    for selector in selectors:
        assert sum(matches(selector, labels) for labels, _ in pods(rendered)) == 1


def test_policies_let_the_chart_s_own_pods_through(rendered):
    policies = [o for o in rendered if o["kind"] == "NetworkPolicy"]
    for policy in policies:
        selected = [spec for labels, spec in pods(rendered) if matches(policy["spec"]["podSelector"]["matchLabels"], labels)]
        named_ports = {p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]}
        assert named_ports <= ports_of(selected[0])
    tests = [o for o in rendered if o["kind"] == "Pod"]
    for policy in policies if tests else []:
        if any(p["port"] == "ops" for rule in policy["spec"]["ingress"] for p in rule["ports"]):
            test_labels = tests[0]["metadata"]["labels"]
            for rule in policy["spec"]["ingress"]:
                peers = [p["podSelector"]["matchLabels"] for p in rule.get("from", []) if "podSelector" in p]
                assert "from" not in rule or any(matches(peer, test_labels) for peer in peers)


def test_the_ops_listener_is_never_open_to_all():
    [policy] = [o for o in objects(render("single")) if o["kind"] == "NetworkPolicy"]
    [ops] = [rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "ops"}]]
    assert ops["from"]


@pytest.mark.parametrize(
    ("redis", "port"),
    [
        ({"url": "redis://redis"}, 6379),
        ({"url": "redis://user:pa:ss@redis:6380/1"}, 6380),
        ({"url": "redis://redis:6380", "port": 7000}, 7000),
        ({"existingSecret": "mine"}, 6379),
        ({"bundled": {"enabled": True}}, 6379),
    ],
)
def test_egress_lets_redis_through(redis, port):
    policy = named(objects(template({"redis": redis}).stdout), "NetworkPolicy", "test-broadgate")
    assert port in [p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]]


def test_egress_lets_sentinels_and_what_they_watch_through():
    redis = {"mode": "sentinel", "urls": ["redis://a", "redis://b:26380"]}
    policy = named(objects(template({"config": {"adapter": {"redis": redis}}}).stdout), "NetworkPolicy", "test-broadgate")
    ports = [p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]]
    assert ports == [53, 53, 6379, 26379, 26380]


def test_egress_lets_the_keys_of_tokens_through():
    urls = ["https://login.example.com/keys", "https://login.example.com:8443/keys", "http://127.0.0.1/keys"]
    issuers = [{"issuer": "i", "jwks_url": url} for url in urls]
    policy = named(
        objects(template({"config": {"auth": {"issuers": issuers}}}).stdout), "NetworkPolicy", "test-broadgate"
    )
    ports = [p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]]
    assert ports == [53, 53, 443, 8443, 80]


def test_probes_and_monitors_use_ports_that_exist(rendered):
    for labels, spec in pods(rendered):
        for container in spec["containers"]:
            probes = [container[p] for p in ("startupProbe", "livenessProbe", "readinessProbe") if p in container]
            used = {p[kind]["port"] for p in probes for kind in ("httpGet", "tcpSocket") if kind in p}
            assert used <= ports_of(spec)
    for monitor in (o for o in rendered if o["kind"] in ("ServiceMonitor", "PodMonitor")):
        kind = {"ServiceMonitor": "Service", "PodMonitor": "Deployment"}[monitor["kind"]]
        selector = monitor["spec"]["selector"]["matchLabels"]
        targets = [o for o in rendered if o["kind"] == kind and matches(selector, o["metadata"]["labels"])]
        assert len(targets) == 1
        [endpoint] = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] == "ops"


def test_liveness_does_not_ask_for_readiness(rendered):
    [container] = gateway(rendered)["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_pods_have_the_time_to_drain(rendered):
    spec = gateway(rendered)["spec"]["template"]["spec"]
    server = config_of(rendered)["server"]
    timeout_ms = server.get("shutdown_timeout_ms", 25_000)
    assert server.get("drain_delay_ms", 5000) + server.get("drain_window_ms", 15_000) < timeout_ms
    assert spec["terminationGracePeriodSeconds"] > math.ceil(timeout_ms / 1000)
    # The node waits for the balancers by itself.
    assert "lifecycle" not in spec["containers"][0]


def test_keys_of_the_ops_api_come_from_secrets():
    keys = [
        {"name": "backend", "existingSecret": "one", "scopes": ["publish"]},
        {"name": "support.team", "existingSecret": "two", "existingSecretKey": "support", "scopes": ["read"]},
        {"name": "operator", "existingSecret": "one", "existingSecretKey": "operator"},
    ]
    rendered = objects(template({"opsKeys": keys}).stdout)
    spec = gateway(rendered)["spec"]["template"]["spec"]
    [volume] = [volume["projected"]["sources"] for volume in spec["volumes"] if volume["name"] == "ops-keys"]
    files = {item["path"]: (source["secret"]["name"], item["key"]) for source in volume for item in source["secret"]["items"]}
    assert files == {"backend": ("one", "key"), "support.team": ("two", "support"), "operator": ("one", "operator")}
    [mount] = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "ops-keys"]
    # Of a path of its own in it, the kubelet would not renew the files.
    assert "subPath" not in mount
    told = config_of(rendered)["ops"]["keys"]
    assert [key["key_file"] for key in told] == [f"{mount['mountPath']}/{key['name']}" for key in keys]
    assert [key.get("scopes") for key in told] == [["publish"], ["read"], None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"OPS_CLOSED"}),
        ({"config": {"ops": {"anonymous": ["read"]}}}, {"OPS_CLOSED"}),
        ({"config": {"ops": {"anonymous": ["publish"]}}}, set()),
        ({"opsKeys": [{"name": "a", "existingSecret": "s", "scopes": ["read"]}]}, {"OPS_CLOSED"}),
        ({"opsKeys": [{"name": "a", "existingSecret": "s"}]}, {"OPS_KEY_FILE"}),
    ],
)
def test_the_test_pod_publishes_with_a_key_that_may(values, expected):
    pod = named(objects(template(values).stdout), "Pod")
    variables = {variable["name"] for variable in pod["spec"]["containers"][0]["env"]}
    assert variables & {"OPS_CLOSED", "OPS_KEY_FILE"} == expected
    secrets = [volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume]
    assert secrets == (["s"] if expected == {"OPS_KEY_FILE"} else [])


def test_listeners_are_the_container_ports(rendered):
    [container] = gateway(rendered)["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = config_of(rendered)
    assert config["server"]["listen"].endswith(f":{ports['http']}")
    assert config["ops"]["listen"].endswith(f":{ports['ops']}")


def test_routes_lead_to_the_public_service_and_the_engine_s_path(rendered):
    name = gateway(rendered)["metadata"]["name"]
    path = config_of(rendered).get("engine", {}).get("path", "/socket.io/")
    service = named(rendered, "Service", name)
    for route in rendered:
        if route["kind"] == "Ingress":
            for rule in route["spec"]["rules"]:
                [only] = rule["http"]["paths"]
                assert only["path"] == path
                assert only["backend"]["service"] == {"name": name, "port": {"name": service["spec"]["ports"][0]["name"]}}
        if route["kind"] == "HTTPRoute":
            [rule] = route["spec"]["rules"]
            assert rule["matches"][0]["path"]["value"] == path
            assert rule["backendRefs"] == [{"name": name, "port": service["spec"]["ports"][0]["port"]}]


def test_nothing_keeps_a_client_on_a_pod_unasked(rendered, value_set):
    for found in rendered:
        annotations = json.dumps(found["metadata"].get("annotations", {}))
        assert not re.search("stick|affinity|persist|cookie|hash|source", annotations), found["kind"]
        if found["kind"] == "Service" and value_set != "placement":
            assert found["spec"].get("sessionAffinity", "None") == "None"


def test_autoscalers_target_the_deployment_which_leaves_replicas_to_them(rendered):
    deployment = gateway(rendered)
    scalers = [o for o in rendered if o["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert ("replicas" in deployment["spec"]) == (not scalers)


def test_pods_are_restricted(rendered):
    for _, spec in pods(rendered):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_secrets_are_in_secrets_only(value_set):
    for found in objects(render(value_set)):
        if found["kind"] != "Secret":
            assert "gateway:secret@" not in json.dumps(found)


def test_a_changed_config_restarts_the_pods():
    checksums = set()
    for level in ("info", "debug"):
        deployment = named(objects(template({"config": {"log": {"filter": level}}}).stdout), "Deployment")
        checksums.add(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])
    assert len(checksums) == 2


def test_the_node_takes_the_config(rendered, tmp_path):
    file = tmp_path / "broadgate.json"
    config = config_of(rendered)
    for key in config["ops"].get("keys", []):
        key["key_file"] = str(tmp_path / key["name"])
        (tmp_path / key["name"]).write_text("0123456789abcdef\n")
    file.write_text(json.dumps(config))
    [container] = gateway(rendered)["spec"]["template"]["spec"]["containers"]
    variables = container.get("env", [])
    environment = {"PATH": "/usr/bin"} | {variable["name"]: variable["value"] for variable in variables if "value" in variable}
    environment |= {variable["name"]: "secret" for variable in variables if variable["name"].endswith("PASSWORD")}
    if any(variable["name"] == "BROADGATE__ADAPTER__REDIS__URL" for variable in variables):
        urls = [o["stringData"]["redis-url"] for o in rendered if o["kind"] == "Secret"]
        environment["BROADGATE__ADAPTER__REDIS__URL"] = urls[0] if urls else "redis://redis"
    done = subprocess.run(
        [BINARY, "check-config", "--config", file], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def keys_of_the_node() -> set[str]:
    """Every key of the reference, as it is made by `broadgate print-config --reference`."""
    keys, section = set(), ""
    done = subprocess.run([BINARY, "print-config", "--reference"], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        if header := re.fullmatch(r"(?:# )?\[\[?([a-z_.]+)\]\]?", line):
            section = header[1]
        elif key := re.match(r"(?:# )?([a-z_]+) = ", line):
            keys.add(f"{section}.{key[1]}")
    return keys


def keys_of_the_schema(schema: dict, prefix: str = "") -> set[str]:
    schema = schema.get("items", schema) if schema.get("type") == "array" else schema
    if "properties" not in schema:
        return {prefix}
    return set().union(
        *(keys_of_the_schema(inner, f"{prefix}.{name}".lstrip(".")) for name, inner in schema["properties"].items())
    )


def test_the_schema_knows_each_key_of_the_node():
    own = {"server.listen", "server.tls_cert_file", "server.tls_key_file", "ops.listen", "adapter.kind", "adapter.redis.url"}
    # What a Secret holds.
    own |= {f"adapter.redis.{prefix}{key}" for prefix in ("", "sentinel_") for key in ("password", "password_file")}
    own |= {f"ops.keys.{key}" for key in ("name", "key", "key_file", "scopes")}
    own |= {f"adapter.redis.tls_{key}_file" for key in ("ca", "cert", "key")}
    # Files that the chart does not mount; a secret comes by `extraEnv`.
    own |= {f"auth.issuers.{key}" for key in ("jwks_file", "jwks_ca_file", "key_file")}
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert keys_of_the_schema(schema["properties"]["config"]) == keys_of_the_node() - own


def test_the_schema_is_closed():
    """No object takes properties that it does not name, but for maps, and what Kubernetes or Helm owns."""
    open_objects = []

    def walk(schema, path):
        if isinstance(schema, dict):
            if schema.get("type") == "object" and "additionalProperties" not in schema:
                open_objects.append(path)
            for key, inner in schema.items():
                walk(inner, f"{path}.{key}".lstrip("."))
        elif isinstance(schema, list):
            for index, inner in enumerate(schema):
                walk(inner, f"{path}[{index}]")

    walk(json.loads((CHART / "values.schema.json").read_text()), "")
    affinities = [f"properties.affinity.properties.{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")]
    assert sorted(open_objects) == sorted(["properties.global", *affinities])


def test_the_schema_names_each_value():
    def leaves(value, path=()):
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from leaves(inner, (*path, key))
        else:
            yield path

    schema = json.loads((CHART / "values.schema.json").read_text())
    for path in leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        here = schema
        for key in path:
            while "$ref" in here:
                here = schema["definitions"][here["$ref"].rsplit("/", 1)[1]]
            here = here["properties"][key] if "properties" in here else here["additionalProperties"]


MONITORING = {"prometheusRule": {"enabled": True, "labels": {"release": "p"}}, "dashboards": {"enabled": True}}


@pytest.mark.parametrize("version", ["3", "4"])
def test_alerts_and_dashboards_are_the_files(version):
    done = template(MONITORING, version=version)
    assert done.returncode == 0, done.stderr
    found = objects(done.stdout)
    alerts = CHART / "files/alerts.yaml"
    rules = [o for o in found if o["kind"] == "PrometheusRule"]
    assert [rule["spec"] for rule in rules] == ([yaml.safe_load(alerts.read_text())] if alerts.exists() else [])
    dashboards = {}
    for one in found:
        if one["metadata"]["labels"].get("grafana_dashboard") == "1":
            dashboards |= one["data"]
            assert len(json.dumps(one)) < 1_000_000
    files = {path.name: json.loads(path.read_text()) for path in (CHART / "files/dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in dashboards.items()} == files


def test_files_are_copies():
    done = subprocess.run([TESTS / "sync_files.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_is_fresh():
    done = subprocess.run([TESTS / "readme.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_version_is_the_crate_s():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "([^"]+)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert chart["appVersion"] == version
