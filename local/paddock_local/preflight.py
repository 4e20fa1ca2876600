"""What the machine must offer before a stack can start. Every refusal is one line that says what to do."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from paddock_local import namespaces
from paddock_local.errors import PreflightError
from paddock_local.paths import StackPaths
from paddock_local.ports import Ports

NEEDED_BYTES = 2 * 1024**3
TRY_NAMESPACE = (
    "from paddock_local import namespaces as n; n.enter_user_namespace(uid=0, gid=0, mounts=True); "
    "n.make_private(); n.tmpfs('/tmp', name='paddock-try')"
)
NO_NAMESPACES = (
    "this machine does not allow user namespaces ({why}), which the local node needs: on Ubuntu run "
    "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, in a container start it with "
    "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, or use a cluster of yours: "
    "`paddock local up --context NAME`"
)


def check_platform() -> None:
    """Linux on x86_64 or aarch64."""
    if not namespaces.supported():
        raise PreflightError(
            f"the local stack runs on Linux (x86_64, aarch64), not on {os.uname().sysname} {os.uname().machine}"
        )


def check_namespaces() -> None:
    """User namespaces, by trying one."""
    done = subprocess.run([sys.executable, "-c", TRY_NAMESPACE], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        raise PreflightError(NO_NAMESPACES.format(why=why))


def busy_ports(ports: Ports, listeners: Iterable[str]) -> dict[str, int]:
    """Those of `listeners` whose port is taken."""
    taken = {}
    for listener in listeners:
        port = ports[listener]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken[listener] = port
    return taken


def check_ports(ports: Ports, listeners: Iterable[str]) -> None:
    """The ports of `listeners` are free."""
    taken = busy_ports(ports, listeners)
    if taken:
        listed = ", ".join(f"{port} ({listener})" for listener, port in taken.items())
        raise PreflightError(
            f"in use by another program: port {listed}; end it, or set PADDOCK_PORT_BASE to another number"
        )


def check_disk(paths: StackPaths) -> None:
    """Room for the databases and logs."""
    folder = next(parent for parent in (paths.root, *paths.root.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise PreflightError(
            f"{folder} has {free / 1e9:.1f} GB free, the stack needs {NEEDED_BYTES / 1e9:.1f} GB: free some"
        )


def check_interpreter() -> None:
    """The shared library of this Python, which Triton's Python backend loads."""
    name, folder = sysconfig.get_config_var("INSTSONAME") or "", sysconfig.get_config_var("LIBDIR") or "/usr/lib"
    if ".so" in name and Path(folder, name).exists():
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise PreflightError(
        f"Triton's Python backend needs libpython{version}.so: run `sudo apt-get install libpython{version}`, "
        "then `make clean` and the same command again"
    )


def check(paths: StackPaths, ports: Ports, *, listeners: Iterable[str], with_namespaces: bool) -> None:
    """Everything, before the parts with these listeners start.

    Raises PreflightError with the first thing missing.
    """
    check_platform()
    if with_namespaces:
        check_namespaces()
    check_ports(ports, listeners)
    check_disk(paths)
