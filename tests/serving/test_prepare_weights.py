"""The weights Job as a process, against a small HTTP server that answers as the control plane and as the hub do."""

import hashlib
import json
import os
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.sources import SOURCES
from paddock_core.catalog.types import ModelEntry, WeightSet
from paddock_core.serving.contract import NOT_AT_ONCE
from paddock_core.serving.tokenizer_document import decode_document
from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights import sources
from paddock_serving.weights.sources.base import Checkpoint, open_source
from paddock_serving.weights.store import Store
from paddock_serving.weights.tokenizer import read_tokenizer

MODEL = "smollm2-135m-instruct"
MADE = "demo-acme"
COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Remote:
    """What the server answers and what it was asked."""

    url: str = ""
    deny: bool = False
    token: str = "dt.token"
    artifacts: dict[str, bytes] = field(default_factory=dict)
    hub: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    break_after: int | None = None


class Handler(BaseHTTPRequestHandler):
    """Answers from `remote`, which the fixture binds."""

    remote: ClassVar[Remote]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        pass

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _note(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.remote.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        return body

    def do_POST(self) -> None:
        body = json.loads(self._note())
        if self.remote.deny or self.headers["Authorization"] != f"Bearer {self.remote.token}":
            problem = {"code": "OperatorNotLicensed", "detail": "the operator has not accepted the license"}
            self._answer(403, json.dumps(problem).encode())
        else:
            assert body["model"] in (MODEL, MADE)
            self._answer(204)

    def do_PUT(self) -> None:
        body = self._note()
        digest = self.path.rsplit("/", 1)[1]
        assert digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.remote.artifacts[digest] = body
        self._answer(204)

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/api/models/"):
            self._answer(200, json.dumps({"sha": COMMIT, "siblings": siblings(self.remote.hub)}).encode())
            return
        name = self.path.rsplit("/", 1)[1]
        data = self.remote.hub.get(name)
        if data is None or f"/resolve/{COMMIT}/" not in self.path:
            self._answer(404)
            return
        if self.headers.get("Authorization") != "Bearer hf_secret":
            self._answer(401)
            return
        self._file(data)

    def _file(self, data: bytes) -> None:
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        part = data[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.remote.break_after is not None and len(part) > self.remote.break_after:
            part, self.remote.break_after = part[: self.remote.break_after], None
            self.close_connection = True
        self.wfile.write(part)


def siblings(files: dict[str, bytes]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"rfilename": "original/consolidated.00.pth", "size": 5, "blobId": "0" * 40}]
    for name, data in files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        entries.append(entry)
    return entries


@pytest.fixture
def remote() -> Iterator[Remote]:
    state = Remote()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"remote": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


def prepare(remote: Remote, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.defpath,
        "PADDOCK_SERVING_MODEL": MODEL,
        "PADDOCK_SERVING_WEIGHTS_DIR": str(folder),
        "PADDOCK_SERVING_CONTROLPLANE_URL": remote.url,
        "PADDOCK_SERVING_DECISION_TOKEN": "dt.token",
        "PADDOCK_SERVING_TERMINATION_LOG": str(folder / "termination"),
        **more,
    }
    command = [sys.executable, "-m", "paddock_serving.main", "prepare-weights"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_job_asks_stores_publishes_and_reports(remote: Remote, tmp_path: Path, gguf_path: Path) -> None:
    done = prepare(remote, tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "termination").read_text(encoding="utf-8"))
    data = gguf_path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert (result["weights"], result["bytes"]) == (digest, len(data))
    assert Path(result["path"]).read_bytes() == data
    assert Path(result["path"]) == tmp_path / digest / gguf_path.name
    assert decode_document(remote.artifacts[result["tokenizer"]]).stop_tokens == ("<|im_end|>",)
    assert [entry[:2] for entry in remote.asked] == [
        ("POST", "/internal/v1/downloads"),
        ("PUT", f"/internal/v1/artifacts/{result['tokenizer']}"),
    ]
    assert "dt.token" not in done.stderr
    agreement = packaged_catalog().licenses["paddock-demo"].texts[0].canonical
    assert f"sha256:{agreement}" in (tmp_path / digest / "Notice").read_text(encoding="utf-8")
    assert (tmp_path / digest / f".of-{MODEL}").is_file()
    assert prepare(remote, tmp_path).returncode == 0
    assert json.loads((tmp_path / "termination").read_text(encoding="utf-8")) == result


def test_a_registered_model_is_prepared_from_what_the_operator_knows(
    remote: Remote, tmp_path: Path, gguf_path: Path
) -> None:
    entry = packaged_catalog().models[MODEL]
    checkpoint = json.dumps(asdict(entry.weights[entry.default_precision]))
    made = {"PADDOCK_SERVING_MODEL": MADE, "PADDOCK_SERVING_PRECISION": "q4_1"} | of(entry)
    done = prepare(remote, tmp_path, **made, PADDOCK_SERVING_CHECKPOINT=checkpoint)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "termination").read_text(encoding="utf-8"))
    assert result["weights"] == hashlib.sha256(gguf_path.read_bytes()).hexdigest()
    changed = checkpoint.replace(result["weights"], "0" * 64)
    refused = prepare(remote, tmp_path, **made, PADDOCK_SERVING_CHECKPOINT=changed)
    assert refused.returncode == NOT_AT_ONCE
    assert f"instead of {'0' * 64}" in refused.stderr
    report = (tmp_path / "termination").read_text(encoding="utf-8")
    assert report.startswith("WeightsChecksumMismatch: ")
    assert json.loads(report.splitlines()[-1]) == {"retryAfterSeconds": 120}
    assert prepare(remote, tmp_path, **made, PADDOCK_SERVING_CHECKPOINT=changed).returncode == NOT_AT_ONCE
    report = (tmp_path / "termination").read_text(encoding="utf-8")
    assert json.loads(report.splitlines()[-1]) == {"retryAfterSeconds": 240}


def of(root: ModelEntry) -> dict[str, str]:
    """What the operator says of a model that was made from `root`."""
    dimensions = json.dumps(asdict(root.dimensions))
    return {"PADDOCK_SERVING_DIMENSIONS": dimensions, "PADDOCK_SERVING_PARAMETERS": str(root.parameters)}


def test_files_of_another_model_than_the_one_it_was_registered_as_made_from_are_not_kept(
    remote: Remote, tmp_path: Path
) -> None:
    catalog = packaged_catalog()
    entry, other = catalog.models[MODEL], catalog.models["llama-3.2-1b-instruct"]
    made = {"PADDOCK_SERVING_MODEL": MADE, "PADDOCK_SERVING_PRECISION": "q4_1"}
    checkpoint = {"PADDOCK_SERVING_CHECKPOINT": json.dumps(asdict(entry.weights["q4_1"]))}
    done = prepare(remote, tmp_path, **made, **checkpoint, **of(other))
    assert done.returncode == NOT_AT_ONCE
    report = (tmp_path / "termination").read_text(encoding="utf-8")
    assert report.startswith("WeightsMismatch: SmolLM2-135M-Instruct.Q4_1.gguf says layers 30")
    assert remote.artifacts == {}
    kept = {path.suffix for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size}
    assert kept == {"", ".refused", ".json"}, "its last words, the refusal and the count of tries"


def test_a_digest_alone_gives_nobody_the_bytes_of_another_model(remote: Remote, tmp_path: Path) -> None:
    assert prepare(remote, tmp_path).returncode == 0
    entry = packaged_catalog().models[MODEL]
    empty = replace(entry.weights["q4_1"], source={"kind": "local"})
    made = {"PADDOCK_SERVING_MODEL": MADE, "PADDOCK_SERVING_PRECISION": "q4_1"} | of(entry)
    done = prepare(remote, tmp_path, **made, PADDOCK_SERVING_CHECKPOINT=json.dumps(asdict(empty)))
    assert done.returncode == 1
    assert "is missing" in done.stderr
    assert list(tmp_path.glob(f"*/.of-{MADE}")) == []


def test_without_leave_nothing_is_fetched(remote: Remote, tmp_path: Path) -> None:
    remote.deny = True
    done = prepare(remote, tmp_path)
    assert done.returncode == 1
    report = (tmp_path / "termination").read_text(encoding="utf-8")
    assert report.startswith("DownloadDenied: ")
    assert "OperatorNotLicensed" in report
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == [f".tries-{MODEL}@default.json", "termination"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"PADDOCK_SERVING_MODEL": "nonsense"}, "no model 'nonsense'"),
        ({"PADDOCK_SERVING_PRECISION": "fp64"}, "no checkpoint in fp64"),
    ],
)
def test_what_the_catalogue_lacks_is_named(remote: Remote, tmp_path: Path, more: dict[str, str], said: str) -> None:
    done = prepare(remote, tmp_path, **more)
    assert done.returncode == 1
    assert said in done.stderr
    assert remote.asked == []


def test_missing_settings_are_named(remote: Remote, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paddock_serving.main", "prepare-weights"]
    done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "decision_token" in done.stderr
    assert "Traceback" not in done.stderr


def hub_settings(remote: Remote, tmp_path: Path, token: str = "hf_secret") -> PrepareSettings:
    return PrepareSettings(
        model="m",
        controlplane_url="http://unused",
        decision_token="dt",  # type: ignore[arg-type]
        weights_dir=tmp_path,
        hub_url=remote.url,
        hub_token=token,  # type: ignore[arg-type]
    )


CHECKPOINT = Checkpoint(
    model="m",
    precision="bf16",
    weights=WeightSet(format="safetensors", bytes=1, source={"kind": "huggingface", "repository": "org/model"}),
)
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "</s>": 2, "<e>": 3}, "merges": []},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    },
}
FILES = {
    "model-00001.safetensors": b"weights" * 5000,
    "config.json": b"{}",
    "tokenizer.json": json.dumps(TOKENIZER).encode(),
    "tokenizer_config.json": json.dumps(
        {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "{{ messages }}"}
    ).encode(),
    "generation_config.json": json.dumps({"eos_token_id": [2, 3]}).encode(),
}


def test_a_gated_repository_is_fetched_at_one_commit_and_resumed(remote: Remote, tmp_path: Path) -> None:
    remote.hub = FILES
    remote.break_after = 10_000
    settings = hub_settings(remote, tmp_path)
    stored = Store(root=tmp_path).obtain(
        checkpoint=CHECKPOINT, source=open_source(checkpoint=CHECKPOINT, settings=settings)
    )
    assert {name: (stored.folder / name).read_bytes() for name in stored.files} == FILES
    assert not (stored.folder / "consolidated.00.pth").exists()
    assert [path for _, path, _ in remote.asked].count(f"/org/model/resolve/{COMMIT}/model-00001.safetensors") == 2
    document = read_tokenizer(stored.folder)
    assert (document.bos_token, document.eos_token, document.add_bos) == ("<s>", "</s>", True)
    assert document.stop_tokens == ("</s>", "<e>")
    assert document.chat_template == "{{ messages }}"


def test_a_refused_token_says_what_to_do(remote: Remote, tmp_path: Path) -> None:
    remote.hub = FILES
    source = open_source(checkpoint=CHECKPOINT, settings=hub_settings(remote, tmp_path, token="hf_other"))
    with pytest.raises(WeightsError, match="HF_TOKEN"):
        Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=source)


def test_an_unknown_kind_of_source_names_the_known_ones(tmp_path: Path, remote: Remote) -> None:
    weights = WeightSet(format="gguf", bytes=1, source={"kind": "floppy"})
    checkpoint = Checkpoint(model="m", precision="x", weights=weights)
    with pytest.raises(WeightsError, match="huggingface, local, oci, pvc, python_package"):
        open_source(checkpoint=checkpoint, settings=hub_settings(remote, tmp_path))


@pytest.mark.parametrize("kind", [kind for kind, needed in SOURCES.items() if needed])
def test_a_source_that_is_not_told_what_it_needs_says_so(kind: str, tmp_path: Path, remote: Remote) -> None:
    weights = WeightSet(format="gguf", bytes=1, source={"kind": kind, "repo": "a/b"})
    checkpoint = Checkpoint(model="m", precision="x", weights=weights)
    with pytest.raises(WeightsError, match=f"of kind {kind} needs {SOURCES[kind][0]}"):
        open_source(checkpoint=checkpoint, settings=hub_settings(remote, tmp_path))


def test_the_kinds_of_sources_are_those_that_can_be_fetched_from() -> None:
    modules = {module.name for module in pkgutil.iter_modules(sources.__path__)} - {"base"}
    assert set(SOURCES) == modules


def test_a_local_folder_is_a_source(tmp_path: Path, remote: Remote) -> None:
    settings = hub_settings(remote, tmp_path).model_copy(update={"import_dir": tmp_path / "import"})
    weights = WeightSet(format="safetensors", bytes=1, source={"kind": "local"})
    checkpoint = Checkpoint(model="m", precision="bf16", weights=weights)
    with pytest.raises(WeightsError, match="copy the checkpoint's files"):
        Store(root=tmp_path).obtain(checkpoint=checkpoint, source=open_source(checkpoint=checkpoint, settings=settings))
    folder = tmp_path / "import" / "m" / "bf16"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_bytes(b"x")
    stored = Store(root=tmp_path).obtain(
        checkpoint=checkpoint, source=open_source(checkpoint=checkpoint, settings=settings)
    )
    assert (stored.folder / "tokenizer.json").read_bytes() == b"x"
