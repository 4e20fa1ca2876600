"""Every field about the life of copies changes what becomes of them: each in a state of the cluster where it bears."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from paddock_operator.decide.desired import decide
from paddock_operator.decide.rollout.types import Health

from tests.operator.platforms import CONFIG, policy_of

DEMO = {"model": {"id": "smollm2-135m-instruct"}, "replicas": 2}
FIELDS = (
    "maintenance.days",
    "maintenance.hours",
    "maintenance.start",
    "minAvailable",
    "rollout.deadlineSeconds",
    "rollout.gate.maxErrorPercent",
    "rollout.gate.maxThroughputLossPercent",
    "rollout.gate.maxTtftIncreasePercent",
    "rollout.gate.minRequests",
    "rollout.holdSeconds",
    "rollout.maxSurge",
    "rollout.maxUnavailable",
    "rollout.rollback",
    "rollout.steps[].seconds",
    "rollout.steps[].weightPercent",
    "rollout.strategy",
)


@pytest.fixture
def world(worlds: Any, helpers: Any) -> Any:
    objects = [*helpers.registered(), *helpers.accepted("acme-inc")]
    policy = policy_of(objects)
    return worlds.World(config=CONFIG, policy=policy, spec={})


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    *way, last = path.split(".")
    place: Any = made
    for name in way:
        place = place[name[:-2]][0] if name.endswith("[]") else place.setdefault(name, {})
    place[last] = value
    return made


def bring_about(world: Any, state: str, spec: dict[str, Any]) -> None:
    """The state of the cluster by its name."""
    world.spec = {**DEMO, **spec}
    world.rounds()
    former = world.names()
    if state == "two of three are silent":
        for name in former[:2]:
            world.answer(name, "hangs")
    elif state == "other settings":
        world.config = replace(world.config, serving_image="registry.test/serving:2")
    else:
        world.spec = {**world.spec, "engine": {"contextLength": 1024}}
        under_change(world, state, former)


def under_change(world: Any, state: str, former: list[str]) -> None:
    """A change of the specification, so far as the state says."""
    if state == "a change is new":
        return
    new: list[str] = []
    for _ in range(3):
        world.round()
        new = [name for name in world.names() if name not in former]
        world.pods_come(but=new if state == "a change does not come up" else ())
        world.now += 2
    if state == "a change does not come up":
        world.now += 700
        return
    one, two = (name.split("-")[-2] for name in (former[0], new[0]))
    good = Health(requests=100, errors=0, ttft_p95_ms=200.0, tokens_per_second=100.0)
    bad = {
        "a canary fails": replace(good, errors=50),
        "a canary is late": replace(good, ttft_p95_ms=900.0),
        "a canary is slow": replace(good, tokens_per_second=10.0),
    }
    world.seen["health"] = {one: good, two: bad.get(state, good)}
    world.now += 30


def test_the_table_is_whole(worlds: Any) -> None:
    assert sorted(worlds.FIELDS_OF_COPIES) == sorted(FIELDS)


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_that_is_changed_changes_what_becomes_of_copies(worlds: Any, world: Any, path: str) -> None:
    state, spec, value = worlds.FIELDS_OF_COPIES[path]
    bring_about(world, state, spec)
    found = []
    for changed in (world.spec, with_value(world.spec, path, value)):
        world.spec = changed
        outcome = decide(world.observed(), world.config)
        found.append((outcome.actions, outcome.routing, outcome.verdict, outcome.findings))
    assert found[0] != found[1]
