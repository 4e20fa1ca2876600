"""Somebody else's controller edits any field of, and deletes, any object that belongs to a deployment."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddock_core.resources import names
from paddock_operator.kinds import LEADER_WORKER_SET, LLAMA_DEPLOYMENT, POD, REPLICA_SET, SECRET
from paddock_operator.ports import Manifest

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, SERVING, World, world_of
from faults.cluster.stage import Stage

ROW = 14
WHAT = (
    "another controller, {size} times, deletes or edits an object of any kind that serving two deployments needs: a"
    " label, an annotation, a field of the specification or the data, an owner, a finalizer; and keeps its own fields"
)
PASS = (
    "restored within 10 s (virtual), or within a minute where a copy lost the labels that it is known by and is"
    " replaced; what the other one owns is untouched; all serves again"
)
SHORT, FULL = 20, 300
LIMIT_SECONDS = 10.0
MARK = "others.example/owner"
FORGET_SECONDS = 660.0
"""Pods that go because of an edit are failures to who hears of it later; these are forgotten by then."""
LEFT_OUT = (SECRET,)
"""What it holds the operator may not read: it writes that anew every 300 s."""
WORKLOADS = (REPLICA_SET, LEADER_WORKER_SET)
IMMUTABLE = ("selector", "roleRef")
"""What the API server lets nobody change."""
PAIR: dict[str, Any] = {
    "model": {"id": GPU_MODEL}, "engine": {"type": "LLMAPI"}, "parallelism": {"tensor": 1, "pipeline": 2},
}  # fmt: skip
COPIES = {"chat": 2, "pair": 1}
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """What was done, and how to see that it is mended."""

    what: str
    place: Place
    before: Manifest
    mended: Callable[[], bool]
    replaced: bool = False
    """Whether another object may come instead, which has to load first."""


def play(stage: Stage, size: int) -> Outcome:
    """One edit at a time; all serves again before the next one."""

    async def scenario(world: World) -> Outcome:
        chance, latest, slowest = stage.random("meddled"), 0.0, ""
        done, wrong = Counter[str](), list[str]()
        for number in range(4):
            world.node(f"gpu-{number}", gpus=1)
        async with world.operator():
            world.deploy("chat", replicas=COPIES["chat"], minAvailable=1)
            world.deploy("pair", **PAIR)
            await world.until(lambda: serve(world), "both to serve", seconds=900)
            await asyncio.sleep(60)
            for _ in range(size):
                mark(world)
                edit = meddle(world, chance)
                try:
                    took = await world.until(edit.mended, edit.what, seconds=60)
                except AssertionError as error:
                    wrong.append(str(error))
                    world.store.put(edit.place, edit.before, by="others")
                    continue
                done[edit.what.split(":")[0]] += 1
                if took > latest and not edit.replaced:
                    latest, slowest = took, edit.what
                wrong += [f"{edit.what}: a field of others went from {place.name}" for place in unmarked(world)]
                await world.until(lambda: serve(world), f"both to serve after: {edit.what}", seconds=900)
                if edit.place.kind in (*WORKLOADS, POD):
                    await asyncio.sleep(FORGET_SECONDS)
        text = f"{_summary(done)}: restored within {latest:.1f} s ({slowest}); {len(wrong)} wrong"
        bad = wrong + world.errors
        passed = not bad and latest <= LIMIT_SECONDS
        return Outcome(measured=text + "".join(f"; {item}" for item in bad[:3]), passed=passed)

    return world_of(stage.empty("meddled"), scenario)


def _summary(done: Mapping[str, int]) -> str:
    """How often what was meddled with: each way is `<kind> <what was done>`."""
    kinds = Counter[str]()
    for way, count in done.items():
        kinds[way.split()[0]] += count
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return f"{sum(done.values())} times in {len(done)} ways ({told})"


def serve(world: World) -> bool:
    """Whether both do."""
    return all(world.serves(name, copies=copies) for name, copies in COPIES.items())


def objects(world: World) -> list[Place]:
    """All that serving needs, and the deployments themselves."""
    return [
        place
        for place in world.store.places()
        if place.kind == LLAMA_DEPLOYMENT or (place.namespace == SERVING and _is_meddled_with(world, place))
    ]


def _is_meddled_with(world: World, place: Place) -> bool:
    """Pods of groups are their StatefulSets', which nobody plays here."""
    owners = (world.store.get(place) or {"metadata": {}})["metadata"].get("ownerReferences") or ()
    return place.kind not in LEFT_OUT and (place.kind != POD or any(own["kind"] == REPLICA_SET.name for own in owners))


def mark(world: World) -> None:
    """The other controller writes its own label, annotation and finalizer-free note wherever it is not yet."""
    for place in objects(world):
        live = world.store.get(place)
        assert live is not None
        changed = dict(live["metadata"])
        for part in ("labels", "annotations"):
            changed[part] = {**(changed.get(part) or {}), MARK: "them"}
        world.store.put(place, {**live, "metadata": changed}, by="others")


def unmarked(world: World) -> list[Place]:
    """Objects that were there before, and have lost what others wrote on them."""
    found = []
    for place in objects(world):
        metadata = (world.store.get(place) or {"metadata": {}})["metadata"]
        marks = [MARK in (metadata.get(part) or {}) for part in ("labels", "annotations")]
        # An object that was made anew has none of them, and its maker could not know.
        if any(marks) and not all(marks):
            found.append(place)
    return found


def meddle(world: World, chance: random.Random) -> Edit:
    """One edit of one object, every kind as likely as any other."""
    places = objects(world)
    kind = chance.choice(sorted({place.kind for place in places}, key=str))
    place = chance.choice([item for item in places if item.kind == kind])
    live = world.store.get(place)
    assert live is not None
    if kind == LLAMA_DEPLOYMENT:
        return _without(world, place, live, "finalizers")
    paths = sorted(set(_ours(live)), key=str)
    if not paths or chance.random() < 0.3:
        return _deleted(world, place, live)
    if live["metadata"].get("ownerReferences") and chance.random() < 0.2:
        return _without(world, place, live, "ownerReferences")
    return _changed(world, place, live, chance.choice(paths))


def _deleted(world: World, place: Place, live: Manifest) -> Edit:
    world.store.delete(place, by="others")
    uid, labels = live["metadata"]["uid"], live["metadata"].get("labels") or {}
    name = str(labels.get(names.DEPLOYMENT_NAME, ""))

    def again() -> bool:
        if place.kind in WORKLOADS:
            found = [item for item in world.workloads(name) if item["metadata"]["uid"] != uid]
            return len(found) == COPIES[name]
        found_one = world.store.get(place)
        if place.kind == POD:
            return found_one is None
        return found_one is not None and found_one["metadata"]["uid"] != uid

    return Edit(f"{place.kind.name} deleted: {place.name}", place, live, again)


def _without(world: World, place: Place, live: Manifest, part: str) -> Edit:
    metadata = {name: value for name, value in live["metadata"].items() if name != part}
    world.store.put(place, {**live, "metadata": metadata}, by="others")

    def again() -> bool:
        found = world.store.get(place)
        return found is not None and found["metadata"].get(part) == live["metadata"][part]

    return Edit(f"{place.kind.name} without {part}: {place.name}", place, live, again)


def _changed(world: World, place: Place, live: Manifest, path: Path) -> Edit:
    before, name = _at(live, path), str((live["metadata"].get("labels") or {}).get(names.DEPLOYMENT_NAME, ""))
    other = (not before) if isinstance(before, bool) else before + 1 if isinstance(before, int) else "of-others"
    world.store.put(place, _with(live, path, other), by="others")

    def again() -> bool:
        found = world.store.get(place)
        if place.kind == POD:
            # Its ReplicaSet has let it go, and made another one.
            return found is None
        if found is None and place.kind in WORKLOADS:
            # Under another owner's name it was nobody's and went; another one has come.
            return len(world.workloads(name)) == COPIES[name]
        return found is not None and _at(found, path) == before

    part = path[1] if path[0] == "metadata" else path[0]
    replaced = place.kind == POD or (place.kind in WORKLOADS and part == "labels")
    return Edit(f"{place.kind.name} {part}: {place.name} {path}", place, live, again, replaced)


def _ours(live: Manifest) -> Iterator[Path]:
    """Fields that may be changed, of which the operator says what they are; of a pod that by which it has an owner."""
    if live["kind"] == POD.name:
        yield "metadata", "labels", names.COPY
        return
    for part in ("labels", "annotations"):
        for name in live["metadata"].get(part) or ():
            if name != MARK:
                yield "metadata", part, name
    if not live.get("immutable"):
        for part in set(live) - {"apiVersion", "kind", "metadata", "status"} - set(IMMUTABLE):
            yield from _leaves(live[part], (part,))


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in IMMUTABLE:
                yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    elif isinstance(value, str | int):
        yield path


def _at(value: Any, path: Path) -> Any:
    for name in path:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _with(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_with(item, rest, new) if number == first else item for number, item in enumerate(value)]
    return {**value, first: _with(value[first], rest, new)}
