"""Triton is killed in mid-stream."""

import time

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "Triton killed with SIGKILL in mid-stream, {size} times"
SHORT, FULL = 1, 10
SERVING = "paddock-serving-acme"


def play(scene: Scene, size: int) -> Verdict:
    """`size` kills; what was sent until then is billed, and the clients are told that the answer broke off."""
    mark = scene.since()
    with scene.load() as load:
        for _ in range(size):
            time.sleep(1)
            scene.kill_engine()
            # The kubelet waits longer with each restart of one pod, up to five minutes: a new pod starts at once.
            scene.world.kubectl("delete", "pods", "-n", SERVING, "--all", "--wait=false", who="kubernetes-admin")
            scene.answered()
    return mark.verdict(load.log, tokens=TOKENS)
