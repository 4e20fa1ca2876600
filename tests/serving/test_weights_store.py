import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from paddock_core.catalog.types import WeightSet
from paddock_serving.errors import WeightsChecksumMismatchError, WeightsError
from paddock_serving.weights.layout import checkpoint_digest
from paddock_serving.weights.sources.base import Checkpoint, Expected
from paddock_serving.weights.store import Store

CONTENT = {"a.safetensors": b"weights " * 1000, "special.json": b"{}", "tokenizer.json": b"[1, 2]"}
CHECKPOINT = Checkpoint(
    model="m", precision="bf16", weights=WeightSet(format="safetensors", bytes=1, source={"kind": "local"})
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Memory:
    """A source that breaks off after `fail_after` bytes, once."""

    content: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    digests: bool = True
    fail_after: int | None = None
    reads: list[tuple[str, int]] = field(default_factory=list)
    where: str = "memory"
    who: str = ""

    def place(self) -> str:
        return self.where

    def access(self) -> str:
        return self.who

    def files(self) -> tuple[Expected, ...]:
        return tuple(
            Expected(name=name, bytes=len(data), sha256=sha256(CONTENT[name]) if self.digests else None)
            for name, data in self.content.items()
        )

    def close(self) -> None:
        pass

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        self.reads.append((file.name, offset))
        yield self._chunks(self.content[file.name][offset:])

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        for begin in range(0, len(data), 100):
            if self.fail_after is not None and begin >= self.fail_after:
                self.fail_after = None
                raise WeightsError("the connection broke")
            yield data[begin : begin + 100]


def test_files_lie_under_their_digest_and_are_read_only(tmp_path: Path) -> None:
    stored = Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Memory())
    lines = "".join(f"{sha256(CONTENT[name])}  {name}\n" for name in sorted(CONTENT))
    assert stored.folder == tmp_path / sha256(lines.encode())
    for name, data in CONTENT.items():
        assert (stored.folder / name).read_bytes() == data
        assert (stored.folder / name).stat().st_mode & 0o777 == 0o444
    assert stored.bytes == sum(map(len, CONTENT.values()))


def test_a_single_file_lies_under_its_own_digest() -> None:
    assert checkpoint_digest({"x.gguf": "ab" * 32}) == "ab" * 32


@pytest.mark.parametrize("digests", [True, False])
def test_what_is_there_is_not_fetched_again(tmp_path: Path, digests: bool) -> None:
    first = Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Memory(digests=digests))
    source = Memory(digests=True)
    assert Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=source) == first
    assert source.reads == []


def test_a_changed_file_is_fetched_again(tmp_path: Path) -> None:
    stored = Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Memory())
    harmed = stored.folder / "a.safetensors"
    harmed.chmod(0o644)
    harmed.write_bytes(b"other")
    Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Memory())
    assert harmed.read_bytes() == CONTENT["a.safetensors"]


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    source = Memory(fail_after=300)
    with pytest.raises(WeightsError, match="broke"):
        Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=source)
    assert not any(path.is_dir() and not path.name.startswith(".") for path in tmp_path.iterdir())
    Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=source)
    assert source.reads[:2] == [("a.safetensors", 0), ("a.safetensors", 300)]


def test_another_files_content_is_refused_and_removed(tmp_path: Path) -> None:
    forged = dict(CONTENT) | {"special.json": b"[]"}
    with pytest.raises(WeightsError, match=r"special\.json has SHA-256"):
        Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Memory(content=forged))
    assert not list(tmp_path.rglob("special.json*"))
    assert Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Memory()).files


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", ".."])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    source = Memory(content={name: b"x"}, digests=False)
    with pytest.raises(WeightsError, match="plain file name"):
        Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=source)


def test_two_jobs_at_once_fetch_once(tmp_path: Path) -> None:
    sources = [Memory(), Memory()]
    threads = [
        threading.Thread(target=Store(root=tmp_path).obtain, kwargs={"checkpoint": CHECKPOINT, "source": source})
        for source in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(source.reads) for source in sources) == [0, 3]


def test_a_git_blob_id_is_checked_where_there_is_no_sha256(tmp_path: Path) -> None:
    data = b"hello\n"

    class Blob(Memory):
        def files(self) -> tuple[Expected, ...]:
            return (Expected(name="special.json", bytes=6, git_oid="ce013625030ba8dba906f756967f9e9ca394464a"),)

    assert Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=Blob(content={"special.json": data}))
    other = Blob(content={"special.json": b"other\n"}, where="elsewhere")
    with pytest.raises(WeightsChecksumMismatchError, match="not the blob"):
        Store(root=tmp_path).obtain(checkpoint=CHECKPOINT, source=other)
    assert other.reads == [("special.json", 0), ("special.json", 0)], "fetched once more, then no more"
