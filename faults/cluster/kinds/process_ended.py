"""The process is told to end, or is ended, in the middle of its work."""

import signal
import time

from faults.cluster.kinds.two_operators import holder, told
from faults.cluster.outcome import Outcome
from faults.cluster.process import scene
from faults.cluster.stage import Stage

ROW = 11
WHAT = "SIGTERM, then SIGKILL, while {size} deployments are being reconciled; another operator begins"
PASS = "SIGTERM: ends within 10 s with status 0, and the next leads at once; after SIGKILL the next goes on within 20 s"
SHORT, FULL = 10, 100
END_SECONDS = 10.0
LAPSE_SECONDS = 20.0


def play(stage: Stage, size: int) -> Outcome:
    """All deployments are told of in the end, each once."""
    names = [f"ended-{number}" for number in range(size)]
    with scene(stage) as made:
        first = made.operator()
        made.until("a leader", lambda: holder(made))
        for name in names:
            made.apply(name)
        first.signal(signal.SIGTERM)
        ended = first.wait(seconds=60)
        second = made.operator()
        began = time.monotonic()
        made.until("the second to lead", lambda: holder(made) == second.settings["identity"])
        at_once = time.monotonic() - began
        for name in names:
            made.apply(name, replicas=2)
        third = made.operator()
        second.signal(signal.SIGKILL)
        killed = time.monotonic()
        made.until("the third to lead", lambda: holder(made) == third.settings["identity"])
        after_kill = time.monotonic() - killed
        made.until("all to be told of", lambda: all(told(made, name) for name in names))
        status = first.exit_status
    text = f"SIGTERM: ended after {ended:.1f} s with {status}; SIGKILL: the next led {after_kill:.1f} s later"
    passed = ended <= END_SECONDS and status == 0 and at_once <= END_SECONDS and after_kill <= LAPSE_SECONDS
    return Outcome(measured=text, passed=passed)
