"""The volume of the gateway's journal is full: new work is refused before a frame is lost, and taken again later."""

import contextlib
import subprocess
import threading
import time

import httpx
from paddock_local.demo.cast import SERVED

from faults.beside import Beside
from faults.client import PROMPTS, Load
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "the journal's disk full under load, {size} times"
SHORT, FULL = 1, 3
SEGMENT_BYTES = 256 * 1024
SMALL = 300 * 1024
"""Room for one segment."""
LARGE = 4 * 1024 * 1024
TOKENS = 1
CLIENTS = 3
LEAVERS = 6
LEAVE_SECONDS = 0.3
FULL_SECONDS = 2.0
REFUSALS = {"JournalFull", "DeploymentNotReady"}
"""The engine of a machine that is too busy may miss its probe."""


def play(scene: Scene, size: int) -> Verdict:
    """`size` full disks: 503 JournalFull and nothing else, until there is room."""
    journal, mark, refused = str(scene.stack.paths.folder("journal") / "small"), scene.since(), 0
    loads: list[Load] = []
    for _ in range(size):
        with scene.beside(
            "gateway", "small", disk_bytes=SMALL, JOURNAL_DIR=journal, JOURNAL_SEGMENT_BYTES=str(SEGMENT_BYTES)
        ) as gateway:
            with scene.load(url=gateway.url, clients=CLIENTS, tokens=TOKENS) as load:
                loads.append(load)
                until_nothing_is_served(scene, load, gateway.url)
                enlarge(gateway, journal)
                asked = time.monotonic()
                scene.until("service", lambda: load.log.served(since=asked) or None)  # noqa: B023
            assert load.log.codes() <= REFUSALS, load.log.codes()
            assert gateway.metric("paddock_gateway_journal_failures") == 0
            refused += sum(refusal.code == "JournalFull" for refusal in load.log.refusals)
    first = loads[0].log
    first.answers += [answer for load in loads[1:] for answer in load.log.answers]
    return mark.verdict(first, tokens=TOKENS, note=f"{refused} requests refused with 503 JournalFull")


def until_nothing_is_served(scene: Scene, load: Load, url: str) -> None:
    """Wait until all that is answered are refusals. Clients that leave fill the journal without keeping the engine."""
    leavers = [threading.Thread(target=leave, args=(scene, load, url), daemon=True) for _ in range(LEAVERS)]
    for leaver in leavers:
        leaver.start()
    scene.until("a refusal", lambda: "JournalFull" in load.log.codes() or None, seconds=600)
    for leaver in leavers:
        leaver.join()

    def shut() -> bool | None:
        asked = time.monotonic()
        time.sleep(FULL_SECONDS)
        return True if load.log.codes(since=asked) == {"JournalFull"} and not load.log.served(since=asked) else None

    scene.until("refusals alone", shut)


def leave(scene: Scene, load: Load, url: str) -> None:
    """Ask and go, until the disk is full."""
    body = {"model": SERVED, "prompt": PROMPTS[0], "max_tokens": TOKENS}
    headers = {"authorization": f"Bearer {scene.world.secret('acme-key')}"}
    while "JournalFull" not in load.log.codes():
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(
                f"{url}/v1/completions", json=body, headers=headers, timeout=httpx.Timeout(60, read=LEAVE_SECONDS)
            )


def enlarge(gateway: Beside, journal: str) -> None:
    """More room on the process's own disk, while it runs."""
    within = ["nsenter", f"--target={gateway.pid}", "--user", "--preserve-credentials", "--mount"]
    subprocess.run([*within, "mount", "-o", f"remount,size={LARGE}", journal], check=True, capture_output=True)
