"""What the operator tells of pods' lives: from their start to their last sight, through outages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_core.usage.pod_time import Sighting
from paddock_operator.errors import ControlPlaneError
from paddock_operator.pod_times import PodTimes, sighting

STARTED = "2026-11-22T10:00:00Z"
STARTED_MS = 1_795_341_600_000
NOW_MS = STARTED_MS + 90_000


def pod(uid: str = "u", **status: Any) -> dict[str, Any]:
    """A pod as the cache keeps it."""
    labels = {names.COMPONENT: names.SERVING, names.DEPLOYMENT_NAMESPACE: "team", names.DEPLOYMENT_NAME: "chat"}
    requests = {"cpu": "1500m", "memory": "1Gi", "nvidia.com/gpu": "8"}
    return {
        "metadata": {"uid": uid, "namespace": "paddock-serving-acme", "labels": labels},
        "spec": {"nodeName": "n", "containers": [{"resources": {"requests": requests}}]},
        "status": {"phase": "Running", "startTime": STARTED, **status},
    }


def test_a_running_pod_is_seen_until_now() -> None:
    assert sighting(pod(), now_ms=NOW_MS) == Sighting(
        uid="u",
        tenant="acme",
        deployment="team/chat",
        gpus=8,
        cpu_millis=1500,
        started_ms=STARTED_MS,
        seen_ms=NOW_MS,
    )


def test_a_pod_that_ended_is_seen_until_its_last_container_did() -> None:
    ends = [{"state": {"terminated": {"finishedAt": f"2026-11-22T10:00:{second}Z"}}} for second in (20, 40)]
    found = sighting(pod(phase="Failed", containerStatuses=ends), now_ms=NOW_MS)
    assert found is not None
    assert found.seen_ms == STARTED_MS + 40_000


def test_a_clock_that_is_behind_makes_no_negative_life() -> None:
    found = sighting(pod(), now_ms=STARTED_MS - 5000)
    assert found is not None
    assert found.seen_ms == found.started_ms


@pytest.mark.parametrize(
    "other",
    [
        {"status": {"phase": "Pending"}},
        {"status": {"phase": "Failed", "startTime": STARTED}},
        {"metadata": {"uid": "u", "namespace": "team", "labels": pod()["metadata"]["labels"]}},
        {"metadata": {"uid": "u", "namespace": "paddock-serving-acme", "labels": {}}},
    ],
)
def test_what_never_ran_or_is_not_ours_counts_nothing(other: dict[str, Any]) -> None:
    assert sighting({**pod(), **other}, now_ms=NOW_MS) is None


@dataclass
class World:
    """A cluster of pods, a clock, and a control plane that may be away."""

    pods: list[dict[str, Any]] = field(default_factory=list)
    at: float = NOW_MS / 1000
    away: bool = False
    told: list[Sighting] = field(default_factory=list)

    def serving_pods(self) -> list[dict[str, Any]]:
        return self.pods

    def now(self) -> float:
        return self.at

    async def tell_pod_times(self, sightings: Sequence[Sighting]) -> None:
        if self.away:
            raise ControlPlaneError("it is away")
        self.told.extend(sightings)


@pytest.fixture
def world() -> World:
    return World()


async def test_what_could_not_be_told_is_told_later_also_of_pods_that_are_gone(world: World) -> None:
    times: Any = PodTimes(cache=world, control_plane=world, clock=world)  # type: ignore[arg-type]
    world.pods, world.away = [pod("stays"), pod("goes")], True
    await times.look()
    world.pods, world.at = [pod("stays")], world.at + 600
    await times.look()
    assert world.told == []
    world.away, world.at = False, world.at + 600
    await times.look()
    seen = {item.uid: item.seen_ms - NOW_MS for item in world.told}
    assert seen == {"stays": 1_200_000, "goes": 0}
    await times.look()
    assert [item.uid for item in world.told].count("goes") == 1


async def test_many_pods_are_told_in_bounded_batches(world: World) -> None:
    sizes = []
    times: Any = PodTimes(cache=world, control_plane=world, clock=world)  # type: ignore[arg-type]
    tell = world.tell_pod_times

    async def counted(sightings: Sequence[Sighting]) -> None:
        sizes.append(len(sightings))
        await tell(sightings)

    world.tell_pod_times = counted  # type: ignore[method-assign]
    world.pods = [pod(f"u{number}") for number in range(2500)]
    await times.look()
    assert sizes == [1000, 1000, 500]
    assert len({item.uid for item in world.told}) == 2500
