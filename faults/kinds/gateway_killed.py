"""kill -9 of the gateway at random moments under load."""

import random
import time

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "gateway killed with SIGKILL at random moments, {size} times"
SHORT, FULL = 3, 50


def play(scene: Scene, size: int) -> Verdict:
    """`size` kills."""
    chance, mark = random.Random(7), scene.since()
    with scene.load() as load:
        for _ in range(size):
            time.sleep(chance.uniform(0.3, 2.0))
            scene.kill("gateway")
            scene.answered()
    return mark.verdict(load.log, tokens=TOKENS)
