"""How the leader logs in to its workers: one key pair a deployment, an unprivileged port, nothing else.

The pods of a group hold the same key pair, from a Secret: it is the host key of each worker and what the leader logs in
with, so both sides know each other without anything that has to be collected first.
"""

import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paddock_serving.errors import EnvironmentNotReadyError

PRIVATE, PUBLIC = "id", "id.pub"
"""Keys of the Secret, as files in the folder where it is mounted."""
_HIDDEN_PREFIXES: Final = ("PADDOCK_SERVING_", "LWS_", "KUBERNETES_", "HOSTNAME", "HOME", "PWD", "SHLVL", "_")
"""Variables that the ranks of a worker do not need, or that are the session's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The pair, copied to where it belongs to this user alone, as OpenSSH demands."""

    private: Path
    public: str
    folder: Path


def take_keys(*, source: Path, scratch: Path) -> Keys:
    """Copy the pair. Raises EnvironmentNotReadyError if it is not there."""
    folder = scratch / "ssh"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = folder / PRIVATE
        private.unlink(missing_ok=True)
        private.touch(mode=0o600)
        private.write_bytes((source / PRIVATE).read_bytes())
        kind, key = (source / PUBLIC).read_text(encoding="ascii").split()[:2]
    except (OSError, ValueError) as error:
        raise EnvironmentNotReadyError(
            f"{source} does not hold the group's key pair ({error}): the operator mounts it there; check the pod's "
            "volume"
        ) from error
    return Keys(private=private, public=f"{kind} {key}", folder=folder)


def own_name() -> str:
    """Name of this process's user. Raises EnvironmentNotReadyError where it has none: SSH knows users by name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise EnvironmentNotReadyError(
            f"user {os.getuid()} has no name in /etc/passwd of this image: build it with serving/images/"
        ) from error


def write_client(keys: Keys, *, port: int) -> Path:
    """The leader's configuration of ssh: this key, these hosts, no questions."""
    known = keys.folder / "known_hosts"
    known.write_text(f"* {keys.public}\n", encoding="ascii")
    lines = {
        "Port": str(port),
        "User": own_name(),
        "IdentityFile": str(keys.private),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": os.devnull,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": "20",
        "ConnectionAttempts": "3",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
    }
    return _write(keys.folder / "config", lines)


def write_server(keys: Keys, *, address: str, port: int, environment: Mapping[str, str]) -> Path:
    """A worker's configuration of sshd. Sessions get the container's own environment, which sshd clears otherwise."""
    authorized = keys.folder / "authorized_keys"
    authorized.write_text(f"restrict {keys.public}\n", encoding="ascii")
    lines = {
        "Port": str(port),
        "ListenAddress": address,
        "HostKey": str(keys.private),
        "AuthorizedKeysFile": str(authorized),
        "AllowUsers": own_name(),
        "AuthenticationMethods": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "DisableForwarding": "yes",
        "PermitTTY": "no",
        "PermitUserRC": "no",
        "PermitUserEnvironment": "no",
        # The folder is this pod's own; that a volume's root may be open to its group would be refused otherwise.
        "StrictModes": "no",
        "PidFile": "none",
        "PrintMotd": "no",
        "LoginGraceTime": "20",
        "ClientAliveInterval": "15",
        "ClientAliveCountMax": "4",
    }
    passed = [f'"{name}={value}"' for name, value in sorted(environment.items()) if _passes(name, value)]
    if passed:
        lines["SetEnv"] = " ".join(passed)
    return _write(keys.folder / "sshd_config", lines)


def find_sshd(*, path: str) -> Path:
    """The server; sshd starts itself again and wants its absolute path. Raises EnvironmentNotReadyError."""
    found = shutil.which("sshd", path=os.pathsep.join([path, "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        raise EnvironmentNotReadyError("no sshd in this image: install openssh-server (serving/images/ does)")
    return Path(found).resolve()


def _passes(name: str, value: str) -> bool:
    return not name.startswith(_HIDDEN_PREFIXES) and name.isidentifier() and not set(value) & set('"\\\n\r#')


def _write(path: Path, lines: Mapping[str, str]) -> Path:
    path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()), encoding="utf-8")
    return path
