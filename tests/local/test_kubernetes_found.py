import json

import pytest
from paddock_local import golang, kubectl, kubernetes
from paddock_local.errors import BuildError
from paddock_local.paths import StackPaths, find_checkout

MODULE = find_checkout() / golang.MODULE


def program(folder, name, says):
    file = folder / name
    file.write_text(f"#!/bin/sh\ncat <<'E'\n{says}\nE\n")
    file.chmod(0o755)


def test_a_version_is_linked_in_that_kubectl_can_read():
    flags = kubernetes.build_flags("v1.36.3")[-1]
    assert "version.gitVersion=v1.36.3" in flags
    assert "version.gitMajor=1 " in flags
    assert "version.gitMinor=36 " in flags


def test_the_module_names_its_versions():
    assert kubernetes.kubernetes_version(MODULE).startswith("v1.")
    assert golang.wanted_version(find_checkout()) >= (1, 20)


def test_a_change_of_the_module_is_another_build(tmp_path):
    for name in ("go.mod", "go.sum", "main.go"):
        (tmp_path / name).write_bytes((MODULE / name).read_bytes())
    before = kubernetes.digest(tmp_path)
    assert before == kubernetes.digest(MODULE)
    (tmp_path / "main.go").write_text("package main")
    assert kubernetes.digest(tmp_path) != before


def test_a_folder_with_all_five_of_one_version_is_used(tmp_path):
    minor = ".".join(kubernetes.kubernetes_version(MODULE).removeprefix("v").split(".")[:2])
    program(tmp_path, "etcd", "etcd Version: 3.6.8")
    for part in kubernetes.PARTS[1:]:
        program(tmp_path, part, f"Kubernetes v{minor}.0")
    assert kubernetes.given_folder(tmp_path, MODULE) == tmp_path


def test_a_folder_that_lacks_some_is_refused_by_name(tmp_path):
    program(tmp_path, "etcd", "etcd Version: 3.6.8")
    with pytest.raises(BuildError, match="kubelet"):
        kubernetes.given_folder(tmp_path, MODULE)


def test_a_folder_of_mixed_versions_is_refused(tmp_path):
    program(tmp_path, "etcd", "etcd Version: 3.6.8")
    for minor, part in enumerate(kubernetes.PARTS[1:]):
        program(tmp_path, part, f"Kubernetes v1.{30 + minor}.0")
    with pytest.raises(BuildError, match=r"1\.30, 1\.31"):
        kubernetes.given_folder(tmp_path, MODULE)


@pytest.mark.parametrize(("minor", "fits"), [("34", False), ("35", True), ("36", True), ("37+", True), ("38", False)])
def test_a_kubectl_must_be_within_one_minor_version(tmp_path, monkeypatch, minor, fits):
    program(tmp_path, "kubectl", json.dumps({"clientVersion": {"minor": minor}}))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    paths = StackPaths(checkout=tmp_path / "empty", name="t")
    if fits:
        assert kubectl.find(paths, minor=36) == tmp_path / "kubectl"
    else:
        with pytest.raises(BuildError, match=r"between 1\.35 and 1\.37"):
            kubectl.find(paths, minor=36)
