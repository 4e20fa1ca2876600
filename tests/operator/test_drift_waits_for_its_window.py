"""What is rendered otherwise waits for its window, whatever happens to pods meanwhile, and can be gone back from."""

from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources.llamadeployment import MaintenanceSpec
from paddock_core.resources.reasons import of_event
from paddock_operator.decide.scaling_advice import Demand
from paddock_operator.kinds import CONFIG_MAP, POD
from paddock_operator.ports import Policy
from paddock_operator.report import event, news
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO, revision_of

OTHER = {"serving_image": "registry.test/serving:2", "version": "2.0.0"}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


def drifted(worlds: Any, policy: Policy, **spec: Any) -> Any:
    """A world in which copies of a former operator's rendering serve, and there is no window."""
    world = worlds.World(config=CONFIG, policy=policy, spec={**DEMO, **spec})
    world.rounds()
    world.config = replace(world.config, **OTHER)
    world.rounds()
    assert world.parsed().drifted
    return world


def evicted(world: Any) -> None:
    for kind, name in list(world.objects):
        if kind == POD:
            del world.objects[kind, name]


def leaving(world: Any) -> None:
    for (kind, name), pod in list(world.objects.items()):
        if kind == POD:
            gone = {**pod["metadata"], "deletionTimestamp": format_time(world.now + 30)}
            world.objects[kind, name] = {**pod, "metadata": gone}


def crashed(world: Any) -> None:
    for (kind, name), pod in list(world.objects.items()):
        if kind == POD:
            ended = {"exitCode": 1, "reason": "Error", "finishedAt": format_time(world.now)}
            state = {
                "name": "serving",
                "ready": False,
                "restartCount": 1,
                "state": {},
                "lastState": {"terminated": ended},
            }
            status = {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [state]}
            world.objects[kind, name] = {**pod, "status": status}


def test_drift_is_told_once_by_an_event_and_as_long_as_it_lasts_by_the_condition(worlds: Any, policy: Policy) -> None:
    world = worlds.World(config=CONFIG, policy=policy, spec=DEMO)
    world.rounds()
    before = world.observed()
    world.config = replace(world.config, **OTHER)
    world.rounds()
    after = world.parsed()
    told = next(event(before, item) for item in news(before, after) if item.type == "Drifted")
    assert (told["reason"], told["type"]) == ("Drifted", "Normal")
    assert after.revisions[0].name in told["message"]
    assert told["message"].endswith(of_event("Drifted").do)
    assert not [item for item in news(world.observed(), after) if item.type == "Drifted"], "it is no news any more"
    serving = next(item for item in after.conditions if item.type == "Serving")
    assert serving.status == "True"
    assert "it has drifted, which is no trouble: the next maintenance window" in serving.message
    world.config = replace(world.config, maintenance=MaintenanceSpec(start="00:00", hours=24))
    world.rounds()
    assert "drifted" not in next(item for item in world.parsed().conditions if item.type == "Serving").message


@pytest.mark.parametrize("happens", [evicted, leaving, crashed])
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_moment_without_an_answer_is_no_window(worlds: Any, policy: Policy, happens: Any, replicas: int) -> None:
    world = drifted(worlds, policy, replicas=replicas)
    before = world.names()
    happens(world)
    world.round()
    assert world.names() == before
    assert world.parsed().drifted
    assert not world.parsed().rollout
    evicted(world)
    world.rounds()
    assert world.names() == before
    assert world.parsed().ready_replicas == replicas


@pytest.mark.parametrize("by_load", [True, False])
def test_one_that_is_woken_with_another_rendering_can_go_back(worlds: Any, policy: Policy, by_load: bool) -> None:
    scaling = {"scaling": {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 60}} if by_load else {}
    world = worlds.World(config=CONFIG, policy=policy, spec={**DEMO, **scaling, "rollout": {"deadlineSeconds": 600}})
    world.seen["demand"] = Demand(in_flight=1, held=0, idle_seconds=None, complete=True)
    world.rounds()
    good = revision_of(world.names()[0])
    for idle in range(40):
        world.seen["demand"] = Demand(in_flight=0, held=0, idle_seconds=10 * idle, complete=True)
        world.spec = world.spec if by_load else {**world.spec, "replicas": 0}
        world.round()
        world.now += 10.0
    assert world.names() == []
    world.config = replace(world.config, **OTHER)
    world.round()
    assert {item.name: item.state for item in world.parsed().revisions}[good] == "Current"
    world.seen["demand"] = Demand(in_flight=0, held=1, idle_seconds=None, complete=True)
    world.spec = world.spec if by_load else {**world.spec, "replicas": 1}
    for _ in range(100):
        world.round()
        world.pods_come(but=[name for name in world.names() if revision_of(name) != good])
        world.now += 10.0
    assert [revision_of(name) for name in world.names()] == [good]
    assert world.parsed().ready_replicas == 1
    states = {item.name: item.state for item in world.parsed().revisions}
    assert sorted(states.values()) == ["Current", "Failed"]


def test_of_what_failed_in_windows_only_the_newest_is_remembered_and_it_is_told(worlds: Any, policy: Policy) -> None:
    spec = {**DEMO, "replicas": 2, "rollout": {"deadlineSeconds": 600}}
    world = worlds.World(config=CONFIG, policy=policy, spec=spec)
    world.rounds()
    good = revision_of(world.names()[0])
    always = MaintenanceSpec(start="00:00", hours=24)
    for version in range(2, 6):
        image = f"registry.test/serving:{version}"
        world.config = replace(world.config, serving_image=image, version=f"{version}.0.0", maintenance=always)
        for _ in range(100):
            world.round()
            world.pods_come(but=[name for name in world.names() if revision_of(name) != good])
            world.now += 10.0
        status = world.parsed()
        assert [item.state for item in status.revisions] == ["Current", "Failed"]
        assert status.revisions[1].rendered_by == f"{version}.0.0"
        assert len(world.names(CONFIG_MAP)) == 2
        found = next(item for item in status.conditions if item.type == "Progressing")
        assert (found.status, found.reason) == ("False", "RolledBack")
    assert world.parsed().drifted


@pytest.mark.parametrize("by_wish", [True, False])
def test_what_failed_is_tried_again_when_a_person_says_so(worlds: Any, policy: Policy, by_wish: bool) -> None:
    spec = {**DEMO, "replicas": 2, "rollout": {"deadlineSeconds": 600}}
    world = worlds.World(config=CONFIG, policy=policy, spec=spec)
    world.rounds()
    good = revision_of(world.names()[0])
    if by_wish:
        world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    else:
        world.config = replace(world.config, **OTHER, maintenance=MaintenanceSpec(start="00:00", hours=24))
    for _ in range(100):
        world.round()
        world.pods_come(but=[name for name in world.names() if revision_of(name) != good])
        world.now += 10.0
    assert {revision_of(name) for name in world.names()} == {good}
    world.metadata["annotations"] = {"paddock.dev/retry": "1"}
    world.rounds()
    assert good not in {revision_of(name) for name in world.names()}
    assert [item.state for item in world.parsed().revisions] == ["Current"]
