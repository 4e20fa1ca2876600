"""Two operators: the one that leads stands still in the middle of a write, or is cut off; their clocks do not agree."""

import asyncio
from collections import defaultdict

from paddock_operator.kinds import LEASE

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.api import Client
from faults.cluster.simulated.life import Life
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import SETTLE_SECONDS, Step, furnish, steps

ROW = 10
WHAT = (
    "wall clocks 240 s apart; {size} times in the life of a deployment the operator that leads stands still right after"
    " one of its writes, or is cut off from the API server, for a minute, and then goes on"
)
PASS = "never writes of two operators in one epoch of the Lease, nor of one that does not hold it; takeover within 20 s"
SHORT, FULL = 10, 60
TAKEOVER_SECONDS = 20.0
AWAY_SECONDS = 60.0
SKEW_SECONDS = 120.0


class Epochs:
    """Who wrote in which epoch, and who is to be stopped at which write."""

    def __init__(self, world: World, namespace: str) -> None:
        self.lease = Place(LEASE, namespace, "paddock-operator")
        self.writers: dict[int, set[str]] = defaultdict(set)
        self.wrong: list[str] = []
        self.left = 0
        self.pauses = False
        self.stopped = ""
        self._world = world
        world.api.weather.wrote = self._wrote

    def holder(self) -> str:
        """Who leads, as the Lease says."""
        found = self._world.store.get(self.lease)
        return str(found["spec"].get("holderIdentity", "")) if found else ""

    def _wrote(self, client: Client, method: str, path: str) -> None:
        if "/leases/" in path:
            return
        found = self._world.store.get(self.lease)
        assert found is not None, "nobody writes before somebody leads"
        epoch = int(found["spec"].get("leaseTransitions", 0))
        self.writers[epoch].add(client.name)
        if client.name != self.holder() or len(self.writers[epoch]) > 1:
            self.wrong.append(f"{client.name} did {method} {path} while {self.holder()} led")
        self.left -= 1
        if self.left == 0:
            self.stopped = client.name
            if self.pauses:
                self._world.api.weather.paused[client.name] = asyncio.Event()
            else:
                self._world.api.weather.cut_off.add(client.name)


def play(stage: Stage, size: int) -> Outcome:
    """Steps in their order; each is left to the other operator somewhere in its middle."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        chance = stage.random("apart")
        first = world.begin("first", skew=SKEW_SECONDS)
        lives = {"first": first, "second": world.begin("second", skew=-SKEW_SECONDS)}
        await world.until(lambda: all(life.operator is not None for life in lives.values()), "both to run")
        assert first.operator is not None
        epochs, latest, stops = Epochs(world, first.operator.settings.lease_namespace), 0.0, 0
        for number in range(size):
            step = steps()[number % len(steps())]
            epochs.left, epochs.pauses, epochs.stopped = chance.randint(1, 6), number % 2 == 0, ""
            latest = max(latest, await spoiled(world, step, epochs, lives))
            stops += epochs.stopped != ""
        for life in lives.values():
            await life.kill()
        bad = epochs.wrong + world.errors
        text = f"{stops} stops, {len(epochs.writers)} epochs: {len(epochs.wrong)} writes of a second one; taken over"
        text += f" within {latest:.1f} s" + "".join(f"; {item}" for item in bad[:3])
        return Outcome(measured=text, passed=not bad and stops > 0 and latest <= TAKEOVER_SECONDS)

    return world_of(stage.empty("apart"), scenario)


async def spoiled(world: World, step: Step, epochs: Epochs, lives: dict[str, Life]) -> float:
    """One step in whose middle the leader stops; after how many seconds another one led."""
    step.act(world)
    await world.until(lambda: epochs.stopped or step.done(world), step.name, seconds=SETTLE_SECONDS)
    epochs.left, seconds = 0, 0.0
    if epochs.stopped:
        took = lambda: epochs.holder() not in ("", epochs.stopped)  # noqa: E731
        seconds = await world.until(took, "another leader", seconds=10 * TAKEOVER_SECONDS)
        await asyncio.sleep(AWAY_SECONDS)
        world.api.weather.cut_off.discard(epochs.stopped)
        if epochs.stopped in world.api.weather.paused:
            world.api.weather.paused.pop(epochs.stopped).set()
    await world.until(lambda: step.done(world), f"the end of: {step.name}", seconds=SETTLE_SECONDS)
    assert not any(life.ended for life in lives.values()), "a process ended"
    return seconds
