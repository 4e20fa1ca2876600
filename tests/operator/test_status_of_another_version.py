"""A status that another version of the operator wrote makes no specification wrong."""

from typing import Any

import pytest
from paddock_core.resources.llamadeployment import ScalingSpec
from paddock_operator.decide.scaling import Look, judge
from paddock_operator.decide.scaling_advice import Answering, Demand
from paddock_operator.observed import parse
from paddock_operator.times import parse_time

SPEC = {"model": {"id": "smollm2-135m-instruct"}, "replicas": 2}
METADATA = {"namespace": "acme", "name": "chat"}


def document(**status: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": SPEC, "status": status}


def test_what_cannot_be_read_of_it_is_not_known_and_the_rest_is() -> None:
    found, problem = parse(document(phase="Serving", quota="ten", routing={"secretRotation": 3}, conditions=[{}]))
    assert problem is None
    assert (found.spec.replicas, found.status.phase) == (2, "Serving")
    assert (found.status.quota, found.status.conditions) == (None, ())
    assert found.status.routing is not None, "from before routing had a digest"
    assert (found.status.routing.secret_rotation, found.status.routing.digest) == (3, "")


def test_a_wrong_specification_is_wrong_whatever_the_status_says() -> None:
    found, problem = parse({**document(quota="ten"), "spec": {"model": {"id": "m"}, "replicas": "two"}})
    assert problem is not None
    assert "replicas" in problem
    assert found.spec.model.id == "?"


NONE = "soon"
WHEN = "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("field", ["scaledAt", "savedUntil", "belowSince", "idleSince"])
def test_a_time_of_scaling_that_is_none_is_not_known_and_the_number_of_copies_is(field: str) -> None:
    times = {"scaledAt": WHEN, "savedUntil": WHEN, "belowSince": WHEN, "idleSince": WHEN}
    scaling = {"desiredReplicas": 2, "savedGpuSeconds": 7, **times, field: NONE}
    found, problem = parse(document(scaling=scaling))
    assert problem is None
    memory = found.status.scaling
    assert memory is not None
    assert (memory.desired_replicas, memory.saved_gpu_seconds) == (2, 7)
    left = {"scaledAt": memory.scaled_at, "savedUntil": memory.saved_until}
    left |= {"belowSince": memory.below_since, "idleSince": memory.idle_since}
    assert left == {**times, field: ""}
    answering = (Answering(since=parse_time(WHEN)),)
    rules = ScalingSpec(min_replicas=0, max_replicas=3)
    demand = Demand(in_flight=0, held=0, idle_seconds=1)
    look = Look(
        now=parse_time(WHEN) + 60, scaling=rules, replicas=2, before=memory, demand=demand,
        answering=answering, max_concurrency=8, gpus_per_copy=1,
    )  # fmt: skip
    assert judge(look).status is not None, "no round ends by it"


@pytest.mark.parametrize("field", ["startedAt", "stepSince", "starvedSince"])
def test_a_time_of_a_rollout_that_is_none_is_not_known_and_its_step_is(field: str) -> None:
    rollout = {"former": "a", "target": "b", "strategy": "Canary", "step": 1, "message": "x"}
    found, problem = parse(document(rollout={**rollout, field: NONE}))
    assert problem is None
    assert found.status.rollout is not None
    assert (found.status.rollout.target, found.status.rollout.step) == ("b", 1)
    assert found.status.rollout == parse(document(rollout=rollout))[0].status.rollout


@pytest.mark.parametrize("wrong", [{"retryAt": NONE}, {"failedAt": NONE}, {"evidence": {"pod": "p", "at": NONE}}])
def test_what_is_remembered_of_a_copy_with_a_time_that_is_none_goes_alone(wrong: dict[str, Any]) -> None:
    sound = {"name": "chat-a-0", "revision": "a", "failures": 1, "failedAt": WHEN, "retryAt": WHEN}
    odd = {**sound, "name": "chat-a-1", **wrong}
    found, problem = parse(document(copies=[odd, sound]))
    assert problem is None
    assert [item.name for item in found.status.copies] == ["chat-a-0"]
