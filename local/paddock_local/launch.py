"""Start one program of the stack as its spec file says: `python -m paddock_local.launch SPEC`.

The spec is JSON: {"argv": [...], "env": {...}, "cwd": "...", "namespace": "host" | "plain-user" | "node"}.
A file rather than a command line of the supervisor, so that nothing needs quoting and no variable of the
person's shell leaks into a part.
"""

import json
import os
import sys
import time
from pathlib import Path

from paddock_local import namespaces, seccomp

NODE_PATIENCE_S = 30.0
# Any id but 0: PostgreSQL refuses to run as root.
PLAIN_USER = 1000
# EX_TEMPFAIL of sysexits.h: the program was not started, and the same may work a moment later.
TRY_AGAIN = 75


def join_node(marker: str) -> None:
    """Enter the namespaces that the node's holder keeps, waiting for it a while."""
    deadline = time.monotonic() + NODE_PATIENCE_S
    while time.monotonic() < deadline:
        for pid in namespaces.with_mount(marker):
            namespaces.join(pid, "user", "mnt")
            return
        time.sleep(0.1)
    raise SystemExit(
        f"the node's namespace did not appear within {NODE_PATIENCE_S:.0f} s: see `paddock local logs node`"
    )


def become_plain_user() -> None:
    """A namespace in which we are not root. Where the machine gives none just now, as when it counts others that are
    still being taken down, the process ends with TRY_AGAIN: one that is half inside cannot try again itself."""
    try:
        namespaces.enter_user_namespace(uid=PLAIN_USER, gid=PLAIN_USER, mounts=False)
    except OSError as error:
        sys.stderr.write(f"no user namespace for a program that refuses to run as root: {error}\n")
        raise SystemExit(TRY_AGAIN) from None


def main() -> None:
    """Enter the namespace, then become the program."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if spec["namespace"] == "plain-user" and os.geteuid() == 0:
        become_plain_user()
    elif spec["namespace"] == "node":
        join_node(spec["marker"])
    if spec["ignore_chown"]:
        seccomp.ignore_chown()
    os.chdir(spec["cwd"])
    os.umask(0o077)
    os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
