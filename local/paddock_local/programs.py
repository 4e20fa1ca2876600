"""How each program of a stack is started: its arguments and environment. No program is started here."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock_local import secret_files
from paddock_local.certificates import Certificates
from paddock_local.cri.files import read_json, write_json
from paddock_local.paths import StackPaths
from paddock_local.ports import Ports

# Set in every program of a stack, to find what was left behind.
STACK_VARIABLE = "PADDOCK_STACK_FOLDER"
PASSED_ON = ("OTEL_", "PADDOCK_CONTROLPLANE_", "PADDOCK_OPERATOR_", "PADDOCK_GATEWAY_")
POSTGRES_USER = "paddock"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Spec:
    """One program, see launch.py."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    namespace: str = "host"
    ignore_chown: bool = False


@dataclass(frozen=True)
class Context:
    """All that a program's arguments are made from."""

    paths: StackPaths
    ports: Ports
    kubernetes: Path | None
    certificates: Certificates
    postgres_bin: Path
    cri_messages: Path | None
    # Kubeconfig for the operator and the gateway; with --context the person's own.
    kubeconfigs: dict[str, str]
    # The folder with what plays GPU nodes, where some were asked for.
    simulation: Path | None = None

    @property
    def marker(self) -> str:
        """Names the mounts of this stack."""
        return f"paddock-{self.paths.digest}"

    def python(self, *arguments: str) -> list[str]:
        """A Python program in the checkout's environment."""
        return [str(self.paths.venv_bin / "python"), "-m", *arguments]

    def part(self, name: str, *flags: str) -> list[str]:
        """A Kubernetes program: one of five in a folder, or the first argument of the one binary."""
        assert self.kubernetes is not None  # noqa: S101 - found before any of these is rendered
        head = [str(self.kubernetes / name)] if self.kubernetes.is_dir() else [str(self.kubernetes), name]
        return [*head, *flags]

    @property
    def database_url(self) -> str:
        """SQLAlchemy's address of the stack's PostgreSQL."""
        password = secret_files.read(self.paths, "postgres-password")
        return f"postgresql+asyncpg://{POSTGRES_USER}:{password}@{HOST}:{self.ports['postgres']}/{POSTGRES_USER}"


def base_environment(paths: StackPaths) -> dict[str, str]:
    """What every program gets: little, and the same whoever starts the stack."""
    base = {"PATH": f"{paths.venv_bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    return base | {"HOME": str(Path.home()), "PYTHONUNBUFFERED": "1", STACK_VARIABLE: str(paths.root)}


def passed_on() -> dict[str, str]:
    """Variables of the person's shell that override a service's settings."""
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}


def source_digest(checkout: Path) -> str:
    """Changes with any Python source of the product."""
    text = hashlib.sha256()
    for file in sorted(checkout.glob("*/paddock_*/**/*.py")):
        text.update(f"{file}{file.stat().st_mtime_ns}".encode())
    return text.hexdigest()


def document(paths: StackPaths, spec: Spec, *, marker: str = "") -> dict[str, Any]:
    """What launch.py reads."""
    env = base_environment(paths) | spec.env | passed_on()
    return {
        "argv": spec.argv, "env": env, "cwd": str(paths.root),
        "namespace": spec.namespace, "ignore_chown": spec.ignore_chown, "marker": marker,
    }  # fmt: skip


def write(context: Context, part: str, spec: Spec) -> bool:
    """Write the spec file of a part. Returns whether an earlier one said otherwise."""
    value = document(context.paths, spec, marker=f"{context.marker}-node")
    if spec.argv[0].startswith(str(context.paths.venv_bin)):
        # Ours: a change of the sources is a reason to start it anew, like a change of its settings.
        value["source"] = source_digest(context.paths.checkout)
    before = read_json(context.paths.spec(part))
    write_json(context.paths.spec(part), value)
    return before is not None and before != value
