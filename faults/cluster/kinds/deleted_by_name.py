"""Between a look and the delete that follows it, others put another object of the same name in place of the one that is
meant."""

from paddock_operator.kinds import LEADER_WORKER_SET, REPLICA_SET

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.api import Client
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, furnish

ROW = 3
WHAT = (
    "a deployment shrinks and is upgraded {size} times; each copy that the operator deletes is exchanged for another of"
    " its name while the request is on its way"
)
PASS = "0 objects deleted that the operator has not seen: each delete names the uid that it means; all converges"
SHORT, FULL = 3, 40
WORKLOADS = (REPLICA_SET, LEADER_WORKER_SET)


def play(stage: Stage, size: int) -> Outcome:
    """Grow, shrink, upgrade; each time all ends as the specification says."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        exchange = Exchange(world)
        async with world.operator():
            for number in range(size):
                for wanted in ({"replicas": 2}, {"replicas": 1}, {"engine": {"maxConcurrency": 4 + number % 2}}):
                    world.deploy(NAME, **wanted)
                    copies = int((world.store.get(world.place(NAME)) or {})["spec"]["replicas"])
                    await world.until(lambda: world.serves(NAME, copies=copies), f"{NAME} as {wanted}", seconds=3600)
                    await world.until(lambda: len(world.workloads(NAME)) == copies, "the others to go", seconds=3600)
        text = f"{exchange.exchanged} copies exchanged: {len(exchange.wrong)} deleted unseen"
        bad = exchange.wrong + world.errors
        passed = exchange.exchanged >= size and not bad
        return Outcome(measured=text + "".join(f"; {item}" for item in bad[:3]), passed=passed)

    return world_of(stage.empty("exchanged"), scenario)


class Exchange:
    """Exchanges what a request is to delete; tells what that request deleted all the same."""

    def __init__(self, world: World) -> None:
        self.wrong: list[str] = []
        self._placed = set[str]()
        """Uids of those put in place: these may go."""
        self._now = ""
        """The path of the request that is just being answered, if its object was exchanged."""
        self._world = world
        world.api.weather.refuses = self._before
        world.api.weather.wrote = self._after

    @property
    def exchanged(self) -> int:
        """How many were."""
        return len(self._placed)

    def _before(self, method: str, path: str) -> None:
        self._now = ""
        place = self._workload(path) if method == "DELETE" else None
        live = self._world.store.get(place) if place else None
        if place is None or live is None or "deletionTimestamp" in live["metadata"]:
            return
        if live["metadata"]["uid"] in self._placed:
            return
        self._world.store.remove(place, by="others")
        made = self._world.store.put(place, live, by="others")
        self._placed.add(str(made["metadata"]["uid"]))
        self._now = path

    def _after(self, _client: Client, method: str, path: str) -> None:
        if method == "DELETE" and path == self._now:
            self.wrong.append(f"{path} was deleted unseen")

    def _workload(self, path: str) -> Place | None:
        target = self._world.server.target(path)
        return target.place if target.kind in WORKLOADS and target.name else None
