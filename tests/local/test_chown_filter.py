import subprocess
import sys

import pytest
from paddock_local import seccomp

TRY = """
import os, sys
from paddock_local import namespaces, seccomp
namespaces.enter_user_namespace(uid=0, gid=0, mounts=False)
before = os.stat(sys.argv[1])
if sys.argv[2] == "filter":
    seccomp.ignore_chown()
for call in (os.chown, os.lchown):
    call(sys.argv[1], 65532, 65532)
os.chmod(sys.argv[1], 0o640)
after = os.stat(sys.argv[1])
assert (before.st_uid, before.st_gid) == (after.st_uid, after.st_gid)
assert after.st_mode & 0o777 == 0o640
"""


def attempt(path, how):
    return subprocess.run([sys.executable, "-c", TRY, str(path), how], capture_output=True, text=True, check=False)


def test_under_the_filter_chown_succeeds_and_does_nothing(tmp_path):
    file = tmp_path / "file"
    file.touch()
    without, under = attempt(file, "plain"), attempt(file, "filter")
    assert "Invalid argument" in without.stderr
    assert under.returncode == 0, under.stderr


@pytest.mark.parametrize("machine", seccomp.CALLS)
def test_every_jump_of_the_filter_lands_on_a_return(machine):
    code = seccomp.program(machine)
    steps = [code[start : start + 8] for start in range(0, len(code), 8)]
    for index, step in enumerate(steps):
        if int.from_bytes(step[:2], sys.byteorder) == seccomp.JUMP_IF_EQUAL:
            on_match, otherwise = index + 1 + step[2], index + 1 + step[3]
            landed = [int.from_bytes(steps[target][:2], sys.byteorder) for target in (on_match, otherwise)]
            assert seccomp.RETURN in landed or index == 1
            assert max(on_match, otherwise) < len(steps)
