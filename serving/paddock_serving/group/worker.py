"""A worker: an SSH server for its leader, which outlives the request to stop as long as the leader works in it.

All pods of a group are asked to stop at the same moment. The leader's Triton then finishes what runs, for which it
needs every rank; so a worker waits for the leader's sessions to end.
"""

import logging
import os
import subprocess
import sys
import time
from typing import Final

from paddock_serving.errors import ServingError
from paddock_serving.group import ssh
from paddock_serving.group.processes import POLL_SECONDS, Termination, bury, children, end
from paddock_serving.settings import WorkerSettings

log = logging.getLogger(__name__)

_END_SECONDS: Final = 5.0


class WorkerError(ServingError):
    """The SSH server of a worker ended by itself."""


def serve_worker(*, settings: WorkerSettings) -> None:
    """Run until asked to stop, and until the leader's sessions have ended then.

    Raises EnvironmentNotReadyError where keys or sshd are missing, WorkerError if sshd ends by itself.
    """
    termination = Termination()
    program = ssh.find_sshd(path=os.environ.get("PATH", os.defpath))
    keys = ssh.take_keys(source=settings.group_keys, scratch=settings.scratch_dir)
    file = ssh.write_server(keys, address=settings.bind, port=settings.group_port, environment=os.environ)
    server = subprocess.Popen([str(program), "-D", "-e", "-f", str(file)], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    log.info("waiting for the leader", extra={"address": settings.bind, "port": settings.group_port})
    try:
        _watch(server, termination, exit_timeout=settings.exit_timeout_seconds)
    finally:
        end(server, within=_END_SECONDS)


def _watch(server: subprocess.Popen[bytes], termination: Termination, *, exit_timeout: float) -> None:
    stop_at: float | None = None
    while server.poll() is None:
        bury(spare=server)
        if termination.asked and stop_at is None:
            stop_at = time.monotonic() + exit_timeout
            log.info("asked to stop", extra={"sessions": len(children(server.pid))})
        if stop_at is not None and (not children(server.pid) or time.monotonic() >= stop_at):
            return
        time.sleep(POLL_SECONDS)
    raise WorkerError(f"sshd ended with {server.returncode}: its last lines above say why")
