"""Every field that the schema accepts changes something: what is rendered, or what is decided before that."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.types import Inventory, Plan
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import ScalingStatus, Spec
from paddock_operator.decide.license import judge
from paddock_operator.decide.revisions import FACTS_KEY, TEMPLATE_KEY, WISH
from paddock_operator.decide.scaling import Look, hold_seconds
from paddock_operator.decide.scaling import judge as judge_scaling
from paddock_operator.decide.scaling_advice import Answering, Demand
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key

from tests.operator.platforms import policy_of

SCHEMA = Path(__file__).resolve().parents[2] / "crds" / "llamadeployments.yaml"
ROOT = yaml.safe_load(SCHEMA.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

BASE: dict[str, Any] = {
    "model": {"id": "llama-3.1-8b-instruct"},
    "parallelism": {"tensor": 1, "pipeline": 4},
    "placement": {"topologyKey": "rack", "tolerations": [{"key": "a"}]},
    "replicas": 2,
}
"""Two groups of two pods, of two GPUs each: the richest rendering there is."""

CHANGED: dict[str, tuple[Any, dict[str, Any]]] = {
    "model.id": ("llama-3-8b-instruct", {}),
    "engine.type": ("TensorRTEngine", {"parallelism.pipeline": 2}),
    "engine.precision": ("fp8", {"engine.type": "TensorRTEngine", "parallelism.pipeline": 2}),
    "engine.kvPrecision": ("fp8", {}),
    "engine.contextLength": (4096, {}),
    "engine.maxConcurrency": (8, {}),
    "parallelism.tensor": (2, {}),
    "parallelism.pipeline": (8, {}),
    "placement.nodeSelector": ({"zone": "a"}, {}),
    "placement.tolerations[].key": ("b", {}),
    "placement.tolerations[].operator": ("Exists", {}),
    "placement.tolerations[].value": ("v", {}),
    "placement.tolerations[].effect": ("NoExecute", {}),
    "placement.gpu": ("H200-141", {}),
    "placement.migProfile": ("3g.40gb", {"parallelism": {}}),
    "placement.deviceClass": ("gpu.nvidia.com", {}),
    "placement.topologyKey": ("zone", {}),
    "placement.exclusiveTopology": (True, {}),
    "placement.schedulerName": ("volcano", {}),
    "placement.priorityClassName": ("paddock-batch", {}),
    "placement.queue": ("gold", {}),
    "placement.network": ("efa", {}),
    "replicas": (3, {}),
}
"""Another legal value of each field that is planned or rendered, and what must be so beside it."""

DECIDED = {
    "license.accept": ("smollm2-135m-instruct", False),
    "license.id": ("smollm2-135m-instruct", "llama2"),
    "license.revision": ("smollm2-135m-instruct", "0" * 12),
    "license.acceptanceRef": ("smollm2-135m-instruct", "another"),
    "license.use.purpose": ("llama-7b", "research"),
}
"""What the license decision reads: a model, and the value that decides it otherwise."""

NOW = 1_800_000_000.0
WAS = {"desiredReplicas": 2, "scaledAt": "2027-01-01T00:00:00Z", "savedUntil": "2027-01-15T08:00:00Z"}
BELOW = WAS | {"belowSince": "2027-01-15T07:50:00Z", "belowMost": 1}
IDLE = WAS | {"idleSince": "2027-01-15T07:45:00Z"}

SCALED: dict[str, tuple[Any, dict[str, Any], dict[str, Any], int]] = {
    "scaling.minReplicas": (2, {"maxReplicas": 4}, BELOW, 0),
    "scaling.maxReplicas": (3, {"maxReplicas": 4}, WAS, 400),
    "scaling.inFlightPerReplica": (10, {"maxReplicas": 4}, WAS, 40),
    "scaling.kvUsePercent": (10, {"maxReplicas": 4}, WAS, 20),
    "scaling.timeToFirstTokenMs": (10, {"maxReplicas": 4}, WAS, 20),
    "scaling.scaleDownDelaySeconds": (3600, {"maxReplicas": 4}, BELOW, 0),
    "scaling.idleSeconds": (7200, {"minReplicas": 0, "maxReplicas": 4}, IDLE, 0),
    "scaling.holdSeconds": (7, {"minReplicas": 0, "maxReplicas": 4}, WAS, 0),
}
"""Another value of what scaling reads; the rest of it, what it remembers, and the requests that are asked."""

NOTES = (WISH, FACTS_KEY, TEMPLATE_KEY, names.RENDERING, names.REVISION, names.COPY, names.GROUP, "name")

ELSEWHERE = {"access.tenants": "gateways read it from the object itself: e2e/test_isolation.py"}


def leaves(schema: dict[str, Any], path: str = "") -> list[str]:
    if schema["type"] == "object" and "properties" in schema:
        found = []
        for name, below in schema["properties"].items():
            found += leaves(below, f"{path}.{name}" if path else name)
        return found
    if schema["type"] == "array" and schema["items"]["type"] == "object":
        return leaves(schema["items"], f"{path}[]")
    return [path]


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    *way, last = path.split(".")
    place: Any = made
    for name in way:
        place = place[name[:-2]][0] if name.endswith("[]") else place.setdefault(name, {})
    place[last] = value
    return made


def spec_of(changes: dict[str, Any]) -> Spec:
    document = BASE
    for path, value in changes.items():
        document = with_value(document, path, value)
    return msgspec.convert(document, Spec)


def outcome(pairs: Any, spec: Spec) -> Any:
    """The manifests, or the planner's answer where there are none."""
    pools = [pairs.hypothetical(gpu=gpu, per_node=2).pools[0] for gpu in ("H100-80", "H200-141")]
    pools.append(pairs.hypothetical(gpu="H100-80", mig_profile="3g.40gb").pools[0])
    pools.append(replace(pools[0], claimed=True))
    answer = pairs.planned(spec, Inventory(pools=tuple(pools)))
    return pairs.manifests_of(pairs.rendering(spec, answer)) if isinstance(answer, Plan) else answer


def test_the_tables_name_every_field_of_the_schema_once(worlds: Any) -> None:
    assert sorted(leaves(ROOT)) == sorted([*CHANGED, *DECIDED, *SCALED, *worlds.FIELDS_OF_COPIES, *ELSEWHERE])


@pytest.mark.parametrize("path", sorted(CHANGED))
def test_a_field_that_is_changed_changes_what_is_rendered(pairs: Any, path: str) -> None:
    value, beside = CHANGED[path]
    before, after = spec_of(beside), spec_of({**beside, path: value})
    one, other = outcome(pairs, before), outcome(pairs, after)
    assert isinstance(other, list), f"no plan: {other}"
    assert without_question(one) != without_question(other)


@pytest.mark.parametrize("path", sorted(SCALED))
def test_a_field_of_scaling_changes_the_copies_or_how_long_a_request_waits(path: str) -> None:
    value, scaling, memory, load = SCALED[path]

    def found(scaling: dict[str, Any]) -> Any:
        spec = msgspec.convert(BASE | {"scaling": scaling}, Spec)
        verdict = judge_scaling(
            Look(
                now=NOW,
                scaling=spec.scaling,
                replicas=spec.replicas,
                before=msgspec.convert(memory, ScalingStatus),
                demand=Demand(in_flight=load, held=0, ttft_ms=(0, 0, 0, 50)),
                answering=(Answering(since=NOW - 86400, kv_use=0.5),) * 2,
                max_concurrency=25,
            )
        )
        return verdict.desired, hold_seconds(spec)

    assert found(scaling) != found(scaling | {path.removeprefix("scaling."): value})


def without_question(made: Any) -> Any:
    """Without the note of what was asked, and the digests over it: they differ even if nothing else does."""
    if isinstance(made, list):
        return [without_question(item) for item in made]
    if isinstance(made, dict):
        return {key: without_question(value) for key, value in made.items() if key not in NOTES}
    return made


@pytest.mark.parametrize("path", sorted(DECIDED))
def test_a_field_of_the_license_changes_the_decision(helpers: Any, path: str) -> None:
    model, value = DECIDED[path]
    objects = [*helpers.registered(), *helpers.accepted("acme-inc")]
    policy = policy_of(objects)

    def finding(spec: dict[str, Any]) -> Any:
        metadata = {"namespace": "acme", "name": "chat", "uid": "u1"}
        deployment, problem = parse({"metadata": metadata, "spec": spec})
        assert problem is None
        seen = Observed(
            key=Key("acme", "chat"), now=policy.at, catalog=packaged_catalog(), policy=policy, deployment=deployment
        )
        return judge(seen).finding

    before = {"model": {"id": model}}
    assert finding(before) != finding(with_value(before, path, value))
