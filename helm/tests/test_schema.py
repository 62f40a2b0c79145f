"""The schema against every key there is: another type is refused, and so is a key that nobody knows.

The types are those of the defaults in values.yaml and of the node's reference, so a key without a rule of its own is found.
"""

import copy
import json
import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import CHART, template
from jsonschema import Draft7Validator
from test_semantics import BINARY

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
VALIDATOR = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))

SAMPLES = {"string": "wrong type", "integer": 7, "number": 7.5, "boolean": True, "array": [7], "object": {"wrong": 7}}
# Keys of the user's own: names of labels, of resources.
MAPS = {"commonLabels", "podLabels", "podAnnotations", "nodeSelector"}
MAPS |= {f"{name}.annotations" for name in ("service", "opsService", "ingress", "httpRoute", "dashboards", "serviceAccount")}
MAPS |= {f"{name}.labels" for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")}
MAPS |= {f"{name}.{kind}" for name in ("resources", "redis.bundled.resources") for kind in ("requests", "limits")}
# What Kubernetes itself takes as a number or as text.
NUMBER_OR_TEXT = re.compile(r"rollout\.max(Surge|Unavailable)|podDisruptionBudget\.maxUnavailable|.*resources\..*")


def is_valid(values: dict) -> bool:
    return VALIDATOR.is_valid(values)


def kind(value) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def changed(values: dict, path: tuple, value) -> dict:
    values = copy.deepcopy(values)
    here = values
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return values


def paths(values: dict, path: tuple = ()):
    for key, value in values.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from paths(value, (*path, key))


def other_types(path: tuple, value) -> list:
    name = ".".join(map(str, path))
    allowed = {kind(value)} | ({"integer", "number", "string"} if NUMBER_OR_TEXT.fullmatch(name) else set())
    return [sample for sample_kind, sample in SAMPLES.items() if sample_kind not in allowed]


def test_the_defaults_are_valid():
    assert [error.message for error in VALIDATOR.iter_errors(VALUES)] == []


@pytest.mark.parametrize(("path", "value"), list(paths(VALUES)), ids=lambda part: ".".join(part) if type(part) is tuple else "")
def test_another_type_is_refused(path, value):
    for sample in other_types(path, value):
        assert not is_valid(changed(VALUES, path, sample)), f"{'.'.join(path)}: {sample!r}"


@pytest.mark.parametrize("path", [(), *(path for path, value in paths(VALUES) if isinstance(value, dict))], ids=".".join)
def test_an_unknown_key_is_refused(path):
    is_map = ".".join(path) in MAPS
    for value in ("x", 7, True, {}, []):
        assert not is_valid(changed(VALUES, (*path, "unknownKey"), value)) or (is_map and value == "x"), value
    if not is_map:
        known = next(iter(yaml_at(path)), None)
        for key in [known.upper(), f"{known}s", f"{known}_"] if known else []:
            assert not is_valid(changed(VALUES, (*path, key), yaml_at(path)[known])), key


def yaml_at(path: tuple) -> dict:
    here = VALUES
    for key in path:
        here = here[key]
    return here


def reference() -> list[tuple[tuple, object]]:
    """Every key of the node's configuration that the chart takes, with the default or the example of it."""
    text = subprocess.run([BINARY, "print-config", "--reference"], capture_output=True, text=True, check=True).stdout
    assignment = re.compile(r"(# )?(\[\[?[a-z_.]+\]\]?|[a-z_]+ = (\"[^\"]*\"|[0-9]+|true|false|\[.*\]))")
    lines = [found[2] for line in text.splitlines() if (found := assignment.fullmatch(line))]
    parsed = tomllib.loads("\n".join(lines))
    schema = VALIDATOR.schema["properties"]["config"]

    def walk(value, schema: dict, path: tuple):
        for key, inner in value.items():
            if key not in schema["properties"]:
                continue  # The chart's own, see test_the_schema_knows_each_key_of_the_node.
            here, known = (*path, key), schema["properties"][key]
            if isinstance(inner, dict):
                yield from walk(inner, known, here)
            elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
                yield from walk(inner[0], known["items"], (*here, 0))
            else:
                yield here, inner

    return list(walk(parsed, schema, ("config",)))


def nested(path: tuple, value):
    for key in reversed(path):
        value = [value] if key == 0 else {key: value}
    return value


def test_another_type_is_refused_for_each_key_of_the_node():
    known = reference()
    assert len(known) > 80
    # Not to be refused for what else is missing.
    needed = {"namespaces": {"name": "/"}, "rooms": {"match": "*"}}
    for path, value in known:
        for sample in [value, *other_types(path, value)]:
            values = nested(path, sample)
            if path[1] in needed:
                [entry] = values["config"][path[1]]
                values["config"][path[1]] = [needed[path[1]] | entry]
            # The reference shows secrets as stars.
            assert is_valid(values) == (sample is value and value != "***"), f"{path}: {sample!r}"


def test_an_unknown_section_or_key_of_the_node_is_refused():
    for path in {path[:-1] for path, _ in reference()}:
        assert not is_valid(nested((*path, "unknown_key"), 1)), path


@pytest.mark.parametrize("version", ["3", "4"])
def test_helm_reads_the_schema_in_the_same_way(version):
    """Helm's validators are others than the one above, so each key of the first level goes through them as well."""
    wrong = {key: next(iter(other_types((key,), value))) for key, value in VALUES.items()}
    done = template(wrong, version=version)
    assert done.returncode != 0
    missing = [key for key in wrong if not re.search(rf"\b{key}\b", done.stderr)]
    assert missing == []
