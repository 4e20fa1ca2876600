"""Tokens in files are replaced under a running control plane: nobody with the old or the new one is refused."""

from pathlib import Path
from typing import Any

import pytest
from paddock_controlplane import token_files
from paddock_controlplane.problems import SettingsError
from paddock_controlplane.token_files import LOOK_SECONDS, OVERLAP_SECONDS, FileToken


class Source:
    """A file and a clock."""

    def __init__(self) -> None:
        self.content: bytes | None = b"first"
        self.at = 100.0

    def read(self) -> bytes:
        if self.content is None:
            raise SettingsError("gone")
        return self.content

    def now(self) -> float:
        return self.at


def test_the_token_before_counts_for_a_while_and_none_before_that() -> None:
    source = Source()
    token = FileToken(source.read, now=source.now)
    assert (token.matches(b"first"), token.matches(b"second"), token.matches(b"")) == (True, False, False)
    source.content, source.at = b"second", source.at + LOOK_SECONDS
    assert (token.matches(b"second"), token.matches(b"first"), token.matches(b"")) == (True, True, False)
    source.content, source.at = b"third", source.at + LOOK_SECONDS
    assert [token.matches(each) for each in (b"first", b"second", b"third")] == [False, True, True]
    source.at += OVERLAP_SECONDS
    assert [token.matches(each) for each in (b"second", b"third", b"")] == [False, True, False]


def test_a_file_that_cannot_be_read_changes_nothing() -> None:
    source = Source()
    token = FileToken(source.read, now=source.now)
    source.content, source.at = None, source.at + LOOK_SECONDS
    assert token.matches(b"first")
    with pytest.raises(SettingsError):
        FileToken(source.read)


@pytest.mark.postgres
async def test_files_are_replaced_under_a_running_control_plane(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_files, "LOOK_SECONDS", 0.0)
    for name, path in (("internal_token", "/internal/v1/policy"), ("admin_token", "/v1/tenants")):
        old = (tmp_path / name).read_text().strip()
        new = f"another-{name}-for-tests"
        await api("GET", path, by=new, status=401)
        (tmp_path / name).write_text(new)
        for token in (new, old):
            await api("GET", path, by=token, status=200)
        (tmp_path / name).write_text("short")
        for token in (new, old):
            await api("GET", path, by=token, status=200)
