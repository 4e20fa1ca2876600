"""What all parts of `bench/scale.py` work with: the world, what a deployment is, and how to wait."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import scale_players as players
import scale_process as process
from paddock_core.resources import names
from paddock_operator.adapters.cluster import LightkubeCluster

NAMESPACES = 50
WRITERS = 8
"""As many as the operator's workers."""
GROUP_EVERY = 50
"""Every so many-th deployment is a group of two pods."""
MODEL = "bench-model"
SECONDS = 600.0
LOOK_SECONDS = 0.25
"""How often what is waited for is looked at."""
Place = tuple[str, str]
"""Namespace and name."""


class Told:
    """What deployments' statuses say: which of them serve, and all that was written, in its order.

    Looking at all of them again and again would be a fiftieth of the CPU that is measured.
    """

    def __init__(self) -> None:
        self.serving: set[Place] = set()
        self.statuses: dict[Place, list[dict[str, Any]]] = {}

    def hear(self, item: dict[str, Any], gone: bool) -> None:  # noqa: FBT001 - as followers tell
        """A deployment changed."""
        place = item["metadata"]["namespace"], item["metadata"]["name"]
        if gone:
            self.statuses.pop(place, None)
            self.serving.discard(place)
            return
        status, known = item.get("status"), self.statuses.setdefault(place, [])
        if status and (not known or known[-1] != status):
            known.append(status)
        (self.serving.add if converged(item) else self.serving.discard)(place)


@dataclass(kw_only=True)
class Result:
    """What one size took."""

    deployments: int
    yardstick: float = 0.0
    """Seconds of a fixed piece of arithmetic, right before and right after: the mean."""
    applied: float = 0.0
    """Seconds from the first to the last apply."""
    converged: float = 0.0
    """Seconds from the last apply until all serve."""
    whole: float = 0.0
    """Seconds from the first apply until all serve."""
    bare: float = 0.0
    """Seconds that the bare client took, from its first write until all pods were ready: the fastest of its runs."""
    bare_writers: int = 0
    """How many requests it had under way in that run."""
    gone: float = 0.0
    statuses: dict[Place, list[dict[str, Any]]] = field(default_factory=dict)
    """All that were written from the first apply until all serve, by deployment."""
    rounds: int = 0
    resident_mb: float = 0.0
    """Of the operator, at its highest from the first apply until all were gone again, storm included; 10^6 bytes."""
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    """From the first apply until each had its benchmark, and SETTLE_SECONDS longer; without watches."""
    bare_requests: int = 0
    cpu_of: dict[str, float] = field(default_factory=dict)
    """CPU seconds of each program from the first apply until all serve."""
    bare_cpu_of: dict[str, float] = field(default_factory=dict)
    """The same while the bare client writes and its pods come up."""


@dataclass(kw_only=True)
class World:
    """What everything below works with."""

    api: Any
    folder: Path
    admin: LightkubeCluster
    operator: process.OperatorProcess
    deployments: players.Follower
    pods: players.Follower
    gateway: players.Gateway
    told: Told


def deployment(size: int, number: int) -> dict[str, Any]:
    """One of them; every GROUP_EVERY-th is the smallest group there is, of two nodes."""
    grouped = number % GROUP_EVERY == GROUP_EVERY - 1
    spec: dict[str, Any] = {
        "model": {"id": MODEL},
        "engine": {"type": "LLMAPI", "contextLength": 2048, "maxConcurrency": 2},
        "parallelism": {"tensor": 1, "pipeline": 2 if grouped else 1},
        "placement": {"gpu": "L40S-48" if grouped else "H100-80"},
    }
    metadata = {"namespace": f"t{number % NAMESPACES:02}", "name": f"s{size}-{number:04}"}
    return {"apiVersion": "paddock.dev/v1alpha1", "kind": "LlamaDeployment", "metadata": metadata, "spec": spec}


def since(before: dict[str, float]) -> dict[str, float]:
    """CPU seconds of each program since then."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in process.cpu_of_all().items()}


def standing(world: World) -> str:
    pods, deployments = world.pods.objects, world.deployments.objects
    ready_pods = sum(1 for pod in pods.values() if ready(pod))
    return f"{len(world.told.serving)} of {len(deployments)} serve, {ready_pods} of {len(pods)} pods ready"


def converged(item: dict[str, Any]) -> bool:
    status = item.get("status", {})
    found = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    whole = status.get("observedGeneration") == item["metadata"]["generation"]
    return whole and found.get("Serving") == "True" and found.get("Routable") == "True"


def running(world: World) -> int:
    pods = world.pods.objects.items()
    return sum(1 for place, pod in pods if place[0] != names.WEIGHTS_NAMESPACE and ready(pod))


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


async def side_by_side(calls: Iterable[Callable[[], Any]]) -> None:
    """Call them all, WRITERS at a time."""
    slots = asyncio.Semaphore(WRITERS)

    async def one(call: Callable[[], Any]) -> None:
        async with slots:
            await call()

    await asyncio.gather(*map(one, calls))


async def until(holds: Callable[[], bool], *, what: str, progress: Callable[[], str] | None = None) -> None:
    begin = told = time.monotonic()
    while not holds():
        now = time.monotonic()
        if now - begin > SECONDS:
            raise TimeoutError(f"{what}: not within {SECONDS:.0f} s" + (f", {progress()}" if progress else ""))
        if progress and now - told > 10:
            told = now
            process.note(f"{now - begin:.0f} s: {progress()}")
        await asyncio.sleep(LOOK_SECONDS)


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def counted(world: World) -> int:
    """Rounds of the operator since it started."""
    return int((await world.operator.metrics()).get("paddock_operator_rounds_total", 0))
