"""What the tests put in the place of machines that are not there.

`Responder` is Triton on the addresses of simulated pods: it demands a secret, generates a token, and goes when its pod
goes. `WeightsNode` is a node for the pods that work on the weights volume: they do nothing, and end with what the real
ones leave. The product knows neither; it has no mode for simulation.
"""

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from paddock_core.resources import names
from paddock_core.serving import contract
from paddock_local.gpu_nodes import SIMULATED_LABEL

NODE = "weights"
LOOK_SECONDS = 0.3
HEARTBEAT_SECONDS = 10.0
CONTAINER = "triton"
"""The container that Triton runs in: only the leader of a group has it."""
GENERATE = f"/v2/models/{contract.MODEL_NAME}/generate"
RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 98362432})


class Cluster:
    """The API server, as an administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = KubeConfig.from_file(kubeconfig).get()
        assert config is not None
        self._client = Client(config, ConnectionParams(timeout=httpx2.Timeout(20), trust_env=False))

    def names(self, path: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a list."""
        answer = self._client.get(path, params=query)
        answer.raise_for_status()
        return list(answer.json()["items"])

    def write(self, method: str, path: str, body: dict[str, Any]) -> None:
        """A write. That the object is gone, or is there already, is no error."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._client.request(method, path, content=json.dumps(body), headers={"content-type": kind})
        if answer.status_code not in (404, 409):
            answer.raise_for_status()

    def close(self) -> None:
        self._client.close()


class _Triton(BaseHTTPRequestHandler):
    """One token for whoever shows a secret, as Triton answers."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.headers.get(contract.SECRET_HEADER):
            return self._answer(403, {"error": f"This API is restricted, expecting header '{contract.SECRET_HEADER}'"})
        if self.path != GENERATE:
            return self._answer(404, {"error": "Not Found"})
        return self._answer(
            200, {contract.TEXT_OUTPUT: " there", contract.NUM_INPUT_TOKENS: 1, contract.NUM_OUTPUT_TOKENS: 1}
        )

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Responder:
    """Triton on every simulated pod that has its container and an address."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._servers: dict[tuple[str, str], ThreadingHTTPServer] = {}

    def look(self) -> None:
        """Start where a pod came, end where one went."""
        listed = self._cluster.names("/api/v1/nodes", labelSelector=f"{SIMULATED_LABEL}=true")
        nodes = {item["metadata"]["name"] for item in listed}
        living = {
            (pod["metadata"]["uid"], pod["status"]["podIP"])
            for pod in self._serving_pods()
            if pod["spec"]["nodeName"] in nodes
        }
        for gone in set(self._servers) - living:
            self._end(self._servers.pop(gone))
        for key in living - set(self._servers):
            # The address may still be that of a pod that is being taken away: it is free at the next look.
            with contextlib.suppress(OSError):
                self._servers[key] = self._start(key[1])

    def _serving_pods(self) -> Iterator[dict[str, Any]]:
        selector = f"{names.MANAGED_BY}={names.OPERATOR},{names.COMPONENT}={names.SERVING}"
        for pod in self._cluster.names("/api/v1/pods", labelSelector=selector):
            containers = {item["name"] for item in pod["spec"]["containers"]}
            if CONTAINER in containers and pod["status"].get("podIP") and pod["spec"].get("nodeName"):
                yield pod

    @staticmethod
    def _start(address: str) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((address, contract.HTTP_PORT), _Triton)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return server

    @staticmethod
    def _end(server: ThreadingHTTPServer) -> None:
        server.shutdown()
        server.server_close()

    def close(self) -> None:
        while self._servers:
            self._end(self._servers.popitem()[1])


class WeightsNode:
    """A node without GPUs, on which every pod ends at once and leaves what a weights Job leaves."""

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
        for pod in self._cluster.names("/api/v1/pods", fieldSelector=f"spec.nodeName={NODE}"):
            place = pod["metadata"]
            path = f"/api/v1/namespaces/{place['namespace']}/pods/{place['name']}"
            if "deletionTimestamp" in place:
                self._cluster.write("DELETE", path, {"gracePeriodSeconds": 0})
            elif pod["status"]["phase"] == "Pending":
                self._cluster.write("PATCH", f"{path}/status", {"status": _ended(pod, _text(now))})

    def close(self) -> None:
        """Nothing: the node goes with the stack."""


def _text(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _healthy(now: str) -> dict[str, Any]:
    room = {"cpu": "16", "memory": "64Gi", "pods": "100"}
    ready = {"type": "Ready", "status": "True", "reason": "Tests", "lastHeartbeatTime": now}
    return {"conditions": [ready], "capacity": room, "allocatable": room}


def _ended(pod: dict[str, Any], now: str) -> dict[str, Any]:
    container = pod["spec"]["containers"][0]
    terminated = {"exitCode": 0, "reason": "Completed", "message": RESULT, "startedAt": now, "finishedAt": now}
    status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
    return {
        "phase": "Succeeded",
        "startTime": now,
        "containerStatuses": [{**status, "state": {"terminated": terminated}}],
    }


@contextlib.contextmanager
def playing(kubeconfig: Path) -> Iterator[None]:
    """Both, until the block ends. What goes wrong in them is raised there."""
    cluster, over = Cluster(kubeconfig), threading.Event()
    players: tuple[Responder | WeightsNode, ...] = (Responder(cluster), WeightsNode(cluster))
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
        yield
    finally:
        over.set()
        thread.join()
        for player in players:
            player.close()
        cluster.close()
    if problems:
        raise problems[0]
