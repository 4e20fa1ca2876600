"""A real Triton with the real demonstration model, once a test session."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.serving import contract
from paddock_core.serving.triton_config import config_pbtxt, model_py
from paddock_serving.weights.gguf_tokenizer import read_gguf
from tokenizers import Tokenizer

SECRET = "a secret of thirty-two characters"
PATIENCE_SECONDS = 240
"""On a busy machine a model of 135 million parameters takes its time."""
START_SECONDS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Triton:
    """A running server and how to speak to it."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def base(self) -> str:
        return f"http://{self.address}:{contract.HTTP_PORT}"

    def post(self, verb: str = "generate", *, secret: str | None = SECRET, **fields: Any) -> httpx.Response:
        headers = {} if secret is None else {contract.SECRET_HEADER: secret}
        url = f"{self.base}/v2/models/{contract.MODEL_NAME}/{verb}"
        return httpx.post(url, json=fields, headers=headers, timeout=PATIENCE_SECONDS)

    def answer(self, **fields: Any) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        return dict(response.json())

    @contextmanager
    def streaming(self, **fields: Any) -> Iterator[Iterator[dict[str, Any]]]:
        url = f"{self.base}/v2/models/{contract.MODEL_NAME}/generate_stream"
        headers = {contract.SECRET_HEADER: SECRET}
        with httpx.stream(
            "POST", url, json={"streaming": True, **fields}, headers=headers, timeout=PATIENCE_SECONDS
        ) as response:
            assert response.status_code == 200, response.read()
            yield (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))

    def chunks(self, **fields: Any) -> list[dict[str, Any]]:
        with self.streaming(**fields) as events:
            return list(events)


def demo_gguf() -> Path:
    entry = packaged_catalog().models["smollm2-135m-instruct"]
    weights = entry.weights[entry.default_precision]
    spec = importlib.util.find_spec(weights.source["package"])
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / weights.files[0].name


@pytest.fixture(scope="session")
def gguf_path() -> Path:
    return demo_gguf()


@pytest.fixture(scope="session")
def tokenizer(gguf_path: Path) -> Tokenizer:
    return Tokenizer.from_str(read_gguf(gguf_path).tokenizer)


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with running_triton(folder=tmp_path_factory.mktemp("triton"), address="127.78.0.7") as server:
        yield server


def render_repository(root: Path, *, gguf: Path, max_concurrency: int = 4) -> Path:
    version = root / contract.MODEL_NAME / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(config_pbtxt(), encoding="utf-8")
    (version / "model.py").write_text(model_py(), encoding="utf-8")
    settings = {
        "engine": "llamacpp",
        "model": str(gguf),
        "context_length": 1024,
        "max_concurrency": max_concurrency,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    (version / "model.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    # As in a ConfigMap volume: hidden folders beside the model must not be taken for models.
    (root / "..2026_11_22").mkdir()
    return root


@contextmanager
def running_triton(*, folder: Path, address: str, python: str = sys.executable) -> Iterator[Triton]:
    """Start `paddock-serving serve` as a pod does: with these variables and nothing else."""
    environment = {
        "PATH": os.defpath,
        "PADDOCK_SERVING_TRITON_SECRET": SECRET,
        "PADDOCK_SERVING_BIND": address,
        "PADDOCK_SERVING_MODELS_DIR": str(render_repository(folder / "models", gguf=demo_gguf())),
        "PADDOCK_SERVING_SCRATCH_DIR": str(folder / "scratch"),
        "PADDOCK_SERVING_EXIT_TIMEOUT_SECONDS": "50",
    }
    log = folder / "triton.log"
    with log.open("wb") as output:
        command = [python, "-m", "paddock_serving.main", "serve"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    server = Triton(address=address, process=process, log=log)
    try:
        wait_until_ready(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(server: Triton) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log.read_text(encoding="utf-8", errors="replace")
        try:
            if httpx.get(f"{server.base}/v2/health/ready", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(server.log.read_text(encoding="utf-8", errors="replace"))


@pytest.fixture
def short_lived_triton(tmp_path: Path) -> Iterator[Triton]:
    """A server of its own, for a test that harms it."""
    with running_triton(folder=tmp_path, address="127.78.0.8") as server:
        yield server
