"""Scheduled, Serving and Degraded by what was found of copies: what counts, what comes first, when to look again."""

from typing import Any

import pytest
from paddock_core.resources.conditions import ConditionReason, Finding
from paddock_operator.decide.causes import MAX_WORDS, Cause
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.serving import LATE_SECONDS, Judgement, Wanted, judge
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Child

from tests.operator.platforms import NOW
from tests.operator.test_routing_at_its_edges import copy
from tests.operator.test_what_the_planner_of_rollouts_is_shown import observed

CRASHES = Cause(reason=ConditionReason.CRASH_LOOPING, message="it crashes")
GIVEN_UP = Cause(reason=ConditionReason.GROUP_FAILED, message="it is given up")


def judged(*copies: Copy, wanted: Wanted, endpoints: int, told: Any = (), note: str = "", **seen: Any) -> Judgement:
    return judge(
        observed(**seen),
        copies,
        wanted=wanted,
        endpoints=endpoints,
        told=told,
        note=note,
        probe_interval_seconds=7.0,
    )


def said(kind: str, found: Judgement) -> tuple[str, str, str] | None:
    """Status, reason and words of a condition; None where it is absent."""
    finding: Finding | None = next((item for item in found.findings if item.type == kind), None)
    return None if finding is None else (finding.status, finding.reason, finding.message)


def silent(index: int, *, since: float, **changes: Any) -> Copy:
    """To which nothing has happened for so long; no pod of it is there."""
    own = {"pods": (), "leader": None, "answering": False, "born_at": NOW - since}
    return copy("r", index, **{**own, **changes})


def placed(index: int, *, node: str | None = "n", **changes: Any) -> Copy:
    at = {"name": f"p{index}", "namespace": "n", "uid": f"p{index}", "creationTimestamp": "2027-01-01T00:00:00Z"}
    pod = Child(kind=POD, manifest={"metadata": at, "spec": None if node is None else {"nodeName": node}, "status": {}})
    return copy("r", index, **{"pods": (pod,), "leader": pod, **changes})


class TestScheduled:
    TWO = Wanted(copies=2)

    def test_only_pods_with_a_node_of_copies_that_stay_count(self) -> None:
        every = [placed(0), placed(1)]
        assert said("Scheduled", judged(*every, wanted=self.TWO, endpoints=0)) == (
            "True", "Scheduled", "2 of 2 pods have a node"
        )  # fmt: skip
        for other in (
            placed(1, node=None), placed(1, node=""), placed(1, draining_since=1.0), placed(1, workload=None)
        ):  # fmt: skip
            assert said("Scheduled", judged(placed(0), other, wanted=self.TWO, endpoints=0)) == (
                "False", "PodsPending", "1 of 2 pods have a node"
            )  # fmt: skip

    def test_of_copies_that_are_held_back_no_pod_is_wanted(self) -> None:
        one = judged(placed(0), wanted=Wanted(copies=2, held=1), endpoints=0)
        assert said("Scheduled", one) == ("True", "Scheduled", "1 of 1 pods have a node")
        assert said("Scheduled", judged(wanted=Wanted(copies=2, held=2), endpoints=0)) is None

    def test_each_pod_of_a_copy_is_wanted(self) -> None:
        found = judged(placed(0), wanted=Wanted(copies=1, pods_per_copy=2), endpoints=0)
        assert said("Scheduled", found) == ("False", "PodsPending", "1 of 2 pods have a node")


class TestServing:
    @pytest.mark.parametrize(
        ("endpoints", "wanted", "status", "reason"),
        [
            (1, Wanted(copies=3), "True", "Serving"),
            (1, Wanted(copies=3, min_available=2), "False", "TooFewAvailable"),
            (2, Wanted(copies=3, min_available=2), "True", "Serving"),
            (1, Wanted(copies=1, min_available=2), "True", "Serving"),
            (1, Wanted(copies=0), "True", "Serving"),
            (0, Wanted(copies=0), "False", "Stopped"),
            (0, Wanted(copies=0, by_load=True), "False", "ScaledToZero"),
            (0, Wanted(copies=0, refused=True), "False", "NotServed"),
            (0, Wanted(copies=0, by_load=True, refused=True), "False", "NotServed"),
            (0, Wanted(copies=1, by_load=True), "False", "PodsPending"),
            (0, Wanted(copies=1, refused=True), "False", "PodsPending"),
        ],
    )
    def test_it_holds_where_as_many_answer_as_must(
        self, endpoints: int, wanted: Wanted, status: str, reason: str
    ) -> None:
        found = said("Serving", judged(wanted=wanted, endpoints=endpoints))
        assert found is not None
        assert found[:2] == (status, reason)

    def test_where_too_few_answer_what_keeps_the_others_is_told(self) -> None:
        wanted = Wanted(copies=3, min_available=2)
        few = "1 of 3 copies answered a generation, and spec.minAvailable asks for 2"
        assert said("Serving", judged(wanted=wanted, endpoints=1)) == ("False", "TooFewAvailable", few)
        assert said("Serving", judged(wanted=wanted, endpoints=1, told=[CRASHES])) == (
            "False", "TooFewAvailable", f"{few}; {CRASHES.advised}"
        )  # fmt: skip

    def test_what_a_change_waits_for_and_a_doubt_are_told(self) -> None:
        found = judged(wanted=Wanted(copies=1), endpoints=1, note="step 1", doubted=2)
        words = said("Serving", found)
        assert words is not None
        assert words[2].startswith("1 of 1 copies answered a generation; step 1; the operator's probes of 2 of them")
        sure = said("Serving", judged(wanted=Wanted(copies=1), endpoints=1, note="step 1"))
        assert sure == ("True", "Serving", "1 of 1 copies answered a generation; step 1")

    def test_what_lasts_is_told_by_name_the_one_that_waits_longest_first(self) -> None:
        wanted = Wanted(copies=2)
        soon = judged(silent(0, since=LATE_SECONDS - 1), wanted=wanted, endpoints=0)
        assert said("Serving", soon) == ("False", "PodsPending", "pods are being created")
        late = judged(
            silent(0, since=LATE_SECONDS), silent(1, since=90.0), silent(2, since=5.0), wanted=wanted, endpoints=0
        )
        words = said("Serving", late)
        assert words is not None
        assert words[2].startswith("copy chat-r-1 waits for its pod")
        assert late.slowest is not None
        assert late.slowest.since == NOW - 90.0
        assert judged(wanted=wanted, endpoints=0).slowest is None


class TestTrouble:
    ONE = Wanted(copies=1)

    def test_one_that_was_given_up_comes_first_and_else_the_first_that_is_known(self) -> None:
        for told in ([CRASHES, GIVEN_UP], [GIVEN_UP, CRASHES]):
            found = judged(wanted=self.ONE, endpoints=0, told=told)
            assert said("Serving", found) == ("False", "GroupFailed", GIVEN_UP.advised)
        other = Cause(reason=ConditionReason.NODE_LOST, message="its node is lost")
        found = judged(wanted=self.ONE, endpoints=0, told=[CRASHES, other])
        assert said("Serving", found) == ("False", "CrashLooping", CRASHES.advised)

    @pytest.mark.parametrize(
        ("endpoints", "copies", "told", "there"),
        [(1, 2, [CRASHES], True), (1, 2, [], False), (0, 2, [CRASHES], False), (1, 0, [CRASHES], False)],
    )
    def test_it_is_degraded_only_while_something_answers(
        self, endpoints: int, copies: int, told: list[Cause], there: bool
    ) -> None:
        found = said("Degraded", judged(wanted=Wanted(copies=copies), endpoints=endpoints, told=told))
        expected = ("True", "CrashLooping", f"1 of 2 copies answer; {CRASHES.advised}")
        assert found == (expected if there else None)


@pytest.mark.parametrize(
    ("endpoints", "probe", "after"), [(1, None, 7.0), (0, None, 30.0), (0, 4.0, 4.0), (1, 4.0, 4.0), (1, 9.0, 7.0)]
)
def test_it_is_looked_at_again_when_something_is_asked_next(endpoints: int, probe: float | None, after: float) -> None:
    found = judged(wanted=Wanted(copies=1), endpoints=endpoints, probe_after_seconds=probe)
    assert found.look_after_seconds == after


class TestWhatKeepsACopy:
    ONE = Wanted(copies=1)

    @pytest.mark.parametrize(("ready", "fails"), [("True", True), ("False", False)])
    def test_only_one_that_is_ready_is_said_to_generate_nothing(self, ready: str, fails: bool) -> None:
        one = placed(0, answering=False)
        status = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]}
        pod = Child(kind=POD, manifest={**one.pods[0].manifest, "status": status})
        there = placed(0, answering=False, pods=(pod,), leader=pod)
        found = said("Serving", judged(there, wanted=self.ONE, endpoints=0, probes={"p0": "HTTP 500"}))
        assert found is not None
        assert (found[1] == "ProbeFailed") is fails
        assert ("is ready but generates nothing: HTTP 500" in found[2]) is fails

    @pytest.mark.parametrize(
        ("kind", "status", "refused"),
        [("ReplicaFailure", "True", True), ("ReplicaFailure", "False", False), ("Other", "True", False)],
    )
    def test_pods_that_are_refused_are_told_in_the_controllers_words(
        self, kind: str, status: str, refused: bool
    ) -> None:
        condition = {"type": kind, "status": status, "message": "no room " * 200}
        at = {"name": "chat-r-0", "namespace": "n", "uid": "w"}
        workload = Child(kind=REPLICA_SET, manifest={"metadata": at, "status": {"conditions": [condition]}})
        found = judged(wanted=self.ONE, endpoints=0, children=(workload,))
        scheduled, serving = said("Scheduled", found), said("Serving", found)
        assert scheduled is not None
        assert serving is not None
        assert (scheduled[1], serving[1]) == (("PodsRefused",) * 2 if refused else ("PodsPending",) * 2)
        assert ("no pod can be created: no room" in serving[2]) is refused
        assert len(serving[2]) < MAX_WORDS + 400

    def test_what_has_lasted_just_so_long_is_told(self) -> None:
        words = said("Serving", judged(silent(0, since=LATE_SECONDS), wanted=self.ONE, endpoints=0))
        assert words is not None
        assert words[2].startswith("copy chat-r-0 waits for its pod")
