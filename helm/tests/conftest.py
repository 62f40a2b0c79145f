"""What the chart's tests share: Helm, the value sets, rendered objects. `.ci/ops/chart` installs the tools."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent.parent
CHART = TESTS.parent / "broadgate"
HELM = {version: REPOSITORY / f".tools/helm{version}/helm/helm" for version in ("3", "4")}
KUBERNETES = ("1.28", "1.32", "1.36")
VALUE_SETS = sorted(path.stem for path in (TESTS / "values").glob("*.yaml"))


def helm(version: str, *arguments: str, values: str | None = None) -> subprocess.CompletedProcess:
    homes = {f"HELM_{home}_HOME": str(REPOSITORY / f".tools/helm-home/{home.lower()}") for home in ("CACHE", "CONFIG", "DATA")}
    return subprocess.run(
        [HELM[version], *arguments], input=values, capture_output=True, text=True, env=os.environ | homes, check=False
    )


@cache
def render(value_set: str, kubernetes: str = "1.36", version: str = "4") -> str:
    values = TESTS / "values" / f"{value_set}.yaml"
    done = helm(version, "template", "test", str(CHART), "-n", "prod", "--kube-version", kubernetes, "-f", str(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def template(values: dict, *, kubernetes: str = "1.36", version: str = "4") -> subprocess.CompletedProcess:
    return helm(
        version, "template", "test", str(CHART), "-n", "prod", "--kube-version", kubernetes, "-f", "-",
        values=yaml.safe_dump(values),
    )


def objects(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def named(found: list[dict], kind: str, name: str | None = None) -> dict:
    [one] = [o for o in found if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    return one


@pytest.fixture(params=VALUE_SETS)
def value_set(request) -> str:
    return request.param


@pytest.fixture
def rendered(value_set) -> list[dict]:
    return objects(render(value_set))
