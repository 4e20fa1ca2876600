"""Kubernetes' programs: those of PADDOCK_KUBERNETES_BIN, else the ones built before, else built now from Go modules."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paddock_local import golang
from paddock_local.cri import proto
from paddock_local.errors import BuildError
from paddock_local.progress import Progress, remaining

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PROTO = Path("pkg", "apis", "runtime", "v1", "api.proto")
ERROR_TAIL = 1500
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
    text = hashlib.sha256()
    for file in sorted([*module.glob("*.go"), module / "go.mod", module / "go.sum"]):
        text.update(f"{file.name}\0".encode() + file.read_bytes())
    text.update(f"{build_flags(kubernetes_version(module))}{os.uname().machine}".encode())
    return text.hexdigest()[:24]


def cache_folder(module: Path) -> Path:
    """Where this build is kept between checkouts."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "paddock" / "kubernetes" / digest(module)


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


def _run(command: list[str], *, module: Path, env: dict[str, str], what: str) -> str:
    done = subprocess.run(command, cwd=module, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{what} failed; the last it said: {done.stderr[-ERROR_TAIL:]}")
    return done.stdout


def _ensure_proto(checkout: Path, cache: Path, progress: Progress) -> None:
    target = cache / PROTO.name
    if target.is_file():
        return
    module = checkout / golang.MODULE
    go = golang.find(checkout, progress)
    env = golang.environment(go)
    with progress.step("fetching the definition of the container runtime interface"):
        _run([str(go), "mod", "download", "k8s.io/cri-api"], module=module, env=env, what="fetching k8s.io/cri-api")
        query = [str(go), "list", "-m", "-f", "{{.Dir}}", "k8s.io/cri-api"]
        folder = _run(query, module=module, env=env, what="looking up k8s.io/cri-api")
        part = target.with_suffix(".part")
        shutil.copyfile(Path(folder.strip()) / PROTO, part)
        part.replace(target)


def _build(checkout: Path, target: Path, progress: Progress) -> None:
    module = checkout / golang.MODULE
    go = golang.find(checkout, progress)
    env = golang.environment(go)
    version = kubernetes_version(module)
    with progress.step(f"fetching the sources of Kubernetes {version} (about 1 GB unpacked, once)") as update:
        # Listing what is linked downloads just that; `go mod download` would fetch every module's tests too.
        listed = _follow([str(go), "list", "-deps", "."], module, env, lambda count: update(f"{count} modules"))
    total = len(listed.split())
    part = target.with_name(f"kubernetes.{os.getpid()}.part")
    try:
        with progress.step(f"building Kubernetes {version} (4 to 8 minutes on 2 cores, once)") as update:
            started = time.monotonic()
            command = [str(go), "build", "-v", "-buildvcs=false", *build_flags(version), "-o", str(part), "."]
            _follow(command, module, env, lambda count: update(f"package {remaining(started, count, total)}"))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _follow(command: list[str], module: Path, env: dict[str, str], report: Callable[[int], None]) -> str:
    """Output of a command that writes a line to standard error per unit of work, reported as it comes."""
    # A file, since a full pipe that nobody reads would stop the command.
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(
            command, cwd=module, env=env, stdout=output, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None  # noqa: S101 - asked for with PIPE
            tail: list[str] = []
            for count, line in enumerate(process.stderr, start=1):
                tail = [*tail[-20:], line]
                report(count)
        if process.returncode != 0:
            raise BuildError(f"`go {command[1]}` failed; the last it said: {''.join(tail)[-ERROR_TAIL:]}")
        output.seek(0)
        return output.read()
