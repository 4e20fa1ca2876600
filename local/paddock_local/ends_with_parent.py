"""Become a program that the kernel kills when its parent, whose id is PID, ends.

Usage: `python -m paddock_local.ends_with_parent PID PROGRAM ...`. A program rather than code between fork
and exec, which in a process with threads may hang.
"""

import os
import signal
import sys

from paddock_local import namespaces


def main() -> None:
    """Ask the kernel for it, then become the program."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    namespaces.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the parent ended before this program began")
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
