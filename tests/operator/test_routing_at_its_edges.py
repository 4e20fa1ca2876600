"""What gateways are told, and what is known of how they follow it, where shares, numbers and names have their ends."""

from collections.abc import Mapping
from typing import Any

import pytest
from paddock_core.resources.conditions import Finding
from paddock_core.resources.llamadeployment import Endpoint, RoutingStatus, TargetStatus
from paddock_operator.decide import revisions
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.revisions import Revision
from paddock_operator.decide.routable import routable
from paddock_operator.decide.routing import of_step
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Child

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO
from tests.operator.test_what_gateways_say import seen, view

Told = dict[str, tuple[int, str, list[str]]]
"""Weight, model and pods with endpoints, by revision."""


@pytest.fixture(scope="module")
def known(worlds: Any) -> dict[str, Revision]:
    """Two revisions of one rendering."""
    world = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=DEMO)
    world.rounds()
    (one,) = revisions.of(world.observed())
    return {
        name: Revision(name=name, facts=one.facts, template=one.template, manifest=one.manifest) for name in ("a", "b")
    }


def copy(revision: str, index: int = 0, **changes: Any) -> Copy:
    name = f"chat-{revision}-{index}"
    at = {"name": name, "namespace": "paddock-serving-acme", "uid": name}
    leader = Child(kind=POD, manifest={"metadata": at, "status": {"podIP": f"10.0.{ord(revision)}.{index}"}})
    workload = Child(kind=REPLICA_SET, manifest={"metadata": at})
    own: dict[str, Any] = {"workload": workload, "leader": leader, "answering": True, "pods": (leader,)}
    return Copy(name=name, revision=revision, index=index, **{**own, **changes})


def target(revision: str, weight: int = 100, *, pods: int = 1) -> TargetStatus:
    """As it was told once, of a model that no revision here has."""
    return TargetStatus(
        revision=revision,
        weight=weight,
        model="lost-model",
        tokenizer="t",
        context_length=1,
        max_concurrency=1,
        endpoints=tuple(Endpoint(pod=f"p{number}", url=f"http://10.9.9.{number}:8000") for number in range(pods)),
    )


def told(known: Mapping[str, Revision], weights: Mapping[str, int], *former: TargetStatus) -> Told:
    """With a copy of each of the revisions a, b and c, which answers."""
    routing = of_step(
        known,
        [copy("a"), copy("b"), copy("c")],
        weights=weights,
        goal="b",
        hold_seconds=0,
        secret_rotation=0,
        former=RoutingStatus(targets=former) if former else None,
    )
    return {
        item.revision: (item.weight, item.model, [endpoint.pod for endpoint in item.endpoints])
        for item in routing.targets
    }


class TestShares:
    def test_a_revision_without_a_share_is_not_told(self, known: dict[str, Revision]) -> None:
        model = known["a"].facts.model
        assert told(known, {"a": 0, "b": 100}) == {"b": (100, model, ["chat-b-0"])}
        assert told(known, {"a": 1, "b": 99}) == {"a": (1, model, ["chat-a-0"]), "b": (99, model, ["chat-b-0"])}

    def test_whatever_the_order_of_the_shares_the_same_is_told(self, known: dict[str, Revision]) -> None:
        assert list(told(known, {"b": 60, "a": 40})) == list(told(known, {"a": 40, "b": 60})) == ["a", "b"]

    def test_of_one_that_nobody_knows_nothing_is_told(self, known: dict[str, Revision]) -> None:
        assert list(told(known, {"a": 60, "c": 40})) == ["a"]

    def test_where_nothing_has_a_share_all_of_it_is_the_goals(self, known: dict[str, Revision]) -> None:
        model = known["b"].facts.model
        assert told(known, {}) == told(known, {"c": 100}) == told(known, {"a": 0}) == {"b": (100, model, ["chat-b-0"])}

    def test_one_that_is_lost_keeps_what_was_told_of_it_with_the_share_and_the_copies_of_now(
        self, known: dict[str, Revision]
    ) -> None:
        found = told(known, {"a": 60, "c": 40}, target("a", 30), target("c", 70))
        assert found == {"a": (60, known["a"].facts.model, ["chat-a-0"]), "c": (40, "lost-model", ["chat-c-0"])}


def found(routing: RoutingStatus, *others: Any) -> Finding:
    finding = routable(routing=routing, gateways=seen(*(others or (view(),))))
    assert finding is not None
    return finding


class TestRoutable:
    @pytest.mark.parametrize(
        ("targets", "reason"),
        [
            ((target("a", 1), target("b", 99, pods=0)), "Routable"),
            ((target("a", 99, pods=0), target("b", 1)), "Routable"),
            ((target("a", 0), target("b", 100, pods=0)), "NoEndpoint"),
            ((target("a", 0),), "NoEndpoint"),
        ],
    )
    def test_one_that_answers_and_has_a_share_is_enough(self, targets: tuple[TargetStatus, ...], reason: str) -> None:
        assert found(RoutingStatus(digest="d1", targets=targets)).reason == reason

    def test_where_requests_wait_for_a_second_nothing_is_said(self) -> None:
        held = RoutingStatus(digest="d1", hold_seconds=1, targets=(target("a", pods=0),))
        assert routable(routing=held, gateways=seen(view())) is None

    @pytest.mark.parametrize(
        ("behind", "says"),
        [
            (1, "by g0, of 1 gateways"),
            (5, "by g0, g1, g2, g3, g4, of 5 gateways"),
            (6, "by g0, g1, g2, g3, g4 and 1 more, of 6 gateways"),
        ],
    )
    def test_so_many_of_those_behind_are_named(self, behind: int, says: str) -> None:
        others = [view(f"g{number}", routing="d0") for number in range(behind)]
        assert says in found(RoutingStatus(digest="d1", targets=(target("a"),)), *others).message

    def test_of_several_that_answer_the_silent_one_is_told(self) -> None:
        routing = RoutingStatus(digest="d1", targets=(target("a"),))
        finding = found(routing, view("g0"), view("g1"), view("g2", age=60))
        assert finding.message.startswith("confirmed by all 2 gateways that answer; not by g2, which may serve by")
