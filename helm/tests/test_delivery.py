"""The script of the `helm test` pod, with BusyBox as in the pod, against two real nodes that share a real Redis."""

import json
import os
import socket
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
from itertools import count

import pytest
from conftest import CHART
from test_semantics import BINARY

FORWARDED = 'broadgate_forwarded_requests_sent_total{result="ok"}'
KEY = "delivery-test-key-0123456789"
APPLETS = ("sh", "nc", "wget", "grep", "head", "tr", "mkfifo", "sleep", "date", "kill")


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
        return urllib.request.urlopen(url, timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Public and ops port of two nodes."""
    folder = tmp_path_factory.mktemp("cluster")
    redis_port = free_port()
    # The arguments that the chart gives to the bundled Redis.
    arguments = ["--save", "", "--appendonly", "no", "--client-output-buffer-limit", "pubsub 128mb 64mb 60"]
    processes = [
        subprocess.Popen(
            ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", folder, *arguments],
            stdout=subprocess.DEVNULL,
        )
    ]
    try:
        wait_until(lambda: accepts(redis_port), "Redis did not start")
        nodes = []
        for number in range(2):
            public, ops = free_port(), free_port()
            file = folder / f"node-{number}.json"
            config = {
                "server": {"listen": f"127.0.0.1:{public}", "shards": 1, "drain_delay_ms": 0, "drain_window_ms": 0},
                "ops": {"listen": f"127.0.0.1:{ops}", "keys": [{"name": "test", "key": KEY, "scopes": ["publish"]}]},
                "engine": {"path": "/realtime/"},
                "namespaces": [{"name": "/"}, {"name": "/chat"}],
            }
            file.write_text(json.dumps(config))
            environment = os.environ | {"BROADGATE__ADAPTER__REDIS__URL": f"redis://127.0.0.1:{redis_port}"}
            log = (folder / f"node-{number}.log").open("w")
            processes.append(subprocess.Popen([BINARY, "serve", "--config", file], env=environment, stdout=log, stderr=log))
            nodes.append((public, ops))
        for _, ops in nodes:
            wait_until(lambda ops=ops: answers(f"http://127.0.0.1:{ops}/readyz"), "a node did not get ready")
        yield nodes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


class Balancer(socketserver.ThreadingTCPServer):
    """As a Service does, gives each connection to the next node."""

    daemon_threads = True

    def __init__(self, ports: list[int]):
        super().__init__(("127.0.0.1", 0), Splice)
        self.ports, self.connections = ports, count()


class Splice(socketserver.BaseRequestHandler):
    def handle(self):
        port = self.server.ports[next(self.server.connections) % len(self.server.ports)]
        with socket.create_connection(("127.0.0.1", port)) as node:
            answers = threading.Thread(target=copy, args=(node, self.request))
            answers.start()
            copy(self.request, node)
            answers.join()


def copy(source: socket.socket, sink: socket.socket):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def service(cluster):
    """The port of a balancer without affinity in front of both nodes."""
    with Balancer([public for public, _ in cluster]) as balancer:
        threading.Thread(target=balancer.serve_forever, daemon=True).start()
        yield balancer.server_address[1]
        balancer.shutdown()


def forwarded(cluster) -> int:
    """Requests that a node sent on to the one with the session."""
    pages = [urllib.request.urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=5).read().decode() for _, ops in cluster]
    samples = [line for page in pages for line in page.splitlines() if line.startswith(FORWARDED)]
    return sum(int(float(sample.rsplit(" ", 1)[1])) for sample in samples)


def delivery_test(folder, public: int, ops: int, namespace: str, **more: str) -> subprocess.CompletedProcess:
    applets = folder / "bin"
    applets.mkdir()
    for applet in APPLETS:
        (applets / applet).symlink_to("/bin/busybox" if os.path.exists("/bin/busybox") else "/usr/bin/busybox")
    script = (CHART / "files/delivery-test.sh").read_text()
    assert "cd /tmp\n" in script
    environment = {
        "PATH": str(applets),
        "PUBLIC_HOST": "127.0.0.1",
        "PUBLIC_PORT": str(public),
        "OPS_URL": f"http://127.0.0.1:{ops}",
        "ENGINE_PATH": "/realtime/",
        "TRANSPORTS": "websocket polling",
        "NAMESPACE": namespace,
        "OPS_KEY_FILE": str(folder / "key"),
    }
    environment |= more
    (folder / "key").write_text(f"{KEY}\nanother\n")
    command = [applets / "sh", "-c", script.replace("cd /tmp\n", f"cd {folder}\n")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=120, check=False)


@pytest.mark.parametrize("namespace", ["/", "/chat"])
@pytest.mark.parametrize("publisher", [0, 1], ids=["same-node", "other-node"])
def test_a_message_is_received(cluster, tmp_path, namespace, publisher):
    done = delivery_test(tmp_path, cluster[0][0], cluster[publisher][1], namespace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "received by websocket" in done.stdout
    assert "received by polling" in done.stdout


def test_without_a_key_it_is_enough_to_be_refused(cluster, tmp_path):
    done = delivery_test(tmp_path, *cluster[0], "/", OPS_KEY_FILE="", OPS_CLOSED="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refuses to publish without a key" in done.stdout
    assert "received" not in done.stdout


def test_an_ops_api_that_is_open_unasked_fails(cluster, tmp_path):
    done = delivery_test(tmp_path, *cluster[0], "/", OPS_CLOSED="true")
    assert done.returncode != 0
    assert "FAILED: the ops API is open" in done.stdout


def test_a_wrong_key_fails(cluster, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-key-0123456789\n")
    assert delivery_test(tmp_path, *cluster[0], "/", OPS_KEY_FILE=str(wrong)).returncode != 0


def test_polling_needs_no_affinity(cluster, service, tmp_path):
    before = forwarded(cluster)
    done = delivery_test(tmp_path, service, cluster[0][1], "/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert forwarded(cluster) > before


def test_a_namespace_that_is_refused_fails(cluster, tmp_path):
    done = delivery_test(tmp_path, cluster[0][0], cluster[0][1], "/nowhere")
    assert done.returncode != 0
    assert "FAILED" in done.stdout
    assert "Invalid namespace" in done.stdout


def test_a_publish_that_is_refused_fails(cluster, tmp_path):
    nobody = free_port()
    assert delivery_test(tmp_path, cluster[0][0], nobody, "/").returncode != 0


def test_the_alb_preset_expects_the_health_answer_of_the_public_listener(cluster):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{cluster[0][0]}/realtime/", timeout=5)
    presets = (CHART / "templates/_presets.tpl").read_text()
    assert f'success-codes: "{refused.value.code}"' in presets
