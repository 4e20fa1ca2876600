"""What must be so whatever went wrong: looked at in a simulated world, as it happens and at its end."""

from collections import Counter
from dataclasses import dataclass, field

from paddock_core.resources import names
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.ports import Manifest

from faults.cluster.simulated.store import Change
from faults.cluster.simulated.world import World

WORKLOADS = (REPLICA_SET, LEADER_WORKER_SET)


@dataclass
class NothingTaken:
    """Notes what an operator takes from a deployment that only ever grows: every such write is wrong."""

    world: World
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.store.listeners.append(self._hear)

    def _hear(self, change: Change) -> None:
        if change.by in ("kubernetes", "people") or change.old is None or change.place.namespace == "":
            return
        if change.place.kind in (*WORKLOADS, POD) and _goes(change):
            self.wrong.append(f"{change.by} deleted {change.place.kind.name} {change.place.name}")
        elif change.place.kind in WORKLOADS and _replicas(change.object) < _replicas(change.old):
            self.wrong.append(f"{change.by} scaled {change.place.name} down")


@dataclass
class WantedTaken:
    """Notes what an operator takes of a copy that the specification, as it is just now, wants kept.

    That is so where fewer copies of the deployment are left than it asks for; those of a predecessor of the same name
    do not count, and may go."""

    world: World
    name: str
    deletes: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.store.listeners.append(self._hear)

    def _hear(self, change: Change) -> None:
        if change.by in ("kubernetes", "people") or change.old is None or change.place.kind not in WORKLOADS:
            return
        taken = _goes(change)
        if not taken and _replicas(change.object) >= _replicas(change.old):
            return
        self.deletes += 1
        live = self.world.store.get(self.world.place(self.name))
        uid = _uid_label(change.old)
        if live is None or "deletionTimestamp" in live["metadata"] or uid != live["metadata"]["uid"]:
            return
        left = sum(1 for item in self.world.workloads(self.name) if _uid_label(item) == uid and not _going(item))
        if left < (wanted := int(live["spec"].get("replicas", 1))):
            did = "deleted" if taken else "scaled down"
            self.wrong.append(f"{change.by} {did} {change.place.name}: {left} of {wanted} copies are left")


def counts(world: World, name: str) -> Counter[str]:
    """How many objects of each kind a deployment has."""
    return Counter({kind.name: len(items) for kind, items in world.children(name).items()})


def duplicates(world: World, name: str, *, copies: int, gpus: int) -> list[str]:
    """What there is more, or less, of than so many copies need."""
    found = []
    if len(world.copies(name)) != copies:
        found.append(f"{len(world.copies(name))} pods answer for {copies} copies")
    if world.held_gpus() != copies * gpus:
        found.append(f"{world.held_gpus()} GPUs are held where {copies * gpus} are needed")
    return found


def left_over(world: World, name: str) -> list[str]:
    """What is left of a deployment that is gone."""
    found = [f"{kind.name} x{len(items)}" for kind, items in world.children(name).items()]
    return found + ([f"{world.held_gpus()} GPUs"] if world.held_gpus() else [])


def is_gone(world: World, name: str) -> bool:
    """Whether neither the object nor anything of it is there any more."""
    return world.store.get(world.place(name)) is None and not world.children(name)


def _goes(change: Change) -> bool:
    before, after = (item["metadata"] for item in (change.old or change.object, change.object))
    return change.type == "DELETED" or ("deletionTimestamp" in after and "deletionTimestamp" not in before)


def _going(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"] or _replicas(manifest) == 0


def _uid_label(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(names.DEPLOYMENT_UID, ""))


def _replicas(manifest: Manifest) -> int:
    return int(manifest["spec"].get("replicas", 1))


def all_done(world: World, name: str) -> bool:
    """Whether it serves, and its copy has been tried: after that nothing is left to do."""
    revisions = world.status(name).get("revisions") or [{}]
    return "benchmark" in revisions[0] and world.serves(name)
