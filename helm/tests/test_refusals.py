"""Wrong values are refused before anything reaches a cluster, by both versions of Helm, and the message names the place."""

import pytest
from conftest import template

REDIS = {"redis": {"url": "redis://redis"}}


def nested(path: str, value) -> dict:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


WRONG_VALUES = [
    ("replicas", 3),
    ("replicaCount", "3"),
    ("replicaCount", 1.5),
    ("replicaCount", -1),
    ("nameOverride", "Upper"),
    ("nameOverride", "x" * 64),
    ("fullnameOverride", "x" * 51),
    ("fullnameOverride", "1st"),
    ("commonLabels", {"a": "b c"}),
    ("commonLabels", {"a": 1}),
    ("image.tag", 2),
    ("image.digest", "sha256:12"),
    ("image.pullPolicy", "Sometimes"),
    ("image.registry", "ghcr.io"),
    ("imagePullSecrets", ["name"]),
    ("listenAddress", "127.0.0.1"),
    ("redis.url", "unix:///run/redis.sock"),
    ("redis.url", "redis-sentinel://a,b"),
    ("redis.url", "redis://redis?x=1"),
    ("redis.url", "http://redis"),
    ("redis.sentinel", {"enabled": True}),
    ("redis.tls", True),
    ("redis.port", 70000),
    ("redis.bundled.enabled", "yes"),
    ("redis.existingSecret", "Not_A_Name"),
    ("config.server.listen", "0.0.0.0:80"),
    ("config.ops", {"listen": "0.0.0.0:1"}),
    ("config.adapter.kind", "redis"),
    ("config.adapter.redis.url", "redis://redis"),
    ("config.server.shutdown_timeout_ms", "10s"),
    ("config.server.shutdown_timeout_ms", 3_600_001),
    ("config.server.shards", 0),
    ("config.server.trusted_proxies", "10.0.0.0/8"),
    ("config.server.trusted_proxies", ["ingress.local"]),
    ("config.server.proxy_protocol", "yes"),
    ("config.server.tls_cert_file", "/tls.crt"),
    ("tls.existingSecret", "Not_A_Name"),
    ("tls.certManager.issuerRef", {"nam": "x"}),
    ("tls.certManager.issuerRef.kind", "issuer"),
    ("tls.certManager.dnsNames", ["a b"]),
    ("config.engine.path", "socket.io"),
    ("config.engine.path", "/a//b/"),
    ("config.engine.transports", []),
    ("config.engine.transports", ["sse"]),
    ("config.engine.allowed_origins", ["https://example.com/"]),
    ("config.engine.allowed_origins", "*"),
    ("config.engine.cors_origins", ["*"]),
    ("config.engine.pingInterval", 1000),
    ("config.engine.max_payload_bytes", 10),
    ("config.namespaces", []),
    ("config.namespaces", [{"name": "chat"}]),
    ("config.rooms", [{"join": "anyone"}]),
    ("config.rooms", [{"match": "*", "join": "everyone"}]),
    ("config.limits.max_conections", 5),
    ("config.limits.max_connections", 0),
    ("config.log.format", "xml"),
    ("redis.auth.password", "secret"),
    ("redis.tls.clientCertificate", "yes"),
    ("config.adapter.redis.prefix", "a#b"),
    ("config.adapter.redis.python_channel", "a#b"),
    ("config.adapter.redis.password", "secret"),
    ("config.adapter.redis.mode", "sharded"),
    ("config.adapter.redis.urls", ["redis://:secret@redis"]),
    ("config.adapter.redis.urls", ["unix:///run/redis.sock"]),
    ("config.adapter.redis.sentinel_master_tls", "yes"),
    ("config.adapter.redis.driver", "ioredis"),
    ("config.adapter.redis.when_down", "queue"),
    ("config.adapter.redis.probe_max_age_ms", -1),
    ("drain.preStopSeconds", 10),
    ("drain.marginSeconds", 0),
    ("drain.terminationGracePeriodSeconds", 30),
    ("rollout.maxSurge", "a lot"),
    ("rollout.maxUnavailable", "101%"),
    ("service.type", "ExternalName"),
    ("service.port", 0),
    ("service.port", "80"),
    ("service.sessionAffinity", "Cookie"),
    ("service.externalTrafficPolicy", "local"),
    ("service.loadBalancerSourceRanges", ["203.0.113.1"]),
    ("service.annotations", {"a": True}),
    ("opsService.type", "LoadBalancer"),
    ("ingress.preset", "caddy"),
    ("ingress.hosts", ["https://example.com"]),
    ("ingress.hosts", [{"host": "example.com"}]),
    ("ingress.tls", [{"secret": "x"}]),
    ("httpRoute.parentRefs", [{"namespace": "x"}]),
    ("httpRoute.hostnames", ["a b"]),
    ("autoscaling.minReplicas", 0),
    ("autoscaling.targetMemory", 80),
    ("autoscaling.scaleDownStabilizationSeconds", 3601),
    ("keda.prometheusAddress", "prometheus:9090"),
    ("podDisruptionBudget.minAvailable", 1),
    ("podDisruptionBudget.maxUnavailable", "half"),
    ("networkPolicy.enabled", "true"),
    ("networkPolicy.opsFrom", [{}]),
    ("networkPolicy.opsFrom", [{"matchLabels": {"a": "b"}}]),
    ("networkPolicy.redisTo", [{"ipBlock": {"cidr": "10.0.0.1"}}]),
    ("serviceMonitor.interval", "15s"),
    ("serviceMonitor.intervalSeconds", 0),
    ("podMonitor.labels", {"a": None}),
    ("prometheusRule.rules", []),
    ("dashboards.labels", ["grafana_dashboard"]),
    ("serviceAccount.automount", True),
    ("resources", {"request": {"cpu": 1}}),
    ("resources", {"requests": {"cpu": "lots"}}),
    ("runAsUser", 0),
    ("securityContext", {}),
    ("sysctls", [{"name": "net.core.somaxconn", "value": 4096}]),
    ("extraEnv", [{"name": "A"}]),
    ("extraEnv", [{"name": "A", "value": 1}]),
    ("extraEnv", [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]),
    ("extraEnv", [{"name": "BROADGATE__SERVER__SHUTDOWN_TIMEOUT_MS", "value": "60000"}]),
    ("extraEnv", [{"name": "BROADGATE__OPS__LISTEN", "value": "127.0.0.1:8081"}]),
    ("tolerations", [{"operator": "In"}]),
    ("affinity", {"podAffinty": {}}),
    ("topologySpread.whenUnsatisfiable", "Never"),
    ("probes.liveness.path", "/readyz"),
    ("probes.readiness.failureThreshold", 0),
    ("tests.image", "busybox"),
    ("tests.enabled", "no"),
    ("tests.token", "eyJ"),
    ("tests.token.existingSecret", "Not_A_Name"),
    ("opsKeys", [{"existingSecret": "a"}]),
    ("opsKeys", [{"name": "a", "key": "0123456789abcdef"}]),
    ("opsKeys", [{"name": "a", "scopes": ["everything"]}]),
    ("issuerSecrets", [{"issuer": "a"}]),
    ("issuerSecrets", [{"issuer": "a", "existingSecret": "b", "as": "key"}]),
]

WRONG_TOGETHER = [
    ({"replicaCount": 2}, "needs Redis"),
    ({"autoscaling": {"enabled": True}}, "needs Redis"),
    ({"keda": {"enabled": True, "prometheusAddress": "http://p"}}, "needs Redis"),
    ({"redis": {"url": "redis://a", "existingSecret": "b"}}, "only one of"),
    ({"redis": {"url": "redis://a", "bundled": {"enabled": True}}}, "only one of"),
    (REDIS | {"config": {"adapter": {"redis": {"mode": "cluster", "urls": ["redis://a"]}}}}, "only one of"),
    ({"config": {"adapter": {"redis": {"mode": "cluster"}}}}, "needs config.adapter.redis.urls"),
    ({"config": {"adapter": {"redis": {"urls": ["redis://a"]}}}}, "sentinel or cluster"),
    (REDIS | {"redis": {"url": "rediss://a", "tls": {"clientCertificate": True}}}, "redis.tls.existingSecret"),
    (REDIS | {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "prometheusAddress": "http://p"}}, "only one"),
    (REDIS | {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "more than"),
    (REDIS | {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}, "without a target"),
    (REDIS | {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}, "requests.cpu"),
    (REDIS | {"keda": {"enabled": True}}, "prometheusAddress"),
    (REDIS | {"keda": {"enabled": True, "prometheusAddress": "http://p", "minReplicas": 11}}, "more than"),
    ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "twice"),
    ({"rollout": {"maxSurge": 0, "maxUnavailable": 0}}, "both 0"),
    ({"rollout": {"maxSurge": "0%"}}, "both 0"),
    ({"rollout": {"minReadySeconds": 600}}, "progressDeadlineSeconds"),
    ({"httpRoute": {"enabled": True}}, "parentRefs"),
    ({"tls": {"certManager": {"enabled": True}}}, "issuerRef.name"),
    ({"tls": {"existingSecret": "a", "certManager": {"enabled": True, "issuerRef": {"name": "b"}}}}, "only one of"),
    ({"opsKeys": [{"name": "a"}, {"name": "a", "existingSecret": "b"}]}, "twice"),
    ({"issuerSecrets": [{"issuer": "a", "existingSecret": "b"}]}, "none with the name"),
    (
        {
            "config": {"auth": {"issuers": [{"name": "a"}]}},
            "issuerSecrets": [{"issuer": "a", "existingSecret": "b"}, {"issuer": "a", "existingSecret": "c"}],
        },
        "two Secrets",
    ),
    (
        {"ingress": {"enabled": True, "preset": "nginx"}, "config": {"server": {"proxy_protocol": True}}},
        "begins no connection with a PROXY header",
    ),
]


@pytest.mark.parametrize("version", ["3", "4"])
@pytest.mark.parametrize(("path", "value"), WRONG_VALUES, ids=lambda part: str(part)[:40])
def test_wrong_value_is_refused_by_the_schema(path, value, version):
    done = template(nested(path, value), version=version)
    assert done.returncode != 0
    assert "meet the specifications of the schema" in done.stderr
    assert any(key in done.stderr for key in path.split(".")), done.stderr


@pytest.mark.parametrize("version", ["3", "4"])
@pytest.mark.parametrize(("values", "message"), WRONG_TOGETHER, ids=lambda part: str(part)[:60])
def test_values_that_are_wrong_together_are_refused(values, message, version):
    done = template(values, version=version)
    assert done.returncode != 0
    assert message in done.stderr
