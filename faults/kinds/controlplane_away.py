"""The control plane is away for an hour: served until the policy's age ends, then denied, then back by itself."""

import time

from faults.beside import Beside
from faults.client import Load
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "control plane away for an hour, the gateway's clocks moved in {size} steps"
SHORT, FULL = 6, 60
HOUR = 3600.0
TOKENS = 3
AGE_SECONDS = 900.0
"""`max_policy_age` of the stack."""
POLL_SECONDS = 40.0
"""The copy may have been confirmed so long before the control plane went."""


def play(scene: Scene, size: int) -> Verdict:
    """An hour in `size` steps, at each of which requests are looked at."""
    with (
        scene.clock() as clock,
        scene.beside("controlplane", "away-source") as source,
        scene.beside("gateway", "away", clock=clock, CONTROLPLANE_URL=source.url) as gateway,
    ):
        mark = scene.since()
        with scene.load(url=gateway.url, tokens=TOKENS) as load:
            scene.until("an answer", lambda: load.log.answers or None)
            source.stop()
            began, served_to, denied_from = time.monotonic(), 0.0, HOUR
            for step in range(1, size + 1):
                away = HOUR * step / size
                clock.set(wall=away, steady=away)
                if look(load, away=away, real=time.monotonic() - began):
                    served_to = away
                else:
                    denied_from = min(denied_from, away)
            seconds = back(scene, source, load)
        note = f"served until {served_to:.0f} s, denied from {denied_from:.0f} s, back {seconds:.1f} s after it"
        return mark.verdict(load.log, tokens=TOKENS, note=note)


def look(load: Load, *, away: float, real: float) -> bool:
    """Whether requests are served now, which depends on the policy's age alone."""
    time.sleep(0.5)
    asked = time.monotonic()
    while not (load.log.served(since=asked) or load.log.codes(since=asked)):
        time.sleep(0.05)
    served, codes = load.log.served(since=asked), load.log.codes(since=asked)
    if away > AGE_SECONDS:
        assert (served, codes) == (0, {"PolicyExpired"}), f"{away:.0f} s: {served} served, {codes}"
    elif away + real + POLL_SECONDS < AGE_SECONDS:
        assert (served > 0, codes) == (True, set()), f"{away:.0f} s: {served} served, {codes}"
    return served > 0


def back(scene: Scene, source: Beside, load: Load) -> float:
    """Start it again; after how many seconds requests are served, without anybody doing anything."""
    source.start()
    began = time.monotonic()
    scene.until("service", lambda: load.log.served(since=began) or None)
    time.sleep(1)
    return time.monotonic() - began - 1
