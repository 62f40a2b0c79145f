"""What Helm makes of the value sets: unchanged since it was reviewed, and valid for Kubernetes.

`UPDATE_GOLDEN=1 .ci/ops/chart` writes the renders anew; review the difference.
"""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest
from conftest import CHART, KUBERNETES, TESTS, helm, named, objects, render
from jsonschema.validators import validator_for

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
CUSTOM = {
    "cert-manager.io/v1": {"Certificate"},
    "monitoring.coreos.com/v1": {"ServiceMonitor", "PodMonitor", "PrometheusRule"},
    "gateway.networking.k8s.io/v1": {"HTTPRoute"},
    "keda.sh/v1alpha1": {"ScaledObject"},
}


def is_custom(found: dict) -> bool:
    return found["kind"] in CUSTOM.get(found["apiVersion"], set())


def schema_file(found: dict) -> str:
    group, _, version = found["apiVersion"].rpartition("/")
    return "-".join(filter(None, [found["kind"].lower(), group.split(".")[0], version])) + ".json"


def test_render_is_the_reviewed_one(value_set):
    golden = TESTS / "golden" / f"{value_set}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(render(value_set))
    assert render(value_set) == golden.read_text()


def test_helm_3_and_4_agree(value_set):
    assert objects(render(value_set, version="3")) == objects(render(value_set, version="4"))


@cache
def validator(kubernetes: str, file: str):
    folder = SCHEMAS / f"v{kubernetes}.0-local-strict"
    # The files refer to one file of definitions; it goes in, so that nothing is fetched.
    schema = json.loads((folder / file).read_text().replace("/api/_definitions.json#", "#"))
    schema.pop("$id", None)
    schema["$defs"] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return validator_for(schema)(schema)


def faults(found: dict, kubernetes: str) -> list[str]:
    name = f"{found['kind']} {found['metadata']['name']}"
    errors = validator(kubernetes, schema_file(found)).iter_errors(found)
    return [f"{name} {error.json_path}: {error.message}" for error in errors]


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_objects_are_valid_for_kubernetes(value_set, kubernetes):
    builtin = [found for found in objects(render(value_set, kubernetes)) if not is_custom(found)]
    assert [fault for found in builtin for fault in faults(found, kubernetes)] == []


def test_validation_sees_faults():
    deployment = named(objects(render("single")), "Deployment")
    assert faults(deployment, "1.36") == []
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["argz"] = []
    container["ports"][0]["containerPort"] = "8080"
    assert len(faults(deployment, "1.36")) == 2
    with pytest.raises(FileNotFoundError):
        faults(deployment | {"apiVersion": "apps/v2"}, "1.36")


def test_custom_resources_are_valid(value_set):
    custom = [found for found in objects(render(value_set)) if is_custom(found)]
    done = subprocess.run(
        ["node", TESTS / "validate-custom.mjs"], input=json.dumps(custom), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3", "4"])
def test_lint(value_set, version):
    values = str(TESTS / "values" / f"{value_set}.yaml")
    done = helm(version, "lint", "--strict", str(CHART), "--kube-version", "1.36", "-f", values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3", "4"])
def test_package(tmp_path, version):
    done = helm(version, "package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    done = helm(version, "template", "test", str(package), "-n", "prod", "--kube-version", "1.36")
    assert done.returncode == 0, done.stderr
    assert objects(done.stdout) == objects(render("single"))


def test_notes_say_that_no_affinity_is_needed(value_set, tmp_path):
    # Helm shows notes only with a cluster, so they are rendered as the text of an object in a copy of the chart.
    chart = shutil.copytree(CHART, tmp_path / "broadgate")
    (chart / "templates/NOTES.txt").rename(chart / "notes.txt")
    (chart / "templates/notes.yaml").write_text(
        'kind: Notes\nmetadata:\n  name: notes\ntext: |\n  {{- tpl (.Files.Get "notes.txt") . | nindent 2 }}\n'
    )
    values = TESTS / "values" / f"{value_set}.yaml"
    done = helm("4", "template", "test", str(chart), "-n", "prod", "--kube-version", "1.36", "-f", str(values))
    assert done.returncode == 0, done.stderr
    notes = named(objects(done.stdout), "Notes")["text"]
    assert "helm test test --namespace prod" in notes
    assert "No load balancer needs sticky sessions" in notes
    assert ("any node serves any request" in notes) == (value_set != "single")
    assert ("this is one node alone" in notes) == (value_set == "single")
