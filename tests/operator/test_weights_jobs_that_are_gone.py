"""A weights Job is gone though its files are not, as where finished Jobs are cleaned up: what serves is healed."""

from typing import Any

import pytest
from paddock_core.policy.documents import Purge
from paddock_core.resources.llamadeployment import WeightsStatus
from paddock_operator.decide.actions import StartWeights
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import WeightsJob

from tests.operator.platforms import CONFIG, policy_of
from tests.operator.test_weights_jobs import PLACE, failed

MODEL = "smollm2-135m-instruct"
GONE = WeightsJob(job=None)


def running(done: int | None) -> WeightsJob:
    progress = None if done is None else WeightsStatus(bytes_done=done, bytes_total=10)
    return WeightsJob(job={"metadata": PLACE, "status": {}}, progress=progress)


@pytest.fixture
def world(worlds: Any, helpers: Any) -> Any:
    """Two copies answer, and a third is asked for."""
    policy = policy_of([*helpers.registered(), *helpers.accepted("acme-inc")])
    made = worlds.World(config=CONFIG, policy=policy, spec={"model": {"id": MODEL}, "replicas": 2})
    made.rounds()
    made.spec = {**made.spec, "replicas": 3}
    return made


def lose(world: Any, copy: str) -> None:
    del world.objects[REPLICA_SET, copy]
    for pod in world.pods(copy):
        del world.objects[POD, pod["metadata"]["name"]]


def some_rounds(world: Any) -> Any:
    outcome = None
    for _ in range(20):
        outcome = world.round()
        world.pods_come()
        world.now += 5
    return outcome


def conditions(world: Any) -> dict[str, Any]:
    return {item.type: item for item in world.parsed().conditions}


@pytest.mark.parametrize(
    "job",
    [GONE, running(None), running(10), failed("WeightsError: 401 from the source"), failed("DownloadDenied: no")],
    ids=["gone", "checks", "checked", "source", "denied"],
)
def test_copies_are_healed_and_added_where_nothing_says_that_the_files_went(world: Any, job: WeightsJob) -> None:
    before = world.names(REPLICA_SET)
    lose(world, before[0])
    world.seen["weights"] = job
    outcome = some_rounds(world)
    assert set(before) < set(world.names(REPLICA_SET))
    assert world.parsed().ready_replicas == 3
    found = conditions(world)
    assert (found["WeightsReady"].status, found["Serving"].status) == ("False", "True")
    assert not world.parsed().drifted
    assert any(isinstance(action, StartWeights) for action in outcome.actions) is (job is GONE)


@pytest.mark.parametrize(
    "job",
    [running(5), failed("WeightsChecksumMismatch: another file"), failed("WeightsMismatch: layers")],
    ids=["fetches", "checksum", "shape"],
)
def test_none_is_made_of_files_that_are_not_there_and_that_is_told(world: Any, job: WeightsJob) -> None:
    before = world.names(REPLICA_SET)
    lose(world, before[0])
    world.seen["weights"] = job
    some_rounds(world)
    assert world.names(REPLICA_SET) == before[1:], "what serves stays"
    serving = conditions(world)["Serving"]
    assert serving.status == "True"
    assert "before WeightsReady holds no copy that is lost is made anew" in serving.message


def test_none_is_made_where_no_copy_shows_that_the_files_are_there(world: Any, worlds: Any) -> None:
    for copy in world.names(REPLICA_SET):
        lose(world, copy)
    world.seen["weights"] = GONE
    outcome = some_rounds(world)
    assert world.names(REPLICA_SET) == []
    assert any(isinstance(action, StartWeights) for action in outcome.actions)
    world.seen["weights"] = worlds.weights()
    world.rounds()
    assert world.parsed().ready_replicas == 3


def test_none_is_made_while_the_files_are_ordered_to_go(world: Any, helpers: Any) -> None:
    before = world.names(REPLICA_SET)
    lose(world, before[0])
    world.seen["weights"] = GONE
    order = Purge(id="pur-aaaaaaaaaaaa", model=MODEL, state="started", why="last_reference")
    world.policy = policy_of([*helpers.registered(), *helpers.accepted("acme-inc"), order])
    some_rounds(world)
    assert world.names(REPLICA_SET) == before[1:]
