"""A kubelet refuses pods before they run, and a ReplicaSet leaves them there and makes the next one at once."""

from pathlib import Path
from typing import Any

from paddock_operator.kinds import POD

from faults.cluster.simulated.store import Change, Place
from faults.cluster.simulated.world import GPU_MODEL, World, world_of

WORDS = "UnexpectedAdmissionError: Allocate failed due to no healthy devices present"
BUDGET = 6


class Made:
    """How many serving pods were made."""

    def __init__(self, world: World) -> None:
        self.pods = 0
        world.store.listeners.append(self._hear)

    def _hear(self, change: Change) -> None:
        owners = change.object["metadata"].get("ownerReferences") or ()
        serves = any(owner["kind"] == "ReplicaSet" for owner in owners)
        self.pods += change.type == "ADDED" and change.place.kind == POD and serves


def told(world: World, kind: str = "Serving") -> tuple[Any, Any, str]:
    found = world.condition("chat", kind)
    return found.get("status"), found.get("reason"), str(found.get("message", ""))


def test_a_node_that_refuses_every_pod_is_told_of_and_given_up_after_few(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.node("g0", gpus=1)
        world.controllers.refusing.add("g0")
        made = Made(world)
        async with world.operator():
            world.deploy("chat", model={"id": GPU_MODEL})
            await world.until(lambda: WORDS in told(world)[2], "the node's words", seconds=120)
            await world.until(lambda: told(world)[1] == "RestartDelayed", "a pause", seconds=60)
            assert WORDS in told(world)[2]
            await world.until(lambda: told(world)[1] == "GroupFailed", "the end of its budget", seconds=600)
            assert told(world, "Progressing")[:2] == ("False", "GroupFailed")
            assert WORDS in told(world)[2]
            assert "on g0" in told(world)[2]
            (record,) = world.status("chat")["copies"]
            assert (record["failures"], record["evidence"]["node"]) == (BUDGET, "g0")
            before = made.pods
            assert BUDGET <= before <= 3 * BUDGET
            await world.still(lambda: made.pods == before, "no pod is made any more", seconds=1200)
            assert not world.children("chat").get(POD), "none of them is left"
        assert not world.errors

    world_of(tmp_path, scenario)


def test_while_it_is_refused_nothing_says_that_it_gets_on(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.node("g0", gpus=1)
        world.controllers.refusing.add("g0")
        async with world.operator():
            world.deploy("chat", model={"id": GPU_MODEL})
            await world.until(lambda: WORDS in told(world)[2], "the node's words", seconds=120)
            await world.still(lambda: WORDS in told(world)[2], "its words are told from then on", seconds=300)
            assert told(world, "Progressing")[0] == "False"

    world_of(tmp_path, scenario)


def test_it_comes_up_on_another_node_that_takes_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for name in ("g0", "g1", "g2"):
            world.node(name, gpus=1)
        world.controllers.refusing |= {"g0", "g1"}
        made = Made(world)
        async with world.operator():
            world.deploy("chat", model={"id": GPU_MODEL})
            await world.until(lambda: world.serves("chat"), "a copy on the third node", seconds=300)
            (pod,) = world.copies("chat")
            assert pod["spec"]["nodeName"] == "g2"
            assert made.pods <= 8
            await world.until(lambda: "copies" not in world.status("chat"), "nothing is remembered", seconds=1200)
            assert world.serves("chat")
        assert not world.errors

    world_of(tmp_path, scenario)


def test_what_was_refused_while_no_operator_looked_takes_nothing_down_that_has_come_since(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.node("g0", gpus=1)
        async with world.operator():
            world.deploy("chat", model={"id": GPU_MODEL})
            await world.until(lambda: world.serves("chat"), "the first copy")
        (first,) = world.workloads("chat")
        (pod,) = world.copies("chat")
        world.controllers.refusing.add("g0")
        world.store.delete(Place(POD, pod["metadata"]["namespace"], pod["metadata"]["name"]))
        await world.until(lambda: len(refused(world)) > 3, "some that are refused", seconds=60)
        world.controllers.refusing.clear()
        await world.until(lambda: any(map(is_up, world.copies("chat"))), "one that is taken", seconds=60)
        async with world.operator():
            await world.until(lambda: world.endpoints("chat") == [url_of(world)], "it is routed to", seconds=60)
            await world.until(lambda: not refused(world), "none of those that were refused is left", seconds=60)
            await world.still(lambda: world.serves("chat"), "it serves on", seconds=900)
            assert [item["metadata"]["uid"] for item in world.workloads("chat")] == [first["metadata"]["uid"]]

    world_of(tmp_path, scenario)


def refused(world: World) -> list[Any]:
    return [pod for pod in world.children("chat").get(POD, []) if pod["status"].get("phase") == "Failed"]


def is_up(pod: Any) -> bool:
    return bool(pod["status"].get("phase") == "Running")


def url_of(world: World) -> str:
    (pod,) = world.copies("chat")
    return f"http://{pod['status']['podIP']}:8000"
