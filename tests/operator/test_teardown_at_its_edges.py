"""Taking a deployment away, round by round: what is marked, deleted and told, and what is waited for."""

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, fails
from paddock_core.signals import DeploymentSignal
from paddock_operator.decide.actions import Delete, RecordResult, RemoveFinalizer
from paddock_operator.decide.outcome import Life, Outcome
from paddock_operator.decide.teardown import LOOK_AGAIN_SECONDS, stop, withdraw
from paddock_operator.gateways import Gateways, GatewayView
from paddock_operator.kinds import CONFIG_MAP, POD, REPLICA_SET
from paddock_operator.observed import Observed
from paddock_operator.ports import Policy
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed, policy_of
from tests.operator.test_lives_of_copies import DEMO
from tests.operator.test_what_is_told_of_a_former_revision import LLAMA

WHY = fails(ConditionType.ACCEPTED, ConditionReason.DELETING, "why")
GOING = "2027-01-15T08:00:00Z"


@pytest.fixture
def world(worlds: Any) -> Any:
    """Four copies that answer."""
    made = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec={**DEMO, "replicas": 4})
    made.rounds()
    return made


def message(outcome: Outcome) -> str:
    first, serving = outcome.findings
    assert (first, serving.type, serving.status) == (WHY, ConditionType.SERVING, "False")
    return serving.message


def kinds(outcome: Outcome) -> Counter[str]:
    return Counter(action.kind.name for action in outcome.actions if isinstance(action, Delete))


def workloads(outcome: Outcome) -> list[str]:
    """Names of those that are deleted."""
    found = [action for action in outcome.actions if isinstance(action, Delete)]
    return sorted(action.name for action in found if action.kind == REPLICA_SET)


def is_marked(world: Any) -> None:
    """Gateways have been told, and the copies are marked."""
    world.metadata = {**world.metadata, "deletionTimestamp": GOING}
    world.round()


def marks_going(world: Any, kind: Any, *names: str) -> None:
    for name in names:
        item = world.objects[kind, name]
        world.objects[kind, name] = {**item, "metadata": {**item["metadata"], "deletionTimestamp": GOING}}


def asked(world: Any, *left: str) -> Gateways:
    """A gateway that follows, with a request at these addresses."""
    told = DeploymentSignal(
        name="acme/chat", uid="u1", routing=world.parsed().routing.digest, endpoints=dict.fromkeys(left, 1)
    )
    return Gateways(
        configured=True,
        views=(GatewayView(instance="g0", heard_at=world.now, age_seconds=0.0, synced=True, signal=told),),
    )


def urls(world: Any) -> list[str]:
    return [end.url for target in world.parsed().routing.targets for end in target.endpoints]


class TestTheFirstRound:
    def test_all_copies_are_marked_and_routed_to_no_more(self, world: Any) -> None:
        outcome = stop(world.observed(), CONFIG, (WHY,))
        marked = [action.name for action in outcome.actions if isinstance(action, RecordResult)]
        assert sorted(marked) == world.names(REPLICA_SET)
        assert len(marked) == len(outcome.actions) == outcome.replicas == 4
        assert outcome.routing is not None
        assert [target.endpoints for target in outcome.routing.targets] == [()]
        assert sorted(outcome.routing.leaving) == sorted(urls(world))
        assert outcome.look_after_seconds == CONFIG.drain_seconds

    def test_of_the_copies_a_few_are_named(self, world: Any) -> None:
        said = message(stop(world.observed(), CONFIG, (WHY,)))
        assert said.startswith("gateways are told to send requests elsewhere; the pods go after that; copy ")
        assert said.count(": gateways are about to be told") == 3

    def test_what_is_remembered_stays_but_for_copies_and_the_change(self, world: Any) -> None:
        world.status = {
            **world.status,
            "rollout": {"former": "a", "target": "b", "strategy": "Canary"},
            "copies": [{"name": "chat-r-0", "revision": "r", "failures": 1, "failedAt": GOING}],
        }
        life = stop(world.observed(), CONFIG, (WHY,)).life
        assert (life.copies, life.rollout) == ((), None)
        assert life.revisions == world.parsed().revisions != ()

    def test_what_is_there_and_stays_is_counted(self, world: Any) -> None:
        marks_going(world, POD, world.pods(world.names(REPLICA_SET)[0])[0]["metadata"]["name"])
        outcome = stop(world.observed(), CONFIG, (WHY,))
        assert (outcome.replicas, outcome.serving_namespace) == (3, "paddock-serving-acme")

    def test_one_that_is_going_is_not_waited_for(self, world: Any) -> None:
        first, *others = world.names(REPLICA_SET)
        marks_going(world, REPLICA_SET, first)
        outcome = stop(world.observed(), CONFIG, (WHY,))
        assert sorted(action.name for action in outcome.actions) == others


class TestRequestsThatAreUnderWay:
    def test_copies_go_one_by_one_and_each_of_them_once(self, world: Any) -> None:
        busy = urls(world)[:1]
        is_marked(world)
        outcome = withdraw(world.observed(gateways=asked(world, *busy)), CONFIG, (WHY,))
        assert kinds(outcome) == {"ReplicaSet": 3}
        assert "g0 has 1 requests left there" in message(outcome)
        gone = workloads(outcome)
        assert outcome.routing is not None
        assert outcome.routing.leaving == tuple(busy)
        marks_going(world, REPLICA_SET, gone[0])
        again = withdraw(world.observed(gateways=asked(world, *busy)), CONFIG, (WHY,))
        assert workloads(again) == gone[1:]

    def test_one_that_gateways_were_told_of_again_is_not_gone_yet(self, world: Any) -> None:
        before = world.status
        is_marked(world)
        world.status, world.now = before, world.now + 3600.0
        outcome = stop(world.observed(), CONFIG, (WHY,))
        assert kinds(outcome) == {}
        assert "gateways are about to be told" in message(outcome)

    def test_the_nearest_moment_is_looked_at(self, world: Any) -> None:
        is_marked(world)
        world.now += CONFIG.drain_seconds - 1.0
        assert stop(world.observed(), CONFIG, (WHY,)).look_after_seconds == 1.0
        first, *_ = world.names(REPLICA_SET)
        noted = world.objects[REPLICA_SET, first]["metadata"]["annotations"]
        noted[names.DRAINING] = format_time(world.now)
        assert stop(world.observed(), CONFIG, (WHY,)).look_after_seconds == 1.0

    @pytest.mark.parametrize("denied", [True, False])
    @pytest.mark.parametrize("asks", [DEMO["model"]["id"], LLAMA])
    def test_those_of_a_model_that_is_denied_are_not_waited_for(
        self, worlds: Any, helpers: Any, asks: str, denied: bool
    ) -> None:
        """Whether the specification still asks for it or not."""
        demo_alone: Policy = policy_of([*helpers.registered(), *helpers.accepted("acme-inc")])
        none: Policy = policy_of(helpers.registered())
        world = worlds.World(config=CONFIG, policy=demo_alone, spec=DEMO)
        world.rounds()
        busy = urls(world)
        world.spec = {**DEMO, "model": {"id": asks}}
        world.policy = licensed("llama3.2")
        is_marked(world)
        world.policy = none if denied else licensed("llama3.2")
        world.now += CONFIG.drain_seconds + 1.0
        outcome = withdraw(world.observed(gateways=asked(world, *busy)), CONFIG, (WHY,))
        assert kinds(outcome) == ({"ReplicaSet": 1} if denied else {})

    def test_one_of_several_models_that_is_denied_is_enough(self, worlds: Any, helpers: Any) -> None:
        """What is asked for now may be used, and what runs still may not."""
        world = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=DEMO)
        world.rounds()
        busy = urls(world)
        world.spec = {**DEMO, "model": {"id": LLAMA}}
        is_marked(world)
        platform = [*helpers.registered(), *helpers.texts("llama3.2")]
        platform += helpers.accepted("platform", role="operator", license_id="llama3.2")
        world.policy = policy_of([*platform, *helpers.accepted("acme-inc", license_id="llama3.2")])
        world.now += CONFIG.drain_seconds + 1.0
        outcome = withdraw(world.observed(gateways=asked(world, *busy)), CONFIG, (WHY,))
        assert kinds(outcome) == {"ReplicaSet": 1}


class TestTheRest:
    def drained(self, world: Any, **changes: Any) -> Observed:
        is_marked(world)
        world.now += CONFIG.drain_seconds + 1.0
        return replace(world.observed(), **changes)

    def test_what_makes_pods_goes_first_and_each_of_it_once(self, world: Any) -> None:
        outcome = stop(self.drained(world), CONFIG, (WHY,))
        assert (kinds(outcome), outcome.routing) == ({"ReplicaSet": 4}, None)
        assert outcome.look_after_seconds == LOOK_AGAIN_SECONDS
        assert message(outcome) == "its pods and their resources are being deleted"
        first, *others = world.names(REPLICA_SET)
        marks_going(world, REPLICA_SET, first)
        assert workloads(stop(world.observed(), CONFIG, (WHY,))) == others

    def test_what_they_share_goes_once_no_pod_is_left(self, world: Any) -> None:
        left = tuple(child for child in self.drained(world).children if child.kind not in (REPLICA_SET, POD))
        observed = replace(world.observed(), children=left)
        outcome = stop(observed, CONFIG, (WHY,))
        found = kinds(outcome)
        assert found.pop("Secret") == 1
        assert found == Counter(child.kind.name for child in left)
        assert found["ConfigMap"] == 1
        assert outcome.actions[0].kind.name == "Secret"
        (revision,) = world.names(CONFIG_MAP)
        marks_going(world, CONFIG_MAP, revision)
        left = tuple(child for child in world.observed().children if child.kind not in (REPLICA_SET, POD))
        again = stop(replace(world.observed(), children=left), CONFIG, (WHY,))
        assert kinds(again) == found - Counter({"ConfigMap": 1}), "the Secret went before"

    def test_the_finalizer_goes_last(self, world: Any) -> None:
        outcome = stop(self.drained(world, children=()), CONFIG, (WHY,))
        assert outcome.actions == (RemoveFinalizer(resource_version="5"),)
        assert message(outcome) == "an earlier condition keeps it from being served"
        assert (outcome.serving_namespace, outcome.look_after_seconds) == ("", None)
        world.metadata = {**world.metadata, "finalizers": []}
        assert stop(self.drained(world, children=()), CONFIG, (WHY,)).actions == ()

    def test_what_is_left_of_an_object_that_is_gone_goes_at_once(self, world: Any) -> None:
        outcome = stop(replace(world.observed(), deployment=None), CONFIG, (WHY,))
        assert (kinds(outcome), outcome.routing, outcome.life) == ({"ReplicaSet": 4}, None, Life())
