"""Every model of the catalogue: planned and rendered where its license allows it, else refused for the right reason."""

import json
from dataclasses import replace
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.types import Reason
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Entity, Namespace, Tenant
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionType
from paddock_core.resources.llamadeployment import ModelSpec, Spec
from paddock_operator.decide.actions import Apply, StartWeights
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Outcome
from paddock_operator.kinds import OPTIONAL, kind_of
from paddock_operator.observed import Observed, WeightsJob, parse
from paddock_operator.ports import Key, Policy

from tests.operator.platforms import policy_of

NOW = 1_800_000_000.0
GPU = "H100-80"
CATALOG = packaged_catalog()
MODELS = sorted(name for name, entry in CATALOG.models.items() if "paddock-demo" not in entry.licenses)
PERSONAL = sorted(name for name in MODELS if CATALOG.models[name].licenses == ("llama1",))
"""Solely for one's own research: never on a platform that serves others, whoever accepted what."""
SHARED = [name for name in MODELS if name not in PERSONAL]
PICTURES = sorted(name for name in MODELS if "image" in CATALOG.models[name].modality)
ASKED_FOR = {
    *(f"llama-{size}" for size in ("7b", "13b", "33b", "65b")),
    *(f"llama-2-{size}-chat" for size in ("7b", "13b", "70b")),
    *(f"llama-3-{size}-instruct" for size in ("8b", "70b")),
    *(f"llama-3.1-{size}-instruct" for size in ("8b", "70b", "405b")),
    *(f"llama-3.2-{size}-instruct" for size in ("1b", "3b", "11b-vision", "90b-vision")),
    "llama-3.3-70b-instruct",
    *(f"llama-4-{size}-instruct" for size in ("scout-17b-16e", "maverick-17b-128e")),
    *(f"llama-guard-{size}" for size in ("7b", "2-8b", "3-1b", "3-8b", "3-11b-vision", "4-12b")),
    "bloom-176b",
}
RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 1})


def policy(helpers: Any, *objects: Any, place: str = "US", others: bool = True) -> Policy:
    """The platform and acme, or acme running it for itself alone, and these objects."""
    owner = "platform" if others else "acme-inc"
    base = [
        Entity(id="acme-inc", legal_name="Acme Inc", principal_place_of_business=place, is_operator=not others),
        Tenant(id="acme", entity="acme-inc"),
        Namespace(id="acme", tenant="acme"),
    ]
    if others:
        base.append(Entity(id=owner, legal_name="Platform Inc", principal_place_of_business="US", is_operator=True))
    return policy_of((*base, *objects))


def facts(helpers: Any, model: str) -> dict[str, list[Any]]:
    """What a platform goes through for a model, step by step."""
    licenses = CATALOG.models[model].licenses
    return {
        "texts": [text for name in licenses for text in helpers.texts(name)],
        "operator": [
            item for name in licenses for item in helpers.accepted("platform", role="operator", license_id=name)
        ],
        "deployer": [item for name in licenses for item in helpers.accepted("acme-inc", license_id=name)],
    }


def look(policy: Policy, model: str, *, purpose: str = "commercial", **changes: Any) -> Observed:
    """A look at a fresh deployment of this model on a cluster with eight nodes of eight GPUs and every API."""
    metadata = {"namespace": "acme", "name": "chat", "uid": "u1", "generation": 1, "resourceVersion": "5"}
    spec = {"model": {"id": model}, "license": {"accept": True, "use": {"purpose": purpose}}}
    deployment, problem = parse({"metadata": metadata, "spec": spec})
    return Observed(
        key=Key("acme", "chat"),
        now=NOW,
        catalog=CATALOG,
        policy=policy,
        inventory=hypothetical(gpu=GPU),
        apis=frozenset(OPTIONAL),
        deployment=deployment,
        problem=problem,
        **changes,
    )


def license_reason(outcome: Outcome) -> str:
    return next(item.reason for item in outcome.findings if item.type == ConditionType.LICENSE_ACCEPTED)


def runs_nothing(outcome: Outcome) -> bool:
    return not [action for action in outcome.actions if isinstance(action, Apply | StartWeights)]


def test_every_model_that_must_be_there_is() -> None:
    assert set(MODELS) >= ASKED_FOR
    assert PERSONAL
    assert PICTURES


@pytest.mark.parametrize("model", SHARED)
def test_each_step_that_is_missing_is_named_and_nothing_runs_until_the_last(
    model: str, helpers: Any, pairs: Any
) -> None:
    steps = facts(helpers, model)
    known: list[Any] = []
    for name, reason in (
        ("texts", Reason.TEXT_NOT_IMPORTED),
        ("operator", Reason.OPERATOR_NOT_LICENSED),
        ("deployer", Reason.ACCEPTANCE_MISSING),
    ):
        outcome = decide(look(policy(helpers, *known), model), pairs.CONFIG)
        assert license_reason(outcome) == reason.value
        assert runs_nothing(outcome)
        known += steps[name]
    outcome = decide(look(policy(helpers, *known), model), pairs.CONFIG)
    assert license_reason(outcome) == Reason.ALLOWED.value
    assert outcome.plan is not None
    assert outcome.plan.explanation
    assert [action.model.id for action in outcome.actions if isinstance(action, StartWeights)] == [model]


@pytest.mark.parametrize("model", PERSONAL)
def test_what_is_personal_is_refused_to_every_tenant_with_all_that_can_be_accepted(
    model: str, helpers: Any, pairs: Any
) -> None:
    everything = [item for step in facts(helpers, model).values() for item in step]
    for known in ([], everything):
        for purpose in ("commercial", "noncommercial_research"):
            outcome = decide(look(policy(helpers, *known), model, purpose=purpose), pairs.CONFIG)
            assert license_reason(outcome) == Reason.PURPOSE_DENIED.value
            assert runs_nothing(outcome)


@pytest.mark.parametrize("model", PERSONAL)
def test_what_is_personal_runs_for_the_research_of_an_entity_that_runs_it_for_itself(
    model: str, helpers: Any, pairs: Any
) -> None:
    known = [
        *facts(helpers, model)["texts"],
        *(
            replace(item, id=f"{item.id}-operator")
            for item in helpers.accepted("acme-inc", role="operator", license_id="llama1")
        ),
        *helpers.accepted("acme-inc", license_id="llama1"),
    ]
    alone = policy(helpers, *known, others=False)
    paid = decide(look(alone, model), pairs.CONFIG)
    assert license_reason(paid) == Reason.PURPOSE_DENIED.value
    research = decide(look(alone, model, purpose="noncommercial_research"), pairs.CONFIG)
    assert research.plan is not None, research.findings


@pytest.mark.parametrize("model", PICTURES)
def test_what_sees_pictures_is_refused_in_the_european_union_where_its_license_says_so(
    model: str, helpers: Any, pairs: Any
) -> None:
    known = [item for step in facts(helpers, model).values() for item in step]
    outcome = decide(look(policy(helpers, *known, place="FR"), model), pairs.CONFIG)
    assert license_reason(outcome) == Reason.TERRITORY_DENIED.value
    assert runs_nothing(outcome)


@pytest.mark.parametrize("model", MODELS)
def test_each_is_cut_for_nodes_of_eight_h100_and_rendered(model: str, pairs: Any) -> None:
    spec = Spec(model=ModelSpec(id=model))
    plan = pairs.planned(spec, hypothetical(gpu=GPU))
    assert isinstance(plan, Plan), plan
    manifests = pairs.rendered(spec, hypothetical(gpu=GPU))
    workloads = [item for item in manifests if kind_of(item).plural in ("replicasets", "leaderworkersets")]
    assert len(workloads) == 1
    assert (kind_of(workloads[0]).plural == "leaderworkersets") == (plan.pods_per_group > 1)


@pytest.mark.parametrize("model", SHARED)
def test_with_license_and_weights_its_own_pods_or_its_engine_follow(model: str, helpers: Any, pairs: Any) -> None:
    known = [item for step in facts(helpers, model).values() for item in step]
    job = {
        "metadata": {
            "name": "w",
            "namespace": names.WEIGHTS_NAMESPACE,
            "uid": "j",
            "annotations": {names.RESULT: RESULT},
        }
    }
    outcome = decide(look(policy(helpers, *known), model, weights=WeightsJob(job=job)), pairs.CONFIG)
    applied = {kind_of(action.manifest).plural for action in outcome.actions if isinstance(action, Apply)}
    assert applied & {"replicasets", "leaderworkersets", "jobs"}, outcome.findings
