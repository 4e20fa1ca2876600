"""The Job as a process that is killed, runs twice at once, or finds the volume full."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.serving.contract import NOT_AT_ONCE
from paddock_serving.weights.gguf import read_metadata

MODEL = "smollm2-135m-instruct"
SECONDS = 120


def serve(server: Any, gguf: Path) -> dict[str, Any]:
    """The demonstration model's file on the server, and the control plane beside it; the checkpoint to be told."""
    data = gguf.read_bytes()
    server.files = {f"/m/{gguf.name}": data}
    entry = packaged_catalog().models[MODEL]
    return {**asdict(entry.weights["q4_1"]), "source": {"kind": "http", "url": f"{server.url}/m"}}


class ControlPlane:
    """Says yes to everything that the Job asks."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "control_plane.py"
        self.script.write_text(
            "import http.server, sys\n"
            "class H(http.server.BaseHTTPRequestHandler):\n"
            "    def do_POST(self):\n"
            "        self.rfile.read(int(self.headers.get('Content-Length', 0)))\n"
            "        self.send_response(204); self.send_header('Content-Length', '0'); self.end_headers()\n"
            "    do_PUT = do_POST\n"
            "    def log_message(self, *a): pass\n"
            "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
            "print(s.server_port, flush=True)\n"
            "s.serve_forever()\n"
        )

    def start(self) -> tuple[str, subprocess.Popen[bytes]]:
        process = subprocess.Popen([sys.executable, str(self.script)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}", process


@pytest.fixture
def control_plane(tmp_path: Path) -> Any:
    url, process = ControlPlane(tmp_path).start()
    with process:
        yield url
        process.kill()


Starting = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(control_plane: str, tmp_path: Path, server: Any, gguf_path: Path) -> Any:
    """Starts the Job; whatever still runs at the end is killed."""
    weights = serve(server, gguf_path)
    begun: list[subprocess.Popen[bytes]] = []

    def run(*, before: Sequence[str] = (), **more: str) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.defpath,
            "PADDOCK_SERVING_MODEL": MODEL,
            "PADDOCK_SERVING_PRECISION": "q4_1",
            "PADDOCK_SERVING_CHECKPOINT": json.dumps(weights),
            "PADDOCK_SERVING_WEIGHTS_DIR": str(tmp_path / "weights"),
            "PADDOCK_SERVING_CONTROLPLANE_URL": control_plane,
            "PADDOCK_SERVING_DECISION_TOKEN": "dt.token",
            "PADDOCK_SERVING_TERMINATION_LOG": str(tmp_path / f"termination-{len(begun)}"),
            **more,
        }
        command = [*before, sys.executable, "-m", "paddock_serving.main", "prepare-weights"]
        begun.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.wait()


def until(probe: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came true")


def fetched(folder: Path) -> int:
    """Bytes of the parts that lie there."""
    return sum(size(path) for path in folder.glob(".incoming/*/*.part"))


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_killed_in_the_middle_it_goes_on_where_it_stopped(
    start: Starting, server: Any, tmp_path: Path, gguf_path: Path
) -> None:
    server.bytes_a_second = 30e6
    total = gguf_path.stat().st_size
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = start(PADDOCK_SERVING_BIND="127.0.0.1", PADDOCK_SERVING_PROGRESS_PORT=str(port))
    until(lambda: fetched(tmp_path / "weights") > total // 4)
    told = httpx.get(f"http://127.0.0.1:{port}/progress", timeout=30).json()
    assert total // 5 < told["bytesDone"] < total
    assert told["bytesTotal"] == total
    assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 404
    first.send_signal(signal.SIGKILL)
    first.wait(SECONDS)
    kept = fetched(tmp_path / "weights")
    server.bytes_a_second = 0
    assert start().wait(SECONDS) == 0
    result = json.loads((tmp_path / "termination-1").read_text())
    assert Path(result["path"]).read_bytes() == gguf_path.read_bytes()
    (_, _), (_, again) = server.seen
    assert again["range"] == f"bytes={kept}-"
    assert kept > total // 4


def test_a_byte_that_changed_on_the_volume_is_found_and_the_file_fetched_once_more(
    start: Starting, server: Any, tmp_path: Path, gguf_path: Path
) -> None:
    server.bytes_a_second = 30e6
    first = start()
    until(lambda: fetched(tmp_path / "weights") > 10_000_000)
    first.kill()
    first.wait(SECONDS)
    (part,) = (tmp_path / "weights").glob(".incoming/*/*.part")
    with part.open("r+b") as handle:
        handle.seek(5_000_000)
        byte = handle.read(1)
        handle.seek(5_000_000)
        handle.write(bytes([byte[0] ^ 1]))
    server.bytes_a_second = 0
    assert start().wait(SECONDS) == 0
    result = json.loads((tmp_path / "termination-1").read_text())
    assert Path(result["path"]).read_bytes() == gguf_path.read_bytes()
    assert [headers.get("range", "whole") for _, headers in server.seen][-1] == "whole"


def test_a_source_that_has_another_file_is_asked_twice_then_left_alone(
    start: Starting, server: Any, tmp_path: Path, gguf_path: Path
) -> None:
    name = f"/m/{gguf_path.name}"
    server.files[name] = server.files[name][:-1] + b"x"
    assert start().wait(SECONDS) == NOT_AT_ONCE
    assert server.asked(name) == 2
    words = (tmp_path / "termination-0").read_text()
    assert words.startswith(f"WeightsChecksumMismatch: {gguf_path.name} has SHA-256")
    assert json.loads(words.splitlines()[-1]) == {"retryAfterSeconds": 120}
    assert not list((tmp_path / "weights").glob("**/*.gguf*"))


def test_two_jobs_at_once_fetch_once(start: Starting, server: Any, tmp_path: Path, gguf_path: Path) -> None:
    server.bytes_a_second = 60e6
    jobs = [start(), start(PADDOCK_SERVING_MODEL="demo-acme", **demo_dimensions())]
    assert [job.wait(SECONDS) for job in jobs] == [0, 0]
    assert server.asked(f"/m/{gguf_path.name}") == 1
    (folder,) = (tmp_path / "weights").glob("*/.verified.json")
    assert {path.name for path in folder.parent.glob(".of-*")} == {f".of-{MODEL}", ".of-demo-acme"}


def demo_dimensions() -> dict[str, str]:
    entry = packaged_catalog().models[MODEL]
    dimensions = json.dumps(asdict(entry.dimensions))
    return {"PADDOCK_SERVING_DIMENSIONS": dimensions, "PADDOCK_SERVING_PARAMETERS": str(entry.parameters)}


def test_files_of_another_model_are_fetched_once_and_remembered(
    start: Starting, server: Any, tmp_path: Path, gguf_path: Path
) -> None:
    other = packaged_catalog().models["llama-3.2-1b-instruct"]
    claimed = {
        "PADDOCK_SERVING_DIMENSIONS": json.dumps(asdict(other.dimensions)),
        "PADDOCK_SERVING_PARAMETERS": str(other.parameters),
    }
    for number, seconds in enumerate((120, 240)):
        assert start(**claimed).wait(SECONDS) == NOT_AT_ONCE
        words = (tmp_path / f"termination-{number}").read_text()
        assert words.startswith(f"WeightsMismatch: {gguf_path.name} says layers 30")
        assert json.loads(words.splitlines()[-1]) == {"retryAfterSeconds": seconds}
    assert server.asked(f"/m/{gguf_path.name}") == 1, "the second Job knows without fetching"
    assert start().wait(SECONDS) == 0, "what it really is may still be fetched"
    assert read_metadata(gguf_path)["llama.block_count"] == 30


def test_a_full_volume_is_told_with_what_is_needed(
    start: Starting, server: Any, tmp_path: Path, gguf_path: Path
) -> None:
    assert start(before=("prlimit", "--fsize=20000000")).wait(SECONDS) == NOT_AT_ONCE
    words = (tmp_path / "termination-0").read_text()
    left = gguf_path.stat().st_size - 20_000_000
    assert words.startswith(f"WeightsVolumeFull: {gguf_path.name}: the weights volume is full")
    needed = int(words.partition(" more bytes are needed")[0].rpartition(" ")[2])
    assert left - 1_000_000 < needed < left + 1_000_000
    assert start().wait(SECONDS) == 0
    assert server.seen[-1][1]["range"].startswith("bytes=")
    digest = hashlib.sha256(gguf_path.read_bytes()).hexdigest()
    assert (tmp_path / "weights" / digest / gguf_path.name).is_file()
