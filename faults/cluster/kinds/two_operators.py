"""Two operators: the one that leads stands still for longer than its lease, then goes on where it was."""

import signal
import time

from faults.cluster.outcome import Outcome
from faults.cluster.process import Process, Scene, scene
from faults.cluster.stage import Stage

ROW = 10
WHAT = "the leading operator stands still for longer than its lease (SIGSTOP), {size} times; a change is made meanwhile"
PASS = "takeover within 20 s (lease 15 s, retry 2 s, 3 s); the one that wakes writes nothing"
SHORT, FULL = 1, 5
TAKEOVER_SECONDS = 20.0
LEASE = ("lease", "paddock-operator", "-n", "paddock-system")


def play(stage: Stage, size: int) -> Outcome:
    """Whose write it was is told by the Lease: epochs are its transitions."""
    with scene(stage) as made:
        made.apply("chat")
        first = made.operator()
        second = made.operator()
        latest, both = 0.0, 0
        for number in range(size):
            made.until("a leader", lambda: holder(made))
            old, new = (first, second) if holder(made) == first.settings["identity"] else (second, first)
            epoch = transitions(made)
            old.signal(signal.SIGSTOP)
            began = time.monotonic()
            made.until("another leader", lambda: holder(made) == new.settings["identity"])
            latest = max(latest, time.monotonic() - began)
            made.apply("chat", minAvailable=1, replicas=2 + number % 2)
            made.until("the change to be told", lambda: told(made))
            old.signal(signal.SIGCONT)
            both += not keeps(made, new, epoch + 1, seconds=6.0)
        text = f"{size} pauses: taken over within {latest:.1f} s; {both} times the one that woke wrote"
        return Outcome(measured=text, passed=latest <= TAKEOVER_SECONDS and both == 0)


def holder(made: Scene) -> str:
    """Who leads, empty where nobody does."""
    return str(((made.get(*LEASE) or {}).get("spec") or {}).get("holderIdentity", ""))


def transitions(made: Scene) -> int:
    """The epoch."""
    return int(made.get(*LEASE)["spec"].get("leaseTransitions", 0))


def told(made: Scene, name: str = "chat") -> bool:
    """Whether the status is about the last change."""
    found = made.get("llamadeployment", name, "-n", made.tenant)
    return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])


def keeps(made: Scene, leader: Process, epoch: int, *, seconds: float) -> bool:
    """Whether it goes on leading in the same epoch, and nothing is written by one that was paused."""
    status = made.get("llamadeployment", "chat", "-n", made.tenant)["status"]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holder(made) != leader.settings["identity"] or transitions(made) != epoch:
            return False
        time.sleep(0.5)
    conditions = made.get("llamadeployment", "chat", "-n", made.tenant)["status"]["conditions"]
    return [item["status"] for item in conditions] == [item["status"] for item in status["conditions"]]
