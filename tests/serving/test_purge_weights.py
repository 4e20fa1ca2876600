"""The purge Job: every copy of a model's files goes, their digests are told, wherever the Job is killed."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.types import WeightSet
from paddock_serving.errors import ControlPlaneUnreachableError, DownloadDeniedError
from paddock_serving.settings import PurgeSettings
from paddock_serving.weights import purge as module
from paddock_serving.weights.layout import INCOMING, folder_lock, write_durably
from paddock_serving.weights.notice import notice_parts, write_notice
from paddock_serving.weights.publish import ControlPlane
from paddock_serving.weights.purge import purge
from paddock_serving.weights.sources.base import Checkpoint, Expected
from paddock_serving.weights.store import Store

ORDER = "pur-aaaaaaaaaaaa"
CONTENT = {"a.safetensors": b"weights" * 1000, "special.json": b"{}"}


class Died(BaseException):
    """Stands for SIGKILL."""


@dataclass
class Told:
    """What the control plane was told, and how it answers."""

    url: str = ""
    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def files(self) -> dict[str, str]:
        return {item["path"]: item["sha256"] for item in self.bodies[-1]["removed"]}


@pytest.fixture
def told() -> Iterator[Told]:
    state = Told()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == f"/internal/v1/purges/{ORDER}/removed"
            assert self.headers["Authorization"] == "Bearer dt.purge"
            if state.status == 200:
                state.bodies.append(body)
            self.send_response(state.status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


class Memory:
    """A source of `CONTENT`, which breaks off in its second file if it is told to."""

    def __init__(self, *, where: str, breaks: bool = False) -> None:
        self._where = where
        self._breaks = breaks

    def place(self) -> str:
        return self._where

    def access(self) -> str:
        return ""

    def files(self) -> tuple[Expected, ...]:
        return tuple(Expected(name=name, bytes=len(data)) for name, data in CONTENT.items())

    def close(self) -> None:
        pass

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        if self._breaks and file.name == "special.json":
            raise ControlPlaneUnreachableError("stands for any end")
        yield iter([CONTENT[file.name][offset:]])


def fetch(root: Path, model: str, *, breaks: bool = False, where: str = "") -> Path:
    weights = WeightSet(format="safetensors", bytes=1, source={"kind": "local"})
    checkpoint = Checkpoint(model=model, precision="bf16", weights=weights)
    source = Memory(where=where or f"the place of {model}", breaks=breaks)
    return Store(root=root).obtain(checkpoint=checkpoint, source=source).folder


def incoming(root: Path, model: str) -> str:
    """Where what is being fetched for a model lies."""
    (mark,) = (root / INCOMING).glob(f"*/.of-{model}")
    return str(mark.parent.relative_to(root))


def settings(root: Path, told: Told, **other: Any) -> PurgeSettings:
    values = {"purge": ORDER, "model": "m", "weights_dir": root, "controlplane_url": told.url}
    log = root.parent / "termination-log"
    return PurgeSettings(**{**values, "purge_token": "dt.purge", "termination_log": log, **other})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left(root: Path) -> list[str]:
    """Files with content, wherever they lie."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.stat().st_size)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "weights"
    made.mkdir()
    return made


def test_every_file_goes_and_its_digest_is_told(root: Path, told: Told) -> None:
    folder = fetch(root, "m")
    purge(settings=settings(root, told))
    assert told.files() == {f"{folder.name}/{name}": sha256(data) for name, data in CONTENT.items()}
    assert not folder.exists()
    assert left(root) == []
    assert json.loads((root.parent / "termination-log").read_text())["files"] == 2
    purge(settings=settings(root, told))
    assert told.files() == {}


def test_parts_of_an_interrupted_download_go_and_those_of_a_model_with_a_longer_name_stay(
    root: Path, told: Told
) -> None:
    for model in ("m", "m-instruct"):
        with pytest.raises(ControlPlaneUnreachableError):
            fetch(root, model, breaks=True)
    going, staying = incoming(root, "m"), incoming(root, "m-instruct")
    purge(settings=settings(root, told))
    assert told.files()[f"{going}/a.safetensors"] == sha256(CONTENT["a.safetensors"])
    assert left(root) == [f"{staying}/a.safetensors"]


def test_bytes_that_are_another_models_too_stay(root: Path, told: Told) -> None:
    folder = fetch(root, "m")
    assert fetch(root, "other") == folder
    purge(settings=settings(root, told))
    assert told.bodies[-1] == {"removed": [], "kept": [folder.name]}
    assert (folder / "special.json").is_file()
    purge(settings=settings(root, told, model="other"))
    assert len(told.files()) == 2
    assert left(root) == []


def test_a_folder_from_before_there_were_marks_is_found_by_its_digest(root: Path, told: Told) -> None:
    folder = fetch(root, "m")
    (folder / ".of-m").unlink()
    purge(settings=settings(root, told, digests=(folder.name,)))
    assert len(told.files()) == 2
    assert left(root) == []


@pytest.mark.parametrize("imports", [False, True])
def test_what_the_platform_brought_itself_goes_with_its_own_license(imports: bool, root: Path, told: Told) -> None:
    brought = root / "import" / "m" / "bf16"
    brought.mkdir(parents=True)
    (brought / "x.gguf").write_bytes(b"x")
    purge(settings=settings(root, told, imports=imports))
    assert told.files() == ({"import/m/bf16/x.gguf": sha256(b"x")} if imports else {})
    assert brought.exists() != imports


def test_a_file_that_changed_since_it_was_verified_is_told_with_its_own_digest(root: Path, told: Told) -> None:
    folder = fetch(root, "m")
    (folder / "special.json").chmod(0o644)
    (folder / "special.json").write_bytes(b"changed")
    purge(settings=settings(root, told))
    assert told.files()[f"{folder.name}/special.json"] == sha256(b"changed")


def test_killed_after_any_step_the_next_run_tells_everything(
    root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at, died = 0, True
    while died:
        kill_at += 1
        folder = fetch(root, "m")
        expected = {f"{folder.name}/{name}": sha256(data) for name, data in CONTENT.items()}
        told.bodies.clear()
        with monkeypatch.context() as patched:
            _die_at(kill_at, patched)
            try:
                purge(settings=settings(root, told))
            except Died:
                died = True
            else:
                died = False
        purge(settings=settings(root, told))
        everything = {item["path"]: item["sha256"] for body in told.bodies for item in body["removed"]}
        assert everything == expected, f"killed at step {kill_at}"
        assert left(root) == []
    assert kill_at > 6


def _die_at(kill_at: int, patched: pytest.MonkeyPatch) -> None:
    """Every change to the volume, and the call, counts as a step; the process dies right after the nth."""
    steps = [0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            steps[0] += 1
            if steps[0] == kill_at:
                raise Died
            return result

        return run

    patched.setattr(Path, "unlink", counted(Path.unlink))
    patched.setattr(Path, "rmdir", counted(Path.rmdir))
    patched.setattr(module, "write_durably", counted(write_durably))
    patched.setattr(ControlPlane, "tell_removed", counted(ControlPlane.tell_removed))


def test_a_control_plane_that_refuses_is_told_again_by_the_next_run(root: Path, told: Told) -> None:
    fetch(root, "m")
    told.status = 403
    with pytest.raises(DownloadDeniedError):
        purge(settings=settings(root, told))
    assert "DownloadDenied" in (root.parent / "termination-log").read_text()
    told.status = 200
    purge(settings=settings(root, told))
    assert len(told.files()) == 2


def test_a_model_that_comes_to_have_the_folder_while_the_purge_waits_keeps_it(
    root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch(root, "m")
    held = folder_lock

    @contextmanager
    def late(base: Path, locked: Path) -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(module, "folder_lock", held)
            assert fetch(base, "other") == folder
        with held(base, locked):
            yield

    monkeypatch.setattr(module, "folder_lock", late)
    purge(settings=settings(root, told))
    assert told.bodies[-1] == {"removed": [], "kept": [folder.name]}
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT


def test_a_folder_that_is_being_purged_is_not_given_to_anybody(root: Path) -> None:
    folder = fetch(root, "m")
    begun, fetched = threading.Event(), threading.Event()

    def other() -> None:
        begun.set()
        fetch(root, "other")
        fetched.set()

    thread = threading.Thread(target=other)
    with folder_lock(root, folder):
        thread.start()
        assert begun.wait(60)
        assert not fetched.wait(0.5)
        assert not (folder / ".of-other").exists()
    thread.join(300)
    assert fetched.is_set()
    assert (folder / ".of-other").exists()


def test_the_notice_is_the_licensors_own_text_and_names_the_agreement(root: Path) -> None:
    entry, folder = packaged_catalog().licenses["llama3.1"], fetch(root, "m")
    write_notice(root=root, folder=folder, model="m", licenses=(entry,))
    text = (folder / "Notice").read_text()
    assert entry.notice is not None
    assert text.startswith(entry.notice.rstrip("\n") + "\n")
    assert all(f"{pin.role}: sha256:{pin.canonical}" in text for pin in entry.texts)


def test_models_that_share_their_bytes_have_all_their_notices_and_a_purge_takes_only_its_own(
    root: Path, told: Told
) -> None:
    licenses, folder = packaged_catalog().licenses, fetch(root, "m")
    fetch(root, "other")
    write_notice(root=root, folder=folder, model="m", licenses=(licenses["llama3.1"],))
    write_notice(root=root, folder=folder, model="other", licenses=(licenses["apache-2.0"], licenses["llama3.1"]))
    text = (folder / "Notice").read_text()
    assert text.count(licenses["llama3.1"].title) == text.count(licenses["apache-2.0"].title) == 1
    purge(settings=settings(root, told, model="other"))
    assert (folder / "Notice").read_text() == "\n\n".join(notice_parts((licenses["llama3.1"],))) + "\n"


def test_a_checkpoints_own_notice_is_kept_beside_ours(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTENT, "Notice", b"the publisher's")
    folder = fetch(root, "m")
    write_notice(root=root, folder=folder, model="m", licenses=(packaged_catalog().licenses["llama3.1"],))
    assert "Llama 3.1" in (folder / "Notice").read_text()
    assert (folder / "Notice.of-checkpoint").read_bytes() == b"the publisher's"
