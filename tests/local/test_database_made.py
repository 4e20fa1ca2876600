"""PostgreSQL's files are made by the real initdb, and what goes wrong is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from paddock_local import database, secret_files
from paddock_local.errors import StackError
from paddock_local.launch import TRY_AGAIN
from paddock_local.paths import StackPaths
from paddock_local.programs import Spec, document
from paddock_local.progress import Progress

# The kernel nests 33 of them; each is asked for until it gives none.
NO_NAMESPACE_LEFT = """
import sys
from paddock_local import launch, namespaces

try:
    for _ in range(100):
        namespaces.enter_user_namespace(uid=0, gid=0, mounts=False)
except OSError:
    launch.main()
"""


@pytest.fixture
def paths(tmp_path: Path) -> StackPaths:
    made = StackPaths(checkout=tmp_path, name="t")
    made.create()
    secret_files.prepare(made)
    return made


def test_it_is_made_once_and_belongs_to_no_root(paths: StackPaths) -> None:
    data = paths.folder("data") / "postgres"
    data.mkdir()
    (data / "of-an-interrupted-attempt").touch()
    database.initialise(paths, Progress())
    assert (data / "PG_VERSION").is_file()
    assert not (data / "of-an-interrupted-attempt").exists()
    (data / "of-ours").touch()
    database.initialise(paths, Progress())
    assert (data / "of-ours").exists(), "what is there is not made again"


def test_what_initdb_says_is_told(paths: StackPaths) -> None:
    paths.secret("postgres-password").unlink()
    with pytest.raises(StackError, match=r"could not open file .*postgres-password.* for reading"):
        database.initialise(paths, Progress())


def test_a_machine_that_gives_no_namespace_now_is_asked_again(paths: StackPaths, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(document(paths, Spec(["/bin/true"], namespace="plain-user"))))
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", NO_NAMESPACE_LEFT, str(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == TRY_AGAIN, done.stderr
    assert done.stderr.startswith("no user namespace for a program that refuses to run as root: ")
