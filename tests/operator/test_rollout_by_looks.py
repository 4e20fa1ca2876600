"""Steps of rollouts decided by one look: what is said, remembered and kept where a rehearsal would pass it by."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStatus
from paddock_operator.decide.rollout.plan import next_step
from paddock_operator.decide.rollout.types import CopyLook, Health, Look, State, Verdict
from paddock_operator.decide.rollout.weights import by_copies, first_of, returning, stepped
from paddock_operator.times import format_time

NOW = 1_800_000_000.0
BEGAN = format_time(NOW - 50.0)
FAILED = {"b": "answers failed"}


def copies(**counts: int) -> tuple[CopyLook, ...]:
    """So many copies of each revision that answer."""
    return tuple(
        CopyLook(name=f"{revision}-{index}", revision=revision, index=index, born_at=NOW - 500.0, answering=True)
        for revision, count in counts.items()
        for index in range(count)
    )


def silent(name: str, **changes: Any) -> CopyLook:
    """A copy that does not answer yet."""
    revision, _, index = name.partition("-")
    return CopyLook(name=name, revision=revision, index=int(index), born_at=NOW - 10.0, **changes)


def look(*seen: CopyLook, wanted: int = 3, target: str = "b", current: str | None = "a", **changes: Any) -> Look:
    """A look at these copies."""
    spec = changes.pop("spec", RolloutSpec())
    return Look(now=NOW, wanted=wanted, spec=spec, target=target, current=current, copies=seen, **changes)


def going_on(**changes: Any) -> RolloutStatus:
    """What the status says of a change from a to b."""
    known = {"former": "a", "target": "b", "strategy": "RollingUpdate", "started_at": BEGAN}
    return RolloutStatus(**{**known, **changes})


def states(seen: Look) -> list[tuple[str, State]]:
    return [(item.revision, item.state) for item in next_step(seen).standings]


class TestFromWhereToWhere:
    def test_the_first_copies_are_no_change(self) -> None:
        step = next_step(look(silent("b-0"), silent("b-1"), silent("b-2"), current=None))
        assert (step.verdict, step.message, step.hold) == (Verdict.STEADY, "", False)
        assert step.look_after_seconds is None, "there is nothing to go back to, so no deadline is looked at"

    def test_where_none_ever_served_the_next_one_is_told_as_a_change(self) -> None:
        step = next_step(look(silent("a-0"), silent("b-0"), current=None))
        assert step.verdict is Verdict.ROLLING
        assert "replace those of an earlier one" in step.message

    def test_what_failed_is_the_goal_still_where_no_other_ever_served(self) -> None:
        step = next_step(look(current=None, failed=FAILED, wanted=1))
        assert (step.goal, [new.revision for new in step.create]) == ("b", ["b"])

    @pytest.mark.parametrize("failed", [True, False])
    def test_what_is_stopped_would_be_woken_with_what_served(self, failed: bool) -> None:
        step = next_step(look(*copies(a=1), wanted=0, failed=FAILED if failed else {}))
        assert (step.goal, step.verdict) == ("a" if failed else "b", Verdict.STEADY)

    def test_one_more_failure_forgets_no_other(self) -> None:
        seen = look(*copies(a=3), silent("b-0", failed=True), failed={"c": "why"}, recalled=frozenset({"c", "d"}))
        assert states(seen) == [("a", State.CURRENT), ("b", State.FAILED), ("c", State.FAILED)]

    def test_all_that_is_there_has_a_state_and_what_went_for_good_has_none(self) -> None:
        assert states(look(*copies(a=1, c=1))) == [("b", State.COMING), ("a", State.CURRENT), ("c", State.FORMER)]
        assert states(look(*copies(b=3))) == [("b", State.CURRENT)]

    def test_the_round_in_which_all_copies_answer_ends_it(self) -> None:
        step = next_step(look(*copies(b=3), rollout=going_on()))
        assert (step.verdict, step.message, step.rollout) == (Verdict.STEADY, "", None)

    def test_copies_that_are_not_judged_yet_end_nothing_though_the_former_ones_are_gone(self) -> None:
        step = next_step(look(*copies(b=3), spec=RolloutSpec(strategy="BlueGreen"), benchmarked=True))
        assert step.verdict is Verdict.ROLLING
        assert State.CURRENT not in [item.state for item in step.standings if item.revision == "b"]

    def test_a_copy_that_is_given_up_fails_nothing_where_nothing_changes(self) -> None:
        step = next_step(look(*copies(a=2), silent("a-2", failed=True), target="a"))
        assert (step.verdict, step.standings[0].state) == (Verdict.STEADY, State.CURRENT)

    def test_what_failed_once_is_forgotten_with_its_last_copy(self) -> None:
        assert states(look(*copies(a=3), target="a", failed={"c": "why"})) == [("a", State.CURRENT)]
        seen = next_step(look(*copies(a=3, c=1), target="a", failed={"c": "why"}))
        assert [(item.revision, item.message) for item in seen.standings] == [("a", ""), ("c", "why")]

    def test_how_far_it_is_is_told_and_remembered(self) -> None:
        step = next_step(look(*copies(a=3, b=1)))
        assert step.message == "1 of 3 copies are of the new revision"
        canary = next_step(look(*copies(a=3, b=1), spec=RolloutSpec(strategy="Canary"))).rollout
        assert canary is not None
        assert (canary.step, canary.step_since, canary.message[:18]) == (0, format_time(NOW), "step 1 of 3, 10 %:")


class TestTheWayBack:
    def test_it_ends_once_all_copies_answer(self) -> None:
        back = going_on(former="b", target="a")
        assert next_step(look(*copies(a=3), target="a", rollout=back)).verdict is Verdict.STEADY
        assert next_step(look(*copies(a=3), failed=FAILED, rollout=back)).verdict is Verdict.ROLLED_BACK

    def test_one_that_failed_is_left_though_nothing_is_remembered_of_the_change(self) -> None:
        step = next_step(look(*copies(a=2), silent("b-0"), failed=FAILED))
        assert step.rollout is not None
        assert step.rollout.former == "b"
        assert step.message.startswith("answers failed;")

    def test_a_change_that_its_author_takes_back_is_one_from_it(self) -> None:
        step = next_step(look(*copies(a=2), silent("b-0"), target="a", rollout=going_on()))
        assert step.verdict is Verdict.GOING_BACK
        assert step.message.startswith("the specification was set back")
        assert step.rollout is not None
        assert (step.rollout.former, step.rollout.target) == ("b", "a")
        assert step.rollout.started_at == format_time(NOW)

    def test_it_is_the_same_change_until_all_copies_answer(self) -> None:
        back = going_on(former="b", target="a")
        step = next_step(look(*copies(a=2), silent("a-2"), target="a", rollout=back))
        assert step.verdict is Verdict.GOING_BACK
        assert step.rollout is not None
        assert (step.rollout.former, step.rollout.target, step.rollout.started_at) == ("b", "a", BEGAN)

    def test_without_a_change_before_it_a_copy_that_is_missing_is_none(self) -> None:
        step = next_step(look(*copies(a=2), silent("a-2"), target="a"))
        assert (step.verdict, step.rollout) == (Verdict.STEADY, None)

    def test_of_one_that_failed_the_reason_is_told_though_it_is_not_asked_for_any_more(self) -> None:
        seen = look(*copies(a=3), silent("b-0"), target="a", failed=FAILED, rollout=going_on())
        assert next_step(seen).message.startswith("answers failed; copies of the former revision come back")

    def test_one_that_failed_is_told_as_what_is_left(self) -> None:
        step = next_step(look(*copies(a=2), silent("b-0"), failed=FAILED, rollout=going_on()))
        assert step.rollout is not None
        assert (step.goal, step.rollout.former, step.rollout.target) == ("a", "b", "a")
        assert step.rollout.message == step.message
        assert step.standings[0].revision == "a"

    @pytest.mark.parametrize(
        ("strategy", "weights"),
        [("RollingUpdate", {"a": 67, "b": 33}), ("Canary", {"a": 90, "b": 10}), ("BlueGreen", {"a": 90, "b": 10})],
    )
    def test_one_that_was_only_tried_gets_no_more_than_it_had(self, strategy: str, weights: dict[str, int]) -> None:
        seen = look(*copies(a=2, b=1), target="a", told={"a": 90, "b": 10}, spec=RolloutSpec(strategy=strategy))
        assert next_step(seen).weights == weights


class TestStopped:
    SPEC = RolloutSpec(rollback=False)

    def stopped(self, *seen: CopyLook, wanted: int = 3, **changes: Any) -> Look:
        return look(*seen, wanted=wanted, failed=FAILED, **{"spec": self.SPEC, "rollout": going_on(), **changes})

    def test_it_says_why(self) -> None:
        step = next_step(self.stopped(*copies(a=3), silent("b-0")))
        assert step.verdict is Verdict.STOPPED
        assert step.message.startswith("answers failed; nothing more is replaced")

    def test_one_that_failed_does_not_become_current_though_no_other_is_left(self) -> None:
        step = next_step(self.stopped(*copies(b=3)))
        assert (step.verdict, step.standings[0].state) == (Verdict.STOPPED, State.FAILED)

    def test_only_copies_that_the_new_ones_do_not_stand_for_come_back(self) -> None:
        made = next_step(self.stopped(*copies(b=2, a=1), wanted=4)).create
        assert [(new.revision, new.index) for new in made] == [("a", 1)]

    def test_a_new_copy_that_answers_stands_for_a_former_one(self) -> None:
        assert next_step(self.stopped(*copies(a=2, b=1))).create == ()

    @pytest.mark.parametrize("switched", [True, False])
    def test_after_the_switch_a_second_set_stands_for_the_first(self, switched: bool) -> None:
        known = going_on(strategy="BlueGreen", step=int(switched), step_since=BEGAN if switched else "")
        seen = self.stopped(
            *copies(b=3, a=2), rollout=known, spec=RolloutSpec(strategy="BlueGreen", rollback=False), told={"b": 100}
        )
        assert [new.revision for new in next_step(seen).create] == ([] if switched else ["a"])

    def test_what_a_change_may_have_at_once_stays(self) -> None:
        assert next_step(self.stopped(*copies(a=3, b=1))).drain == frozenset()
        assert next_step(self.stopped(*copies(a=4, b=1))).drain == {"a-3"}

    def test_former_copies_stay_though_more_new_ones_are_there_than_may_be(self) -> None:
        spec = RolloutSpec(max_unavailable=1, rollback=False)
        seen = self.stopped(*copies(a=3), silent("b-0"), silent("b-1"), spec=spec)
        assert next_step(seen).drain == frozenset()

    def test_its_time_takes_it_no_further(self) -> None:
        known = going_on(strategy="Canary", step_since=format_time(NOW - 500.0))
        spec = RolloutSpec(strategy="Canary", rollback=False)
        seen = self.stopped(*copies(a=3, b=2), rollout=known, spec=spec, told={"a": 90, "b": 10})
        assert next_step(seen).weights == {"a": 90, "b": 10}
        known = going_on(strategy="BlueGreen", step=1, step_since=format_time(NOW - 500.0))
        spec = RolloutSpec(strategy="BlueGreen", rollback=False)
        step = next_step(self.stopped(*copies(a=3, b=3), rollout=known, spec=spec, told={"b": 100}))
        assert step.rollout is not None
        assert (step.rollout.step, step.drain) == (1, frozenset())

    def test_where_it_was_is_remembered(self) -> None:
        known = going_on(strategy="Canary", step=1)
        seen = self.stopped(*copies(a=3, b=3), rollout=known, spec=RolloutSpec(strategy="Canary", rollback=False))
        step = next_step(seen)
        assert step.rollout is not None
        assert (step.rollout.step, step.rollout.step_since) == (1, "")


class TestWhatIsToldAndRemembered:
    @pytest.mark.parametrize(
        ("seen", "holds"),
        [
            (look(*copies(a=3)), False),
            (look(*copies(a=1), wanted=1, spec=RolloutSpec(max_surge=0)), True),
            (look(*copies(a=1), wanted=1, spec=RolloutSpec(strategy="Canary", max_unavailable=1)), True),
            (look(*copies(a=1), wanted=1, target="a", spec=RolloutSpec(max_surge=0)), False),
            (look(*copies(a=1), wanted=1, failed=FAILED, spec=RolloutSpec(max_surge=0)), False),
            (look(silent("a-0"), silent("a-1"), silent("a-2")), True),
            (look(silent("a-0"), silent("a-1"), silent("a-2"), target="a"), False),
        ],
        ids=[
            "others answer",
            "the only one goes",
            "the only one may go",
            "no change",
            "taken back",
            "none answers",
            "none answers, no change",
        ],
    )
    def test_requests_wait_only_where_the_change_may_leave_nobody_to_answer(self, seen: Look, holds: bool) -> None:
        assert next_step(seen).hold is holds

    def test_since_when_devices_are_lacking_is_kept(self) -> None:
        seen = look(*copies(a=3), silent("b-0", starved=True))
        step = next_step(seen)
        assert step.rollout is not None
        assert step.rollout.starved_since == format_time(NOW)
        later = next_step(replace(seen, now=NOW + 30.0, rollout=step.rollout)).rollout
        assert later is not None
        assert (later.starved_since, later.started_at) == (format_time(NOW), format_time(NOW))

    def test_the_first_of_all_moments_that_may_change_something_is_looked_at(self) -> None:
        """The gate is asked again every five seconds, and the deadline is far."""
        seen = look(*copies(a=3, b=1), silent("b-1"), spec=RolloutSpec(deadline_seconds=100))
        assert next_step(seen).look_after_seconds == 5.0


class TestShares:
    @pytest.mark.parametrize(
        ("answers", "failing", "floor", "weights"),
        [
            ({"a": 1, "x": 2}, 149, 4, {"a": 33, "x": 67}),
            ({"a": 1, "x": 2}, 150, 4, {"a": 100}),
            ({"a": 1, "x": 2}, 0, 1, {"a": 100}),
            ({"x": 2}, 200, 4, {"x": 100}),
            ({"x": 2}, 200, 0, {"x": 100}),
            ({"a": 1, "x": 2}, None, 4, {"a": 33, "x": 67}),
            ({"a": 1, "x": 2}, None, 1, {"a": 100}),
        ],
    )
    def test_what_failed_helps_where_it_answers_more_than_is_lacking(
        self, answers: dict[str, int], failing: int | None, floor: int, weights: dict[str, int]
    ) -> None:
        """Of four wanted copies three are lacking; of 200 answers so many failed."""
        known = [{}, {"x": Health()}] if failing is None else [{"x": Health(requests=200, errors=failing)}]
        for health in known:
            seen = look(wanted=4, failed={"x": "why"}, health=health)
            assert by_copies(seen, goal="a", floor=floor)(Counter(answers)) == weights

    def test_the_goal_counts_whether_it_failed_or_not(self) -> None:
        rule = by_copies(look(failed=FAILED), goal="b", floor=1)
        assert rule(Counter(a=2, b=2)) == {"a": 50, "b": 50}

    def test_rounding_gives_to_the_largest_fractions_and_then_by_name(self) -> None:
        rule = by_copies(look(), goal="b", floor=1)
        assert rule(Counter(c=1, b=1, a=1, d=0)) == {"a": 34, "b": 33, "c": 33}
        assert rule(Counter(a=5, b=1)) == {"a": 83, "b": 17}

    @pytest.mark.parametrize(
        ("told", "answers", "floor", "weights"),
        [
            ({"a": 100}, {"a": 3, "b": 2}, 3, {"a": 100}),
            ({"a": 100}, {"a": 3, "b": 3}, 3, {"b": 100}),
            ({"b": 100}, {"a": 3, "b": 2}, 3, {"b": 100}),
            ({"b": 100}, {"a": 3, "b": 1}, 3, {"a": 100}),
            ({"b": 99, "a": 1}, {"a": 3, "b": 2}, 3, {"a": 100}),
            ({"a": 100}, {"a": 1, "b": 2}, 3, {"a": 100}),
            ({"a": 50, "b": 50}, {"a": 1, "b": 1}, 3, {"a": 50, "b": 50}),
            ({}, {"a": 2, "b": 1}, 3, {"b": 100}),
            ({}, {"c": 1, "d": 1}, 3, {"c": 50, "d": 50}),
            ({"c": 100}, {"a": 1, "b": 1, "c": 1}, 3, {"c": 100}),
            ({}, {"a": 1}, 0, {"a": 100}),
            ({}, {}, 0, {}),
        ],
    )
    def test_all_requests_to_the_first_that_has_copies_enough(
        self, told: dict[str, int], answers: dict[str, int], floor: int, weights: dict[str, int]
    ) -> None:
        assert first_of(look(told=told), "b", "a", None, floor=floor)(Counter(answers)) == weights

    @pytest.mark.parametrize(
        ("wanted", "told", "answers", "weights"),
        [
            (3, {"b": 100}, {"a": 3, "b": 1}, {"a": 100}),
            (3, {"a": 90, "b": 10}, {"a": 2, "b": 1}, {"a": 90, "b": 10}),
            (3, {"a": 100}, {"a": 2, "b": 1}, {"a": 100}),
            (3, {"a": 99, "b": 1}, {"a": 2, "b": 1}, {"a": 99, "b": 1}),
            (2, {"a": 90, "b": 10}, {"a": 1, "b": 1}, {"a": 90, "b": 10}),
            (3, {"a": 50, "b": 50}, {"a": 2, "b": 1}, {"a": 67, "b": 33}),
            (3, {"b": 100}, {"a": 2, "b": 1}, {"a": 67, "b": 33}),
            (4, {"a": 90, "b": 10}, {"a": 2, "b": 1, "c": 1}, {"a": 66, "b": 17, "c": 17}),
            (3, {"a": 100}, {"b": 1}, {"b": 100}),
            (1, {"a": 100}, {"b": 1}, {"b": 100}),
        ],
    )
    def test_on_the_way_back_the_goal_keeps_what_its_copies_bear(
        self, wanted: int, told: dict[str, int], answers: dict[str, int], weights: dict[str, int]
    ) -> None:
        assert returning(look(wanted=wanted, told=told), goal="a", floor=wanted)(Counter(answers)) == weights

    def test_no_copy_is_enough_for_nothing(self) -> None:
        assert returning(look(wanted=1), goal="a", floor=0)(Counter(b=1)) == {"b": 100}

    @pytest.mark.parametrize(
        ("told", "before", "step", "answers", "weights"),
        [
            ({"a": 40, "b": 60}, 0, 50, {"a": 1, "b": 2}, {"a": 40, "b": 60}),
            ({"a": 30, "b": 70}, 0, 50, {"a": 1, "b": 2}, {"a": 34, "b": 66}),
            ({"a": 40, "b": 60}, 0, 50, {"a": 2, "b": 3}, {"a": 40, "b": 60}),
            ({"a": 40, "b": 60}, 0, 50, {"a": 3, "b": 4}, {"a": 50, "b": 50}),
            ({"a": 90, "b": 10}, 0, 50, {"a": 1, "b": 2}, {"a": 50, "b": 50}),
            ({"a": 70, "b": 30}, 30, 10, {"a": 4, "b": 1}, {"a": 70, "b": 30}),
            ({"a": 90, "b": 10}, 30, 10, {"a": 4, "b": 1}, {"a": 90, "b": 10}),
            ({"a": 50, "b": 50}, 30, 40, {"a": 4, "b": 1}, {"a": 70, "b": 30}),
            ({"a": 70, "b": 30}, 30, 40, {"a": 4}, {"a": 100}),
            ({"a": 100}, 0, 100, {"a": 2, "b": 2}, {"b": 100}),
        ],
    )
    def test_a_canary_gives_back_what_others_cannot_bear_only_as_they_come(
        self, told: dict[str, int], before: int, step: int, answers: dict[str, int], weights: dict[str, int]
    ) -> None:
        """Of five wanted copies two are needed for the step."""
        rule = stepped(look(wanted=5, told=told), goal="b", before=before, step=step, copies=2)
        assert rule(Counter(answers)) == weights
