"""Kubernetes' programs: those of PADDOCK_KUBERNETES_BIN, else the ones built before, else built now from Go modules."""

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from paddock_local import gobuild, golang
from paddock_local.cri import proto
from paddock_local.errors import BuildError
from paddock_local.progress import Progress, remaining

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PROTO = Path("pkg", "apis", "runtime", "v1", "api.proto")
VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Built:
    """The one binary or the folder of five, and the generated messages of its CRI."""

    programs: Path
    cri_messages: Path


def kubernetes_version(module: Path) -> str:
    """`v1.36.3`, from go.mod."""
    match = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (module / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise BuildError(f"{module / 'go.mod'} does not require k8s.io/kubernetes: restore it with git")
    return match.group(1)


def build_flags(version: str) -> list[str]:
    """How the binary is linked. Without a version the server's own is one that kubectl cannot parse."""
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {
        "gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean",
        "gitCommit": "0" * 40, "buildDate": "1970-01-01T00:00:00Z",
    }  # fmt: skip
    stamps = [f"-X {VERSION_PACKAGE}.{name}={value}" for name, value in values.items()]
    return ["-trimpath", "-ldflags", " ".join(["-s", "-w", *stamps])]


def digest(module: Path) -> str:
    """Names a build: the same inputs give the same binary."""
    files = [*module.glob("*.go"), module / "go.mod", module / "go.sum"]
    return gobuild.digest(files, flags=build_flags(kubernetes_version(module)))


def cache_folder(module: Path) -> Path:
    """Where this build is kept between checkouts."""
    return gobuild.cache_folder("kubernetes", digest(module))


def version_in(folder: Path, part: str) -> str | None:
    """`1.36` of a program in a folder, None when it is not there."""
    program = folder / part
    if not program.is_file():
        return None
    out = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    match = re.search(r"v?(\d+\.\d+)\.\d+", out)
    return match.group(1) if match else None


def given_folder(folder: Path, module: Path) -> Path:
    """The folder of PADDOCK_KUBERNETES_BIN when it holds all five programs of one minor version.

    Raises BuildError that says what is wrong with it: a person who set it means it.
    """
    versions = {part: version_in(folder, part) for part in PARTS}
    absent = [part for part, version in versions.items() if version is None]
    if absent:
        raise BuildError(
            f"PADDOCK_KUBERNETES_BIN={folder} lacks {', '.join(absent)}: complete it, or unset it to build them"
        )
    minors = {version for part, version in versions.items() if part != "etcd"}
    wanted = ".".join(kubernetes_version(module).removeprefix("v").split(".")[:2])
    if minors != {wanted}:
        found = ", ".join(sorted(str(version) for version in minors))
        raise BuildError(
            f"PADDOCK_KUBERNETES_BIN={folder} holds Kubernetes {found}, wanted {wanted}: replace it, or unset it"
        )
    return folder


def ensure(checkout: Path, *, given: Path | None, progress: Progress) -> Built:
    """Find or build everything. The first build takes minutes; later ones find it in the cache."""
    module = checkout / golang.MODULE
    cache = cache_folder(module)
    cache.mkdir(parents=True, exist_ok=True)
    _ensure_proto(checkout, cache, progress)
    if given is not None:
        programs = given_folder(given, module)
    else:
        programs = cache / "kubernetes"
        if not programs.is_file():
            _build(checkout, programs, progress)
    messages = checkout / ".paddock" / "build" / "cri" / digest(module)
    if not (messages / f"{proto.MODULE}.py").is_file():
        with progress.step("generating the container runtime's messages"):
            proto.generate(cache / PROTO.name, messages)
    return Built(programs=programs, cri_messages=messages)


def _ensure_proto(checkout: Path, cache: Path, progress: Progress) -> None:
    target = cache / PROTO.name
    if target.is_file():
        return
    module = checkout / golang.MODULE
    go = golang.find(checkout, progress)
    env = golang.environment(go)
    with progress.step("fetching the definition of the container runtime interface"):
        folder = gobuild.source_folder(go, "k8s.io/cri-api", module=module, env=env)
        part = target.with_suffix(".part")
        shutil.copyfile(folder / PROTO, part)
        part.replace(target)


def _build(checkout: Path, target: Path, progress: Progress) -> None:
    module = checkout / golang.MODULE
    go = golang.find(checkout, progress)
    env = golang.environment(go)
    version = kubernetes_version(module)
    with progress.step(f"fetching the sources of Kubernetes {version} (about 1 GB unpacked, once)") as update:
        # Listing what is linked downloads just that; `go mod download` would fetch every module's tests too.
        query = [str(go), "list", "-deps", "."]
        listed = gobuild.follow(query, module=module, env=env, report=lambda count: update(f"{count} modules"))
    total = len(listed.split())
    part = target.with_name(f"kubernetes.{os.getpid()}.part")
    try:
        with progress.step(f"building Kubernetes {version} (4 to 8 minutes on 2 cores, once)") as update:
            started = time.monotonic()
            command = [str(go), "build", "-v", "-buildvcs=false", *build_flags(version), "-o", str(part), "."]
            gobuild.follow(
                command, module=module, env=env,
                report=lambda count: update(f"package {remaining(started, count, total)}"),
            )  # fmt: skip
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
