"""Nobody reads the logs of gateway and control plane any more: their pipes are full, and both have much to say."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from faults import database
from faults.beside import Beside
from faults.client import Load
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "log pipes of gateway and control plane full and unread, {size} outages to be logged"
SHORT, FULL = 1, 5
TOKENS = 3
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'paddock-controlplane'"
LINE = b'{"event":"an earlier line"}\n'


def play(scene: Scene, size: int) -> Verdict:
    """Whatever goes wrong meanwhile, requests are served, and both processes end when they are told to."""
    with (
        unread() as pipe,
        scene.beside("controlplane", "unread-source", log=pipe) as source,
        scene.beside("gateway", "unread", log=pipe, CONTROLPLANE_URL=source.url) as gateway,
    ):
        mark = scene.since()
        with scene.load(url=gateway.url, tokens=TOKENS) as load:
            scene.until("an answer", lambda: load.log.answers or None)
            fill(pipe)
            for _ in range(size):
                outage(scene, source, load)
        assert not load.log.refusals, f"refused: {load.log.codes()}"
        verdict = mark.verdict(load.log, tokens=TOKENS)
        began = time.monotonic()
        gateway.stop()
        source.stop()
        assert time.monotonic() - began < 60, "they did not end"
        return verdict


def outage(scene: Scene, source: Beside, load: Load) -> None:
    """The control plane goes, comes, and loses its database for a moment: there is something to log on both sides."""
    source.stop()
    asked = time.monotonic()
    scene.until("service without the control plane", lambda: load.log.served(since=asked) or None)
    source.start()
    database.ask(scene.stack, CUT)
    again = time.monotonic()
    scene.until("service with it", lambda: load.log.served(since=again) or None)


@contextlib.contextmanager
def unread() -> Iterator[int]:
    """The writing end of a pipe whose other end nobody reads."""
    reading, writing = os.pipe()
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


def fill(pipe: int) -> None:
    """Until not one byte more goes in. What is done to our end of the pipe is done to theirs, so it is undone."""
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.write(pipe, LINE):
            pass
    with contextlib.suppress(BlockingIOError):
        while os.write(pipe, b" "):
            pass
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags)
