"""What a finalizer has to do elsewhere fails for ever: a model is deleted while the control plane is away."""

import asyncio
from itertools import pairwise
from typing import Any

import httpx
from paddock_core.resources.llamamodel import FINALIZER
from paddock_operator.kinds import LLAMA_MODEL
from paddock_operator.overdue import overdue
from paddock_operator.ports import Manifest

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 16
WHAT = "a LlamaModel is deleted while the control plane is away, for {size} hours of virtual time"
PASS = "a condition says why and how to end it by force, a metric counts it, at most one try in 5 min, force works"
SHORT, FULL = 2, 6
SETTLED_SECONDS = 1200.0
"""So long the pauses grow."""
LEAST_SECONDS = 300.0
MERGE = "application/merge-patch+json"
MODEL = Place(LLAMA_MODEL, "", "demo-made")


def play(stage: Stage, size: int) -> Outcome:
    """Delete, wait for hours, then take the finalizer off by hand as the condition says."""

    async def scenario(world: World) -> Outcome:
        tries = _counted(world)
        world.store.put(MODEL, {"metadata": {"finalizers": [FINALIZER]}, "spec": {"base": "smollm2-135m-instruct"}})
        world.control_plane.down = True
        async with world.operator() as life:

            def counted_now() -> int:
                assert life.operator is not None
                limit = life.operator.settings.drain_limit_seconds
                return overdue(life.operator.deletable(), now=world.clock.now(), drain_limit_seconds=limit)

            world.store.delete(MODEL, by="people")
            await world.until(lambda: tries, "the first try")
            await asyncio.sleep(size * 3600.0)
            late = [after - before for before, after in pairwise(tries) if before - tries[0] > SETTLED_SECONDS]
            said = _condition(world)
            counted = counted_now()
            target = world.server.target(f"{LLAMA_MODEL.path(name=MODEL.name)}")
            world.server.write("PATCH", target, {}, {"metadata": {"finalizers": None}}, MERGE, "people")
            gone = await world.until(lambda: world.store.get(MODEL) is None, "the model to go", seconds=60)
            await world.until(lambda: counted_now() == 0, "the metric", seconds=60)
        hint = "finalizers" in said and "paddock model delete demo-made" in said
        measured = (
            f"{len(tries)} tries, once the pauses have grown never less than {min(late, default=0.0):.0f} s apart; the"
            f" metric says {counted}; the condition {'names' if hint else 'lacks'} the way out, by which it is gone in"
            f" {gone:.1f} s"
        )
        passed = bool(late) and min(late) >= LEAST_SECONDS and hint and counted == 1
        return Outcome(measured=measured, passed=passed and not world.errors)

    return world_of(stage.empty("finalizer"), scenario)


def _counted(world: World) -> list[float]:
    """Moments at which the registration was to be dropped, also in vain."""
    tries: list[float] = []
    answer = world.control_plane.answer

    async def counted(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            tries.append(world.clock.boottime())
        return await answer(request)

    world.control_plane.answer = counted  # type: ignore[method-assign]
    return tries


def _live(world: World) -> Manifest:
    found = world.store.get(MODEL)
    assert found is not None
    return found


def _condition(world: World) -> str:
    conditions: list[dict[str, Any]] = (_live(world).get("status") or {}).get("conditions") or []
    return next((str(item["message"]) for item in conditions if item["type"] == "Registered"), "")
