"""What no schema sees: names that must match, times that must add up, a configuration that the node must take."""

import base64
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
        named_ports = {p["port"] for rule in policy["spec"].get("ingress", []) for p in rule["ports"]}
        assert named_ports <= ports_of(selected[0])
    tests = [o for o in rendered if o["kind"] == "Pod"]
    for policy in policies if tests else []:
        if any(p["port"] == "ops" for rule in policy["spec"].get("ingress", []) for p in rule["ports"]):
            test_labels = tests[0]["metadata"]["labels"]
            for rule in policy["spec"]["ingress"]:
                peers = [p["podSelector"]["matchLabels"] for p in rule.get("from", []) if "podSelector" in p]
                assert "from" not in rule or any(matches(peer, test_labels) for peer in peers)


def test_what_a_policy_lets_out_the_other_lets_in(rendered):
    for policy in (o for o in rendered if o["kind"] == "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            own = [peer["podSelector"]["matchLabels"] for peer in rule.get("to", []) if peer.keys() == {"podSelector"}]
            for peer in (peer for peer in own if "app.kubernetes.io/instance" in peer):
                [spec] = [spec for labels, spec in pods(rendered) if matches(peer, labels)]
                numbers = {port["containerPort"] for container in spec["containers"] for port in container["ports"]}
                assert {port["port"] for port in rule["ports"]} <= ports_of(spec) | numbers


def test_the_ops_listener_is_never_open_to_all():
    policy = named(objects(render("single")), "NetworkPolicy", "test-broadgate")
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


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("http://collector.observability:4318", 4318), ("https://otlp.example.com/v1/traces", 443), ("http://a", 80)],
)
def test_egress_lets_traces_through(endpoint, port):
    values = {"config": {"traces": {"endpoint": endpoint}}}
    policy = named(objects(template(values).stdout), "NetworkPolicy", "test-broadgate")
    assert [p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"]] == [53, 53, port]
    assert "to" not in policy["spec"]["egress"][-1]
    peers = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    policy = named(objects(template(values | {"networkPolicy": {"tracesTo": peers}}).stdout), "NetworkPolicy", "test-broadgate")
    assert policy["spec"]["egress"][-1]["to"] == peers


def test_what_the_receiver_of_traces_needs_comes_from_a_secret():
    values = {"config": {"traces": {"endpoint": "https://otlp.example.com"}}}
    values |= {"traces": {"existingSecret": "otlp", "headersKey": "headers.txt", "caKey": "ca"}}
    rendered = objects(template(values).stdout)
    told = config_of(rendered)["traces"]
    spec = gateway(rendered)["spec"]["template"]["spec"]
    [volume] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "traces"]
    [mount] = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "traces"]
    files = {f"{mount['mountPath']}/{item['path']}": item["key"] for item in volume["items"]}
    assert (volume["secretName"], files[told["headers_file"]], files[told["ca_file"]]) == ("otlp", "headers.txt", "ca")


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


def test_a_key_without_a_secret_gets_one():
    keys = [{"name": "backend"}, {"name": "Support_team", "scopes": ["read"]}]
    rendered = objects(template({"opsKeys": keys}).stdout)
    [volume] = [
        volume["projected"]["sources"]
        for volume in gateway(rendered)["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "ops-keys"
    ]
    names = [source["secret"]["name"] for source in volume]
    assert names == ["test-broadgate-ops-key-backend", "test-broadgate-ops-key-support-team"]
    made = [base64.b64decode(named(rendered, "Secret", name)["data"]["key"]) for name in names]
    assert len(set(made)) == 2
    assert all(re.fullmatch(rb"[A-Za-z0-9]{48}", key) for key in made)


def test_passwords_of_redis_are_files_that_the_kubelet_renews():
    auth = {"existingSecret": "mine", "passwordKey": "a", "sentinelPasswordKey": "b"}
    spec = gateway(objects(template({"redis": {"url": "redis://r", "auth": auth}}).stdout))["spec"]["template"]["spec"]
    [container] = spec["containers"]
    [volume] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "redis-auth"]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "redis-auth"]
    assert "subPath" not in mount
    assert volume["secretName"] == "mine"
    files = {f"{mount['mountPath']}/{item['path']}": item["key"] for item in volume["items"]}
    told = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert files[told["BROADGATE__ADAPTER__REDIS__PASSWORD_FILE"]] == "a"
    assert files[told["BROADGATE__ADAPTER__REDIS__SENTINEL_PASSWORD_FILE"]] == "b"


def test_keys_of_issuers_come_from_secrets():
    issuers = [{"name": "login", "jwks_url": "https://login/keys"}, {"name": "backend", "issuer": "b"}]
    secrets = [
        {"issuer": "backend", "existingSecret": "one", "existingSecretKey": "token"},
        {"issuer": "login", "existingSecret": "two", "as": "jwks_ca_file"},
    ]
    rendered = objects(template({"config": {"auth": {"issuers": issuers}}, "issuerSecrets": secrets}).stdout)
    told = config_of(rendered)["auth"]["issuers"]
    assert told[0] == issuers[0] | {"jwks_ca_file": "/etc/broadgate-issuers/login.jwks_ca_file"}
    assert told[1] == issuers[1] | {"key_file": "/etc/broadgate-issuers/backend.key_file"}
    spec = gateway(rendered)["spec"]["template"]["spec"]
    [volume] = [volume["projected"]["sources"] for volume in spec["volumes"] if volume["name"] == "issuers"]
    files = {item["path"]: (source["secret"]["name"], item["key"]) for source in volume for item in source["secret"]["items"]}
    assert files == {"backend.key_file": ("one", "token"), "login.jwks_ca_file": ("two", "key")}
    [mount] = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "issuers"]
    assert (mount["mountPath"], "subPath" in mount) == ("/etc/broadgate-issuers", False)


ISSUERS = {"auth": {"issuers": [{"name": "a", "jwks_url": "https://a/keys"}]}}
TOKEN = {"tests": {"token": {"existingSecret": "t"}}}


@pytest.mark.parametrize(
    ("values", "refusal", "key"),
    [
        ({}, "401", None),
        ({"config": {"ops": {"anonymous": ["read"]}}}, "401", None),
        ({"config": {"ops": {"anonymous": ["publish"]}}}, None, None),
        ({"opsKeys": [{"name": "a", "existingSecret": "s", "scopes": ["read"]}]}, "401", None),
        ({"opsKeys": [{"name": "a", "existingSecret": "s"}]}, None, "s"),
        ({"opsKeys": [{"name": "a"}]}, None, "test-broadgate-ops-key-a"),
        ({"config": ISSUERS}, "authentication_required", None),
        ({"config": ISSUERS} | TOKEN, "401", None),
        ({"config": ISSUERS | {"namespaces": [{"name": "/", "authentication": "optional"}]}}, "401", None),
        ({"config": {"namespaces": [{"name": "/a", "authentication": "required"}]}}, "authentication_required", None),
    ],
)
def test_the_test_pod_knows_what_is_refused(values, refusal, key):
    pod = named(objects(template(values).stdout), "Pod")
    arguments = dict(a.removeprefix("--").partition("=")[::2] for a in pod["spec"]["containers"][0]["args"])
    assert arguments.get("expect-refusal") == refusal
    assert ("key-file" in arguments) == (key is not None)
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["spec"].get("volumes", [])}
    assert secrets == ({"ops-key": key} if key else {}) | ({"token": "t"} if "tests" in values else {})


def test_the_test_pod_is_the_gateway_s_image_and_its_command_takes_the_arguments(rendered):
    container = named(rendered, "Pod")["spec"]["containers"][0]
    assert container["image"] == gateway(rendered)["spec"]["template"]["spec"]["containers"][0]["image"]
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    for argument in container["args"]:
        if "-file=" in argument:
            assert argument.split("=")[1].rpartition("/")[0] in mounts
    # Two faults of usage are told apart by their exit codes: 2 is clap's.
    done = subprocess.run([BINARY, *container["args"], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_certificate_of_cert_manager_is_the_one_that_pods_show():
    values = {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}}}
    rendered = objects(template(values | {"ingress": {"enabled": True, "hosts": ["realtime.example.com"]}}).stdout)
    certificate = named(rendered, "Certificate")["spec"]
    secrets = [
        volume["secret"]["secretName"] for _, spec in pods(rendered) for volume in spec["volumes"] if volume["name"] == "tls"
    ]
    assert secrets == [certificate["secretName"]] * 2
    assert certificate["issuerRef"] == {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert certificate["dnsNames"] == ["realtime.example.com"], "a public issuer refuses names of the Service"
    service = ["test-broadgate", "test-broadgate.prod", "test-broadgate.prod.svc"]
    assert named(objects(template(values).stdout), "Certificate")["spec"]["dnsNames"] == service
    assert named(rendered, "Service", "test-broadgate")["spec"]["ports"][0]["appProtocol"] == "https"


def test_the_test_pod_sees_no_key_of_a_certificate():
    pod = named(objects(render("tls")), "Pod")
    [volume] = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "tls"]
    assert [item["key"] for item in volume["secret"]["items"]] == ["tls.crt"]


def test_without_tests_there_is_no_test_pod():
    assert [o for o in objects(template({"tests": {"enabled": False}}).stdout) if o["kind"] == "Pod"] == []


@pytest.mark.parametrize(
    ("preset", "kind", "annotation"),
    [
        ("nginx", "Ingress", {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}),
        ("haproxy", "Ingress", {"haproxy.org/server-ssl": "true"}),
        ("haproxy-ingress", "Ingress", {"haproxy-ingress.github.io/secure-backends": "true"}),
        ("alb", "Ingress", {"alb.ingress.kubernetes.io/backend-protocol": "HTTPS"}),
        ("traefik", "Service", {"traefik.ingress.kubernetes.io/service.serversscheme": "https"}),
    ],
)
def test_an_ingress_speaks_tls_to_pods_that_do(preset, kind, annotation):
    for tls in (True, False):
        values = {"ingress": {"enabled": True, "preset": preset}, "tls": {"existingSecret": "tls" if tls else ""}}
        found = named(objects(template(values).stdout), kind, "test-broadgate")
        assert (annotation.items() <= found["metadata"].get("annotations", {}).items()) == tls


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


def test_pods_meet_the_restricted_standard(rendered):
    """What the Pod Security Standard "restricted" asks for beyond the above."""
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for _, spec in pods(rendered):
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        assert all(volume.keys() - {"name"} <= volumes for volume in spec.get("volumes", []))
        assert spec["securityContext"]["runAsUser"] != 0
        assert not {"seLinuxOptions", "windowsOptions", "appArmorProfile"} & spec["securityContext"].keys()
        assert "initContainers" not in spec
        for container in spec["containers"]:
            allowed = {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}
            assert container["securityContext"].keys() <= allowed
            assert not any("hostPort" in port for port in container.get("ports", []))


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
    for issuer in config.get("auth", {}).get("issuers", []):
        for key in ("key_file", "jwks_ca_file"):
            if key in issuer:
                issuer[key] = str(tmp_path / key)
                (tmp_path / key).write_text("0123456789abcdef0123456789abcdef\n")
    for key in config["ops"].get("keys", []):
        key["key_file"] = str(tmp_path / key["name"])
        (tmp_path / key["name"]).write_text("0123456789abcdef\n")
    if "headers_file" in config.get("traces", {}):
        config["traces"]["headers_file"] = str(tmp_path / "headers")
        (tmp_path / "headers").write_text("authorization: Bearer secret\n")
    file.write_text(json.dumps(config))
    [container] = gateway(rendered)["spec"]["template"]["spec"]["containers"]
    variables = container.get("env", [])
    environment = {"PATH": "/usr/bin"} | {variable["name"]: variable["value"] for variable in variables if "value" in variable}
    for name in [name for name in environment if name.endswith("PASSWORD_FILE")]:
        environment[name] = str(tmp_path / name)
        (tmp_path / name).write_text("secret\n")
    if any(variable["name"] == "BROADGATE__ADAPTER__REDIS__URL" for variable in variables):
        urls = [o["stringData"]["redis-url"] for o in rendered if o["kind"] == "Secret" and "stringData" in o]
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
    # What `issuerSecrets` mounts.
    own |= {f"auth.issuers.{key}" for key in ("jwks_file", "jwks_ca_file", "key_file")}
    # What `traces` mounts.
    own |= {f"traces.{key}" for key in ("headers_file", "ca_file")}
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
