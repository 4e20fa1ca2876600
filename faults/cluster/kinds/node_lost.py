"""A node with a rank of a group stops answering: its pods neither work nor end."""

from typing import Any

from paddock_core.resources import names
from paddock_operator.kinds import NODE, POD
from paddock_operator.ports import Manifest
from paddock_operator.times import format_time

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage

ROW = 17
WHAT = "the node of a random rank of one of two groups falls silent for good, {size} times"
PASS = "the whole group anew and never mixed, ready reload + 60 s after the loss is certain; others untouched"
SHORT, FULL = 2, 40
NAME = "pair"
NODES = 6
LOST_SECONDS = 60.0
RELOAD_SECONDS = 20.0
LIMIT_SECONDS = RELOAD_SECONDS + 60.0
SPEC: dict[str, Any] = {
    "model": {"id": GPU_MODEL},
    "engine": {"type": "LLMAPI"},
    "parallelism": {"tensor": 1, "pipeline": 2},
    "replicas": 2,
}


def play(stage: Stage, size: int) -> Outcome:
    """A lost node comes back empty before the next one is lost."""

    async def scenario(world: World) -> Outcome:
        chance, slowest, wrong = stage.random("node lost"), 0.0, list[str]()
        for number in range(NODES):
            world.node(f"gpu-{number}", gpus=1)
        world.deploy(NAME, **SPEC)
        async with world.operator():
            await world.until(lambda: whole(world), "both groups to serve", seconds=900)
            for _ in range(size):
                victim = chance.choice(pods(world))
                lost, others = copy_of(victim), uids(world, without=copy_of(victim))
                before = {pod["metadata"]["uid"] for pod in pods(world) if copy_of(pod) == lost}
                lose(world, victim["spec"]["nodeName"])
                watch = Generations(world, broken=before)
                took = await world.until(watch.made_anew, "the group to be made anew", seconds=1800)
                slowest = max(slowest, took - LOST_SECONDS)
                wrong += watch.wrong
                if not others <= uids(world):
                    wrong.append("pods of the other group went")
                mend(world, victim["spec"]["nodeName"])
                await world.until(lambda: whole(world), "both groups to serve again", seconds=900)
        text = (
            f"{size} nodes lost: anew at most {slowest:.0f} s after the {LOST_SECONDS:.0f} s that make a loss certain"
        )
        passed = slowest <= LIMIT_SECONDS and not wrong and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in (*wrong, *world.errors)[:3]), passed=passed)

    return world_of(stage.empty("node-lost"), scenario)


class Generations:
    """Watches over one group: which of its former pods are still routed to, and when it is whole again."""

    def __init__(self, world: World, *, broken: set[str]) -> None:
        self.wrong: list[str] = []
        self._world = world
        self._broken = broken

    def made_anew(self) -> bool:
        """True once both groups serve, and none of the broken one's pods is left."""
        for copy in {copy_of(pod) for pod in pods(self._world)}:
            found = {pod["metadata"]["uid"] for pod in pods(self._world) if copy_of(pod) == copy}
            mixed = found & self._broken and found - self._broken
            if mixed and self._answers(copy):
                self.wrong.append(f"{copy} answered with pods of two generations")
        return whole(self._world) and not uids(self._world) & self._broken

    def _answers(self, copy: str) -> bool:
        leaders = [pod for pod in self._world.copies(NAME) if copy_of(pod) == copy]
        routed = self._world.endpoints(NAME)
        return any(f"//{pod['status'].get('podIP')}:" in url for pod in leaders for url in routed)


def whole(world: World) -> bool:
    """Whether two groups of two pods serve."""
    return world.serves(NAME, copies=2) and len(pods(world)) == 4


def pods(world: World) -> list[Manifest]:
    return world.children(NAME).get(POD, [])


def uids(world: World, *, without: str = "") -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods(world) if copy_of(pod) != without}


def copy_of(pod: Manifest) -> str:
    return str(pod["metadata"]["labels"][names.COPY])


def lose(world: World, node: str) -> None:
    """Its kubelet is gone, and the node's controller finds that out."""
    world.controllers.lost.add(node)
    say(world, node, "Unknown")


def mend(world: World, node: str) -> None:
    """It comes back."""
    world.controllers.lost.discard(node)
    say(world, node, "True")
    world.controllers.look_again()


def say(world: World, node: str, status: str) -> None:
    place = Place(NODE, "", node)
    found = world.store.get(place)
    assert found is not None
    ready = {"type": "Ready", "status": status, "lastTransitionTime": format_time(world.clock.now())}
    world.store.put(place, {**found, "status": {**found["status"], "conditions": [ready]}})
