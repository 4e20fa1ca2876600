"""A group for real: sshd, ssh and mpirun between two hosts, Triton as rank 0. Only TensorRT-LLM's launcher and its
ranks are stood in for (two_hosts.LAUNCHER): they need GPUs."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from paddock_core.serving import contract

from tests.serving.conftest import SECRET, demo_gguf, render_repository
from tests.serving.group import two_hosts
from tests.serving.group.two_hosts import LEADER, UID, USER, WORKER, Hosts

PORT = 2233
SECONDS = 150
TOKENS = 24
ROOM_SECONDS = 40
LACKING = two_hosts.lacking()

pytestmark = [
    pytest.mark.skipif(LACKING is not None, reason=f"a group of two hosts {LACKING}"),
]


class Pods:
    """The two pods of a group, and where they log."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def base(self) -> str:
        return f"http://{self.hosts.addresses[0]}:{contract.HTTP_PORT}"

    def log(self, name: str) -> str:
        return (self.hosts.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def reason(self) -> str:
        return (self.hosts.folder / "leader.reason").read_text(encoding="utf-8")

    def worker(self) -> None:
        self._start("worker", "serve-worker", on_worker=True, NCCL_DEBUG="INFO")

    def leader(self, *, join_seconds: int = SECONDS) -> None:
        self._start(
            "leader",
            "serve",
            on_worker=False,
            PADDOCK_SERVING_TRITON_SECRET=SECRET,
            PADDOCK_SERVING_MODELS_DIR=str(self.hosts.folder / "models"),
            PADDOCK_SERVING_TERMINATION_LOG=str(self.hosts.folder / "leader.reason"),
            PADDOCK_SERVING_GROUP_JOIN_SECONDS=str(join_seconds),
            PADDOCK_SERVING_GPUS_PER_POD="1",
            LWS_LEADER_ADDRESS=LEADER,
            LWS_GROUP_SIZE="2",
        )

    def _start(self, name: str, command: str, *, on_worker: bool, **environment: str) -> None:
        folder = self.hosts.folder
        scratch = folder / f"{name}-scratch"
        scratch.mkdir()
        os.chown(scratch, UID, UID)
        common = {
            "PATH": f"{folder}/tools:{os.defpath}",
            "HOME": str(folder),
            "TMPDIR": str(scratch),
            "PADDOCK_SERVING_BIND": self.hosts.addresses[1 if on_worker else 0],
            "PADDOCK_SERVING_SCRATCH_DIR": str(scratch),
            "PADDOCK_SERVING_GROUP_KEYS": str(folder / "keys"),
            "PADDOCK_SERVING_EXIT_TIMEOUT_SECONDS": "120",
        }
        self.processes[name] = self.hosts.start(
            command, on_worker=on_worker, environment=common | environment, log=folder / f"{name}.log"
        )

    def ready(self) -> None:
        self.until(self._answers, "Triton of the leader is ready")

    def _answers(self) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
        try:
            return httpx.get(f"{self.base}/v2/health/ready", timeout=2).is_success
        except httpx.TransportError:
            return False

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {SECONDS} s: {what}\n{self.log('leader')}")
            time.sleep(0.1)

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=ROOM_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def pods() -> Iterator[Pods]:
    # Not below pytest's own folder, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="paddock-group-"))
    try:
        folder.chmod(0o755)
        models = render_repository(folder / "models", gguf=demo_gguf())
        with (models / contract.MODEL_NAME / "1" / "model.yaml").open("a", encoding="utf-8") as settings:
            # Threads of a busy machine wait for one another.
            settings.write("threads: 1\n")
        with two_hosts.two_hosts(folder) as hosts:
            found = Pods(hosts)
            try:
                yield found
            finally:
                found.end()
    finally:
        shutil.rmtree(folder)


def test_ranks_run_on_both_hosts_and_a_stop_lets_the_answer_finish(pods: Pods) -> None:
    pods.worker()
    pods.leader()
    pods.ready()
    folder = pods.hosts.folder
    namespaces = [(folder / f"rank-{number}.namespace").read_text(encoding="ascii") for number in (0, 1)]
    assert len(set(namespaces)) == 2
    assert (folder / "rank-1.nccl").read_text(encoding="ascii") == "INFO\n"

    lines: list[str] = []
    started = threading.Event()

    def ask() -> None:
        fields = {"text_input": "Once upon a time", "streaming": True, "sampling_param_max_tokens": TOKENS}
        url = f"{pods.base}/v2/models/{contract.MODEL_NAME}/generate_stream"
        headers = {contract.SECRET_HEADER: SECRET}
        with httpx.stream("POST", url, json=fields, headers=headers, timeout=SECONDS) as response:
            for line in response.iter_lines():
                lines.append(line)
                started.set()

    client = threading.Thread(target=ask)
    client.start()
    assert started.wait(SECONDS)
    # As the kubelet does: every pod of the group is asked at once.
    assert len(lines) < TOKENS
    for process in pods.processes.values():
        process.send_signal(signal.SIGTERM)
    client.join(SECONDS)
    last = [line for line in lines if line.startswith("data: ")][-1]
    ended = any(f'"finish_reason":"{word}"' in last for word in ("stop", "length"))
    assert ended, last + pods.log("leader") + pods.log("worker")
    assert '"sessions": 1' in pods.log("worker")
    codes = {name: process.wait(timeout=SECONDS) for name, process in pods.processes.items()}
    assert codes == {"leader": 0, "worker": 0}, pods.log("leader") + pods.log("worker")
    assert (folder / "ended").exists()
    assert SECRET not in pods.log("leader") + pods.log("worker")


def test_a_worker_that_dies_ends_the_group(pods: Pods) -> None:
    pods.worker()
    pods.leader()
    pods.ready()
    pids = subprocess.run(
        ["ip", "netns", "pids", pods.hosts.namespace], capture_output=True, text=True, check=True
    ).stdout.split()
    for pid in pids:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    leader = pods.processes["leader"]
    assert leader.wait(timeout=SECONDS) == 1
    assert pods.reason().startswith("GroupFailed: ")


def test_workers_that_never_come_are_named(pods: Pods) -> None:
    pods.leader(join_seconds=2)
    assert pods.processes["leader"].wait(timeout=SECONDS) == 1
    assert pods.reason().startswith("WorkerJoinTimeout: 1 of 1 workers did not join within 2 s: " + WORKER)


def test_asked_to_stop_while_it_waits_the_leader_goes_at_once(pods: Pods) -> None:
    pods.leader()
    pods.until(lambda: "waiting for the workers" in pods.log("leader"), "the leader waits")
    pods.processes["leader"].send_signal(signal.SIGTERM)
    assert pods.processes["leader"].wait(timeout=SECONDS) == 0


def test_nobody_else_gets_in(pods: Pods) -> None:
    pods.worker()
    address = pods.hosts.addresses[1]
    pods.until(lambda: "Server listening" in pods.log("worker"), "sshd listens")
    other = pods.hosts.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)

    def login(key: Path, *more: str) -> subprocess.CompletedProcess[str]:
        quiet = [
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]
        command = [
            "ssh",
            *quiet,
            "-o",
            "IdentitiesOnly=yes",
            "-p",
            str(PORT),
            "-i",
            str(key),
            *more,
            f"{USER}@{address}",
        ]
        return subprocess.run([*command, "id -u"], capture_output=True, text=True, timeout=SECONDS, check=False)

    ours = pods.hosts.folder / "worker-scratch" / "ssh" / "id"
    mine = pods.hosts.folder / "mine"
    shutil.copyfile(ours, mine)
    mine.chmod(0o600)
    assert login(mine).stdout.strip() == str(UID)
    refused = login(other)
    assert (refused.returncode, refused.stdout) == (255, "")
    assert "Permission denied (publickey)" in refused.stderr
    assert "administratively prohibited" in login(mine, "-W", "127.0.0.1:1").stderr
