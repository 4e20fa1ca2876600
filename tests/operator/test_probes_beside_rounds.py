"""Pods are asked beside the rounds, by the clock of a virtual event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import Endpoint
from paddock_operator import probing
from paddock_operator.decide.answers import DOUBT_SECONDS, FAILURES_TO_DROP
from paddock_operator.kinds import POD
from paddock_operator.lanes import WAIT_SECONDS, Lane, Lanes
from paddock_operator.observed import Child
from paddock_operator.ports import Key
from paddock_operator.probing import Looked, ProbeBook

from faults.cluster.simulated.virtual_time import VirtualClock
from tests.operator.lanes_that_run import beside

INTERVAL = 30.0
TIMEOUT = 20.0
CHAT = Key("acme", "chat")


def pod(uid: str = "p", *, ready: bool = True, revision: str = "r") -> Child:
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], "podIP": f"10.0.0.{uid}"}
    metadata = {"name": uid, "namespace": "s", "uid": uid, "labels": {names.REVISION: revision}}
    return Child(kind=POD, manifest={"metadata": metadata, "status": status})


def endpoint(uid: str) -> Endpoint:
    return Endpoint(pod=uid, url=f"http://10.0.0.{uid}:8000")


class World:
    """A book whose pods answer as `seconds` and `problems` say, by uid; and who was woken."""

    def __init__(self, clock: VirtualClock, lanes: Lanes) -> None:
        self.seconds: dict[str, float] = {}
        self.problems: dict[str, str] = {}
        self.asked: list[str] = []
        self.under_way: list[str] = []
        self.most = 0
        self.woken: list[Key] = []
        self.clock = clock
        self.book = ProbeBook(
            prober=self, clock=self.clock, interval_seconds=INTERVAL, lanes=lanes, changed=self.woken.append
        )

    async def generates(self, *, url: str, secret: str) -> str | None:
        uid = url.removeprefix("http://10.0.0.").partition(":")[0]
        assert uid not in self.under_way, "asked twice at the same time"
        self.asked.append(uid)
        self.under_way.append(uid)
        self.most = max(self.most, len(self.under_way))
        await asyncio.sleep(self.seconds.get(uid, 0.05))
        self.under_way.remove(uid)
        return self.problems.get(uid)

    async def ask(self, *pods: Child, key: Key = CHAT, **more: Any) -> Looked:
        began = self.clock.boottime()
        looked = await self.book.ask(key, pods, secret="s", **more)
        assert self.clock.boottime() - began <= WAIT_SECONDS + 0.001, "a round never waits for long"
        return looked

    async def rounds(self, *pods: Child, seconds: float, key: Key = CHAT, **more: Any) -> Looked:
        """What rounds do that come every interval."""
        until = self.clock.boottime() + seconds
        while self.clock.boottime() < until:
            await self.ask(*pods, key=key, **more)
            await asyncio.sleep(INTERVAL)
        return await self.ask(*pods, key=key, **more)

    def hang(self, *uids: str) -> None:
        self.seconds |= dict.fromkeys(uids, TIMEOUT)
        self.problems |= dict.fromkeys(uids, "timed out")

    def mend(self, *uids: str) -> None:
        for uid in uids:
            self.seconds.pop(uid, None)
            self.problems.pop(uid, None)


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def whole(clock: VirtualClock, lanes: Lanes) -> None:
        await scenario(World(clock, lanes))

    beside(whole)


def test_a_healthy_pod_is_known_within_its_first_round_and_wakes_nobody() -> None:
    async def scenario(world: World) -> None:
        assert (await world.ask(pod())).probes == {"p": None}
        assert (await world.ask(pod())).probes == {"p": None}
        assert world.asked == ["p"], "not again within the interval"
        await world.rounds(pod(), seconds=300)
        assert len(world.asked) == 10
        assert not world.woken

    play(scenario)


def test_what_comes_late_wakes_the_deployment_once() -> None:
    async def scenario(world: World) -> None:
        world.seconds["p"] = 5.0
        looked = await world.ask(pod())
        assert looked.probes == {}
        assert looked.again_seconds is None, "its answer wakes: nothing is to be looked at before"
        await asyncio.sleep(6)
        assert world.woken == [CHAT]
        assert (await world.ask(pod())).probes == {"p": None}
        await world.rounds(pod(), seconds=120)
        assert world.woken == [CHAT], "an answer that changes nothing wakes nobody"

    play(scenario)


def test_a_pod_that_goes_on_failing_is_asked_ever_more_rarely() -> None:
    async def scenario(world: World) -> None:
        world.problems["p"] = "loading"
        looked = await world.ask(pod())
        assert looked.probes == {"p": "loading"}
        waits = []
        for _ in range(8):
            assert looked.again_seconds is not None
            waits.append(round(looked.again_seconds))
            await asyncio.sleep(looked.again_seconds)
            await world.ask(pod())
            await asyncio.sleep(1)
            looked = await world.ask(pod())
        assert waits == sorted(waits)
        assert waits[0] == 1
        assert INTERVAL / 2 < waits[-1] <= INTERVAL
        assert not world.woken, "still the same"
        world.mend("p")
        await asyncio.sleep(INTERVAL)
        assert (await world.ask(pod())).probes == {"p": "loading"}
        await asyncio.sleep(1)
        assert world.woken == [CHAT]
        assert (await world.ask(pod())).probes == {"p": None}

    play(scenario)


def test_missed_probes_of_a_busy_engine_change_nothing_several_do() -> None:
    async def scenario(world: World) -> None:
        await world.ask(pod())
        world.hang("p")
        await asyncio.sleep(INTERVAL)
        assert (await world.rounds(pod(), seconds=INTERVAL * (FAILURES_TO_DROP - 1) - 1)).probes == {"p": None}
        assert not world.woken
        await asyncio.sleep(TIMEOUT + 1)
        assert world.woken == [CHAT]
        looked = await world.ask(pod())
        assert looked.probes == {"p": "timed out"}
        assert looked.silent["p"] == pytest.approx(2 * INTERVAL, abs=2)
        world.mend("p")
        await asyncio.sleep(INTERVAL)
        await world.ask(pod())
        await asyncio.sleep(1)
        assert (await world.ask(pod())) == Looked(probes={"p": None})

    play(scenario)


def test_an_endpoint_of_a_former_process_has_answered() -> None:
    async def scenario(world: World) -> None:
        world.hang("1", "2")
        served = [endpoint("1"), Endpoint(pod="2", url="http://10.9.9.9:8000")]
        looked = await world.ask(pod("1"), pod("2"), served=served)
        assert looked.probes == {"1": None}, "of another address nothing is known"
        looked = await world.rounds(pod("1"), pod("2"), seconds=INTERVAL, served=served)
        assert looked.probes == {"1": None, "2": "timed out"}
        looked = await world.rounds(pod("1"), pod("2"), seconds=2 * INTERVAL, served=served)
        assert looked.probes == {"1": "timed out", "2": "timed out"}

    play(scenario)


def test_those_that_hang_keep_only_each_other_waiting() -> None:
    async def scenario(world: World) -> None:
        width = sum(lane.width for lane in Lane)
        many = [pod(f"h{number}") for number in range(3 * width)]
        world.hang(*(item.uid for item in many))
        await world.rounds(*many, key=Key("acme", "hangs"), seconds=1200)
        assert (await world.ask(pod("new"))).probes == {"new": None}, "whoever is new has a lane"
        for _ in range(20):
            await world.ask(*many, key=Key("acme", "hangs"))
            before = world.asked.count("new")
            await asyncio.sleep(INTERVAL)
            await world.ask(pod("new"))
            await asyncio.sleep(1)
            assert world.asked.count("new") == before + 1, "and so has who answered promptly"
        assert world.most <= width

    play(scenario)


def test_a_pod_that_was_not_ready_begins_anew_and_one_that_is_gone_is_forgotten() -> None:
    async def scenario(world: World) -> None:
        await world.ask(pod())
        assert (await world.ask(pod(ready=False))) == Looked()
        world.problems["p"] = "loading"
        assert (await world.ask(pod())).probes == {"p": "loading"}
        assert len(world.asked) == 2
        world.book.forget(CHAT)
        assert (await world.ask(pod())).probes == {"p": "loading"}
        assert len(world.asked) == 3
        world.hang("q")
        await world.ask(pod("q"))
        await world.ask(pod("q", ready=False))
        assert (await world.ask(pod("q"))).probes == {}, "the former probe is under way still"
        assert world.asked.count("q") == 1
        world.mend("q")
        await asyncio.sleep(TIMEOUT + 1)
        assert world.woken == [CHAT], "it can be asked now"
        assert (await world.ask(pod("q"))).probes == {"q": None}

    play(scenario)


def test_an_error_of_a_prober_is_a_problem_of_that_pod_alone() -> None:
    async def scenario(world: World) -> None:
        async def fails(*, url: str, secret: str) -> str | None:
            raise RuntimeError("nobody expected this")

        world.generates = fails  # type: ignore[method-assign]
        assert (await world.ask(pod())).probes == {"p": probing.NOT_ASKED}

    play(scenario)


def test_most_that_fail_at_once_are_not_dropped_and_have_no_silence_held_against_them() -> None:
    async def scenario(world: World) -> None:
        keys = [Key("acme", f"d{number}") for number in range(5)]
        await every(world, keys, seconds=INTERVAL)
        world.hang(*(key.name for key in keys[:3]))
        found = await every(world, keys, seconds=DOUBT_SECONDS - INTERVAL)
        assert all(looked.probes == {key.name: None} for key, looked in found.items())
        assert [found[key].doubted for key in keys] == [1, 1, 1, 0, 0]
        assert world.book.doubted == 3
        assert not any(looked.silent for looked in found.values())
        world.mend(*(key.name for key in keys[:2]))
        found = await every(world, keys, seconds=2 * INTERVAL)
        assert world.book.doubted == 0
        assert found[keys[2]].probes == {keys[2].name: None}, "what failed in doubt is not held against it"
        assert not world.woken
        found = await every(world, keys, seconds=(FAILURES_TO_DROP + 1) * INTERVAL)
        assert found[keys[2]].probes == {keys[2].name: "timed out"}
        assert 0 < found[keys[2]].silent[keys[2].name] < 300

    play(scenario)


@pytest.mark.parametrize("flowing", [(), ("r",)])
def test_the_doubt_ends_except_for_those_from_which_gateways_get_answers(flowing: tuple[str, ...]) -> None:
    async def scenario(world: World) -> None:
        keys = [Key("acme", f"d{number}") for number in range(5)]
        await every(world, keys, seconds=INTERVAL)
        world.hang(*(key.name for key in keys))
        await every(world, keys, seconds=DOUBT_SECONDS, flowing=flowing)
        assert not world.woken
        found = await every(world, keys, seconds=10 * INTERVAL, flowing=flowing)
        well = [key for key, looked in found.items() if looked.probes == {key.name: None}]
        assert well == (keys if flowing else [])
        world.mend(*(key.name for key in keys))
        found = await every(world, keys, seconds=2 * INTERVAL)
        assert all(looked == Looked(probes={key.name: None}) for key, looked in found.items())

    play(scenario)


def test_of_several_copies_that_one_answers_gateways_says_nothing_of_another() -> None:
    async def scenario(world: World) -> None:
        await world.ask(pod("1"), pod("2"), flowing=["r"])
        world.hang("1")
        looked = await world.rounds(pod("1"), pod("2"), seconds=5 * INTERVAL, flowing=["r"])
        assert looked.probes == {"1": "timed out", "2": None}
        world.hang("2")
        looked = await world.rounds(pod("1"), pod("2"), seconds=5 * INTERVAL, flowing=["r"])
        assert looked.probes == {"1": "timed out", "2": None}, "the last one is whose answers gateways get"
        looked = await world.rounds(pod("1"), pod("2"), seconds=6 * INTERVAL)
        assert looked.probes == {"1": "timed out", "2": "timed out"}

    play(scenario)


async def every(world: World, keys: list[Key], *, seconds: float, **more: Any) -> dict[Key, Looked]:
    """Rounds of deployments with a pod of their own names each."""
    until = world.clock.boottime() + seconds
    while world.clock.boottime() < until:
        for key in keys:
            await world.ask(pod(key.name), key=key, **more)
        await asyncio.sleep(INTERVAL)
    return {key: await world.ask(pod(key.name), key=key, **more) for key in keys}
