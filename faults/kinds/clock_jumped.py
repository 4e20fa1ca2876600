"""Wall clocks are set an hour forwards and back while requests run."""

import time

from faults.beside import MovedClock
from faults.client import Load
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "wall clocks of gateway and control plane set an hour on and back, {size} times each"
SHORT, FULL = 1, 3
HOUR = 3600.0
TOKENS = 3
LONGEST_SECONDS = 60.0


def play(scene: Scene, size: int) -> Verdict:
    """Each of them alone and both at once, in both directions; nobody is refused and no time runs backwards."""
    with (
        scene.clock() as theirs,
        scene.clock() as ours,
        scene.beside("controlplane", "jumping-source", clock=theirs) as source,
        scene.beside("gateway", "jumping", clock=ours, CONTROLPLANE_URL=source.url) as gateway,
    ):
        mark = scene.since()
        with scene.load(url=gateway.url, tokens=TOKENS) as load:
            scene.until("an answer", lambda: load.log.answers or None)
            for _ in range(size):
                for off in (HOUR, -HOUR):
                    for clocks in ((ours,), (theirs,), (ours, theirs)):
                        jump(scene, load, clocks, off)
        assert not load.log.refusals, f"refused: {load.log.codes()}"
        verdict = mark.verdict(load.log, tokens=TOKENS)
        seconds = [row["t_end"] - row["t_admit"] for row in mark.rows()]
        assert min(seconds) >= 0, f"a request took {min(seconds):.3f} s"
        assert max(seconds) < LONGEST_SECONDS, f"a request took {max(seconds):.0f} s"
        return verdict


def jump(scene: Scene, load: Load, clocks: tuple[MovedClock, ...], off: float) -> None:
    """There and back again, with answers at both ends."""
    for seconds in (off, 0.0):
        for clock in clocks:
            clock.set(wall=seconds)
        asked = time.monotonic()
        scene.until("answers", lambda: load.log.served(since=asked) > 1 or None)  # noqa: B023
