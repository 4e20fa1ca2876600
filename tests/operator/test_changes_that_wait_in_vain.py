"""A copy that waits in a queue though another went for it: when that is told, and of which change."""

from typing import Any

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStatus
from paddock_operator.decide.rollout.plan import UNMET, next_step
from paddock_operator.decide.rollout.types import CopyLook, Look, Step, Verdict
from paddock_operator.times import format_time

from tests.operator.test_rollout_by_looks import FAILED, NOW, copies, going_on, look, silent

SPEC = RolloutSpec(deadline_seconds=600)


def queued(name: str, **changes: Any) -> CopyLook:
    return silent(name, **{"starved": True, "queued": True, "lacks": "its queue has no room", **changes})


def known(*, late: float = 60.0, **changes: Any) -> RolloutStatus:
    """A change in which a former copy went, for one that has been lacking devices for so long."""
    since = {"started_at": format_time(NOW - 100.0), "starved_since": format_time(NOW - late)}
    return going_on(**{"gave_way": True, **since, **changes})


def change(*seen: CopyLook, **changes: Any) -> Step:
    """Of three wanted copies, one of the former revision is gone."""
    return next_step(look(*copies(a=2), *seen, **{"spec": SPEC, "rollout": known(), **changes}))


class TestAChange:
    def test_it_is_told_which_copy_waits_for_what_and_until_when(self) -> None:
        step = change(queued("b-0"))
        assert step.verdict is Verdict.ROLLING
        assert step.in_vain == (
            "a former copy went for copy b-0, and its queue has no room. The change is given up at"
            f" {format_time(NOW - 60.0 + 600)}"
        )

    @pytest.mark.parametrize(
        ("copy", "rollout"),
        [
            (queued("b-0"), known(late=59.0)),
            (queued("b-0"), known(starved_since="")),
            (queued("b-0"), known(gave_way=False)),
            (queued("b-0", queued=False), known()),
            (queued("b-0", starved=False), known()),
        ],
        ids=["not for long", "just now", "nothing went", "in no queue", "lacks nothing"],
    )
    def test_nothing_is_told_of_one_that_may_still_come(self, copy: CopyLook, rollout: RolloutStatus) -> None:
        assert change(copy, rollout=rollout).in_vain == ""

    def test_nor_where_as_many_serve_as_are_promised(self) -> None:
        assert change(queued("b-0"), spec=RolloutSpec(max_unavailable=1)).in_vain == ""

    def test_one_that_was_stopped_waits_for_nothing(self) -> None:
        step = change(queued("b-0"), failed=FAILED, spec=RolloutSpec(rollback=False))
        assert (step.verdict, step.in_vain) == (Verdict.STOPPED, "")

    def test_that_a_copy_gave_way_is_remembered(self) -> None:
        for gave_way in (True, False):
            step = change(queued("b-0"), rollout=known(gave_way=gave_way))
            assert step.rollout is not None
            assert step.rollout.gave_way is gave_way


class TestTheWayBack:
    BACK = known(former="b", target="a")

    def going_back(self, *seen: CopyLook, **changes: Any) -> Step:
        return change(*seen, **{"target": "a", "rollout": self.BACK, **changes})

    def test_a_former_copy_that_waits_to_come_back_is_told(self) -> None:
        for gave_way in (True, False):
            back = known(former="b", target="a", gave_way=gave_way)
            step = self.going_back(queued("a-2"), rollout=back)
            assert step.verdict is Verdict.GOING_BACK
            assert step.in_vain == "copy a-2 is to come back: its queue has no room"

    def test_nor_is_it_where_as_many_serve_as_are_promised(self) -> None:
        assert self.going_back(queued("a-2"), spec=RolloutSpec(max_unavailable=1)).in_vain == ""

    @pytest.mark.parametrize(("unmet", "why"), [(True, UNMET), (False, "the specification was set back")])
    def test_why_it_goes_back_is_told(self, unmet: bool, why: str) -> None:
        step = next_step(look(*copies(a=2, b=1), target="a", unmet=unmet))
        assert step.message == f"{why}; copies of the former revision come back"


def test_steps_of_another_strategy_are_not_taken_over() -> None:
    """Its second step is the last one of a change that is blue-green, where former copies go."""

    def seen(strategy: str) -> Look:
        rollout = going_on(strategy=strategy, step=2, step_since=format_time(NOW - 500.0))
        return look(*copies(a=3, b=3), rollout=rollout, spec=RolloutSpec(strategy="BlueGreen"), benchmarked=True)

    assert next_step(seen("BlueGreen")).drain == {"a-0", "a-1", "a-2"}
    anew = next_step(seen("Canary"))
    assert (anew.drain, anew.weights) == (frozenset(), {"a": 100})
    assert anew.rollout is not None
    assert (anew.rollout.step, anew.rollout.strategy) == (0, "BlueGreen")
