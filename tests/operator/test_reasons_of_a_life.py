"""Reasons that no trouble brings forth: each step of a life that goes well, and what a failed write is told as."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs
from paddock_core.catalog.images import Pin, packaged_images, with_pins
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.resources.conditions import ConditionType, fails, holds
from paddock_core.resources.llamadeployment import PlacementSpec, Toleration
from paddock_operator import reconcile
from paddock_operator.decide import images, license, needs  # noqa: A004
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.scaling_advice import Demand
from paddock_operator.errors import ClusterError, ControlPlaneError, DownloadDeniedError, OperatorError
from paddock_operator.kinds import LEADER_WORKER_SET, POD, POD_GROUP
from paddock_operator.ports import Policy

from tests.operator import platforms
from tests.operator.platforms import licensed

CONFIG = replace(platforms.CONFIG, allow_unpinned_images=False)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def world(worlds: Any, policy: Policy) -> Any:
    return worlds.World(config=CONFIG, policy=policy, spec={"model": {"id": "smollm2-135m-instruct"}})


def told(world: Any) -> dict[str, tuple[str, str]]:
    """Each condition with its status and reason."""
    return {item.type: (item.status, item.reason) for item in world.parsed().conditions}


def test_a_life_from_nothing_to_serving(world: Any) -> None:
    world.round()
    assert told(world) == {
        "Accepted": ("True", "Accepted"),
        "LicenseAccepted": ("True", "Allowed"),
        "Planned": ("True", "Planned"),
        "WeightsReady": ("True", "Prepared"),
        "Scheduled": ("False", "PodsPending"),
        "Serving": ("False", "PodsPending"),
        "Progressing": ("True", "PodsPending"),
    }
    world.pods_come(ready=False)
    world.round()
    assert told(world)["Scheduled"] == ("True", "Scheduled")
    assert told(world)["Serving"] == ("False", "Loading")
    for (kind, name), item in list(world.objects.items()):
        if kind == POD:
            ready = [{"type": "Ready", "status": "True"}]
            world.objects[kind, name] = {**item, "status": {**item["status"], "conditions": ready}}
    world.round()
    assert told(world)["Serving"] == ("True", "Serving")


def test_gpus_within_the_quota_are_told(worlds: Any, policy: Policy, pairs: Any) -> None:
    lenient = replace(CONFIG, allow_unpinned_images=True)
    spec = {"model": {"id": "llama-3.2-1b-instruct"}}
    made = worlds.World(config=lenient, policy=policy, spec=spec, inventory=pairs.one_each())
    made.round()
    assert told(made)["QuotaAvailable"] == ("True", "QuotaAvailable")


def test_a_life_to_its_end(world: Any) -> None:
    world.rounds()
    world.metadata = {**world.metadata, "deletionTimestamp": "2027-01-15T08:00:00Z"}
    world.round()
    assert told(world)["Accepted"] == ("False", "Deleting")
    assert told(world)["Serving"] == ("False", "Draining")
    world.now += 3600
    world.round()
    assert told(world)["Serving"] == ("False", "NotServed")


def test_one_that_should_have_no_copies_is_stopped(world: Any) -> None:
    world.spec = {**world.spec, "replicas": 0}
    world.rounds()
    assert told(world)["Serving"] == ("False", "Stopped")
    assert "Scheduled" not in told(world)


def test_a_pinned_image_is_accepted_as_such() -> None:
    pinned = with_pins(packaged_images(), {"trtllm-26.07": Pin(digest="sha256:" + "a" * 64)})
    finding = images.judge(replace(CONFIG, images=pinned), "LLMAPI")
    assert finding is not None
    assert (finding.type, finding.status, finding.reason) == ("ImageAccepted", "True", "ImagePinned")


FAILURES = {
    "ControlPlaneUnreachable": (ControlPlaneError("no answer"), ConditionType.WEIGHTS_READY),
    "DownloadDenied": (DownloadDeniedError("not licensed"), ConditionType.WEIGHTS_READY),
    "ApplyFailed": (ClusterError("denied by policy"), ConditionType.SERVING),
}
FOUND = {ConditionType.WEIGHTS_READY: ("Prepared", "Preparing"), ConditionType.SERVING: ("Serving", "Loading")}
"""Reasons with which a condition holds, and with which it does not yet."""


@pytest.mark.parametrize("reason", FAILURES)
def test_a_write_that_fails_is_told_by_the_condition_that_it_served(reason: str) -> None:
    error, kind = FAILURES[reason]
    assert isinstance(error, OperatorError)
    there, lacking = FOUND[kind]
    waits = Outcome(findings=(fails(kind, lacking, "waits"),))
    (finding,) = reconcile._told(waits, error).findings
    assert (finding.type, finding.status, finding.reason) == (kind, "False", reason)
    assert str(error) in finding.message
    (goes_on,) = reconcile._told(Outcome(findings=(holds(kind, there, "2 of 2"),)), error).findings
    assert (goes_on.status, goes_on.reason) == ("True", there), "a failed write takes nothing away that holds"
    assert str(error) in goes_on.message


def test_a_priority_that_the_platform_does_not_offer_is_refused(pairs: Any) -> None:
    plan, offered = pairs.planned(pairs.two_nodes(), pairs.one_each()), replace(CONFIG, priority_classes=("high",))
    apis = frozenset({LEADER_WORKER_SET})
    finding = needs.missing(plan, PlacementSpec(priority_class_name="urgent"), apis=apis, config=offered)
    assert finding is not None
    assert (finding.type, finding.status, finding.reason) == ("Planned", "False", "PriorityNotAllowed")
    assert "high" in finding.message
    assert needs.missing(plan, PlacementSpec(priority_class_name="high"), apis=apis, config=offered) is None


@pytest.mark.parametrize(
    ("placed", "setting"),
    [
        ({"scheduler_name": "other"}, "PADDOCK_OPERATOR_SCHEDULER_NAMES"),
        ({"scheduler_name": "volcano", "queue": "someone-elses"}, "PADDOCK_OPERATOR_VOLCANO_QUEUES"),
        ({"tolerations": (Toleration(operator="Exists"),)}, "PADDOCK_OPERATOR_TOLERATION_KEYS"),
        ({"tolerations": (Toleration(key="strange", operator="Exists"),)}, "PADDOCK_OPERATOR_TOLERATION_KEYS"),
    ],
)
def test_a_place_that_the_platform_does_not_offer_is_refused(pairs: Any, placed: dict[str, Any], setting: str) -> None:
    plan, apis = pairs.planned(pairs.two_nodes(), pairs.one_each()), frozenset({LEADER_WORKER_SET, POD_GROUP})
    offered = replace(
        CONFIG, scheduler_names=("volcano",), volcano_queues=("gold",), toleration_keys=("example.com/pool",)
    )
    finding = needs.missing(plan, PlacementSpec(**placed), apis=apis, config=offered)
    assert finding is not None
    assert (finding.type, finding.status, finding.reason) == ("Planned", "False", "PlacementNotAllowed")
    assert setting in finding.message
    pool = (Toleration(key="example.com/pool", operator="Exists"),)
    for allowed in (
        {"scheduler_name": "volcano", "queue": "gold"},
        {"scheduler_name": "default-scheduler"},
        {"tolerations": pool},
    ):
        assert needs.missing(plan, PlacementSpec(**allowed), apis=apis, config=offered) is None


def test_a_namespace_of_nobody_is_not_licensed(world: Any) -> None:
    world.policy = Policy(view=PolicyView.empty(), expired=False, at=1_800_000_000.0)
    world.round()
    assert told(world)["LicenseAccepted"] == ("False", "NamespaceUnknown")
    assert world.names() == []


def test_a_license_that_nobody_knows_denies(world: Any) -> None:
    catalog = packaged_catalog()
    observed = structs.replace(world.observed(), catalog=replace(catalog, licenses={}))
    finding = license.judge(observed).finding
    assert (finding.type, finding.status, finding.reason) == ("LicenseAccepted", "False", "LicenseUnknown")


def test_one_that_nobody_asks_is_scaled_to_zero(world: Any) -> None:
    world.spec = {**world.spec, "scaling": {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 60}}
    for idle in (0, 3600):
        world.seen["demand"] = Demand(in_flight=0, held=0, idle_seconds=idle)
        for _ in range(100):
            world.round()
            world.now += 5.0
            if not idle:
                world.pods_come()
        if not idle:
            assert told(world)["Serving"] == ("True", "Serving")
    assert told(world)["Serving"] == ("False", "ScaledToZero")
    assert world.names() == []
