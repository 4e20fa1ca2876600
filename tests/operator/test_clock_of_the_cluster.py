"""Instances whose machines' clocks are wrong go by the API server's."""

import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.adapters.cluster_time import ClusterClock
from paddock_operator.kinds import NAMESPACE

TRUTH = 1_800_000_000.0
"""Of a cluster whose boot time is 0."""


class Machine:
    """Its wall clock is wrong by `skew`."""

    def __init__(self, skew: float) -> None:
        self.boot = 0.0
        self.skew = skew

    def now(self) -> float:
        return TRUTH + self.boot + self.skew

    def boottime(self) -> float:
        return self.boot


def told(clock: ClusterClock, *, at: float, took: float = 0.0, off: float = 0.0) -> None:
    """The API server, whose own clock is `off`, answers at this moment; half of the time goes on the way there."""
    date = formatdate(TRUTH + at + off, usegmt=True)
    clock.heard(date, sent=at - took / 2, received=at + took / 2)


def test_before_an_answer_the_machine_is_gone_by() -> None:
    assert ClusterClock(Machine(120.0)).now() == TRUTH + 120


@given(st.floats(-0.0, 1e6), st.floats(0, 20))
def test_a_clock_that_is_right_is_never_moved(at: float, took: float) -> None:
    clock = ClusterClock(Machine(0.0))
    told(clock, at=at, took=took)
    assert clock.now() == pytest.approx(TRUTH, abs=1e-6)


@given(st.floats(-1e5, 1e5), st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 20)), min_size=1, max_size=10))
def test_after_an_answer_it_is_wrong_by_a_second_and_the_way_at_most(
    skew: float, answers: list[tuple[float, float]]
) -> None:
    clock = ClusterClock(Machine(skew))
    wrong = abs(skew)
    for at, took in answers:
        told(clock, at=at, took=took)
        now = abs(clock.now() - TRUTH)
        assert now <= 1 + took / 2 + 1e-5
        assert now <= wrong + 1e-5, "an answer that is true makes nothing worse"
        wrong = now


@pytest.mark.parametrize("skew", [120.0, -120.0])
def test_many_answers_tell_more_than_whole_seconds(skew: float) -> None:
    clock = ClusterClock(Machine(skew))
    for number in range(300):
        told(clock, at=number * 1.0037)
    assert clock.now() == pytest.approx(TRUTH, abs=0.02)


def test_time_passes_whatever_is_done_to_the_machines_wall_clock() -> None:
    machine = Machine(0.0)
    clock = ClusterClock(machine)
    told(clock, at=0.5)
    machine.boot, machine.skew = 30.0, -4000.0
    assert (clock.now(), clock.boottime()) == (TRUTH + 30, 30.0)


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 Jan 2027 08:00:00 GMT", "0" * 5000])
def test_what_is_no_date_says_nothing(date: str) -> None:
    clock = ClusterClock(Machine(7.0))
    clock.heard(date, sent=0.0, received=0.0)
    assert clock.now() == TRUTH + 7


class Off:
    """This machine, its wall clock off."""

    def __init__(self, skew: float) -> None:
        self._skew = skew

    def now(self) -> float:
        return time.time() + self._skew

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("skew", [120.0, -120.0])
async def test_the_real_api_server_says_its_time(settings: Any, skew: float) -> None:
    client, clock = connect(settings.kubeconfig), ClusterClock(Off(skew))
    clock.listen(client)
    real = LightkubeCluster(client, may_write=lambda: None)
    began = time.monotonic()
    try:
        await real.get(NAMESPACE, namespace=None, name="default")
    finally:
        await real.close()
    # The longest that the answer can have been on its way, whatever this machine is busy with.
    assert abs(clock.now() - time.time()) <= 1.0 + (time.monotonic() - began)
