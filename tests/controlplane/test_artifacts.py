"""Published artifacts."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paddock_controlplane.artifacts import store
from paddock_controlplane.artifacts.errors import ArtifactUnknown
from paddock_controlplane.problems import TooLarge

CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PATH = f"/internal/v1/artifacts/sha256:{DIGEST}"


@pytest.fixture
async def publisher(api: Any) -> Any:
    api.tokens["decision"], _ = api.state.decisions.issue(subject="m")
    return api


@pytest.mark.postgres
async def test_an_artifact_is_published_once_and_read_unchanged(publisher: Any) -> None:
    assert (await publisher("GET", PATH, by="internal", status=404))["code"] == "ArtifactUnknown"
    for _ in range(2):
        await publisher("PUT", PATH, by="decision", content=CONTENT, status=204)
    answer = await publisher("GET", PATH, by="internal")
    assert answer.content == CONTENT
    assert answer.headers["etag"] == f'"sha256:{DIGEST}"'


@pytest.mark.postgres
async def test_content_with_another_digest_is_refused(publisher: Any) -> None:
    problem = await publisher("PUT", PATH, by="decision", content=CONTENT + b"x", status=422)
    assert problem["code"] == "DigestMismatch"
    await publisher("GET", PATH, by="internal", status=404)
    await publisher("PUT", "/internal/v1/artifacts/sha256:..%2f..%2fx", by="decision", content=b"", status=404)
    await publisher("PUT", "/internal/v1/artifacts/md5:0", by="decision", content=b"", status=422)


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_the_store_has_a_bound_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_BYTES", 10)
    folder = store.ArtifactStore(tmp_path / "a")
    with pytest.raises(TooLarge):
        await folder.receive(digest="0" * 64, content=_pieces(b"123456", b"123456"))
    digest = hashlib.sha256(b"123456").hexdigest()
    data = await folder.receive(digest=digest, content=_pieces(b"123", b"456"))
    await folder.put(digest=digest, data=data)
    assert [path.name for path in (tmp_path / "a").iterdir()] == [digest]
    assert await folder.get(digest) == b"123456"
    with pytest.raises(ArtifactUnknown):
        await folder.get("f" * 64)
