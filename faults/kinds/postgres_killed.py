"""PostgreSQL is killed while it commits usage."""

import random
import time

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "PostgreSQL killed with SIGKILL while it takes usage, {size} times"
SHORT, FULL = 2, 20


def play(scene: Scene, size: int) -> Verdict:
    """`size` kills."""
    chance, mark = random.Random(11), scene.since()
    with scene.load() as load:
        for _ in range(size):
            time.sleep(chance.uniform(0.3, 2.0))
            scene.kill("postgres")
        time.sleep(2)
    return mark.verdict(load.log, tokens=TOKENS)
