"""The checks of test_semantics.py can fail: each fault that one of them is for, put into a good render, is seen by it."""

import copy

import pytest
import test_semantics as checks
from conftest import named, objects, render

NAME = "test-broadgate"


def container(rendered: list[dict]) -> dict:
    return checks.gateway(rendered)["spec"]["template"]["spec"]["containers"][0]


def pod(rendered: list[dict]) -> dict:
    return checks.gateway(rendered)["spec"]["template"]["spec"]


def selector(rendered: list[dict], kind: str, name: str = NAME) -> dict:
    spec = named(rendered, kind, name)["spec"]
    found = spec.get("selector") or spec["podSelector"]
    return found.get("matchLabels", found)


def set_key(holder: dict, key, value):
    holder[key] = value


def in_config(rendered: list[dict], old: str, new: str):
    data = named(rendered, "ConfigMap", NAME)["data"]
    assert old in data["broadgate.json"]
    data["broadgate.json"] = data["broadgate.json"].replace(old, new)


def close_to_the_test_pod(rendered: list[dict]):
    for rule in named(rendered, "NetworkPolicy", NAME)["spec"]["ingress"]:
        for peer in rule.get("from", []):
            if "podSelector" in peer:
                peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] = "tests"


FAULTS = {
    "a name that is there twice": (checks.test_names_are_unique, lambda r: r.append(r[0])),
    "no namespace": (checks.test_every_object_names_its_namespace, lambda r: set_key(r[0]["metadata"], "namespace", "default")),
    "a workload without its pods": (
        checks.test_each_workload_selects_its_own_pods_only,
        lambda r: set_key(selector(r, "Deployment"), "app.kubernetes.io/component", "x"),
    ),
    "a workload with another's pods": (
        checks.test_each_workload_selects_its_own_pods_only,
        lambda r: selector(r, "Deployment").pop("app.kubernetes.io/component"),
    ),
    "a Service without pods": (
        checks.test_each_service_selects_one_workload_and_a_port_of_it,
        lambda r: set_key(selector(r, "Service"), "app.kubernetes.io/instance", "x"),
    ),
    "a Service without a port": (
        checks.test_each_service_selects_one_workload_and_a_port_of_it,
        lambda r: set_key(named(r, "Service", NAME)["spec"]["ports"][0], "targetPort", "web"),
    ),
    "a budget for nobody": (
        checks.test_policies_budgets_and_spread_select_a_workload,
        lambda r: set_key(selector(r, "PodDisruptionBudget"), "app.kubernetes.io/component", "x"),
    ),
    "spread over the pods of others": (
        checks.test_policies_budgets_and_spread_select_a_workload,
        lambda r: pod(r)["topologySpreadConstraints"][0]["labelSelector"].update(matchLabels={"a": "b"}),
    ),
    "a policy that keeps the test out": (checks.test_policies_let_the_chart_s_own_pods_through, close_to_the_test_pod),
    "a policy for a port that is none": (
        checks.test_policies_let_the_chart_s_own_pods_through,
        lambda r: set_key(named(r, "NetworkPolicy", NAME)["spec"]["ingress"][0]["ports"][0], "port", "web"),
    ),
    "a policy that lets out to no port": (
        checks.test_what_a_policy_lets_out_the_other_lets_in,
        lambda r: set_key(named(r, "NetworkPolicy", f"{NAME}-test")["spec"]["egress"][1]["ports"][0], "port", "web"),
    ),
    "a probe of a port that is none": (
        checks.test_probes_and_monitors_use_ports_that_exist,
        lambda r: set_key(container(r)["readinessProbe"]["httpGet"], "port", "web"),
    ),
    "a monitor of nothing": (
        checks.test_probes_and_monitors_use_ports_that_exist,
        lambda r: set_key(selector(r, "ServiceMonitor"), "app.kubernetes.io/component", "x"),
    ),
    "liveness that depends on Redis": (
        checks.test_liveness_does_not_ask_for_readiness,
        lambda r: set_key(container(r)["livenessProbe"]["httpGet"], "path", "/readyz"),
    ),
    "no time to drain": (
        checks.test_pods_have_the_time_to_drain,
        lambda r: set_key(pod(r), "terminationGracePeriodSeconds", 25),
    ),
    "a node that takes longer than it may": (
        checks.test_pods_have_the_time_to_drain,
        lambda r: in_config(r, '"shutdown_timeout_ms": 25500', '"shutdown_timeout_ms": 20000'),
    ),
    "another port than the container's": (checks.test_listeners_are_the_container_ports, lambda r: in_config(r, ":8080", ":8000")),
    "a route to another path": (
        checks.test_routes_lead_to_the_public_service_and_the_engine_s_path,
        lambda r: set_key(named(r, "Ingress")["spec"]["rules"][0]["http"]["paths"][0], "path", "/ws/"),
    ),
    "a route to another Service": (
        checks.test_routes_lead_to_the_public_service_and_the_engine_s_path,
        lambda r: set_key(
            named(r, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"], "name", f"{NAME}-ops"
        ),
    ),
    "an autoscaler of nothing": (
        checks.test_autoscalers_target_the_deployment_which_leaves_replicas_to_them,
        lambda r: set_key(named(r, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"], "name", "x"),
    ),
    "an autoscaler that every upgrade undoes": (
        checks.test_autoscalers_target_the_deployment_which_leaves_replicas_to_them,
        lambda r: set_key(checks.gateway(r)["spec"], "replicas", 1),
    ),
    "a pod that may become root": (
        checks.test_pods_are_restricted,
        lambda r: set_key(container(r)["securityContext"], "allowPrivilegeEscalation", True),
    ),
    "a pod with the machine's files": (
        checks.test_pods_meet_the_restricted_standard,
        lambda r: pod(r)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault):
    check, put = FAULTS[fault]
    good = objects(render("production"))
    check(good)
    bad = copy.deepcopy(good)
    put(bad)
    with pytest.raises((AssertionError, ValueError)):
        check(bad)


def test_an_annotation_that_keeps_clients_on_pods_is_seen():
    bad = objects(render("production"))
    named(bad, "Ingress")["metadata"]["annotations"]["nginx.ingress.kubernetes.io/affinity"] = "cookie"
    with pytest.raises(AssertionError):
        checks.test_nothing_keeps_a_client_on_a_pod_unasked(bad, "production")
