"""When a new copy has had time enough: from when its time counts, what stops it, and when that is looked at."""

from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec
from paddock_operator.decide.rollout.deadline import (
    CLOCKS_DIFFER,
    failure,
    gives_way,
    in_vain,
    seconds_left,
    starved_since,
)
from paddock_operator.decide.rollout.types import CopyLook, Look
from paddock_operator.times import format_time

from tests.operator.test_rollout_by_looks import BEGAN, NOW, copies, going_on, look, silent

SPEC = RolloutSpec(deadline_seconds=600)
LONG_AGO = NOW - 5000.0
GOING_ON = going_on(started_at=format_time(LONG_AGO))


def seen(*found: CopyLook, **changes: Any) -> Look:
    return look(*copies(a=1), *found, **{"spec": SPEC, "rollout": GOING_ON, **changes})


def late(name: str = "b-0", *, by: float = 1.0, **changes: Any) -> CopyLook:
    """A copy that should have answered so long ago."""
    return replace(silent(name, **changes), born_at=NOW - SPEC.deadline_seconds - by)


def judged(found: Look, *, last: bool = False) -> str:
    return failure(found, goal="b", former="a", last=last)


class TestWhoIsLate:
    @pytest.mark.parametrize(("by", "words"), [(0.0, ""), (1.0, "copy b-0 has not answered within 600 s")])
    def test_one_that_has_not_answered_in_its_time(self, by: float, words: str) -> None:
        assert judged(seen(late(by=by))) == words

    @pytest.mark.parametrize(
        "spared",
        [{"answering": True}, {"answering": None}, {"queued": True}, {"going": True}, {"draining": True}],
        ids=str,
    )
    def test_nobody_else_is(self, spared: dict[str, Any]) -> None:
        found = seen(replace(late(), **spared))
        assert judged(found) == ""
        assert seconds_left(found, goal="b", former="a") is None

    def test_copies_of_the_former_one_are_not_asked(self) -> None:
        assert judged(seen(late("a-9"), late("c-0", failed=True))) == ""

    def test_the_second_one_is_found_too(self) -> None:
        assert judged(seen(silent("b-0"), late("b-1"))).startswith("copy b-1 ")

    def test_one_that_is_given_up_condemns_at_once(self) -> None:
        assert judged(seen(silent("b-0", failed=True))) == "copy b-0 has been given up after too many failures"

    def test_what_is_refused_has_as_long(self) -> None:
        began = going_on(started_at=format_time(NOW - 601.0))
        words = "not all of its copies could be made within 600 s: forbidden"
        assert judged(seen(refused="forbidden", rollout=began)) == words
        assert judged(seen(refused="forbidden", rollout=going_on(started_at=format_time(NOW - 600.0)))) == ""


class TestFromWhen:
    def test_a_change_that_began_later_than_its_copies(self) -> None:
        found = seen(late(), rollout=going_on())
        assert judged(found) == ""
        assert seconds_left(found, goal="b", former="a") == 600.0 - 50.0 + CLOCKS_DIFFER
        assert format_time(NOW - 50.0) == BEGAN

    @pytest.mark.parametrize("known", [None, going_on(target="c"), going_on(started_at="")])
    def test_one_of_which_nothing_is_remembered_begins_now(self, known: Any) -> None:
        found = seen(late(), rollout=known)
        assert judged(found) == ""
        assert seconds_left(found, goal="b", former="a") == 600.0 + CLOCKS_DIFFER

    def test_one_that_could_answer_only_since_then(self) -> None:
        assert judged(seen(replace(late(), quiet_since=NOW - 600.0))) == ""
        assert judged(seen(replace(late(), quiet_since=NOW - 601.0))) != ""

    def test_the_first_one_that_will_be_late_is_looked_at(self) -> None:
        found = seen(silent("b-0"), late("b-1", by=-100.0), late("b-2", by=-30.0))
        assert seconds_left(found, goal="b", former="a") == 30.0 + CLOCKS_DIFFER

    def test_one_that_is_late_is_looked_at_soon(self) -> None:
        assert seconds_left(seen(late(by=99.0)), goal="b", former="a") == CLOCKS_DIFFER


class TestWithoutDevices:
    def test_it_counts_from_the_first_look_and_then_as_noted(self) -> None:
        found = seen(silent("b-0", starved=True))
        assert starved_since(found, goal="b", former="a") == NOW
        noted = going_on(starved_since=format_time(NOW - 70.0))
        assert starved_since(replace(found, rollout=noted), goal="b", former="a") == NOW - 70.0
        assert starved_since(replace(found, rollout=None), goal="b", former="a") == NOW

    @pytest.mark.parametrize("leaves", [{"going": True}, {"draining": True}], ids=str)
    def test_while_another_makes_room_it_only_waits(self, leaves: dict[str, Any]) -> None:
        found = seen(replace(copies(a=1)[0], name="a-1", **leaves), late(starved=True))
        assert starved_since(found, goal="b", former="a") is None
        assert judged(found) == ""
        assert seconds_left(found, goal="b", former="a") is None

    def test_others_than_its_own_copies_lack_nothing(self) -> None:
        assert starved_since(seen(silent("a-9", starved=True), silent("b-0")), goal="b", former="a") is None

    def test_its_time_counts_from_when_nobody_makes_room_any_more(self) -> None:
        noted = going_on(started_at=format_time(LONG_AGO), starved_since=format_time(NOW - 70.0))
        found = seen(late(starved=True), rollout=noted)
        assert judged(found) == ""
        assert seconds_left(found, goal="b", former="a") == 600.0 - 70.0 + CLOCKS_DIFFER
        placed = seen(late("b-0", starved=True), late("b-1"), rollout=noted)
        assert judged(placed) == "copy b-1 has not answered within 600 s", "one that has devices is late all the same"

    def test_it_is_told_and_excused_only_where_others_are_all_there_is(self) -> None:
        noted = going_on(started_at=format_time(LONG_AGO), starved_since=format_time(LONG_AGO))
        alone = seen(late(starved=True, lacks="9 Insufficient nvidia.com/gpu"), rollout=noted)
        words = "copy b-0 has not answered within 600 s: 9 Insufficient nvidia.com/gpu"
        assert [judged(alone, last=last) for last in (False, True)] == [words, words]
        beside = seen(late(starved=True), *copies(b=1), rollout=noted)
        assert [judged(beside, last=last) for last in (False, True)] == [words.partition(":")[0], ""]
        misses = seen(late(lacks="1 node(s) were unschedulable"), *copies(b=1), rollout=noted)
        assert judged(misses, last=True) == "", "a lack of any node"
        slow = seen(late(), replace(copies(b=1)[0], name="b-1"), rollout=noted)
        assert judged(slow, last=True) == "copy b-0 has not answered within 600 s"


class TestInAQueue:
    """b-0 waits for its turn. Three copies are wanted."""

    WORDS = "pod b-0-x waits for the queue gpus"

    def waiting(self, *others: CopyLook, since: float = 601.0, gave_way: bool = True, **changes: Any) -> Look:
        noted = going_on(started_at=format_time(LONG_AGO), starved_since=format_time(NOW - since), gave_way=gave_way)
        turn = late(starved=True, queued=True, lacks=self.WORDS)
        return look(turn, *others, **{"spec": SPEC, "rollout": noted, **changes})

    def test_a_turn_may_take_as_long_as_it_takes_while_nothing_is_missing(self) -> None:
        for seen in (self.waiting(*copies(a=3)), self.waiting(*copies(a=2, b=1)), self.waiting(*copies(a=1), wanted=1)):
            assert judged(seen) == ""
            assert seconds_left(seen, goal="b", former="a") is None

    def test_a_former_copy_that_went_for_it_is_back_in_time(self) -> None:
        assert judged(self.waiting(*copies(a=2))) == f"copy b-0 has not answered within 600 s: {self.WORDS}"
        early = self.waiting(*copies(a=2), since=600.0)
        assert judged(early) == ""
        assert seconds_left(early, goal="b", former="a") == CLOCKS_DIFFER

    def test_also_where_others_of_the_new_ones_are_all_there_is(self) -> None:
        assert judged(self.waiting(*copies(b=1), wanted=2), last=True) != ""

    def test_copies_that_may_be_missing_are_not_called_back(self) -> None:
        spec = RolloutSpec(deadline_seconds=600, max_unavailable=1)
        assert judged(self.waiting(*copies(a=2), spec=spec)) == ""

    def test_more_copies_that_are_wanted_by_now_went_for_nobody(self) -> None:
        assert judged(self.waiting(*copies(a=2), gave_way=False)) == ""

    def test_while_requests_end_in_the_former_copy_nothing_counts(self) -> None:
        ending = replace(copies(a=3)[2], draining=True)
        assert judged(self.waiting(*copies(a=2), ending)) == ""

    def test_what_went_before_enough_others_answer_is_remembered(self) -> None:
        def gives(*others: CopyLook, drain: tuple[str, ...] = (), **changes: Any) -> bool:
            return gives_way(self.waiting(*others, **changes), goal="b", former="a", drain=drain)

        assert gives(*copies(a=3), drain=("a-2",), gave_way=False)
        assert gives(*copies(a=3))
        assert not gives(*copies(a=3), gave_way=False)
        assert not gives(*copies(a=2), gave_way=False), "more are wanted by now"
        assert not gives(*copies(a=3, b=1), drain=("a-2",), gave_way=False), "another one answers in its place"
        assert not gives(*copies(a=3), drain=("b-0",), gave_way=False), "the new one goes"
        assert not gives(*copies(a=3), drain=("a-2",), gave_way=False, spec=RolloutSpec(max_unavailable=1))
        assert not gives(*copies(a=3), rollout=going_on(target="c", gave_way=True)), "that was another change"

    def test_it_is_told_once_it_has_lasted(self) -> None:
        def words(*others: CopyLook, back: bool = False, **changes: Any) -> str:
            return in_vain(self.waiting(*others, **changes), goal="b", former="a", back=back)

        until = format_time(NOW - 60.0 + 600.0)
        told = f"a former copy went for copy b-0, and {self.WORDS}. The change is given up at {until}"
        assert words(*copies(a=2), since=60.0) == told
        assert words(*copies(a=2), since=59.0) == ""
        assert words(*copies(a=3), since=60.0) == ""
        assert words(*copies(a=2), since=60.0, gave_way=False) == ""
        assert words(*copies(a=2), replace(copies(a=3)[2], draining=True), since=60.0) == ""
        assert words(*copies(a=2), back=True, gave_way=False) == f"copy b-0 is to come back: {self.WORDS}"
        assert words(*copies(a=3), back=True) == ""
