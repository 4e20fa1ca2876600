"""The control plane is killed between taking usage and acknowledging it."""

import random
import time

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "control plane killed with SIGKILL under load, {size} times"
SHORT, FULL = 2, 20


def play(scene: Scene, size: int) -> Verdict:
    """`size` kills."""
    chance, mark = random.Random(13), scene.since()
    with scene.load() as load:
        for _ in range(size):
            time.sleep(chance.uniform(0.3, 2.0))
            scene.kill("controlplane")
        time.sleep(2)
    return mark.verdict(load.log, tokens=TOKENS)
