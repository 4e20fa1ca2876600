"""A journal that was shipped is shipped again, on the same day and on the next one."""

import shutil
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.beside import Beside
from faults.books import Since
from faults.client import Log
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "a killed gateway's journal of {size} answers shipped three times, at last on the next day"
SHORT, FULL = 5, 100
TOKENS = 3
DAY = 86_400.0
DUPLICATES = "paddock_ledger_duplicates_total"


def play(scene: Scene, size: int) -> Verdict:
    """Kept from the control plane, killed and copied; then the copy is shipped again as if nothing had been."""
    with (
        scene.clock() as clock,
        scene.beside("controlplane", "replay-source", clock=clock) as source,
        scene.beside("gateway", "replayed", clock=clock, CONTROLPLANE_URL=source.url) as gateway,
        TemporaryDirectory() as folder,
    ):
        mark = scene.since()
        journal, copy = scene.stack.paths.folder("journal") / "replayed", Path(folder) / "copy"
        log = fill(scene, gateway, source, size=size)
        shutil.copytree(journal, copy)
        source.start()
        known: list[float] = []
        for off in (0.0, 0.0, DAY):
            clock.set(wall=off)
            shutil.rmtree(journal)
            shutil.copytree(copy, journal)
            known.append(shipped(scene, gateway, source, mark, log))
        assert min(known[1:]) >= len(log.answers), f"the ledger was to see them again: {known}"
        note = f"{known[1]:.0f} records were there already the second time, {known[2]:.0f} a day later"
        return mark.verdict(log, tokens=TOKENS, note=note)


def fill(scene: Scene, gateway: Beside, source: Beside, *, size: int) -> Log:
    """Answers whose records nobody takes, and then an end in the middle of others."""
    with scene.load(url=gateway.url, tokens=TOKENS) as load:
        scene.until("an answer", lambda: load.log.answers or None)
        source.stop()
        scene.until("enough answers", lambda: len(load.log.answers) >= size or None, seconds=1800)
        gateway.stop(signal.SIGKILL)
    return load.log


def shipped(scene: Scene, gateway: Beside, source: Beside, mark: Since, log: Log) -> float:
    """Start the gateway on its journal; how many records the control plane knew, once all of them were sent."""
    before = source.metric(DUPLICATES)
    gateway.start()
    wanted = {answer.id for answer in log.answers}

    def done() -> bool | None:
        sent = gateway.metric("paddock_gateway_records_shipped") >= len(wanted)
        ended = gateway.metric("paddock_gateway_requests_open") == 0
        return True if sent and ended and wanted <= {row["usage_id"] for row in mark.rows()} else None

    scene.until("the journal to be shipped", done)
    gateway.stop()
    return source.metric(DUPLICATES) - before
