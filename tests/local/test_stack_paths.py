import os
from pathlib import Path

import pytest
from paddock_local.errors import LocalError
from paddock_local.paths import StackPaths


def test_sockets_lie_in_the_stack_when_there_is_room(tmp_path, monkeypatch):
    paths = StackPaths(checkout=Path("/srv/p"), name="demo")
    assert paths.supervisor_socket == Path("/srv/p/.paddock/stacks/demo/run/supervisor.sock")


def test_sockets_of_a_deep_checkout_move_to_a_short_folder(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    deep = StackPaths(checkout=Path("/", *["a-long-folder-name"] * 6), name="demo")
    assert deep.sockets.parent == Path("/run/user/7")
    assert len(os.fsencode(deep.sockets / ".s.PGSQL.65535.lock")) < 108
    other = StackPaths(checkout=Path("/", *["a-long-folder-name"] * 6), name="e2e")
    assert other.sockets != deep.sockets


@pytest.mark.parametrize("name", ["", "..", "a/b", "UPPER", "-x", "x" * 30])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(LocalError, match="stack name"):
        StackPaths(checkout=Path("/srv/p"), name=name)


def test_the_stack_is_closed_to_other_users(tmp_path):
    paths = StackPaths(checkout=tmp_path, name="t")
    paths.create()
    assert paths.root.stat().st_mode & 0o077 == 0
