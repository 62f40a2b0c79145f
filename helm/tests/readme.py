#!/usr/bin/env python3
"""Writes the table of values into the chart's README, from values.yaml: each comment that begins with two dashes describes
the key below it. With --check it changes nothing and fails where the table is stale. Fails on a value without a comment.
"""

import json
import re
import sys
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parent.parent / "broadgate"
README = CHART / "README.md"
BEGIN, END = "<!-- values: made by helm/tests/readme.py -->\n", "<!-- end of values -->\n"


def descriptions(text: str) -> dict[tuple[str, ...], str]:
    found, path, comment = {}, [], []
    for line in text.splitlines():
        if match := re.match(r" *# ?(.*)", line):
            part = match[1]
            if part.startswith("-- "):
                comment = [part[3:]]
            elif comment:
                comment.append(part)
        elif match := re.match(r"( *)([A-Za-z0-9_]+):", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            if comment:
                found[tuple(path)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def rows(values: dict, documented: dict, path: tuple = ()):
    for key, value in values.items():
        here = (*path, key)
        if here in documented:
            default = json.dumps(value, separators=(", ", ": "), ensure_ascii=False)
            yield f"| `{'.'.join(here)}` | `{default}` | {documented[here].replace('|', chr(92) + '|')} |"
        elif isinstance(value, dict) and value:
            yield from rows(value, documented, here)
        else:
            sys.exit(f"values.yaml: {'.'.join(here)} has no comment that begins with two dashes")


def main() -> int:
    text = (CHART / "values.yaml").read_text()
    table = ["| value | default | meaning |", "|---|---|---|", *rows(yaml.safe_load(text), descriptions(text))]
    readme = README.read_text()
    before, rest = readme.split(BEGIN)
    fresh = before + BEGIN + "\n" + "\n".join(table) + "\n\n" + END + rest.split(END)[1]
    if sys.argv[1:] == ["--check"]:
        if fresh != readme:
            print("the README's table of values is stale: run helm/tests/readme.py")
        return 0 if fresh == readme else 1
    README.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
