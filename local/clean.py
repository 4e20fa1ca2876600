"""Remove what the make targets left: `python3 local/clean.py`. Stops every stack first. Standard library only."""
# ruff: noqa: ANN001, ANN201, PTH100, PTH101, PTH110, PTH112, PTH114, PTH118, PTH120
# Any Python 3 must be able to read this file, so that it can say what is missing.

import fcntl
import os
import shutil
import stat
import subprocess
import sys

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Where Python keeps compiled copies beside the sources.
SOURCES = ("core", "operator", "controlplane", "gateway", "serving", "cli", "local", "tests", "e2e", "bench")
HOME = os.path.join(CHECKOUT, ".paddock")
PADDOCK = os.path.join(HOME, "venv", "bin", "paddock")
REFUSED = 2


def writable(function, path, _):
    """Try again after opening the folder: PostgreSQL and caches make read-only ones."""
    os.chmod(os.path.dirname(path), stat.S_IRWXU)
    if not os.path.islink(path):
        os.chmod(path, stat.S_IRWXU)
    if os.path.isdir(path) and function is not os.rmdir:
        # It could not even be listed.
        shutil.rmtree(path)
    else:
        function(path)


def main():
    """Stop, then remove."""
    if not os.path.isdir(HOME):
        return 0
    lock = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("error: another make runs in this checkout: wait for it to finish, then `make clean` again\n")
        return REFUSED
    if os.path.isdir(os.path.join(HOME, "stacks")) and os.path.exists(PADDOCK):
        done = subprocess.run([PADDOCK, "local", "down", "--all"], check=False)
        if done.returncode != 0:
            sys.stderr.write("error: a stack could not be stopped, so nothing was removed: see above\n")
            return done.returncode
    shutil.rmtree(HOME, onerror=writable)
    for source in SOURCES:
        for folder, names, _ in os.walk(os.path.join(CHECKOUT, source)):
            if "__pycache__" in names:
                names.remove("__pycache__")
                shutil.rmtree(os.path.join(folder, "__pycache__"), onerror=writable)
    return 0


if __name__ == "__main__":
    sys.exit(main())
