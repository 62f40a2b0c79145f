"""Runs the containers of rendered pods on this machine, as far as a kubelet does: files from ConfigMaps and Secrets, environment,
arguments. What listens on a port of its own in a pod gets a free one here.
"""

import base64
import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from conftest import named
from test_semantics import BINARY, gateway



def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(ready, what: str):
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=20).status == 200
    except OSError:
        return False


def listening(log: Path) -> tuple[int, int] | None:
    """The public and the ops port that a node's log names, in text or in JSON."""
    found = re.search(r'public"?[=:]"?127\.0\.0\.1:([0-9]+).*ops"?[=:]"?127\.0\.0\.1:([0-9]+)', log.read_text())
    return (int(found[1]), int(found[2])) if found else None


class Namespace:
    """The objects of a release, and the Secrets that it expects to be there."""

    def __init__(self, rendered: list[dict], secrets: dict[str, dict[str, str]], folder: Path):
        self.rendered, self.folder, self.nodes = rendered, folder, 0
        self.secrets = dict(secrets)
        for found in rendered:
            if found["kind"] == "Secret":
                data = {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
                self.secrets[found["metadata"]["name"]] = data | found.get("stringData", {})

    def start_node(self, **environment: str) -> tuple[subprocess.Popen, int, int]:
        """A gateway's process, its public and its ops port."""
        addresses = {"SERVER__LISTEN": "127.0.0.1:0", "OPS__LISTEN": "127.0.0.1:0"}
        times = {"SERVER__DRAIN_DELAY_MS": "0", "SERVER__DRAIN_WINDOW_MS": "0", "SERVER__SHARDS": "1"}
        more = {f"BROADGATE__{key}": value for key, value in (addresses | times | environment).items()}
        spec = gateway(self.rendered)["spec"]["template"]["spec"]
        self.nodes += 1
        root = self.root(spec, f"node-{self.nodes}")
        log = root / "log"
        command, variables = self.command(spec, root)
        with log.open("w") as output:
            process = subprocess.Popen(command, env=variables | more, stdout=output, stderr=output)
        try:
            wait_until(lambda: listening(log) or process.poll() is not None, "the node does not say where it listens")
            assert process.poll() is None, log.read_text()
            public, ops = listening(log)
            wait_until(lambda: answers(f"http://127.0.0.1:{ops}/readyz"), "the node is not ready")
        except BaseException:
            process.kill()
            process.wait()
            print(log.read_text())
            raise
        return process, public, ops

    def run_test(self, public: int, ops: int) -> subprocess.CompletedProcess:
        """The pod of `helm test`, with this machine's ports in place of the Services."""
        spec = named(self.rendered, "Pod")["spec"]
        command, variables = self.command(spec, self.root(spec, "test"))
        places = {"--url": public, "--ops": ops}

        def local(argument: str) -> str:
            key, _, url = argument.partition("=")
            return f"{key}={url.split('://')[0]}://127.0.0.1:{places[key]}" if key in places else argument

        command = [local(argument) for argument in command]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)

    def root(self, spec: dict, name: str) -> Path:
        """A folder with all files that the pod's volumes hold."""
        root = self.folder / name
        root.mkdir()
        [container] = spec["containers"]
        places = {mount["name"]: root / mount["mountPath"].lstrip("/") for mount in container.get("volumeMounts", [])}
        for volume in spec.get("volumes", []):
            place = places[volume["name"]]
            place.mkdir(parents=True)
            for file, content in self.files(volume).items():
                (place / file).write_text(content)
        return root

    def files(self, volume: dict) -> dict[str, str]:
        if "configMap" in volume:
            return named(self.rendered, "ConfigMap", volume["configMap"]["name"])["data"]
        sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
        sources += [volume["secret"] | {"name": volume["secret"]["secretName"]}] if "secret" in volume else []
        found = {}
        for source in sources:
            secret = self.secrets[source["name"]]
            items = source.get("items") or [{"key": key, "path": key} for key in secret]
            found |= {item["path"]: secret[item["key"]] for item in items}
        return found

    def command(self, spec: dict, root: Path) -> tuple[list[str], dict[str, str]]:
        [container] = spec["containers"]
        assert "command" not in container, "it would not be the image's"

        def here(text: str) -> str:
            return text.replace("/etc/broadgate", f"{root}/etc/broadgate")

        for file in root.rglob("*.json"):
            file.write_text(here(file.read_text()))
        variables = {"PATH": os.environ["PATH"]}
        for variable in container.get("env", []):
            if "value" in variable:
                variables[variable["name"]] = here(variable["value"])
            else:
                reference = variable["valueFrom"]["secretKeyRef"]
                variables[variable["name"]] = self.secrets[reference["name"]][reference["key"]]
        return [BINARY, *(here(argument) for argument in container["args"])], variables
