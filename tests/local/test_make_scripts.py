"""The two scripts behind the Makefile, which run before anything is installed."""

import ast
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paddock_local.paths import find_checkout

LOCAL = find_checkout() / "local"
SCRIPTS = ("bootstrap.py", "clean.py")


def load(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", LOCAL / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bootstrap():
    return load("bootstrap")


@pytest.fixture
def copy(tmp_path):
    """A checkout with the scripts alone."""
    (tmp_path / "local").mkdir()
    for name in SCRIPTS:
        shutil.copy(LOCAL / name, tmp_path / "local" / name)
    return tmp_path


def run(copy, script, *arguments):
    command = [sys.executable, str(copy / "local" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_old_python_can_read_it_to_say_what_is_missing(script):
    ast.parse((LOCAL / script).read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_needs_nothing_installed(script):
    tree = ast.parse((LOCAL / script).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= set(sys.stdlib_module_names)


def python(folder, name, answer):
    file = folder / name
    file.write_text(f"#!/bin/sh\necho {answer}\n")
    file.chmod(0o755)
    return str(file)


def chosen_from(bootstrap, monkeypatch, programs):
    monkeypatch.setattr(bootstrap, "candidates", lambda: programs)
    return bootstrap.choose()


def test_the_first_python_that_has_everything_is_chosen(bootstrap, monkeypatch, tmp_path):
    old = python(tmp_path, "python3", "3 9 1 1")
    bare = python(tmp_path, "python3.12-bare", "3 12 1 0")
    whole = python(tmp_path, "python3.12", "3 12 1 1")
    assert chosen_from(bootstrap, monkeypatch, [old, bare, whole]) == whole


@pytest.mark.parametrize(
    ("answer", "packages"),
    [
        ("3 12 0 0", "python3.12-venv libpython3.12"),
        ("3 11 1 0", "libpython3.11"),
        ("3 9 1 1", "python3.11 python3.11-venv libpython3.11"),
        ("broken", "python3.11 python3.11-venv libpython3.11"),
    ],
)
def test_what_is_missing_is_one_line_with_the_packages(bootstrap, monkeypatch, tmp_path, capsys, answer, packages):
    with pytest.raises(SystemExit) as ended:
        chosen_from(bootstrap, monkeypatch, [python(tmp_path, "python3", answer)])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1
    assert f"apt-get install {packages}`" in said


def test_another_platform_is_refused(bootstrap, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap.platform, "system", lambda: "Darwin")
    with pytest.raises(SystemExit):
        bootstrap.check_machine()
    assert "Linux" in capsys.readouterr().err


def test_a_small_disk_is_refused(bootstrap, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bootstrap, "STAMP", str(tmp_path / "none"))
    monkeypatch.setattr(bootstrap, "NEEDED_GB", 10**9)
    with pytest.raises(SystemExit):
        bootstrap.check_machine()
    assert "GB free" in capsys.readouterr().err


def test_a_changed_lock_file_is_another_environment(bootstrap, monkeypatch, tmp_path):
    for name in bootstrap.INPUTS:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(find_checkout() / name, target)
    monkeypatch.setattr(bootstrap, "CHECKOUT", str(tmp_path))
    before = bootstrap.digest()
    assert bootstrap.digest() == before
    with (tmp_path / "requirements" / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    assert bootstrap.digest() != before


def test_clean_removes_all_also_what_is_read_only(copy):
    closed = copy / ".paddock" / "stacks" / "demo" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0o500)
    (copy / "core" / "__pycache__").mkdir(parents=True)
    done = run(copy, "clean.py")
    assert done.returncode == 0, done.stderr
    assert not (copy / ".paddock").exists()
    assert not (copy / "core" / "__pycache__").exists()
    assert run(copy, "clean.py").returncode == 0


def test_clean_waits_for_nobody_and_destroys_nothing_that_runs(copy):
    (copy / ".paddock").mkdir()
    holder = os.open(copy, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_SH)
    try:
        done = run(copy, "clean.py")
    finally:
        os.close(holder)
    assert done.returncode == 2
    assert "another make" in done.stderr
    assert Path(copy, ".paddock").exists()
