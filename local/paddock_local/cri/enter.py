"""Run a command in a running container.

`python -m paddock_local.cri.enter SPEC`, SPEC being JSON {pid, cwd, env, argv}.
"""

import json
import os
import signal
import sys

from paddock_local import namespaces

NOT_FOUND = 127


def main() -> None:
    """Join the container, then become the command."""
    spec = json.loads(sys.argv[1])
    namespaces.die_with_parent(signal.SIGKILL)
    root = os.open(f"/proc/{spec['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    namespaces.join(spec["pid"], "mnt")
    os.fchdir(root)
    os.chroot(".")
    os.chdir(spec["cwd"])
    namespaces.drop_privileges()
    try:
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is wanted
    except OSError as problem:
        sys.stderr.write(f"{spec['argv'][0]}: {problem.strerror}\n")
        raise SystemExit(NOT_FOUND) from None


if __name__ == "__main__":
    main()
