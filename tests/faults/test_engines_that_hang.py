"""Engines that are ready and generate nothing, with the whole operator: made anew in time, given up in the end, and
left alone where most are silent at once."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from paddock_operator.kinds import POD

from faults.cluster.simulated.world import World, world_of

HUNG = 600.0
LATE = HUNG + 180.0
"""Until one is made anew: what probes, and the rounds that look at them, take besides."""
GROUPS: dict[str, Any] = {
    "model": {"id": "llama-3.2-1b-instruct"},
    "engine": {"type": "LLMAPI"},
    "parallelism": {"tensor": 1, "pipeline": 2},
}


class Hanging:
    """Pods that generate nothing from now on, whatever they say of themselves."""

    def __init__(self, world: World) -> None:
        self.hosts: set[str] = set()
        self.but: set[str] | None = None
        """All others hang too, where it is set."""
        self._really = world.generates
        world.generates = self.answers  # type: ignore[method-assign]

    def answers(self, host: str) -> bool:
        hangs = host in self.hosts if self.but is None else host not in self.but
        return not hangs and self._really(host)

    def hang(self, *pods: dict[str, Any]) -> None:
        self.hosts |= {pod["status"]["podIP"] for pod in pods}


def uids(world: World, name: str = "chat") -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.children(name).get(POD, [])}


def reason(world: World, kind: str, name: str = "chat") -> Any:
    return world.condition(name, kind).get("reason")


def is_given_up(world: World) -> bool:
    return bool(reason(world, "Serving") == "GroupFailed")


def test_a_copy_that_hangs_is_made_anew_in_time_and_serves_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        hanging = Hanging(world)
        async with world.operator():
            world.deploy("chat", replicas=2)
            await world.until(lambda: world.serves("chat", copies=2), "both copies")
            bad, good = world.copies("chat")
            hanging.hang(bad)
            await world.until(lambda: reason(world, "Degraded") == "ProbeFailed", "that it does not answer")
            early = HUNG - 120.0
            await world.still(lambda: bad["metadata"]["uid"] in uids(world), "it may be busy", seconds=early)
            await world.until(lambda: bad["metadata"]["uid"] not in uids(world), "its end", seconds=LATE - early)
            await world.until(lambda: world.serves("chat", copies=2), "both copies again", seconds=120)
            assert good["metadata"]["uid"] in uids(world)
            (record,) = world.status("chat")["copies"]
            assert (record["failures"], record["evidence"]["reason"]) == (1, "EngineHung")
            assert bad["metadata"]["name"] in record["evidence"]["message"]
            await world.until(lambda: not world.status("chat").get("copies"), "its failure is forgotten", seconds=900)

    world_of(tmp_path, scenario)


def test_of_a_group_whose_leader_is_silent_all_pods_are_made_anew(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for node in "ab":
            world.node(node, gpus=1)
        hanging = Hanging(world)
        async with world.operator():
            world.deploy("chat", **GROUPS)
            await world.until(lambda: world.serves("chat"), "the group")
            before = uids(world)
            assert len(before) == 2
            hanging.hang(*world.children("chat")[POD])
            await world.until(lambda: not before & uids(world), "both pods are others", seconds=LATE + 60)
            await world.until(lambda: world.serves("chat"), "the group again")

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("answered", [True, False], ids=["stopped", "never answered"])
def test_what_goes_on_hanging_is_given_up_with_what_was_seen(tmp_path: Path, answered: bool) -> None:
    async def scenario(world: World) -> None:
        hanging = Hanging(world)
        async with world.operator():
            world.deploy("other")
            await world.until(lambda: world.serves("other"), "another deployment")
            if answered:
                world.deploy("chat")
                await world.until(lambda: world.serves("chat"), "the copy")
            sound = {pod["status"]["podIP"] for pod in world.copies("other")}
            hanging.but = sound
            world.deploy("chat", rollout={"deadlineSeconds": 86400})
            await world.until(partial(is_given_up, world), "the end of the budget", seconds=2 * LATE + 60)
            said = world.condition("chat", "Serving")["message"]
            assert "has failed 2 times in a row" in said
            assert "has generated nothing for" in said
            assert "no answer from" in said
            await world.until(lambda: not world.workloads("chat"), "nothing of it is left")
            await world.still(lambda: not world.workloads("chat"), "a person is asked", seconds=HUNG * 3)
            assert world.serves("other")

    world_of(tmp_path, scenario, restart_budget=2)


def test_a_restart_of_the_operator_counts_anew_and_forgets_no_failure(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        hanging = Hanging(world)
        life = world.begin()
        world.deploy("chat", replicas=2)
        await world.until(lambda: world.serves("chat", copies=2), "both copies")
        bad = world.copies("chat")[0]
        hanging.hang(bad)
        await asyncio.sleep(HUNG - 60.0)
        await life.stop()
        async with world.operator():
            await world.still(lambda: bad["metadata"]["uid"] in uids(world), "counted anew", seconds=HUNG - 120.0)
            await world.until(lambda: bad["metadata"]["uid"] not in uids(world), "its end", seconds=420.0)
            await world.until(lambda: world.serves("chat", copies=2), "both copies again", seconds=120)
            assert world.status("chat")["copies"][0]["failures"] == 1

    world_of(tmp_path, scenario)


def test_where_most_are_silent_at_once_nothing_is_made_anew(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        hanging = Hanging(world)
        deployments = [f"chat-{number}" for number in range(6)]
        async with world.operator():
            for name in deployments:
                world.deploy(name)
            for name in deployments:
                await world.until(partial(world.serves, name), name)
            before = {uid for name in deployments for uid in uids(world, name)}
            hanging.but = set()

            def here() -> bool:
                return {uid for name in deployments for uid in uids(world, name)} == before

            await world.still(here, "the way to them is doubted, not they", seconds=HUNG * 6)
            hanging.but = None
            for name in deployments:
                await world.until(partial(world.serves, name), f"{name} again")
            assert here()
            assert not any(world.status(name).get("copies") for name in deployments)

    world_of(tmp_path, scenario)
