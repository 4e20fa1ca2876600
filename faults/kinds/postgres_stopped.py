"""PostgreSQL is stopped under load, and comes back."""

import time

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "PostgreSQL stopped for {size} s under load, then back"
SHORT, FULL = 10, 600


def play(scene: Scene, size: int) -> Verdict:
    """`size` seconds without a database: requests are served all the same."""
    mark = scene.since()
    with scene.load() as load:
        time.sleep(1)
        with scene.without("postgres"):
            before = len(load.log.answers)
            time.sleep(size)
            assert len(load.log.answers) > before, "nothing was served without a database"
        time.sleep(2)
    return mark.verdict(load.log, tokens=TOKENS)
