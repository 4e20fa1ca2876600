"""Whose bytes are whose: fetched once for a place, each model's that names it, gone with the last one."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from paddock_core.catalog.types import WeightSet
from paddock_serving.errors import WeightsError, WeightsMismatchError, WeightsVolumeFullError
from paddock_serving.settings import PurgeSettings
from paddock_serving.weights import purge as purging
from paddock_serving.weights.layout import INCOMING, Stored, owners
from paddock_serving.weights.publish import ControlPlane
from paddock_serving.weights.sources.base import Checkpoint, Expected
from paddock_serving.weights.store import Store, Want
from pydantic import SecretStr

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights " * 1000}


@dataclass
class Place:
    """A source in memory. `known` says what it tells of its files: sha256, oid, tag or nothing."""

    content: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    where: str = "there"
    who: str = ""
    known: str = "sha256"
    reads: list[str] = field(default_factory=list)
    held: threading.Event | None = None
    """Bytes come only once it is set."""
    fails: bool = False

    def place(self) -> str:
        return self.where

    def access(self) -> str:
        return self.who

    def files(self) -> tuple[Expected, ...]:
        return tuple(self._expected(name, data) for name, data in self.content.items())

    def _expected(self, name: str, data: bytes) -> Expected:
        bare = Expected(name=name, bytes=len(data))
        digest = hashlib.sha256(data).hexdigest()
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        told = {
            "sha256": replace(bare, sha256=digest),
            "oid": replace(bare, git_oid=blob),
            "tag": replace(bare, tag=digest[:8]),
        }
        return told.get(self.known, bare)

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        self.reads.append(file.name)
        if self.held is not None:
            assert self.held.wait(60)
        if self.fails and file.name != "config.json":
            raise WeightsError("the line broke")
        yield iter([self.content[file.name][offset:]])

    def close(self) -> None:
        pass


def obtain(root: Path, model: str, source: Place, want: Want | None = None) -> Stored:
    weights = WeightSet(format="safetensors", bytes=1, source={"kind": "local"})
    checkpoint = Checkpoint(model=model, precision="bf16", weights=weights)
    more = {} if want is None else {"want": want}
    return Store(root=root).obtain(checkpoint=checkpoint, source=source, **more)


@pytest.mark.parametrize("known", ["sha256", "oid", "tag"])
def test_a_second_model_of_the_same_place_has_the_bytes_without_fetching(known: str, tmp_path: Path) -> None:
    first = obtain(tmp_path, "one", Place(known=known))
    again = Place(known=known)
    assert obtain(tmp_path, "two", again) == first
    assert again.reads == []
    assert owners(first.folder) == {"one", "two"}


def test_the_same_model_needs_no_digests_to_be_found_again(tmp_path: Path) -> None:
    obtain(tmp_path, "one", Place(known="tag"))
    again = Place(known="tag")
    obtain(tmp_path, "one", again)
    assert again.reads == []


@pytest.mark.parametrize(
    "other",
    [
        Place(where="elsewhere"),
        Place(known="nothing"),
        Place(content={**CONTENT, "config.json": b"[]"}, known="tag"),
        Place(content={**CONTENT, "config.json": b"[]"}, known="oid"),
        Place(content={**CONTENT, "more.json": b"[]"}),
    ],
    ids=["another place", "nothing known", "another tag", "another blob", "another list"],
)
def test_what_is_not_provably_the_same_is_fetched(other: Place, tmp_path: Path) -> None:
    obtain(tmp_path, "one", Place(known=other.known))
    obtain(tmp_path, "two", other)
    assert sorted(other.reads) == sorted(other.content)


def test_what_was_read_with_credentials_is_given_to_nobody_without_them(tmp_path: Path) -> None:
    folder = obtain(tmp_path, "one", Place(who="ours")).folder
    stranger = Place(who="", fails=True)
    with pytest.raises(WeightsError, match="the line broke"):
        obtain(tmp_path, "two", stranger)
    assert owners(folder) == {"one"}
    for who, model in (("ours", "three"), ("renewed", "one")):
        known = Place(who=who)
        obtain(tmp_path, model, known)
        assert known.reads == []
    assert owners(folder) == {"one", "three"}


def test_parts_that_were_read_with_credentials_are_nobody_elses(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the line broke"):
        obtain(tmp_path, "one", Place(who="ours", fails=True))
    stranger = Place(who="", fails=True)
    with pytest.raises(WeightsError, match="the line broke"):
        obtain(tmp_path, "two", stranger)
    assert "config.json" in stranger.reads
    assert [owners(path) for path in (tmp_path / INCOMING).iterdir() if path.is_dir()].count({"two"}) == 1


def refuses(folder: Path, *, complete: bool) -> None:
    raise WeightsMismatchError("another model's")


def test_shared_bytes_that_do_not_fit_are_not_the_models(tmp_path: Path) -> None:
    folder = obtain(tmp_path, "one", Place()).folder
    for _ in range(2):
        with pytest.raises(WeightsMismatchError, match="another model's"):
            obtain(tmp_path, "two", Place(), Want(check=refuses, name="wide"))
    assert owners(folder) == {"one"}
    assert (folder / "model.safetensors").read_bytes() == CONTENT["model.safetensors"]


def test_a_refusal_is_of_these_files_and_these_dimensions_alone(tmp_path: Path) -> None:
    want = Want(check=refuses, name="wide")
    first = Place()
    with pytest.raises(WeightsMismatchError):
        obtain(tmp_path, "one", first, want)
    again = Place()
    with pytest.raises(WeightsMismatchError):
        obtain(tmp_path, "one", again, want)
    assert (first.reads, again.reads) == (["config.json"], [])
    changed = Place(content={**CONTENT, "config.json": b"[]"})
    with pytest.raises(WeightsMismatchError):
        obtain(tmp_path, "one", changed, want)
    assert changed.reads == ["config.json"]
    obtain(tmp_path, "one", Place(), Want(check=lambda folder, complete: None, name="narrow"))


def test_a_part_that_another_model_waits_for_outlives_the_first_ones_mismatch(tmp_path: Path) -> None:
    begun = Place(fails=True)
    with pytest.raises(WeightsError, match="the line broke"):
        obtain(tmp_path, "two", begun)
    (folder,) = (path.parent for path in (tmp_path / INCOMING).glob("*/.of-two"))
    with pytest.raises(WeightsMismatchError):
        obtain(tmp_path, "one", Place(), Want(check=refuses, name="wide"))
    assert owners(folder) == {"two"}
    assert (folder / "config.json").is_file()


class Died(BaseException):
    """Stands for SIGKILL."""


def die_at(kill_at: int, patched: pytest.MonkeyPatch) -> None:
    """Every change to the volume is a step; the process dies right after the nth."""
    steps = [0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            steps[0] += 1
            if steps[0] == kill_at:
                raise Died
            return result

        return run

    for name in ("replace", "touch", "unlink", "chmod", "mkdir"):
        patched.setattr(Path, name, counted(getattr(Path, name)))


def test_killed_after_any_change_the_next_run_gives_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_at, died = 0, True
    while died:
        kill_at += 1
        root = tmp_path / str(kill_at)
        root.mkdir()
        with monkeypatch.context() as patched:
            die_at(kill_at, patched)
            try:
                obtain(root, "one", Place())
            except Died:
                died = True
            else:
                died = False
        # Root may write what is sealed; the Job's user may not.
        assert all(path.stat().st_mode & 0o200 for path in (root / INCOMING).rglob("*")), f"step {kill_at}"
        stored = obtain(root, "one", Place())
        assert {name: (stored.folder / name).read_bytes() for name in stored.files} == CONTENT, f"step {kill_at}"
        assert owners(stored.folder) == {"one"}
        assert [path for path in (root / INCOMING).iterdir() if path.is_dir()] == [], f"step {kill_at}"
        again = Place()
        assert obtain(root, "two", again) == stored
        assert again.reads == []
    assert kill_at > 10


@pytest.fixture
def purge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ControlPlane, "tell_removed", lambda _self, **what: told.append(what))

    def run(model: str) -> dict[str, Any]:
        values: dict[str, Any] = {"purge": "pur-aaaaaaaaaaaa", "model": model, "weights_dir": tmp_path / "w"}
        log = tmp_path / "termination-log"
        purging.purge(
            settings=PurgeSettings(
                **values, purge_token=SecretStr("t"), controlplane_url="http://x", termination_log=log
            )
        )
        return told[-1]

    return run


def test_shared_bytes_go_with_the_last_model(purge: Any, tmp_path: Path) -> None:
    root = tmp_path / "w"
    folder = obtain(root, "one", Place()).folder
    obtain(root, "two", Place())
    assert purge("one")["kept"] == [folder.name]
    assert owners(folder) == {"two"}
    assert {Path(item["path"]).name for item in purge("two")["removed"]} == set(CONTENT)
    assert not folder.exists()
    fresh = Place()
    obtain(root, "three", fresh)
    assert sorted(fresh.reads) == sorted(CONTENT), "where nothing lies, nothing is shared"


def test_a_purge_does_not_wait_for_what_another_model_is_fetching(purge: Any, tmp_path: Path) -> None:
    root, held = tmp_path / "w", threading.Event()
    with pytest.raises(WeightsError, match="the line broke"):
        obtain(root, "one", Place(fails=True))
    thread = threading.Thread(target=obtain, args=(root, "two", Place(held=held)))
    thread.start()
    try:
        for _ in range(600):
            marks = list((root / INCOMING).glob("*/.of-two"))
            if marks:
                break
            thread.join(0.1)
        assert marks
        told = purge("one")
        assert told["kept"] == [str(marks[0].parent.relative_to(root))]
        assert owners(marks[0].parent) == {"two"}
    finally:
        held.set()
        thread.join(300)
    (verified,) = root.glob("*/.verified.json")
    assert owners(verified.parent) == {"two"}


def test_what_does_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 5000

    monkeypatch.setattr("paddock_serving.weights.fetching.shutil.disk_usage", lambda _path: Usage)
    source = Place()
    with pytest.raises(WeightsVolumeFullError, match=r"8002 more bytes are needed .* 5000 are free"):
        obtain(tmp_path, "one", source)
    assert source.reads == []


def test_what_was_begun_long_ago_is_forgotten(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the line broke"):
        obtain(tmp_path, "one", Place(where="old", fails=True))
    (old,) = (path.parent for path in (tmp_path / INCOMING).glob("*/.of-one"))
    obtain(tmp_path, "two", Place())
    assert old.is_dir()
    for path in (*old.iterdir(), old):
        os.utime(path, (1e9, 1e9))
    obtain(tmp_path, "three", Place())
    assert not old.exists()


def test_the_note_of_a_place_says_no_secret(tmp_path: Path) -> None:
    folder = obtain(tmp_path, "one", Place(who="digest-of-credentials", known="tag")).folder
    (note,) = folder.glob(".from-*")
    assert set(json.loads(note.read_bytes())) == {"access", "tags"}
