"""What is rendered, run: nodes with their configuration and their Secrets, and the pod of `helm test` against them."""

import base64
import hashlib
import hmac
import json
import socket
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from itertools import count

import pytest
from conftest import CHART, objects, template
from pod import Namespace, free_port, wait_until

FORWARDED = 'broadgate_forwarded_requests_sent_total{result="ok"}'
SIGNING_KEY = "a secret of the tests, 32 bytes or more"
OPS_KEY = {"opsKeys": [{"name": "test", "existingSecret": "ops-key", "scopes": ["publish"]}]}
LOOPBACK = {"trusted_proxies": ["127.0.0.0/8"], "proxy_protocol": True}
ISSUER = {"auth": {"issuers": [{"name": "backend"}]}}
ISSUER_KEY = {"issuerSecrets": [{"issuer": "backend", "existingSecret": "signing-key"}]}


def token() -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    claims = {"sub": "helm-test", "exp": int(time.time()) + 3600}
    signed = ".".join(part(json.dumps(piece).encode()) for piece in ({"alg": "HS256"}, claims))
    return f"{signed}.{part(hmac.new(SIGNING_KEY.encode(), signed.encode(), hashlib.sha256).digest())}"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Those of the user's own."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=realtime.example.com", "-addext", "subjectAltName=DNS:realtime.example.com",
         "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return {
        "ops-key": {"key": "delivery-test-key-0123456789\nan-older-one-0123456789\n"},
        "signing-key": {"key": SIGNING_KEY},
        "token": {"token": token()},
        "tls": {name: (folder / name).read_text() for name in ("tls.crt", "tls.key")},
    }


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The URL of a Redis with the arguments that the chart gives to the bundled one."""
    [container] = next(
        o["spec"]["template"]["spec"]["containers"]
        for o in objects(template({"redis": {"bundled": {"enabled": True}}}).stdout)
        if o["kind"] == "Deployment" and o["metadata"]["name"].endswith("-redis")
    )
    folder = str(tmp_path_factory.mktemp("redis").resolve())
    arguments = [folder if a == "/data" else a for a in container["args"]]
    # Between the choice of a port and its use another process may have taken it.
    for _ in range(5):
        port = free_port()
        command = [*container["command"], *arguments, "--port", str(port), "--bind", "127.0.0.1"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or works_in(port, folder), "Redis did not start")
            if process.poll() is None:
                yield f"redis://127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait(timeout=30)
    pytest.fail("Redis found no port")


def works_in(port: int, folder: str) -> bool:
    """Whether it is this Redis that answers, and not another on a port that was taken."""
    command = ["redis-cli", "-p", str(port), "config", "get", "dir"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.stdout.split("\n")[:2] == ["dir", folder]


@contextmanager
def release(values: dict, secrets: dict, folder, nodes: int = 1):
    """A release that runs: its namespace, and the public and ops port of each node."""
    done = template(values)
    assert done.returncode == 0, done.stderr
    namespace = Namespace(objects(done.stdout), secrets, folder)
    processes, ports = [], []
    try:
        for _ in range(nodes):
            process, *pair = namespace.start_node()
            processes.append(process)
            ports.append(pair)
        yield namespace, ports
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "refused, as it has to be"),
        ({"config": {"ops": {"anonymous": ["publish"]}}}, "received after"),
        (OPS_KEY, "received after"),
        ({"opsKeys": [{"name": "Made_here"}]}, "received after"),
        (OPS_KEY | {"config": {"engine": {"path": "/realtime/"}, "namespaces": [{"name": "/chat"}]}}, "received after"),
        (OPS_KEY | {"tls": {"existingSecret": "tls"}}, "received after"),
        (OPS_KEY | {"tls": {"existingSecret": "tls"}, "config": {"server": LOOPBACK}}, "received after"),
        (OPS_KEY | ISSUER_KEY | {"config": ISSUER}, "authentication_required"),
        (OPS_KEY | ISSUER_KEY | {"config": ISSUER, "tests": {"token": {"existingSecret": "token"}}}, "received after"),
    ],
    ids=["closed", "anonymous", "key", "generated-key", "path", "tls", "tls-proxy-protocol", "no-token", "token"],
)
def test_helm_test_passes(values, expected, secrets, tmp_path):
    with release(values, secrets, tmp_path) as (namespace, [(public, ops)]):
        done = namespace.run_test(public, ops)
    assert done.returncode == 0, done.stdout + done.stderr
    for transport in ("websocket", "polling"):
        assert f"{transport}: connected to" in done.stdout
    assert done.stdout.count(expected) == 2, done.stdout


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ops-key": {"key": "another-key-0123456789\n"}}, "401"),
        ({"token": {"token": "x.y.z"}}, "token_malformed"),
        ({"tls": "other"}, "certificate"),
    ],
    ids=["ops-key", "token", "certificate"],
)
def test_helm_test_fails_with_other_secrets(changed, expected, secrets, tmp_path):
    values = OPS_KEY | ISSUER_KEY | {"config": ISSUER, "tls": {"existingSecret": "tls"}}
    values |= {"tests": {"token": {"existingSecret": "token"}}}
    if changed == {"tls": "other"}:
        crt = tmp_path / "other.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other",
             "-keyout", tmp_path / "other.key", "-out", crt],
            check=True, capture_output=True,
        )  # fmt: skip
        changed = {"tls": {"tls.crt": crt.read_text()}}
    with release(values, secrets, tmp_path) as (namespace, [(public, ops)]):
        namespace.secrets |= changed
        done = namespace.run_test(public, ops)
    assert done.returncode != 0
    assert expected in done.stderr


def test_helm_test_fails_where_the_ops_api_is_open_unasked(secrets, tmp_path):
    with release({"config": {"ops": {"anonymous": ["publish"]}}}, secrets, tmp_path) as (_, [(public, ops)]):
        closed = Namespace(objects(template({}).stdout), secrets, tmp_path)
        done = closed.run_test(public, ops)
    assert done.returncode != 0
    assert "where 401 was expected" in done.stderr


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


def forwarded(ports: list) -> int:
    """Requests that a node sent on to the one with the session."""
    pages = [urllib.request.urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=60).read().decode() for _, ops in ports]
    samples = [line for page in pages for line in page.splitlines() if line.startswith(FORWARDED)]
    return sum(int(float(sample.rsplit(" ", 1)[1])) for sample in samples)


def test_a_service_without_affinity_is_enough(redis, secrets, tmp_path):
    values = OPS_KEY | {"replicaCount": 2, "redis": {"url": redis}}
    with release(values, secrets, tmp_path, nodes=2) as (namespace, ports), Balancer([p for p, _ in ports]) as balancer:
        threading.Thread(target=balancer.serve_forever, daemon=True).start()
        for number, (_, ops) in enumerate(ports):
            done = namespace.run_test(balancer.server_address[1], ops)
            assert done.returncode == 0, done.stdout + done.stderr
            (namespace.folder / "test").rename(namespace.folder / f"test-{number}")
        assert forwarded(ports) > 0
        balancer.shutdown()


def test_a_password_of_redis_is_read_from_its_secret(redis, secrets, tmp_path):
    port = redis.rpartition(":")[2]

    def redis_cli(*command: str):
        subprocess.run(["redis-cli", "-p", port, *command], check=True, capture_output=True)

    redis_cli("ACL", "SETUSER", "gateway", "on", ">correct", "allchannels", "allkeys", "+@all")
    values = OPS_KEY | {"config": {"adapter": {"redis": {"username": "gateway"}}}}
    values |= {"redis": {"url": redis, "auth": {"existingSecret": "redis", "passwordKey": "key"}}}
    with release(values, secrets | {"redis": {"key": "correct\n"}}, tmp_path) as (namespace, [(public, ops)]):
        done = namespace.run_test(public, ops)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alb_preset_expects_the_health_answer_of_the_public_listener(secrets, tmp_path):
    with release({}, secrets, tmp_path) as (_, [(public, _)]):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{public}/socket.io/", timeout=60)
    presets = (CHART / "templates/_presets.tpl").read_text()
    assert f'success-codes: "{refused.value.code}"' in presets
