"""A change that failed and stays where it is, as `rollback: false` asks: how a person has it tried again."""

from typing import Any

import pytest
from paddock_core.resources.llamadeployment import BenchmarkStatus
from paddock_operator.ports import Policy

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO, revision_of


@pytest.fixture
def policy() -> Policy:
    return licensed("llama3.2")


def stopped(worlds: Any, policy: Policy) -> Any:
    """A world whose change was stopped by its trial, and stays where it is."""
    spec = {**DEMO, "rollout": {"strategy": "BlueGreen", "rollback": False}}
    world = worlds.World(config=CONFIG, policy=policy, spec=spec)
    world.rounds()
    good = revision_of(world.names()[0])
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    world.rounds()
    (new,) = {revision_of(name) for name in world.names()} - {good}
    world.seen["benchmarked"] = True
    world.seen["benchmarks"] = {good: trial(100), new: trial(900)}
    world.rounds()
    world.seen["benchmarks"] = {}
    return world


def trial(ttft: int) -> BenchmarkStatus:
    return BenchmarkStatus(
        concurrency=4, requests=8, output_tokens=256, ttft_p50_ms=ttft, ttft_p95_ms=ttft, tokens_per_second=40, at=""
    )


def progressing(world: Any) -> Any:
    return next((item for item in world.parsed().conditions if item.type == "Progressing"), None)


@pytest.mark.parametrize("bar", [{"gate": {"minRequests": 5}}, {"deadlineSeconds": 7200}])
def test_another_bar_in_the_middle_begins_nothing_anew(worlds: Any, policy: Policy, bar: dict[str, Any]) -> None:
    rollout = {"strategy": "Canary", "steps": [{"weightPercent": 10, "seconds": 20}, {"weightPercent": 50}]}
    world = worlds.World(config=CONFIG, policy=policy, spec={**DEMO, "rollout": rollout})
    world.rounds()
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    while world.parsed().rollout is None or world.parsed().rollout.step == 0:
        world.round()
        world.pods_come()
        world.now += 5.0
    before = world.parsed().rollout
    world.spec = {**world.spec, "rollout": {**rollout, **bar}}
    world.round()
    after = world.parsed().rollout
    assert (after.step, after.started_at) == (before.step, before.started_at)


@pytest.mark.parametrize(
    "asked",
    [{"annotation": "1"}, {"gate": {"maxTtftIncreasePercent": 1000}}, {"deadlineSeconds": 7200}],
    ids=["annotation", "gate", "deadline"],
)
def test_a_stopped_change_is_tried_again_by_the_annotation_or_another_bar(
    worlds: Any, policy: Policy, asked: dict[str, Any]
) -> None:
    world = stopped(worlds, policy)
    assert (progressing(world).status, progressing(world).reason) == ("False", "RolloutFailed")
    assert "paddock.dev/retry" in progressing(world).message
    failed = next(item for item in world.parsed().revisions if item.state == "Failed")
    world.rounds()
    assert next(item for item in world.parsed().revisions if item.state == "Failed") == failed, "not by itself"
    if "annotation" in asked:
        world.metadata["annotations"] = {"paddock.dev/retry": asked["annotation"]}
    else:
        world.spec = {**world.spec, "rollout": {**world.spec["rollout"], **asked}}
    world.round()
    coming = next(item for item in world.parsed().revisions if item.name == failed.name)
    assert (coming.state, coming.benchmark) == ("Coming", None), "what its former trial showed counts for nothing"
    assert progressing(world).status == "True"
    world.seen["benchmarks"] = {failed.name: trial(110)}
    world.rounds()
    world.now += 120.0
    world.rounds()
    assert [(item.name, item.state) for item in world.parsed().revisions] == [(failed.name, "Current")]
    assert progressing(world) is None
