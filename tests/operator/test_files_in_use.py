"""What the operator says of files in use and of denials, and what it does while files are ordered to go."""

import json
from dataclasses import replace
from typing import Any

import pytest
from paddock_core.audit.denials import Denial
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionType
from paddock_operator import execute
from paddock_operator.decide.actions import Apply, Refer, StartWeights
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Outcome
from paddock_operator.denying import Denials
from paddock_operator.errors import ControlPlaneError
from paddock_operator.execute import Done, Executor
from paddock_operator.manifests.render import PurgeRendering, render_purge
from paddock_operator.observed import Observed, WeightsJob, parse
from paddock_operator.ports import Key

from tests.operator.platforms import CONFIG, policy_of

MODEL, NOW = "smollm2-135m-instruct", 1_800_000_000.0
RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 98362432})
USED = Refer(entity="acme-inc", model=MODEL, weights="b1" * 32, tokenizer="sha256:" + "7" * 64)


def look(helpers: Any, *orders: Purge, licensed: bool = True, done: bool = True) -> Observed:
    """A look at a deployment whose weights are there, or not yet."""
    objects = [*helpers.registered(), *(helpers.accepted("acme-inc") if licensed else []), *orders]
    metadata = {"namespace": "acme", "name": "chat", "uid": "u1", "generation": 1, "resourceVersion": "5"}
    deployment, _ = parse({"metadata": metadata, "spec": {"model": {"id": MODEL}}})
    place = {"name": "weights-b179c9523d0e", "namespace": "paddock-weights", "uid": "j1"}
    job = {"metadata": {**place, "annotations": {names.RESULT: RESULT}}, "status": {}}
    return Observed(
        key=Key("acme", "chat"),
        now=NOW,
        catalog=packaged_catalog(),
        policy=policy_of(objects),
        deployment=deployment,
        weights=WeightsJob(job=job if done else None),
    )


def order(**other: Any) -> Purge:
    return Purge(**{"id": "pur-aaaaaaaaaaaa", "model": MODEL, "state": "ordered", "why": "last_reference", **other})


def waiting(outcome: Outcome) -> str:
    finding = next(item for item in outcome.findings if item.type == ConditionType.WEIGHTS_READY)
    assert finding.status == "False"
    return finding.message


def test_the_control_plane_is_told_of_files_in_use_after_everything_else(helpers: Any) -> None:
    actions = decide(look(helpers), CONFIG).actions
    assert actions[-1] == USED
    assert isinstance(actions[-2], Apply)


def test_files_that_are_needed_and_ordered_to_go_are_asked_for_and_nothing_new_runs(helpers: Any) -> None:
    outcome = decide(look(helpers, order()), CONFIG)
    assert replace(USED, urgent=True) in outcome.actions
    assert not any(isinstance(action, Apply) for action in outcome.actions)
    assert "told that they are needed" in waiting(outcome)


@pytest.mark.parametrize("changes", [{"state": "started"}, {"why": "operator"}])
@pytest.mark.parametrize("done", [False, True])
def test_while_files_are_being_removed_nothing_is_started(helpers: Any, changes: dict[str, str], done: bool) -> None:
    outcome = decide(look(helpers, order(**changes), done=done), CONFIG)
    assert not any(isinstance(action, Apply | StartWeights | Refer) for action in outcome.actions)
    assert "being removed" in waiting(outcome)
    assert outcome.look_after_seconds is not None
    assert outcome.look_after_seconds <= 2.0


def test_a_download_says_for_whom_it_is_and_withdraws_an_order_so(helpers: Any) -> None:
    outcome = decide(look(helpers, order(), done=False), CONFIG)
    (start,) = (action for action in outcome.actions if isinstance(action, StartWeights))
    assert start.entity == "acme-inc"


def test_orders_for_other_models_change_nothing(helpers: Any) -> None:
    other = order(model="llama-3.2-1b-instruct", state="started")
    assert decide(look(helpers, other), CONFIG) == decide(look(helpers), CONFIG)


class ControlPlane:
    """Takes what it is told, or does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.references: list[dict[str, str]] = []
        self.denials: list[Denial] = []

    async def refer(self, **named: str) -> None:
        if self.away:
            raise ControlPlaneError("away")
        self.references.append(named)

    async def tell_denials(self, denials: list[Denial]) -> None:
        if self.away:
            raise ControlPlaneError("away")
        self.denials.extend(denials)


async def test_it_is_told_once_in_a_while_at_once_where_it_is_urgent_and_never_in_the_way(
    helpers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Any = ControlPlane()
    nothing: Any = None
    executor = Executor(cluster=nothing, control_plane=told, cache=nothing, documents=nothing, config=CONFIG)
    observed = look(helpers)
    told.away = True
    assert await executor.execute([USED], observed) == Done(writes=0)
    told.away = False
    for _ in range(3):
        assert await executor.execute([USED], observed) == Done(writes=0)
    assert len(told.references) == 1
    await executor.execute([replace(USED, urgent=True)], observed)
    assert len(told.references) == 2
    monkeypatch.setattr(execute, "REFERENCE_TRUST_SECONDS", 0.0)
    await executor.execute([USED], observed)
    assert len(told.references) == 3


async def test_denied_rounds_and_refused_objects_are_counted_and_told(helpers: Any) -> None:
    control_plane: Any = ControlPlane()
    denials = Denials(control_plane=control_plane)
    denied = look(helpers, licensed=False)
    for observed in (denied, denied, look(helpers)):
        denials.note(observed, decide(observed, CONFIG))
    document = {"metadata": {"namespace": "acme"}, "spec": {"model": {"id": MODEL}}}
    denials.refused(document, "PurposeDenied: not for that", denied.policy)
    denials.refused(document, "InvalidSpec: no such field", denied.policy)
    denials.refused({**document, "metadata": {"namespace": "nobody"}}, "PurposeDenied: x", denied.policy)
    control_plane.away = True
    await denials.tell()
    control_plane.away = False
    await denials.tell()
    await denials.tell()
    found = [(item.entity, item.verb, item.model, item.reason, item.count) for item in control_plane.denials]
    assert found == [
        ("acme-inc", "deploy", MODEL, "AcceptanceMissing", 2),
        ("acme-inc", "deploy", MODEL, "PurposeDenied", 1),
    ]


def test_a_purge_job_keeps_the_restricted_profile_and_its_token_in_a_secret() -> None:
    made = render_purge(PurgeRendering(order=order(why="operator"), token="dt.purge", config=CONFIG))
    assert [item["kind"] for item in made] == ["Namespace", "ServiceAccount", "Secret", "Job"]
    job = made[-1]
    spec = job["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert not spec["automountServiceAccountToken"]
    assert "dt.purge" not in json.dumps(job)
    values = {item["name"]: item.get("value") for item in spec["containers"][0]["env"]}
    assert values["PADDOCK_SERVING_IMPORTS"] == "true"
