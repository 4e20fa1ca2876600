"""Two hosts on one machine: this one and a network namespace, each with its own address, names and user."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, UID = "paddock", 65532
LEADER, WORKER = "llama-0.llama-0.acme", "llama-0-1.llama-0.acme"
LAUNCHER = """#!/bin/sh
# Stands for TensorRT-LLM's launcher of the same name: rank 0 runs the command, the others stay until it has ended.
readlink /proc/self/ns/net > {folder}/rank-$OMPI_COMM_WORLD_RANK.namespace
echo "$NCCL_DEBUG" > {folder}/rank-$OMPI_COMM_WORLD_RANK.nccl
if [ "$OMPI_COMM_WORLD_RANK" = 0 ]; then "$@"; touch {folder}/ended; exit 0; fi
while [ ! -e {folder}/ended ]; do sleep 0.1; done
"""


def lacking() -> str | None:
    """What this machine lacks for real sessions between two hosts, or None."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    missing = [
        name for name in ("sshd", "ssh", "mpirun", "ip", "unshare", "setpriv") if not shutil.which(name, path=path)
    ]
    if missing:
        return f"needs {', '.join(missing)} (apt-get install openssh-server openmpi-bin iproute2)"
    if os.geteuid() != 0:
        return "needs root, to make a network namespace"
    made = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False)
    return None if made.returncode == 0 else "may make no network namespace here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The two of them. `folder` is seen by both."""

    folder: Path
    namespace: str
    addresses: tuple[str, str]

    def start(
        self, command: str, *, on_worker: bool, environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command of paddock-serving as the pods' user, with these variables and nothing else.

        The interpreter may lie where that user cannot read, so it may read everything here.
        """
        mounts = "".join(f"mount --bind {self.folder}/{name} /etc/{name}; " for name in ("hosts", "passwd"))
        reading = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"
        user = f"setpriv --reuid {UID} --regid {UID} --clear-groups {reading}"
        script = f"{mounts}exec {user} {sys.executable} -m paddock_serving.main {command}"
        inside = ["ip", "netns", "exec", self.namespace] if on_worker else []
        with log.open("ab") as output:
            return subprocess.Popen(
                [*inside, "unshare", "-m", "sh", "-c", script],
                env=dict(environment),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Make the second host and what both share; take it away afterwards."""
    number = os.getpid() % 250
    namespace, addresses = f"pdk{os.getpid()}", (f"198.18.{number}.1", f"198.18.{number}.2")
    ours, theirs = f"pa{os.getpid()}", f"pb{os.getpid()}"
    _write(folder, addresses)
    _ip("netns", "add", namespace)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", namespace)
        _ip("addr", "add", f"{addresses[0]}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        for words in (
            ("addr", "add", f"{addresses[1]}/30", "dev", theirs),
            ("link", "set", theirs, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", namespace, *words)
        yield Hosts(folder=folder, namespace=namespace, addresses=addresses)
    finally:
        _ip("netns", "del", namespace)


def _write(folder: Path, addresses: tuple[str, str]) -> None:
    hosts = f"127.0.0.1 localhost\n{addresses[0]} {LEADER} {os.uname().nodename}\n{addresses[1]} {WORKER}\n"
    (folder / "hosts").write_text(hosts, encoding="ascii")
    passwd = Path("/etc/passwd").read_text(encoding="utf-8")
    (folder / "passwd").write_text(f"{passwd}{USER}:x:{UID}:{UID}::{folder}:/bin/sh\n", encoding="utf-8")
    tools = folder / "tools"
    tools.mkdir()
    launcher = tools / "trtllm-llmapi-launch"
    launcher.write_text(LAUNCHER.format(folder=folder), encoding="ascii")
    launcher.chmod(0o755)
    keys = folder / "keys"
    keys.mkdir()
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(keys / "id")]
    subprocess.run(command, check=True)
    for path in (folder, tools, keys, keys / "id", keys / "id.pub"):
        os.chown(path, UID, UID)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
