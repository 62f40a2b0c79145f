#!/usr/bin/env python3
"""Copies alerts and dashboards from deploy/ into the chart, since Helm packs only what is in its folder.

With --check it changes nothing and fails where the copies differ.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FILES = REPOSITORY / "helm/broadgate/files"


def wanted() -> dict[Path, bytes]:
    copies = {FILES / "dashboards" / source.name: source for source in (REPOSITORY / "deploy/grafana").glob("*.json")}
    alerts = REPOSITORY / "deploy/prometheus/alerts.yaml"
    if alerts.exists():
        copies[FILES / "alerts.yaml"] = alerts
    return {copy: source.read_bytes() for copy, source in copies.items()}


def main() -> int:
    present = {path for path in [FILES / "alerts.yaml", *(FILES / "dashboards").glob("*.json")] if path.exists()}
    copies = wanted()
    stale = sorted({p for p, content in copies.items() if p not in present or p.read_bytes() != content} | (present - copies.keys()))
    if sys.argv[1:] == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(REPOSITORY)} is not what is in deploy/: run helm/tests/sync_files.py")
        return 1 if stale else 0
    for path in stale:
        if path in copies:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(copies[path])
        else:
            path.unlink()
        print(path.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
