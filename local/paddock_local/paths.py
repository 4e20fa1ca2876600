"""Where everything of a stack lies: one folder below `.paddock/stacks/`, which `make clean` can remove whole."""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from paddock_local.errors import LocalError

# A Unix socket's path has room for 107 bytes; PostgreSQL's own name takes 20 of them.
SOCKET_ROOM = 80
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


def find_checkout() -> Path:
    """The checkout this package runs from.

    Raises LocalError when the package was installed without one: the stack needs the Go module, CRDs and examples.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "local" / "kubernetes" / "go.mod").is_file():
        raise LocalError("`paddock local` runs from a checkout of Paddock: clone it and run `make demo` there")
    return checkout


@dataclass(frozen=True)
class StackPaths:
    """Folders and files of the stack `name` of the checkout `checkout`."""

    checkout: Path
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise LocalError(f"stack name {self.name!r}: use 1 to 20 lower-case letters, digits and dashes")

    @property
    def home(self) -> Path:
        """The one ignored folder of the checkout."""
        return self.checkout / ".paddock"

    @property
    def venv_bin(self) -> Path:
        """Programs of the checkout's environment."""
        return self.home / "venv" / "bin"

    @property
    def stacks(self) -> Path:
        """The folder of all stacks: it holds secrets, containers never see it."""
        return self.home / "stacks"

    @property
    def root(self) -> Path:
        """The folder of this stack."""
        return self.stacks / self.name

    def folder(self, name: str) -> Path:
        """A folder of this stack by name: data, logs, pki, kubeconfig, secrets, etc, run, ..."""
        return self.root / name

    def log(self, part: str) -> Path:
        """Log file of a part."""
        return self.root / "logs" / f"{part}.log"

    def spec(self, part: str) -> Path:
        """The file that says how a part is started (see launch.py)."""
        return self.root / "etc" / "programs" / f"{part}.json"

    def kubeconfig(self, user: str) -> Path:
        """Kubeconfig of a user."""
        return self.root / "kubeconfig" / f"{user}.yaml"

    def secret(self, name: str) -> Path:
        """File of a secret, mode 0600."""
        return self.root / "secrets" / name

    @cached_property
    def digest(self) -> str:
        """Short name of this very folder, to mark its mounts and short socket folder."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:12]

    @property
    def sockets(self) -> Path:
        """Folder for Unix sockets: in the stack, or a short one where the stack's path is too long for a socket."""
        inside = self.root / "run"
        if len(os.fsencode(inside)) <= SOCKET_ROOM:
            return inside
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"paddock-{self.digest}"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord listens."""
        return self.sockets / "supervisor.sock"

    @property
    def cri_socket(self) -> Path:
        """Where the container runtime listens."""
        return self.sockets / "cri.sock"

    def create(self) -> None:
        """Make the folders of this stack, closed to other users."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (
            "artifacts",
            "cache",
            "data",
            "etc/programs",
            "journal",
            "kubeconfig",
            "logs/pods",
            "pki",
            "secrets",
            "weights",
        ):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        if self.sockets.stat().st_uid != os.geteuid():
            raise LocalError(
                f"{self.sockets} belongs to another user: remove it, or set XDG_RUNTIME_DIR to a folder of yours"
            )
