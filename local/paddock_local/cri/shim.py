"""The keeper of one container: `python -m paddock_local.cri.shim FOLDER`, FOLDER holding `spec.json`.

It builds the container's root, starts its process, writes its log and, when it ends, `exit.json`. It
outlives the runtime. The first line on its standard output is {"pid": N} or {"error": "..."}; after that it
is alone with its container. Standard library only.
"""

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from paddock_local import namespaces
from paddock_local.cri import rootfs, tree
from paddock_local.cri.files import read_json, write_json
from paddock_local.cri.logs import LineSplitter, LogFile

READ_SIZE = 64 * 1024
# How long descendants that hold the output open may still write after the container's process ended and
# they were killed.
DRAIN_S = 1.0
CANNOT_START = 128


def enter_container(spec: dict[str, Any]) -> None:
    """Turn this process into one that sees only the container."""
    namespaces.unshare(namespaces.CLONE_NEWNS)
    namespaces.make_private()
    plan = spec["root"] | {"mounts": [rootfs.Mount(**mount) for mount in spec["root"]["mounts"]]}
    os.chroot(rootfs.build(rootfs.RootPlan(**plan)))
    os.chdir(spec["cwd"])
    namespaces.drop_privileges()


def run_container(spec: dict[str, Any], output: int, errors: int, status: int) -> NoReturn:
    """The child: become the container's process, or tell through `status` why not."""
    try:
        namespaces.die_with_parent(signal.SIGKILL)
        os.setsid()
        enter_container(spec)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.umask(0o022)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is wanted
    except BaseException as problem:  # noqa: BLE001 - whatever it is, the parent must hear of it
        os.write(status, f"{spec['argv'][0]}: {problem}".encode())
    os._exit(CANNOT_START)


class Shim:
    """The parent: copies output to the log until the container ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec = read_json(folder / "spec.json")
        self._log = LogFile(Path(self._spec["log"]))
        self._selector = selectors.DefaultSelector()
        self._splitters: dict[int, LineSplitter] = {}
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        self._pid = 0
        self._namespace = ""
        self._code: int | None = None

    def start(self) -> str | None:
        """Start the container's process. Returns why it did not start."""
        output, output_end = os.pipe2(os.O_CLOEXEC)
        errors, errors_end = os.pipe2(os.O_CLOEXEC)
        status, status_end = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            run_container(self._spec, output_end, errors_end, status_end)
        for end in (output_end, errors_end, status_end):
            os.close(end)
        # Ends at exec, which closes the other end, or with the reason for which there was none.
        problem = os.read(status, READ_SIZE).decode(errors="replace")
        os.close(status)
        if problem:
            os.waitpid(self._pid, 0)
            return problem
        for file, stream in ((output, "stdout"), (errors, "stderr")):
            os.set_blocking(file, False)
            self._splitters[file] = LineSplitter(stream)
            self._selector.register(file, selectors.EVENT_READ)
        self._namespace = namespaces.namespace_of(self._pid, "mnt") or ""
        self._remember()
        return None

    def _remember(self) -> None:
        me = os.getpid()
        write_json(
            self._folder / "running.json",
            {
                "pid": self._pid,
                "shim": me,
                "shim_started": tree.start_time(me),
                "namespace": self._namespace,
                "started_at": time.time_ns(),
            },
        )

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    code = os.waitstatus_to_exitcode(status)
                    self._code = code if code >= 0 else 128 - code

    def _copy(self, file: int) -> None:
        try:
            data = os.read(file, READ_SIZE)
        except BlockingIOError:
            return
        now = time.time_ns()
        splitter = self._splitters[file]
        if data:
            self._log.write(splitter.feed(data, now))
            return
        self._log.write(splitter.flush(now))
        self._selector.unregister(file)
        del self._splitters[file]

    def _turn(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if key.fd != self._wake:
                self._copy(key.fd)
                continue
            numbers = os.read(self._wake, READ_SIZE)
            if signal.SIGHUP in numbers:
                self._log.reopen()
            if signal.SIGCHLD in numbers:
                self._reap()

    def watch(self) -> None:
        """Until the container ended and its output is in the log."""
        # The process may have ended before the handler of SIGCHLD could see it.
        self._reap()
        while self._code is None:
            self._turn(None)
        finished = time.time_ns()
        if self._namespace:
            tree.kill_all(self._namespace)
        deadline = time.monotonic() + DRAIN_S
        while self._splitters and time.monotonic() < deadline:
            self._turn(0.05)
        for splitter in self._splitters.values():
            self._log.write(splitter.flush(time.time_ns()))
        self._log.close()
        write_json(self._folder / "exit.json", {"code": self._code, "finished_at": finished})


def main() -> None:
    """Run one container to its end."""
    namespaces.adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    shim = Shim(Path(sys.argv[1]))
    problem = shim.start()
    answer = json.dumps({"error": problem} if problem else {"pid": os.getpid()}) + "\n"
    # The runtime may be gone already; then the next one finds running.json.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, answer.encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    if not problem:
        shim.watch()


if __name__ == "__main__":
    main()
