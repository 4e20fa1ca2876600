"""Rank 0 of a group becomes Triton: `python -m paddock_serving.group.rank FILE`.

The command line holds the deployment's secret, so it is not handed to mpirun, which would tell it to every pod: it
lies in a file that only this user reads. The process id is left beside it, so that the leader can ask Triton to drain.
"""

import json
import os
import sys
from pathlib import Path


def write_command(folder: Path, argv: list[str]) -> Path:
    """Leave the command; gives its file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "command.json"
    pid_file(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps(argv), encoding="utf-8")
    return file


def pid_file(file: Path) -> Path:
    """Where rank 0 leaves its process id."""
    return file.with_suffix(".pid")


def read_pid(file: Path) -> int | None:
    """Rank 0's process id, once it has started."""
    try:
        return int(pid_file(file).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def main() -> None:
    """Leave the process id and become the server."""
    file = Path(sys.argv[1])
    argv = json.loads(file.read_bytes())
    draft = file.with_suffix(".draft")
    draft.write_text(str(os.getpid()), encoding="ascii")
    draft.replace(pid_file(file))
    os.execv(argv[0], argv)  # noqa: S606 - becoming the server is the point; no shell is involved


if __name__ == "__main__":
    main()
