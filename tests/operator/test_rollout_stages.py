"""Stages of a change, each by itself: how many copies it asks for, when it is over, what it waits for."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStep
from paddock_operator.decide.rollout.settle import Aim, Settled, settle
from paddock_operator.decide.rollout.stages import Course, blue_green, bounds, canary, replacing
from paddock_operator.decide.rollout.types import CopyLook, Health, NewCopy
from paddock_operator.times import format_time

from tests.operator.rehearsing import BAD, GOOD, benchmark
from tests.operator.test_rollout_by_looks import NOW, copies, look, silent

SLOW = replace(GOOD, ttft_p95_ms=9000.0)


def course(*seen: CopyLook, since: float | None = None, step: int = 0, stopped: bool = False, **changes: Any) -> Course:
    """A change from a to b; `since` is seconds ago."""
    began = None if since is None else NOW - since
    return Course(look=look(*seen, **changes), goal="b", former="a", step=step, since=began, stopped=stopped)


class TestBounds:
    @pytest.mark.parametrize(
        ("spec", "lacks", "most", "fewest"),
        [
            (RolloutSpec(), False, 4, 3),
            (RolloutSpec(max_unavailable=2), False, 4, 1),
            (RolloutSpec(max_unavailable=5), False, 4, 0),
            (RolloutSpec(), True, 4, 2),
            (RolloutSpec(max_unavailable=2), True, 4, 1),
            (RolloutSpec(max_surge=0), False, 3, 2),
            (RolloutSpec(strategy="DrainFirst", max_surge=2), False, 3, 2),
        ],
    )
    def test_room_for_more_and_copies_that_may_be_missing(
        self, spec: RolloutSpec, lacks: bool, most: int, fewest: int
    ) -> None:
        assert bounds(course(*copies(a=3), silent("b-0", starved=lacks), spec=spec)) == (most, fewest)

    @pytest.mark.parametrize("changes", [{"draining": True}, {"going": True}])
    def test_a_copy_that_goes_lacks_nothing(self, changes: dict[str, bool]) -> None:
        assert not course(silent("b-0", starved=True, **changes)).starved
        assert not course(silent("a-0", starved=True)).starved

    @pytest.mark.parametrize("changes", [{"draining": True}, {"going": True}, {"answering": None}])
    def test_only_what_gets_requests_serves(self, changes: dict[str, Any]) -> None:
        (one, other) = copies(b=2)
        assert course(one, replace(other, **changes)).serving == {"b": 1}


class TestReplacing:
    def test_copies_one_after_the_other(self) -> None:
        stage = replacing(course(*copies(a=3, b=1)))
        assert (stage.aim, stage.step, stage.last) == (Aim(new=3, limit=4, floor=3), 1, True)
        assert (stage.failure, stage.look_after_seconds) == ("", 5.0)

    def test_more_than_are_wanted_count_as_all(self) -> None:
        assert replacing(course(*copies(b=4))).step == 3

    def test_nothing_is_asked_of_the_gate_before_a_copy_answers(self) -> None:
        assert replacing(course(*copies(a=3))).look_after_seconds is None

    def test_only_errors_take_it_back(self) -> None:
        assert not replacing(course(*copies(a=3, b=1), health={"a": GOOD, "b": SLOW}, benchmarked=True)).failure
        assert replacing(course(*copies(a=3, b=1), health={"a": GOOD, "b": BAD})).failure


class TestBlueGreen:
    BOTH = Aim(new=3, old=3, former=3, limit=6, floor=3)

    @pytest.mark.parametrize(
        ("spec", "aim"),
        [
            (RolloutSpec(), BOTH),
            (RolloutSpec(max_surge=5, max_unavailable=1), replace(BOTH, limit=8, floor=2)),
            (RolloutSpec(max_unavailable=5), replace(BOTH, floor=0)),
        ],
    )
    def test_a_second_set_comes_up(self, spec: RolloutSpec, aim: Aim) -> None:
        stage = blue_green(course(*copies(a=3), silent("b-0"), spec=spec))
        assert (stage.aim, stage.step, stage.since, stage.last) == (aim, 0, None, False)
        assert stage.look_after_seconds is None
        assert stage.weigh(Counter(a=3, b=3)) == {"a": 100}

    @pytest.mark.parametrize("lacks", [True, False])
    def test_what_it_waits_for_is_told(self, lacks: bool) -> None:
        message = blue_green(course(*copies(a=3, b=1), silent("b-1", starved=lacks))).message
        assert message.startswith("1 of 3 copies of the new revision answer")
        assert ("Devices are lacking" in message) is lacks

    def test_where_no_former_copy_is_there_none_is_kept(self) -> None:
        assert blue_green(course(silent("b-0"))).aim == replace(self.BOTH, former=0)

    def test_the_gate_is_asked_from_when_all_answer(self) -> None:
        stage = blue_green(course(*copies(a=3, b=3), benchmarked=True))
        assert (stage.aim, stage.step, stage.since, stage.look_after_seconds) == (self.BOTH, 0, NOW, 5.0)
        assert stage.message == "all copies of the new revision answer; the outcome of its trial is awaited"
        waits = blue_green(course(*copies(a=3, b=3), since=299.0, benchmarked=True))
        assert (waits.step, waits.since) == (0, NOW - 299.0)
        assert waits.weigh(Counter(a=3, b=3)) == {"a": 100}
        over = blue_green(course(*copies(a=3, b=3), since=300.0, benchmarked=True))
        assert (over.step, over.since) == (1, NOW)

    def test_one_that_is_stopped_is_not_switched_to(self) -> None:
        stage = blue_green(course(*copies(a=3, b=3), stopped=True))
        assert (stage.aim, stage.step, stage.failure) == (self.BOTH, 0, "")

    def test_its_trial_is_judged_before_the_switch(self) -> None:
        trials = {"a": benchmark(ttft=100), "b": benchmark(ttft=900)}
        assert "by its trial" in blue_green(course(*copies(a=3, b=3), benchmarks=trials)).failure

    @pytest.mark.parametrize(("since", "after"), [(None, 5.0), (30.0, 5.0), (57.0, 3.0), (59.5, 1.0)])
    def test_the_former_set_stays_for_a_while(self, since: float | None, after: float) -> None:
        stage = blue_green(course(*copies(a=3, b=3), step=1, since=since, benchmarked=True))
        until = format_time(NOW - (since or 0.0) + 60.0)
        assert stage.message == f"all requests go to the new revision; the former copies stay until {until}"
        assert (stage.aim, stage.step, stage.last, stage.failure) == (self.BOTH, 1, False, "")
        assert (stage.since, stage.look_after_seconds) == (NOW - (since or 0.0), after)
        assert stage.weigh(Counter(a=3, b=3)) == {"b": 100}

    def test_and_then_goes(self) -> None:
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=100, seconds=20), RolloutStep(weight_percent=100)))
        assert blue_green(course(*copies(a=3, b=3), step=1, since=19.0, spec=spec)).step == 1
        for step, since in ((1, 20.0), (2, 5.0)):
            stage = blue_green(course(*copies(a=3, b=3), step=step, since=since, spec=spec))
            assert (stage.aim, stage.step) == (Aim(new=3, limit=6, floor=3), 2)
            assert (stage.since, stage.last, stage.look_after_seconds) == (NOW - since, True, None)
            assert stage.message == "the copies of the former revision end their requests"
            assert stage.weigh(Counter(a=3, b=3)) == {"b": 100}

    @pytest.mark.parametrize("step", [1, 2])
    def test_bad_answers_keep_what_there_is_of_it(self, step: int) -> None:
        stage = blue_green(course(*copies(a=3, b=3), step=step, since=90.0, health={"a": GOOD, "b": BAD}))
        assert (stage.aim, stage.step) == (self.BOTH, step)
        assert "answers failed" in stage.failure


class TestCanary:
    @pytest.mark.parametrize(
        ("wanted", "percent", "aim"),
        [
            (4, 10, Aim(new=1, old=4, former=3, limit=5, floor=4)),
            (4, 50, Aim(new=2, old=2, former=2, limit=5, floor=4)),
            (4, 100, Aim(new=4, old=0, former=0, limit=5, floor=4)),
            (5, 75, Aim(new=4, old=2, former=1, limit=6, floor=5)),
            (8, 1, Aim(new=1, old=8, former=7, limit=9, floor=8)),
            (1, 10, Aim(new=1, old=1, former=0, limit=2, floor=1)),
            (400, 50, Aim(new=200, old=200, former=200, limit=401, floor=400)),
            (400, 100, Aim(new=400, old=0, former=0, limit=401, floor=400)),
        ],
    )
    def test_copies_for_its_share(self, wanted: int, percent: int, aim: Aim) -> None:
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=percent, seconds=60),))
        assert canary(course(*copies(a=wanted, b=1), wanted=wanted, spec=spec)).aim == aim

    @pytest.mark.parametrize(
        ("made", "former"),
        [
            (copies(b=3), 1),
            (copies(b=6), 0),
            (tuple(replace(copy, draining=True) for copy in copies(b=3)), 3),
            (copies(c=3), 3),
        ],
    )
    def test_former_copies_come_back_where_new_ones_are_missing(self, made: tuple[CopyLook, ...], former: int) -> None:
        assert canary(course(*made, wanted=4)).aim.former == former

    @pytest.mark.parametrize(("wanted", "old"), [(4, 3), (2, 1), (1, 1)])
    def test_where_devices_lack_one_makes_room_unless_it_is_the_only_one(self, wanted: int, old: int) -> None:
        stage = canary(course(*copies(a=wanted), silent("b-0", starved=True), wanted=wanted))
        assert stage.aim.old == old
        assert ("Devices are lacking" in stage.message) is (wanted == 1)

    def test_what_made_room_does_not_come_back_meanwhile(self) -> None:
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=50, seconds=60),))
        aim = canary(course(*copies(a=2, b=1), silent("b-1", starved=True), wanted=4, spec=spec)).aim
        assert (aim.old, aim.former) == (1, 1)

    @pytest.mark.parametrize(("wanted", "lacks"), [(3, True), (1, False)])
    def test_where_others_can_make_room_or_none_is_needed_nobody_is_asked_for_devices(
        self, wanted: int, lacks: bool
    ) -> None:
        seen = (*copies(a=wanted), silent("b-0", starved=lacks))
        stage = canary(course(*seen, wanted=wanted, spec=RolloutSpec(max_unavailable=3)))
        assert stage.aim.floor == 0
        assert stage.message == "step 1 of 3, 10 %: 0 of 1 new copies answer"

    def test_the_outcome_of_a_trial_is_waited_for_and_no_failure(self) -> None:
        steps = (RolloutStep(weight_percent=20, seconds=30), RolloutStep(weight_percent=100, seconds=30))
        spec = RolloutSpec(steps=steps)
        for since, benchmarked, text in ((50.0, True, "the outcome"), (29.0, False, f"until {format_time(NOW + 1.0)}")):
            stage = canary(course(*copies(a=3, b=1), since=since, benchmarked=benchmarked, spec=spec))
            assert (stage.step, stage.failure) == (0, "")
            assert stage.message.startswith(f"step 1 of 2, 20 %: {text}")

    def test_before_its_copies_answer_it_has_no_more_than_in_the_step_before(self) -> None:
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=20), RolloutStep(weight_percent=100)))
        told = {"a": 60, "b": 40}
        second = canary(course(*copies(a=3, b=1), step=1, spec=spec, told=told))
        assert second.weigh(Counter(a=9, b=1)) == {"a": 80, "b": 20}
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=50), RolloutStep(weight_percent=100)))
        first = canary(course(*copies(a=3, b=1), spec=spec, told=told))
        assert first.weigh(Counter(a=9, b=1)) == {"a": 90, "b": 10}

    def test_without_surge_there_is_no_room_beside(self) -> None:
        assert canary(course(*copies(a=4), wanted=4, spec=RolloutSpec(max_surge=0))).aim.old == 3

    def test_its_time_runs_from_when_its_copies_answer(self) -> None:
        assert canary(course(*copies(a=3))).since is None
        assert canary(course(*copies(a=3))).look_after_seconds is None
        begun = canary(course(*copies(a=3, b=1)))
        assert (begun.step, begun.since, begun.look_after_seconds) == (0, NOW, 5.0)
        assert begun.weigh(Counter(a=3, b=1)) == {"a": 90, "b": 10}
        assert canary(course(*copies(a=3), since=7.0)).since == NOW - 7.0

    @pytest.mark.parametrize(("since", "step"), [(29.0, 0), (29.9, 0), (30.0, 1), (500.0, 1)])
    def test_a_step_lasts_its_time_and_the_next_one_begins_anew(self, since: float, step: int) -> None:
        steps = (RolloutStep(weight_percent=20, seconds=30), RolloutStep(weight_percent=100, seconds=30))
        stage = canary(course(*copies(a=3, b=1), since=since, spec=RolloutSpec(steps=steps)))
        assert stage.step == step
        if step:
            assert (stage.since, stage.aim.new) == (None, 3)
        else:
            assert stage.look_after_seconds == max(1.0, 30.0 - since)

    def test_one_that_is_stopped_stays_in_its_step(self) -> None:
        assert canary(course(*copies(a=3, b=1), since=500.0, stopped=True)).step == 0

    def test_the_last_percent_is_a_step_too(self) -> None:
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=99, seconds=10),))
        rest = canary(course(*copies(a=1, b=3), step=1, spec=spec))
        assert (rest.step, rest.last) == (2, True)
        begun = canary(course(*copies(a=3, b=2), step=1, spec=spec))
        assert (begun.step, begun.last) == (1, False)
        assert begun.weigh(Counter(a=1, b=3)) == {"b": 100}

    def test_the_rest_follows_a_last_step_below_a_hundred(self) -> None:
        spec = RolloutSpec(steps=(RolloutStep(weight_percent=40, seconds=10),))
        rest = canary(course(*copies(a=2, b=2), step=1, spec=spec))
        assert (rest.step, rest.since, rest.last, rest.aim.new) == (1, None, False, 3)
        over = canary(course(*copies(a=2, b=3), step=1, spec=spec))
        assert (over.step, over.since, over.last) == (2, None, True)
        full = RolloutSpec(steps=(RolloutStep(weight_percent=100, seconds=10),))
        assert canary(course(*copies(b=3), step=1, spec=full)).last

    def test_at_its_end_all_requests_are_at_the_new_ones(self) -> None:
        stage = canary(course(*copies(a=3, b=3), step=3, since=4.0))
        assert (stage.aim, stage.step, stage.since, stage.last) == (Aim(new=3, limit=4, floor=3), 3, NOW - 4.0, True)
        assert stage.weigh(Counter(a=3, b=3)) == {"b": 100}
        assert stage.message == "the copies of the former revision end their requests"

    @pytest.mark.parametrize(
        ("health", "since", "fails"), [(SLOW, None, False), (BAD, None, True), (SLOW, 7.0, True), (GOOD, 7.0, False)]
    )
    def test_speed_is_judged_once_it_has_its_share(self, health: Health, since: float | None, fails: bool) -> None:
        stage = canary(course(*copies(a=3), since=since, health={"a": GOOD, "b": health}))
        assert bool(stage.failure) is fails


class TestSettling:
    def settled(
        self, *seen: CopyLook, aim: Aim, former: str | None = "a", weighted: tuple[str, ...] = ("a", "b")
    ) -> Settled:
        return settle(look(*seen), aim, goal="b", former=former, weighted=weighted)

    def test_a_new_copy_on_its_way_out_is_taken_back_only_if_it_answers(self) -> None:
        (copy,) = copies(b=1)
        aim = Aim(new=1, limit=2, floor=0)
        back = self.settled(replace(copy, draining=True, drained=True), aim=aim)
        assert back == Settled(create=(), drain=frozenset(), delete=())
        for answering in (False, None):
            found = self.settled(replace(copy, draining=True, answering=answering), aim=aim)
            assert found == Settled(create=(NewCopy(revision="b", index=1),), drain=frozenset({"b-0"}), delete=())

    @pytest.mark.parametrize(
        ("worse", "better"),
        [
            (replace(silent("b-0"), answering=False), replace(silent("b-1"), answering=True)),
            (replace(silent("b-0"), failed=True, born_at=NOW - 99.0), silent("b-1")),
            (replace(silent("b-0"), born_at=NOW - 5.0), silent("b-1")),
            (replace(silent("b-1"), answering=True, born_at=0.0), replace(silent("b-0"), answering=True)),
            (replace(silent("b-0"), born_at=0.0), replace(silent("b-1"), answering=None)),
        ],
        ids=["silent", "given up", "younger", "higher index", "known to be silent"],
    )
    def test_the_worst_copy_goes_first(self, worse: CopyLook, better: CopyLook) -> None:
        for seen in ((worse, better), (better, worse)):
            assert self.settled(*seen, aim=Aim(new=1, limit=9, floor=0)).drain == {worse.name}

    def test_so_it_is_among_former_copies(self) -> None:
        first, second, third = copies(a=3)
        aim = Aim(new=0, old=2, limit=9, floor=0)
        assert self.settled(third, second, first, aim=aim).drain == {"a-2"}
        assert self.settled(replace(first, answering=False), second, third, aim=aim).drain == {"a-0"}

    def test_one_on_its_way_out_goes_before_one_that_stays(self) -> None:
        leaving, staying = copies(b=2)
        found = self.settled(replace(leaving, draining=True), staying, aim=Aim(new=1, limit=9, floor=0))
        assert found.drain == {leaving.name}

    def test_where_more_serve_than_must_no_former_copy_is_taken_back(self) -> None:
        first, second, *serving = copies(a=4)
        leaving = [replace(copy, draining=True) for copy in (first, second)]
        found = self.settled(*leaving, *serving, aim=Aim(new=0, old=2, former=0, limit=9, floor=1))
        assert found.drain == {"a-0", "a-1"}

    def test_what_serves_goes_only_down_to_the_floor(self) -> None:
        aim = Aim(new=1, limit=9, floor=3)
        assert self.settled(*copies(a=3, b=1), aim=aim).drain == {"a-2"}
        assert self.settled(*copies(a=3, b=1), aim=replace(aim, floor=2)).drain == {"a-1", "a-2"}
        assert self.settled(*copies(a=2, b=1), aim=aim).drain == frozenset()
        assert self.settled(*copies(a=2, b=1), aim=aim, weighted=("b",)).drain == {"a-0", "a-1"}

    def test_copies_of_a_third_revision_go_before_those_of_the_former_one(self) -> None:
        found = self.settled(*copies(c=2, a=2), aim=Aim(new=0, limit=9, floor=3), weighted=("a", "c"))
        assert found.drain == {"c-1"}

    @pytest.mark.parametrize(
        ("weighted", "former", "drain"),
        [
            (("a",), 0, {"a-2", "a-3", "c-0"}),
            (("b",), 0, {"a-1", "a-2", "a-3", "c-0"}),
            (("b",), 2, {"a-2", "a-3", "c-0"}),
            (("b",), 9, {"a-3", "c-0"}),
        ],
    )
    def test_former_copies_are_taken_back_for_the_floor_or_by_number(
        self, weighted: tuple[str, ...], former: int, drain: set[str]
    ) -> None:
        first, *others = copies(a=3)
        silent_one = silent("a-3", draining=True)
        seen = (first, *(replace(copy, draining=True) for copy in (*others, *copies(c=1))), silent_one)
        aim = Aim(new=0, old=1, former=former, limit=9, floor=2)
        assert self.settled(*seen, aim=aim, weighted=weighted).drain == drain

    def test_one_that_is_taken_back_lets_another_go(self) -> None:
        (former,) = copies(a=1)
        seen = (replace(former, draining=True), *copies(b=1))
        aim = Aim(new=0, old=1, former=1, limit=9, floor=1)
        assert self.settled(*seen, aim=aim).drain == {"b-0"}
        assert self.settled(*seen, aim=aim, weighted=("b",)).drain == frozenset()
        seen = (replace(former, draining=True), *copies(b=2))
        assert self.settled(*seen, aim=replace(aim, floor=2)).drain == {"b-1"}
        assert self.settled(*seen, aim=aim, weighted=("b",)).drain == {"b-1"}

    def test_none_is_taken_back_where_enough_are_there(self) -> None:
        first, second, *others = copies(a=4)
        seen = (first, second, *(replace(copy, draining=True) for copy in others))
        assert self.settled(*seen, aim=Aim(new=0, old=2, limit=9, floor=1)).drain == {"a-2", "a-3"}

    def test_what_drains_or_is_silent_does_not_count_for_the_floor(self) -> None:
        first, second, third = copies(a=3)
        aim = Aim(new=0, limit=9, floor=1)
        assert self.settled(first, second, replace(third, draining=True), aim=aim).drain == {"a-1", "a-2"}
        assert self.settled(first, second, silent("a-2"), aim=replace(aim, floor=2)).drain == {"a-2"}
        assert self.settled(first, replace(second, answering=None), aim=replace(aim, floor=0)).drain == {"a-0"}

    def test_indices_far_up_make_no_copy_too_many(self) -> None:
        def far(revision: str, count: int) -> list[CopyLook]:
            return [silent(f"{revision}-{index}") for index in range(5, 5 + count)]

        aim = Aim(new=2, limit=9, floor=0)
        assert self.settled(*far("b", 1), aim=aim).create == (NewCopy(revision="b", index=0),)
        assert self.settled(*far("b", 3), aim=replace(aim, new=3, limit=2)).create == ()
        assert self.settled(*far("a", 3), aim=replace(aim, new=0, old=3, former=2)).create == ()

    def test_copies_that_go_stand_for_none(self) -> None:
        found = self.settled(silent("a-0", draining=True), aim=Aim(new=0, old=2, former=2, limit=9, floor=0))
        assert [new.index for new in found.create] == [1, 2]

    def test_no_copy_is_made_twice_where_the_goal_is_the_former_one(self) -> None:
        aim = Aim(new=1, old=1, former=1, limit=9, floor=0)
        assert self.settled(aim=aim, former="b").create == (NewCopy(revision="b", index=0),)

    def test_one_new_copy_comes_before_former_ones_and_none_beyond_the_limit(self) -> None:
        aim = Aim(new=2, old=2, former=2, limit=3, floor=0)
        new, former = NewCopy(revision="b", index=0), NewCopy(revision="a", index=0)
        second, other = NewCopy(revision="b", index=1), NewCopy(revision="a", index=1)
        assert self.settled(aim=aim).create == (new, former, other)
        assert self.settled(aim=aim, former=None).create == (new, second)
        assert self.settled(aim=replace(aim, limit=1)).create == (new,)
        assert self.settled(*copies(c=2), aim=replace(aim, old=0)).create == (new,)
        assert self.settled(*copies(c=4), aim=replace(aim, old=0)).create == ()
        (going,) = (replace(copy, going=True) for copy in copies(b=1))
        assert self.settled(going, aim=aim).create == (second, former, other)
