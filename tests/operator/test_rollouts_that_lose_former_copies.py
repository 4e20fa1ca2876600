"""Former copies that are lost while a change does not come up: what served last is made anew, and kept."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStep
from paddock_operator.decide.rollout.settle import Aim, Settled, settle
from paddock_operator.decide.rollout.stages import Course, canary, replacing
from paddock_operator.decide.rollout.types import CopyLook, Verdict

from tests.operator.rehearsal import DRAINS, LOADS, Cluster, serving
from tests.operator.rehearsing import until
from tests.operator.test_rollout_by_looks import copies, look, silent

STRATEGIES = ("RollingUpdate", "DrainFirst", "BlueGreen", "Canary")
AT_ONCE = LOADS + DRAINS + 60.0
"""Seconds in which a lost copy is missed, made and loaded."""


def broken(strategy: str, *, wanted: int, devices: int = 100, spec: RolloutSpec | None = None) -> Cluster:
    """A change that is under way to a revision that never answers."""
    cluster = serving(spec or RolloutSpec(strategy=strategy), wanted=wanted, devices=devices)
    cluster.broken, cluster.target = {"b"}, "b"
    play(cluster, seconds=60.0)
    return cluster


def play(cluster: Cluster, *, seconds: float) -> None:
    end = cluster.now + seconds
    while cluster.now < end:
        cluster.round()
        cluster.pass_time(5.0)


def lose_all(cluster: Cluster, revision: str = "a") -> None:
    """Its workloads are gone, as with their nodes."""
    for name in [name for name, copy in cluster.copies.items() if copy.look.revision == revision]:
        del cluster.copies[name]


def asked(cluster: Cluster) -> int:
    """Copies that answer and get requests."""
    looks = [copy.look for copy in cluster.copies.values()]
    return sum(1 for look in looks if look.answering and not look.draining and look.revision in cluster.told)


def fewest(spec: RolloutSpec, wanted: int) -> int:
    in_place = spec.strategy == "DrainFirst" or (spec.max_surge == 0 and spec.strategy != "BlueGreen")
    return wanted - (max(1, spec.max_unavailable) if in_place else spec.max_unavailable)


@pytest.mark.parametrize("wanted", [1, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_former_copies_come_back_long_before_the_deadline(strategy: str, wanted: int) -> None:
    cluster = broken(strategy, wanted=wanted)
    floor = fewest(cluster.spec, wanted)
    lose_all(cluster)
    play(cluster, seconds=AT_ONCE)
    assert cluster.answering()["a"] >= floor
    assert asked(cluster) >= floor
    assert cluster.rollout is not None, "the change goes on meanwhile"


def test_a_lost_former_copy_comes_before_a_second_one_of_a_revision_that_has_not_answered() -> None:
    cluster = broken("RollingUpdate", wanted=2)
    del cluster.copies["a-1"]
    play(cluster, seconds=AT_ONCE)
    assert sorted(cluster.copies) == ["a-0", "a-1", "b-0"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_former_copy_whose_pod_died_is_left_to_load_again(strategy: str) -> None:
    cluster = broken(strategy, wanted=3)
    name = min(name for name, copy in cluster.copies.items() if copy.look.revision == "a" and copy.look.answering)
    cluster.lose(name)
    cluster.round()
    assert not cluster.copies[name].look.draining
    play(cluster, seconds=AT_ONCE)
    assert cluster.answering()["a"] >= fewest(cluster.spec, 3)


def test_after_the_switch_of_a_blue_green_change_none_is_made_anew() -> None:
    cluster = serving(RolloutSpec(strategy="BlueGreen"), wanted=2)
    cluster.target = "b"
    until(cluster)
    lose_all(cluster)
    steps = cluster.settle()
    assert not [new for step in steps for new in step.create]
    assert cluster.answering() == {"b": 2}


def test_the_change_ends_as_it_would_have_once_the_new_revision_answers() -> None:
    cluster = broken("RollingUpdate", wanted=3)
    lose_all(cluster)
    play(cluster, seconds=AT_ONCE)
    cluster.broken = set()
    assert cluster.settle()[-1].verdict is Verdict.STEADY
    assert cluster.answering() == {"b": 3}


def test_none_is_made_anew_once_a_copy_of_the_new_revision_answers() -> None:
    cluster = serving(RolloutSpec(max_surge=2), wanted=3)
    cluster.target = "b"
    while not cluster.answering()["b"]:
        cluster.round()
        cluster.pass_time(5.0)
    lose_all(cluster)
    steps = cluster.settle()
    assert {new.revision for step in steps for new in step.create} == {"b"}


def test_none_is_made_anew_for_copies_of_which_nothing_is_known_yet() -> None:
    cluster = serving(RolloutSpec(max_surge=2), wanted=3)
    cluster.target = "b"
    while not cluster.answering()["b"]:
        cluster.round()
        cluster.pass_time(5.0)
    del cluster.copies["a-0"]
    cluster.forgetful = True
    assert all(new.revision == "b" for new in cluster.round().create)


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Canary"])
def test_one_that_went_for_want_of_a_device_is_not_made_anew(strategy: str) -> None:
    cluster = broken(strategy, wanted=3, devices=3)
    for _ in range(100):
        assert [name for name in sorted(cluster.copies) if name.startswith("a-")] == ["a-0", "a-1"]
        cluster.round()
        cluster.pass_time(5.0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_device_that_comes_free_is_for_the_former_copy_that_was_lost(strategy: str) -> None:
    devices = 4 if strategy == "BlueGreen" else 3
    cluster = broken(strategy, wanted=3, devices=devices)
    before = cluster.answering()
    del cluster.copies["a-0"]
    play(cluster, seconds=AT_ONCE)
    assert cluster.answering() == before
    assert cluster.copies["b-0"].placed_at is not None, "the change goes on to be tried"


@pytest.mark.parametrize("strategy", ["RollingUpdate", "DrainFirst", "BlueGreen"])
def test_one_that_is_woken_makes_no_former_copies(strategy: str) -> None:
    cluster = serving(RolloutSpec(strategy=strategy), wanted=2)
    cluster.wanted = 0
    cluster.settle()
    cluster.wanted, cluster.target, cluster.broken = 2, "b", {"b"}
    play(cluster, seconds=600.0)
    assert {copy.look.revision for copy in cluster.copies.values()} == {"b"}
    cluster.target, cluster.broken = "c", {"b", "c"}
    play(cluster, seconds=600.0)
    assert {copy.look.revision for copy in cluster.copies.values()} == {"c"}


def test_what_had_not_answered_when_the_change_began_is_not_made_anew() -> None:
    """Whoever mends a deployment by a change waits for no copies that are broken."""
    cluster = serving(wanted=3)
    cluster.broken = {"a"}
    cluster.pass_time(5.0)
    cluster.target = "b"
    steps = cluster.settle()
    assert {new.revision for step in steps for new in step.create} == {"b"}
    assert cluster.answering() == {"b": 3}


def test_copies_that_are_asked_for_beside_those_of_before_are_of_the_new_revision() -> None:
    cluster = serving(RolloutSpec(max_surge=1), wanted=1)
    cluster.wanted, cluster.target = 3, "b"
    steps = cluster.settle()
    assert {new.revision for step in steps for new in step.create} == {"b"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_copies_of_a_third_revision_that_never_answered_take_the_place_of_none(strategy: str) -> None:
    cluster = broken(strategy, wanted=3)
    cluster.target, cluster.broken = "c", {"b", "c"}
    play(cluster, seconds=AT_ONCE)
    lose_all(cluster)
    play(cluster, seconds=AT_ONCE)
    assert cluster.answering()["a"] >= fewest(cluster.spec, 3)
    assert not [name for name in cluster.copies if name.startswith("b-")]


def test_how_many_there_were_is_remembered_by_the_status() -> None:
    cluster = broken("BlueGreen", wanted=2)
    before = cluster.rollout
    assert before is not None
    assert before.former_served == 2
    lose_all(cluster)
    cluster.round()
    assert cluster.rollout == before


LOSSES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3), st.booleans()), min_size=1, max_size=5)


@given(
    spec=st.builds(
        RolloutSpec,
        strategy=st.sampled_from(STRATEGIES),
        max_surge=st.integers(0, 2),
        max_unavailable=st.integers(0, 2),
        rollback=st.booleans(),
    ),
    wanted=st.integers(1, 4),
    losses=LOSSES,
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_lost_while_a_change_does_not_come_up(
    spec: RolloutSpec, wanted: int, losses: list[tuple[int, int, bool]]
) -> None:
    """With devices free, as many as are promised answer again after the time that one takes to load."""
    cluster = broken("", wanted=wanted, spec=spec)
    for rounds, which, for_good in losses:
        for _ in range(rounds):
            cluster.round()
            cluster.pass_time(5.0)
        own = sorted(name for name, copy in cluster.copies.items() if copy.look.revision == "a")
        if own and for_good:
            del cluster.copies[own[which % len(own)]]
        elif own:
            cluster.lose(own[which % len(own)])
    play(cluster, seconds=AT_ONCE)
    for _ in range(20):
        play(cluster, seconds=5.0)
        assert asked(cluster) >= fewest(spec, wanted)


class TestOneStep:
    """Of a change from a to b."""

    @pytest.mark.parametrize("made", [(), (silent("b-0"),), (*copies(c=1), silent("b-0"))])
    def test_until_a_new_copy_answers_what_served_stays(self, made: tuple[CopyLook, ...]) -> None:
        aim = replacing(Course(look=look(*copies(a=3), *made), goal="b", former="a")).aim
        assert aim == Aim(new=3, old=3, former=3, limit=4, floor=3)

    def test_a_new_copy_that_goes_is_no_answer(self) -> None:
        (going,) = (replace(copy, draining=True) for copy in copies(b=1))
        assert Course(look=look(*copies(a=3), going), goal="b", former="a").kept(3) == 3

    def test_a_canary_keeps_them_whatever_its_share(self) -> None:
        spec = RolloutSpec(strategy="Canary", steps=(RolloutStep(weight_percent=75, seconds=60),))
        aim = canary(Course(look=look(*copies(a=4), wanted=4, spec=spec), goal="b", former="a")).aim
        assert (aim.old, aim.former) == (4, 4)

    def test_those_that_go_when_it_begins_are_not_counted_and_those_not_known_are(self) -> None:
        (answers, unknown, silent_one, going) = copies(a=4)
        seen = (
            answers,
            replace(unknown, answering=None),
            replace(silent_one, answering=False),
            replace(going, going=True),
        )
        assert look(*seen, *copies(b=1)).served_before("a") == 2

    def settled(self, *seen: CopyLook, limit: int = 5) -> Settled:
        aim = Aim(new=3, old=2, former=2, limit=limit, floor=2)
        return settle(look(*seen), aim, goal="b", former="a", weighted=("a", "b"))

    @pytest.mark.parametrize(
        ("seen", "limit", "made"),
        [
            ((), 5, ["b-0", "b-1", "b-2", "a-0", "a-1"]),
            ((), 4, ["b-0", "b-1", "a-0", "a-1"]),
            ((), 3, ["b-0", "a-0", "a-1"]),
            ((), 1, ["b-0"]),
            (copies(b=1), 3, ["a-0", "a-1"]),
            (copies(a=1, b=1), 4, ["b-1", "a-1"]),
        ],
    )
    def test_what_lacks_of_the_former_comes_before_a_second_new_one(
        self, seen: tuple[CopyLook, ...], limit: int, made: list[str]
    ) -> None:
        assert [f"{new.revision}-{new.index}" for new in self.settled(*seen, limit=limit).create] == made

    def test_what_only_waits_for_devices_makes_way_for_former_copies_that_lack(self) -> None:
        waiting = [silent(f"b-{index}", starved=True) for index in range(3)]
        assert self.settled(*copies(a=1), *waiting).drain == {"b-1", "b-2"}
        assert self.settled(*copies(a=2), *waiting).drain == set()
        assert self.settled(*copies(a=1), silent("b-0"), silent("b-1")).drain == set()

    def test_silent_copies_of_a_third_revision_stand_for_none(self) -> None:
        assert self.settled(*copies(a=1, b=1), silent("c-0")).drain == {"c-0"}
        assert self.settled(*copies(a=1, b=1, c=1)).drain == set()
