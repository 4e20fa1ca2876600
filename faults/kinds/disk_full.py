"""The volume of the gateway's journal fills up: new work is refused before a frame is lost, and taken again later."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from faults.client import Load
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "the journal's disk full under load, {size} times"
SHORT, FULL = 1, 3
DISK_BYTES = 4 * 1024 * 1024
SEGMENT_BYTES = 256 * 1024
TOKENS = 2
CLIENTS = 6
FULL_SECONDS = 2.0


def play(scene: Scene, size: int) -> Verdict:
    """`size` times full: 503 JournalFull and nothing else, until there is room."""
    journal = scene.stack.paths.folder("journal") / "small"
    with scene.beside(
        "gateway", "small", disk_bytes=DISK_BYTES, JOURNAL_DIR=str(journal), JOURNAL_SEGMENT_BYTES=str(SEGMENT_BYTES)
    ) as gateway:
        mark = scene.since()
        with scene.load(url=gateway.url, clients=CLIENTS, tokens=TOKENS) as load:
            for _ in range(size):
                scene.until("an answer", lambda: load.log.answers or None)
                with filled(gateway.seen(str(journal))):
                    refused(scene, load)
                asked = time.monotonic()
                scene.until("service", lambda: load.log.served(since=asked) or None)  # noqa: B023
        assert load.log.codes() == {"JournalFull"}, load.log.codes()
        assert gateway.metric("paddock_gateway_journal_failures") == 0
        return mark.verdict(load.log, tokens=TOKENS, note=f"{len(load.log.refusals)} refused with 503 JournalFull")


def refused(scene: Scene, load: Load) -> None:
    """Wait until nothing is served any more, and stay so for a while."""
    scene.until("a refusal", lambda: load.log.refusals or None)

    def shut() -> bool | None:
        asked = time.monotonic()
        time.sleep(FULL_SECONDS)
        return True if load.log.codes(since=asked) and not load.log.served(since=asked) else None

    scene.until("refusals alone", shut)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Whatever becomes free on the folder's volume is taken, until the block ends."""
    over, filler = threading.Event(), folder / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            while not over.wait(0.02):
                with contextlib.suppress(OSError):
                    while file.write(bytes(4096)):
                        pass

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        filler.unlink()
