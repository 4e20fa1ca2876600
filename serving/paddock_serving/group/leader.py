"""The leader: waits for its workers, starts every rank over MPI, and lets Triton drain when it is asked to stop.

It stays beside mpirun instead of becoming it: mpirun would answer a request to stop by ending all ranks at once, and
what runs could not be finished without them. So Triton is asked first, and mpirun follows when Triton has gone.
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from paddock_serving.errors import EnvironmentNotReadyError, ServingError
from paddock_serving.group import rank, ssh
from paddock_serving.group.layout import MPIRUN, Group, mpirun_argv
from paddock_serving.group.processes import POLL_SECONDS, Termination, alive, bury, end
from paddock_serving.settings import GroupSettings

log = logging.getLogger(__name__)

_AFTER_SECONDS: Final = 20.0
"""What the other ranks get to end by themselves when rank 0 has gone."""
_RETRY_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 5.0
_MISSES: Final = 3
_BANNER: Final = b"SSH-"


class WorkerJoinTimeoutError(ServingError):
    """Workers of the group could not be reached in time."""


class GroupFailedError(ServingError):
    """The ranks ended although nobody asked them to."""


def lead(*, settings: GroupSettings, argv: list[str], environment: Mapping[str, str]) -> None:
    """Run the group with `argv` as rank 0's command, until asked to stop.

    Raises WorkerJoinTimeoutError, GroupFailedError, or EnvironmentNotReadyError where keys or mpirun are missing.
    """
    termination = Termination()
    group = Group(leader=settings.leader, size=settings.size, gpus_per_pod=settings.gpus_per_pod)
    if shutil.which(MPIRUN, path=environment.get("PATH", os.defpath)) is None:
        raise EnvironmentNotReadyError("no mpirun in this image: a group needs one with TensorRT-LLM in it")
    keys = ssh.take_keys(source=settings.group_keys, scratch=settings.scratch_dir)
    file = rank.write_command(settings.scratch_dir / "rank", argv)
    command = [sys.executable, "-m", rank.__name__, str(file)]
    config = ssh.write_client(keys, port=settings.group_port)
    started = mpirun_argv(group=group, ssh_config=config, command=command)
    if not wait_for(group.workers, settings=settings, termination=termination):
        return
    log.info("starting the ranks", extra={"hosts": group.hosts, "ranks": group.ranks})
    process = subprocess.Popen(started, env=dict(environment), stdin=subprocess.DEVNULL, stdout=sys.stderr)
    watch = Watch(group.workers, port=settings.group_port)
    _accompany(process, file, watch, termination)


def wait_for(workers: tuple[str, ...], *, settings: GroupSettings, termination: Termination) -> bool:
    """Wait until every worker lets us in; false if asked to stop meanwhile. Raises WorkerJoinTimeoutError."""
    missing = list(workers)
    until = time.monotonic() + settings.group_join_seconds
    log.info("waiting for the workers", extra={"hosts": workers})
    while not termination.asked:
        missing = [host for host in missing if not _answers(host, settings.group_port)]
        if not missing:
            return True
        if time.monotonic() >= until:
            raise WorkerJoinTimeoutError(
                f"{len(missing)} of {len(workers)} workers did not join within {settings.group_join_seconds} s: "
                f"{', '.join(missing)}; look whether their pods were scheduled (kubectl describe pod)"
            )
        time.sleep(_RETRY_SECONDS)
    return False


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2.0) as connection:
            return connection.recv(len(_BANNER)) == _BANNER
    except OSError:
        return False


def _accompany(process: subprocess.Popen[bytes], file: Path, watch: "Watch", termination: Termination) -> None:
    """Until all ranks have ended: pass the request to stop on to Triton, end the others when it has gone."""
    triton: int | None = None
    drained = False
    gone_at: float | None = None
    while process.poll() is None and watch.lost is None:
        bury(spare=process)
        triton = triton or rank.read_pid(file)
        if termination.asked and not drained:
            drained = True
            if triton is None:
                break
            log.info("asked to stop: Triton finishes what runs")
            _signal(triton, signal.SIGTERM)
        if triton is not None and not alive(triton):
            gone_at = gone_at or time.monotonic()
            if time.monotonic() - gone_at >= _AFTER_SECONDS:
                break
        time.sleep(POLL_SECONDS)
    end(process, within=_AFTER_SECONDS)
    if triton is not None:
        _signal(triton, signal.SIGKILL)
    if not termination.asked:
        ended = f"mpirun ended with {process.returncode}" if watch.lost is None else f"{watch.lost} is gone"
        raise GroupFailedError(f"{ended}: all ranks go, and the group is made anew; the lines above say more")


class Watch:
    """Asks every worker now and then whether it is there: mpirun does not always notice that one is gone."""

    def __init__(self, workers: tuple[str, ...], *, port: int) -> None:
        self.lost: str | None = None
        self._workers = workers
        self._port = port
        self._missed = dict.fromkeys(workers, 0)
        threading.Thread(target=self._run, name="watch-workers", daemon=True).start()

    def _run(self) -> None:
        while self.lost is None:
            time.sleep(_WATCH_SECONDS)
            for host in self._workers:
                self._missed[host] = 0 if _answers(host, self._port) else self._missed[host] + 1
                if self._missed[host] >= _MISSES:
                    self.lost = host


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
