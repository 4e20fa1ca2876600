"""What the planner of rollouts is shown of copies, revisions, and what was told and heard of them."""

from typing import Any

import pytest
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus
from paddock_operator.decide import revisions
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.draining import Drain
from paddock_operator.decide.prospect import look_of
from paddock_operator.decide.quota import Judgement as Quota
from paddock_operator.decide.revisions import WISH, Revision
from paddock_operator.decide.rollout.types import CopyLook, Health, Look
from paddock_operator.decide.seen import Course, Seen
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.kinds import POD
from paddock_operator.observed import Child, Observed
from paddock_operator.times import format_time, parse_time

from tests.operator.platforms import CONFIG, NOW, licensed, looked
from tests.operator.test_lives_of_copies import DEMO
from tests.operator.test_routing_at_its_edges import copy

EARLY, LATER, LAST = (f"2027-01-0{day}T00:00:00Z" for day in (1, 2, 3))


@pytest.fixture(scope="module")
def rendered(worlds: Any) -> Revision:
    world = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=DEMO)
    world.rounds()
    (one,) = revisions.of(world.observed())
    return one


def revision(one: Revision, name: str, *, made_at: str = EARLY, wish: str = "w") -> Revision:
    metadata = {**one.manifest["metadata"], "annotations": {WISH: wish}, "creationTimestamp": made_at}
    manifest = {**one.manifest, "metadata": metadata}
    return Revision(name=name, facts=one.facts, template=one.template, manifest=manifest)


def observed(*, rollout: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **more: Any) -> Observed:
    """Revision a serves."""
    states = {"revisions": [{"name": "a", "state": "Current", "createdAt": EARLY}], **(status or {})}
    return looked(spec={**DEMO, "rollout": rollout or {}}, status=states, **more)


def course(
    *known: Revision, quota: tuple[int | None, int | None] = (None, None), wish: str = "w", unmet: bool = False
) -> Course:
    """The last one is the target; `quota` is for so many copies, and so many more."""
    copies, spare = quota
    return Course(
        target=known[-1],
        known={item.name: item for item in known},
        shared=(),
        namespace="paddock-serving-acme",
        wish=wish,
        quota=Quota(finding=None, status=None, copies=copies, spare=spare),
        unmet=unmet,
    )


def seen(*copies: Copy, **changes: Any) -> Seen:
    return Seen(**{"copies": copies, "verdicts": {}, "denied": {}, "drains": {}, **changes})


@pytest.fixture
def both(rendered: Revision) -> Course:
    return course(revision(rendered, "a"), revision(rendered, "b"))


class TestRevisions:
    def test_what_served_last_is_known_unless_it_is_lost_or_denied(self, rendered: Revision, both: Course) -> None:
        assert look_of(observed(), both, seen(), wanted=1).current == "a"
        assert look_of(observed(), both, seen(denied={"b": "why"}), wanted=1).current == "a"
        assert look_of(observed(), both, seen(denied={"a": "why"}), wanted=1).current is None
        assert look_of(observed(), course(revision(rendered, "b")), seen(), wanted=1).current is None
        never = observed(status={"revisions": [{"name": "a", "state": "Coming", "createdAt": EARLY}]})
        assert look_of(never, both, seen(), wanted=1).current is None

    def test_of_what_failed_for_the_present_wish_the_newest_is_recalled(self, rendered: Revision) -> None:
        names = ("d", "e", "f", "g", "h")
        states = [{"name": name, "state": "Failed", "createdAt": EARLY, "message": name} for name in names]
        known = (
            revision(rendered, "d", made_at=LATER),
            revision(rendered, "e", made_at=EARLY),
            revision(rendered, "f", made_at=LAST, wish="other"),
            revision(rendered, "g", made_at=EARLY),
            revision(rendered, "b"),
        )
        failing = observed(status={"revisions": states})
        shown = look_of(failing, course(*known), seen(), wanted=1)
        assert (shown.failed, shown.recalled) == ({name: name for name in names}, {"d"})
        even = look_of(failing, course(*known[1:]), seen(), wanted=1)
        assert even.recalled == {"g"}
        assert look_of(failing, course(known[2], known[4]), seen(), wanted=1).recalled == frozenset()

    def test_what_was_told_with_endpoints_is_shown_by_its_share(self, both: Course) -> None:
        target = {"model": "m", "tokenizer": "t", "contextLength": 1, "maxConcurrency": 1}
        targets = [
            {**target, "revision": "a", "weight": 90, "endpoints": [{"pod": "p", "url": "http://10.0.0.1:8000"}]},
            {**target, "revision": "b", "weight": 10},
        ]
        told = observed(status={"routing": {"digest": "d", "targets": targets}})
        assert look_of(told, both, seen(), wanted=1).told == {"a": 90}
        assert look_of(observed(), both, seen(), wanted=1).told == {}

    def test_what_was_heard_is_shown(self, rendered: Revision) -> None:
        health = {"a": Health(requests=3)}
        known = course(revision(rendered, "a"), revision(rendered, "b"), unmet=True)
        shown = look_of(observed(health=health, benchmarked=True), known, seen(), wanted=7)
        assert (shown.now, shown.wanted, shown.target, shown.unmet) == (NOW, 7, "b", True)
        assert (shown.health, shown.benchmarked) == (health, True)

    def test_a_revision_that_is_to_be_tried_again_is_no_failed_one(self, both: Course) -> None:
        failed = {"name": "b", "state": "Failed", "createdAt": EARLY, "message": "why", "retry": "another word"}
        shown = look_of(observed(status={"revisions": [failed]}), both, seen(), wanted=1)
        assert (shown.failed, shown.retried) == ({}, {"b"})


@pytest.mark.parametrize(
    ("conditions", "refused"),
    [
        ((("Progressing", "ApplyFailed"),), "why"),
        ((("Progressing", "RollingOut"),), ""),
        ((("Serving", "ApplyFailed"), ("Progressing", "ApplyFailed")), "why"),
        ((("Serving", "ApplyFailed"), ("Progressing", "RollingOut")), ""),
        ((("Serving", "ApplyFailed"),), ""),
        ((), ""),
    ],
)
def test_only_a_refusal_of_the_last_round_is_shown(both: Course, conditions: Any, refused: str) -> None:
    found = [
        {"type": kind, "status": "False", "reason": reason, "message": "why" if kind == "Progressing" else "other",
         "observedGeneration": 1, "lastTransitionTime": EARLY}
        for kind, reason in conditions
    ]  # fmt: skip
    assert look_of(observed(status={"conditions": found}), both, seen(), wanted=1).refused == refused


class TestRoom:
    def shown(
        self, rendered: Revision, quota: tuple[int | None, int | None], *, wanted: int = 3, **changes: Any
    ) -> tuple[str, int]:
        strategy = {"strategy": "BlueGreen", "maxSurge": 4}
        begun = changes.pop("begun", None)
        under_way = {"former": "a", "target": "b", "strategy": begun}
        found = observed(rollout={**strategy, **changes}, status={"rollout": under_way} if begun else {})
        known = course(revision(rendered, "a"), revision(rendered, "b"), quota=quota)
        spec = look_of(found, known, seen(), wanted=wanted).spec
        return spec.strategy, spec.max_surge

    def test_without_a_quota_the_specification_holds(self, rendered: Revision) -> None:
        assert self.shown(rendered, (None, None), begun="RollingUpdate") == ("BlueGreen", 4)

    @pytest.mark.parametrize(
        ("copies", "spare", "found"),
        [
            (3, 3, ("BlueGreen", 3)),
            (3, 9, ("BlueGreen", 4)),
            (3, 2, ("RollingUpdate", 2)),
            (3, 0, ("RollingUpdate", 0)),
            # What is granted for a load that is not there is room, and what is not granted takes none away.
            (4, 2, ("BlueGreen", 3)),
            (2, 3, ("BlueGreen", 3)),
            (None, 3, ("BlueGreen", 3)),
        ],
    )
    def test_a_second_set_needs_room_for_all_of_it(
        self, rendered: Revision, copies: int | None, spare: int, found: tuple[str, int]
    ) -> None:
        assert self.shown(rendered, (copies, spare)) == found

    def test_what_was_begun_copy_by_copy_ends_so(self, rendered: Revision) -> None:
        assert self.shown(rendered, (3, 9), begun="RollingUpdate") == ("RollingUpdate", 4)
        assert self.shown(rendered, (3, 9), begun="BlueGreen") == ("BlueGreen", 4)

    def test_another_strategy_stays_what_it_is(self, rendered: Revision) -> None:
        assert self.shown(rendered, (3, 1), strategy="Canary") == ("Canary", 1)


def failed(name: str, *, failures: int, retry_at: str = "", revision: str = "b") -> CopyStatus:
    return CopyStatus(name=name, revision=revision, failures=failures, failed_at=LATER, retry_at=retry_at)


class TestCopies:
    def shown(self, both: Course, one: Copy, verdict: Verdict | None = None, **changes: Any) -> CopyLook:
        verdicts = {} if verdict is None else {one.name: verdict}
        (found,) = look_of(observed(), both, seen(one, verdicts=verdicts, **changes), wanted=1).copies
        return found

    def test_one_that_answers_is_shown_as_it_is(self, both: Course) -> None:
        found = self.shown(both, copy("b", 2, born_at=5.0))
        assert found == CopyLook(name="chat-b-2", revision="b", index=2, born_at=5.0, answering=True)

    def test_one_that_must_get_no_request_counts_as_silent(self, both: Course) -> None:
        assert self.shown(both, copy("b"), Verdict(record=None, silent=True)).answering is False
        assert self.shown(both, copy("b", answering=None)).answering is None

    def test_since_when_it_could_answer_is_shown(self, both: Course) -> None:
        since = format_time(NOW - 30)
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": since}
        leader = Child(
            kind=POD,
            manifest={"metadata": {"name": "p", "namespace": "n", "uid": "p"}, "status": {"conditions": [ready]}},
        )
        assert self.shown(both, copy("b", leader=leader, answering=False)).quiet_since == NOW - 30
        assert self.shown(both, copy("b", leader=None, answering=False)).quiet_since is None

    @pytest.mark.parametrize(
        ("reason", "starved", "queued"),
        [
            (ConditionReason.QUEUED, True, True),
            (ConditionReason.INSUFFICIENT_GPU, True, False),
            (ConditionReason.VOLUME_NOT_MOUNTED, False, False),
        ],
    )
    def test_what_it_lacks_is_shown(self, both: Course, reason: ConditionReason, starved: bool, queued: bool) -> None:
        found = self.shown(both, copy("b", answering=False, unplaced=Cause(reason=reason, message="words")))
        assert (found.lacks, found.starved, found.queued) == ("words", starved, queued)

    def test_how_far_its_drain_is_is_shown(self, both: Course) -> None:
        leaving = copy("b", draining_since=1.0)
        for over in (True, False):
            found = self.shown(both, leaving, drains={leaving.name: Drain(over=over)})
            assert (found.draining, found.drained) == (True, over)

    @pytest.mark.parametrize(
        ("changes", "verdict", "goes"),
        [
            ({}, None, False),
            ({"workload": None}, None, True),
            ({}, Verdict(record=None, moves=True), True),
            ({}, Verdict(record=None, down=True), True),
            # One that is remembered keeps its place while it is taken down.
            ({"workload": None}, Verdict(record=None, held=True), False),
            ({}, Verdict(record=failed("chat-b-0", failures=1), down=True), False),
            ({"workload": None}, Verdict(record=failed("chat-b-0", failures=1)), False),
            ({}, Verdict(record=failed("chat-b-0", failures=0), down=True), True),
            ({}, Verdict(record=failed("chat-b-0", failures=1), down=True, moves=True), True),
        ],
    )
    def test_which_of_them_count_as_gone(
        self, both: Course, changes: dict[str, Any], verdict: Verdict | None, goes: bool
    ) -> None:
        assert self.shown(both, copy("b", **changes), verdict).going is goes

    def test_what_is_denied_goes(self, both: Course) -> None:
        assert self.shown(both, copy("b"), denied={"b": "why"}).going
        assert not self.shown(both, copy("b"), denied={"a": "why"}).going

    @pytest.mark.parametrize(
        ("verdict", "given_up"),
        [
            (Verdict(record=failed("chat-b-0", failures=3), held=True), True),
            (Verdict(record=failed("chat-b-0", failures=3, retry_at=LAST), held=True), False),
            (Verdict(record=failed("chat-b-0", failures=3)), False),
            (Verdict(record=None, held=True), True),
        ],
    )
    def test_one_is_given_up_that_is_held_back_for_good(self, both: Course, verdict: Verdict, given_up: bool) -> None:
        assert self.shown(both, copy("b"), verdict).failed is given_up


class TestCopiesThatAreHeldBack:
    def shown(self, both: Course, *there: Copy, **verdicts: Verdict) -> Look:
        named = {name.replace("_", "-"): verdict for name, verdict in verdicts.items()}
        return look_of(observed(), both, seen(*there, verdicts=named), wanted=1)

    def test_each_keeps_its_place_and_its_time_begins_anew(self, both: Course) -> None:
        shown = self.shown(
            both,
            chat_b_3=Verdict(record=failed("chat-b-3", failures=1, retry_at=LAST), held=True),
            chat_b_12=Verdict(record=failed("chat-b-12", failures=3), held=True),
        )
        born_at = parse_time(LATER)
        assert shown.copies == (
            CopyLook(name="chat-b-3", revision="b", index=3, born_at=born_at),
            CopyLook(name="chat-b-12", revision="b", index=12, born_at=born_at, failed=True),
        )

    def test_one_that_is_there_is_shown_once(self, both: Course) -> None:
        verdict = Verdict(record=failed("chat-b-0", failures=1), held=True)
        assert [item.name for item in self.shown(both, copy("b"), chat_b_0=verdict).copies] == ["chat-b-0"]

    def test_one_that_may_come_back_or_whose_revision_is_lost_has_no_place(self, both: Course) -> None:
        assert not self.shown(both, chat_b_0=Verdict(record=failed("chat-b-0", failures=1))).copies
        assert not self.shown(both, chat_b_0=Verdict(record=None, held=True)).copies
        lost = failed("chat-x-0", failures=1, revision="x")
        assert not self.shown(both, chat_x_0=Verdict(record=lost, held=True)).copies


@pytest.mark.parametrize("name", ["nonsense", "chat-x", "chat-²", ""])
def test_a_record_that_no_copy_can_have_ends_no_round(worlds: Any, name: str) -> None:
    world = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=DEMO)
    world.rounds()
    (one,) = revisions.of(world.observed())
    later = format_time(world.now + 600)
    world.status["copies"] = [
        {"name": name, "revision": one.name, "failures": 1, "failedAt": format_time(world.now), "retryAt": later}
    ]
    assert world.round().ready_replicas == 1
