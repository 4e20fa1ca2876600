"""What a license decision or the planner refuses is told by a condition, with what to do; and what runs goes or stays.

Which reasons there are is read from the table of reasons: one that is added there and brought forth nowhere fails here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.types import Reason
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Inventory, RefusalReason
from paddock_core.policy.documents import Acceptance, Entity, Grant, LicenseText, Statement
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType
from paddock_core.resources.reasons import packaged_reasons
from paddock_operator.decide.actions import Apply, Delete, StartWeights
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Outcome
from paddock_operator.observed import Observed, parse
from paddock_operator.report import status_of

from tests.operator.platforms import CONFIG, NOW, policy_of
from tests.operator.policy_server import accepted, made_model, registered, texts

DEMO, DEMO_LICENSE = "smollm2-135m-instruct", "paddock-demo"
SMALL, SMALL_LICENSE = "llama-3.2-1b-instruct", "llama3.2"
SEEING = "llama-3.2-11b-vision-instruct"
LARGE, LARGE_LICENSE = "llama-3.1-405b-instruct", "llama3.1"
TAUGHT_LICENSES = ("bigscience-bloom-rail-1.0", "llama3")
LICENSES = (DEMO_LICENSE, SMALL_LICENSE, LARGE_LICENSE, *TAUGHT_LICENSES)
ROWS = packaged_reasons().reasons


def everything() -> list[Any]:
    """Policy objects under which acme may deploy every model that these tests name."""
    granted = [*registered(), *accepted("acme-inc")]
    for license_id in LICENSES[1:]:
        platform = accepted("platform", role="operator", license_id=license_id)
        granted += [*texts(license_id), *platform, *accepted("acme-inc", license_id=license_id)]
    return granted


def of(item: Any, kind: type[Acceptance | Statement], entity: str, license_id: str) -> bool:
    return isinstance(item, kind) and (item.entity, item.license) == (entity, license_id)


def acceptance(license_id: str, **other: Any) -> Acceptance:
    """Acme's acceptance of a license, but for what is given."""
    (found,) = (item for item in everything() if of(item, Acceptance, "acme-inc", license_id))
    changed: Acceptance = replace(found, **other)
    return changed


def above_the_threshold() -> Statement:
    (found,) = (item for item in everything() if of(item, Statement, "acme-inc", SMALL_LICENSE))
    changed: Statement = replace(found, band="gt_700m")
    return changed


def ended_grant() -> Grant:
    return Grant(
        id="g", entity="acme-inc", licenses=(SMALL_LICENSE,), models=(), valid_from=NOW - 9.0, valid_to=NOW - 1.0
    )


def nothing(_item: Any) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Denied:
    """What is otherwise than where everything is allowed, and what its message must hold."""

    do: str
    """What to do, in the words of the message."""
    model: str = DEMO
    license: dict[str, Any] = field(default_factory=dict)
    """spec.license"""
    more: Callable[[], list[Any]] = list
    """Policy objects that are added, or stand in for those of the same id."""
    less: Callable[[Any], bool] = nothing
    """Which policy objects are not there."""
    changed: Callable[[Observed], Observed] = lambda seen: seen


def no_license_known(seen: Observed) -> Observed:
    return structs.replace(seen, catalog=replace(packaged_catalog(), licenses={}))


def expired(seen: Observed) -> Observed:
    return structs.replace(seen, policy=replace(seen.policy, expired=True))


DENIED: dict[str, Denied] = {
    Reason.MODEL_UNKNOWN: Denied(model="of-that-name-none", do="see `paddock model list`"),
    Reason.LICENSE_UNKNOWN: Denied(do="paddock-demo in the catalogue", changed=no_license_known),
    Reason.LICENSE_MISMATCH: Denied(license={"id": "mit"}, do="not mit: correct the license"),
    Reason.TEXT_NOT_IMPORTED: Denied(
        model=SMALL,
        less=lambda item: isinstance(item, LicenseText) and item.license == SMALL_LICENSE,
        do=f"the platform team runs `paddock license import {SMALL_LICENSE} --agreement FILE --aup FILE`",
    ),
    Reason.OPERATOR_NOT_LICENSED: Denied(
        less=lambda item: of(item, Acceptance, "platform", DEMO_LICENSE),
        do="the platform's own entity is not licensed (AcceptanceMissing)",
    ),
    Reason.ACCEPTANCE_MISSING: Denied(
        less=lambda item: of(item, Acceptance, "acme-inc", DEMO_LICENSE), do="create an offer with `paddock license"
    ),
    Reason.ACCEPTANCE_STALE: Denied(
        more=lambda: [acceptance(DEMO_LICENSE, canonical="sha256:" + "e" * 64)],
        do="accept again with `paddock license",
    ),
    Reason.THRESHOLD_STATEMENT_MISSING: Denied(
        model=SMALL,
        less=lambda item: of(item, Statement, "acme-inc", SMALL_LICENSE),
        do="state them with `paddock license",
    ),
    Reason.THRESHOLD_GRANT_REQUIRED: Denied(
        model=SMALL, more=lambda: [above_the_threshold()], do="`paddock license grant add`"
    ),
    Reason.GRANT_EXPIRED: Denied(
        model=SMALL,
        more=lambda: [above_the_threshold(), ended_grant()],
        do="record its renewal with `paddock license grant add`",
    ),
    Reason.TERRITORY_DENIED: Denied(
        model=SEEING,
        more=lambda: [
            Entity(id="platform", legal_name="Platform Ltd", principal_place_of_business="US", is_operator=True),
            Entity(id="acme-inc", legal_name="Acme Inc", principal_place_of_business="DE"),
        ],
        do="domicile is DE: choose a model without this bar",
    ),
    Reason.NAME_PREFIX_REQUIRED: Denied(
        model="demo-acme",
        more=lambda: [made_model(public_name="AcmeGPT", published=True)],
        do="choose another public name",
    ),
    Reason.PURPOSE_DENIED: Denied(model="llama-7b", do="choose another model"),
    Reason.OUTPUT_TRAINING_DENIED: Denied(
        model="demo-acme",
        more=lambda: [made_model(teachers=("llama-3-8b-instruct",), public_name="Demo-Acme")],
        do="choose another teacher, or a student of the same family",
    ),
    Reason.FLOW_DOWN_MISSING: Denied(
        model="demo-acme",
        more=lambda: [made_model(teachers=("bloom-176b",)), acceptance(TAUGHT_LICENSES[0], flow_down=False)],
        do="accept again with that promise, `paddock license",
    ),
    Reason.SUSPENDED: Denied(more=lambda: [acceptance(DEMO_LICENSE, state="suspended")], do="ask the platform team"),
    Reason.TERMINATED: Denied(more=lambda: [acceptance(DEMO_LICENSE, state="terminated")], do="ask the licensor"),
    Reason.POLICY_EXPIRED: Denied(do="look at the control plane and the network", changed=expired),
}


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A specification that the planner refuses on these GPUs, and what its message must hold."""

    do: str
    model: str = DEMO
    spec: dict[str, Any] = field(default_factory=dict)
    inventory: Inventory = field(default_factory=Inventory)


CLAIMED = Inventory(device_classes=("gpu.nvidia.com",))
REFUSED: dict[str, Refused] = {
    RefusalReason.ENGINE_UNKNOWN: Refused(
        spec={"engine": {"type": "Abacus"}}, do="none of LLMAPI, TensorRTEngine, LlamaCpp"
    ),
    RefusalReason.ENGINE_CANNOT_LOAD: Refused(
        model=SMALL, spec={"engine": {"type": "LlamaCpp"}}, do="LlamaCpp loads gguf, but the bf16 weights"
    ),
    RefusalReason.PRECISION_UNKNOWN: Refused(spec={"engine": {"precision": "int3"}}, do="it has: q4_1"),
    RefusalReason.PRECISION_UNSUPPORTED: Refused(
        model=SMALL,
        spec={"engine": {"kvPrecision": "fp8"}},
        inventory=hypothetical(gpu="A100-80", nodes=1, per_node=1),
        do="needs GPUs of compute capability 8.9 or more",
    ),
    RefusalReason.KV_PRECISION_UNKNOWN: Refused(
        spec={"engine": {"kvPrecision": "fp3"}}, do="it is one of bf16, fp16, fp8"
    ),
    RefusalReason.OUT_OF_RANGE: Refused(
        spec={"engine": {"maxConcurrency": 1_000_001}}, do="concurrency must be 1000000 or less"
    ),
    RefusalReason.CONTEXT_TOO_LONG: Refused(spec={"engine": {"contextLength": 8193}}, do="trained for 8192 tokens"),
    RefusalReason.INVALID_PARALLELISM: Refused(
        spec={"parallelism": {"tensor": 2}}, do="leave tensor and pipeline unset"
    ),
    RefusalReason.NO_GPU: Refused(model=SMALL, do="it would fit: 1 x"),
    RefusalReason.MIG_PROFILE_UNKNOWN: Refused(
        model=SMALL, spec={"placement": {"gpu": "A100-80", "migProfile": "9g.9gb"}}, do="A100-80 has 1g.10gb"
    ),
    RefusalReason.DEVICE_CLASS_UNKNOWN: Refused(
        model=SMALL, spec={"placement": {"deviceClass": "other"}}, inventory=CLAIMED, do="it has: gpu.nvidia.com"
    ),
    RefusalReason.DOES_NOT_FIT: Refused(
        model=LARGE, inventory=hypothetical(gpu="H100-80", nodes=1), do="it would fit: 8 x H100-80 (TP8, fp8)"
    ),
}


def listed(kind: ConditionType, reasons: type[Reason] | type[RefusalReason]) -> list[str]:
    """Reasons of one sort with which the table says that a condition does not hold."""
    return sorted(item.value for item in reasons if item != Reason.ALLOWED and kind in ROWS[item].on)


@pytest.fixture
def world(worlds: Any) -> Any:
    """A deployment of the demonstration model that serves."""
    made = worlds.World(config=CONFIG, policy=policy_of(everything()), spec={"model": {"id": DEMO}})
    made.rounds()
    assert made.names()
    return made


def told(outcome: Outcome, kind: ConditionType) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    (found,) = (finding for finding in outcome.findings if finding.type == kind)
    return found.status, found.reason, found.message


def creates(outcome: Outcome) -> list[Any]:
    return [action for action in outcome.actions if isinstance(action, Apply | StartWeights)]


def is_of_the_former(action: Any) -> bool:
    """True if nothing is made by it but what the demonstration model has, or what no model is named in."""
    labels = action.manifest["metadata"].get("labels", {}) if isinstance(action, Apply) else {names.MODEL: "files"}
    return labels.get(names.MODEL, names.model_label(DEMO)) == names.model_label(DEMO)


@pytest.mark.parametrize("reason", listed(ConditionType.LICENSE_ACCEPTED, Reason))
def test_what_a_license_denies_is_told_and_what_it_is_about_goes(world: Any, reason: str) -> None:
    case = DENIED[reason]
    kept = [item for item in everything() if not case.less(item)]
    world.policy = policy_of([*kept, *case.more()])
    world.spec = {"model": {"id": case.model}, "license": case.license}
    outcome = decide(case.changed(world.observed()), CONFIG)
    status, why, message = told(outcome, ConditionType.LICENSE_ACCEPTED)
    knows = reason != Reason.POLICY_EXPIRED
    assert (status, why) == ("False" if knows else "Unknown", reason), message
    assert case.do in message
    # What is denied is drained first; of what could not be known nothing is taken away, nor what serves and is licensed
    # itself, where another model was denied or a word of the specification.
    stops = knows and case.model == DEMO and not case.license
    made = creates(outcome)
    assert not made or (not stops and all(is_of_the_former(action) for action in made))
    assert told(outcome, ConditionType.SERVING)[:2] == (("False", "Draining") if stops else ("True", "Serving"))
    routed = () if outcome.routing is None else outcome.routing.targets
    assert {target.model for target in routed if target.endpoints} == (set() if stops else {DEMO})


def test_nothing_is_denied_where_everything_is_allowed(world: Any) -> None:
    """What the cases above change is what makes the difference."""
    taught = made_model(teachers=("bloom-176b",))
    world.policy = policy_of([*everything(), taught])
    for model in (DEMO, SMALL, LARGE, taught.id):
        world.spec = {"model": {"id": model}}
        outcome = decide(world.observed(), CONFIG)
        assert told(outcome, ConditionType.LICENSE_ACCEPTED)[:2] == ("True", "Allowed")


@pytest.mark.parametrize("reason", listed(ConditionType.PLANNED, RefusalReason))
def test_what_the_planner_refuses_is_told_and_what_runs_goes_on(world: Any, reason: str) -> None:
    case = REFUSED[reason]
    world.spec = {"model": {"id": case.model}, **case.spec}
    before = world.names()
    outcome = decide(world.observed(inventory=case.inventory), CONFIG)
    status, why, message = told(outcome, ConditionType.PLANNED)
    assert (status, why) == ("False", reason), message
    assert case.do in message
    assert not [action for action in outcome.actions if isinstance(action, Delete | StartWeights)]
    world.round(inventory=case.inventory)
    assert world.names() == before
    assert told(outcome, ConditionType.SERVING)[0] == "True"
    assert outcome.routing is not None
    assert any(target.endpoints for target in outcome.routing.targets)


@pytest.mark.parametrize("reason", listed(ConditionType.PLANNED, RefusalReason))
def test_of_what_the_planner_refuses_nothing_is_made(worlds: Any, reason: str) -> None:
    case = REFUSED[reason]
    spec = {"model": {"id": case.model}, **case.spec}
    fresh = worlds.World(config=CONFIG, policy=policy_of(everything()), spec=spec, inventory=case.inventory)
    outcome = fresh.round()
    assert told(outcome, ConditionType.PLANNED)[:2] == ("False", reason)
    assert told(outcome, ConditionType.SERVING)[:2] == ("False", "NotServed")
    assert not creates(outcome)


def with_nonsense(world: Any) -> Observed:
    """A look at it with a specification that is stored and that this program cannot read."""
    seen = world.observed()
    metadata = {**seen.metadata}
    spec = {"model": {"id": DEMO}, "replicas": "many"}
    deployment, problem = parse({"metadata": metadata, "spec": spec, "status": world.status})
    assert problem is not None
    changed: Observed = structs.replace(seen, deployment=deployment, problem=problem)
    return changed


def test_a_specification_without_sense_is_told_and_what_ran_is_drained_and_goes(world: Any) -> None:
    (serves,) = world.parsed().routing.targets
    outcome = decide(with_nonsense(world), CONFIG)
    status, reason, message = told(outcome, ConditionType.ACCEPTED)
    assert (status, reason) == ("False", ConditionReason.INVALID_SPEC)
    assert "replicas" in message
    assert "correct the specification" in message
    assert not creates(outcome)
    assert told(outcome, ConditionType.SERVING)[:2] == ("False", "Draining"), "gateways hear of it first"
    assert outcome.routing is not None
    assert outcome.routing.leaving == tuple(end.url for end in serves.endpoints)
    assert [target.endpoints for target in outcome.routing.targets] == [()]


def test_what_ran_before_a_specification_without_sense_is_gone_in_the_end(world: Any) -> None:
    copies = world.names()
    for _ in range(100):
        seen = with_nonsense(world)
        outcome = decide(seen, CONFIG)
        for action in outcome.actions:
            world._perform(action)
        world.status = msgspec.to_builtins(status_of(seen, outcome, gateway_url="http://gateway.test"))
        world.now += 5.0
        if not world.objects:
            break
    assert copies
    assert world.objects == {}
    assert told(outcome, ConditionType.ACCEPTED)[:2] == ("False", ConditionReason.INVALID_SPEC)
    assert {item.type: item.reason for item in world.parsed().conditions}["Serving"] == "NotServed"
