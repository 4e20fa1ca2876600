"""What the webhook says of an object before it is stored: a refusal, or warnings. Pure.

Refused is only what no later act can make right. What may still come true is admitted with a warning that names the
command, or refused too where the platform decided so (`paddock license policy --admission deny`). A change is refused
only for what it brings in: what is stored already must stay changeable. Every check is made again in the loop and by
the control plane, so nothing rests on the webhook.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.lineage import resolve
from paddock_core.licensing.registration import RegistrationError, judge, may_deploy, unserved
from paddock_core.licensing.types import Decision
from paddock_core.planning.fit import complete
from paddock_core.planning.types import Refusal
from paddock_core.policy.documents import RegisteredModel
from paddock_core.resources import llamadeployment, llamamodel
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import LlamaDeployment, PlacementSpec
from paddock_core.resources.placement import placement_problem

from paddock_operator.decide.license import ask, mismatch
from paddock_operator.decide.needs import priority_problem
from paddock_operator.decide.planned import ask_of
from paddock_operator.decide.quota import most_copies
from paddock_operator.models.observed import parse_model
from paddock_operator.observed import parse
from paddock_operator.ports import Manifest, Policy

Place = Callable[[PlacementSpec], str | None]
Charge = Callable[[LlamaDeployment], str | None]
Count = Callable[[str], str | None]

MAX_WARNING = 240
"""The API server cuts warnings that are longer than 256 characters."""
BREAKS = (". ", "; ", ": ", ", then ")
"""Where a long warning may be broken."""
DENY = "deny"
MAX_OBJECT_BYTES = 64 * 1024
"""As JSON, without status and the record of field managers. Each operator holds all objects of all tenants."""

UNTIL = "it does not run; what served before goes on while its own license holds"
"""What becomes of a specification whose license does not hold yet."""
TENANT_UNKNOWN = "TenantUnknown"
"""First word of a warning that is no condition: who is let in later is nothing that keeps a deployment back."""
TOO_MANY = "TooManyDeployments"
"""First word of a refusal that is no condition: what is not stored has none."""
FEWER_THAN_AVAILABLE = "MinAvailable"
SCALED_BY_LOAD = "ScaledByLoad"
"""First words of warnings about numbers that mean something else than one might think."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The answer. `refusal` is `<reason>: <message>`, or None if the object may be stored."""

    refusal: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What there is to say of one object, each as `<reason>: <message>`."""

    refusal: str | None = None
    """What no later act can mend."""
    lacking: tuple[str, ...] = ()
    """What may still come true; until then nothing new runs."""
    notes: tuple[str, ...] = ()
    """What holds for now."""

    def and_lacking(self, texts: tuple[str, ...]) -> "_Found":
        return _Found(refusal=self.refusal, lacking=(*self.lacking, *texts), notes=self.notes)

    def and_notes(self, texts: tuple[str, ...]) -> "_Found":
        return _Found(refusal=self.refusal, lacking=self.lacking, notes=(*self.notes, *texts))


def review(
    *,
    new: Manifest,
    old: Manifest | None,
    policy: Policy,
    catalog: Catalog,
    priorities: Sequence[str] = (),
    placed: Place = lambda _placement: None,
    charged: Charge = lambda _deployment: None,
    crowded: Count = lambda _namespace: None,
) -> Review:
    """Judge an object that is to be created, or to replace `old`. `priorities` are the classes that may be named;
    `placed` says why it may not be placed as it asks, `charged` why the GPU quota has no room for it now, `crowded` why
    a namespace may have no more deployments."""
    size = _bytes(new)
    if size > MAX_OBJECT_BYTES and (old is None or size > _bytes(old)):
        text = f"the object has {size} bytes, and may have {MAX_OBJECT_BYTES}: keep long annotations somewhere else"
        return Review(refusal=f"{ConditionReason.INVALID_SPEC}: {text}")
    if "deletionTimestamp" in new["metadata"] or (old is not None and old.get("spec") == new.get("spec")):
        # Finalizers and labels must always be changeable, whatever became of the license meanwhile.
        return Review()
    if old is None and new["kind"] == llamadeployment.KIND:
        full = crowded(new["metadata"]["namespace"])
        if full is not None:
            return Review(refusal=f"{TOO_MANY}: {full}")
    look = _REVIEWS[new["kind"]]
    found = _with_place(look(new, policy, catalog), new, priorities, placed)
    before = _Found() if old is None else _with_place(look(old, policy, catalog), old, priorities, placed)
    if found.refusal is not None and found.refusal != before.refusal:
        return Review(refusal=found.refusal)
    brought = [text for text in found.lacking if text not in before.lacking]
    if brought and policy.view.facts().policy.admission == DENY:
        return Review(refusal=f"{'; '.join(brought)} (this platform stores only what is in order)")
    if new["kind"] == llamadeployment.KIND and found.refusal is None:
        found = found.and_notes(_numbers(new, old, charged))
    stands = () if found.refusal is None else (found.refusal,)
    return Review(warnings=tuple(piece for text in (*stands, *found.lacking, *found.notes) for piece in pieces(text)))


def _bytes(document: Manifest) -> int:
    """What it takes, without what its writer does not write."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return len(msgspec.json.encode([metadata, document.get("spec")]))


def _deployment(document: Manifest, policy: Policy, catalog: Catalog) -> _Found:
    deployment, problem = parse(document)
    if problem is not None:
        return _Found(refusal=f"{ConditionReason.INVALID_SPEC}: {problem}")
    problem = placement_problem(deployment.spec.placement)
    if problem is not None:
        return _Found(refusal=f"{ConditionReason.INVALID_SPEC}: {problem}")
    found = _impossible(deployment, policy, catalog) or _licensed(deployment, policy, catalog)
    return found if found.refusal else found.and_lacking(_unknown_callers(deployment, policy))


def _with_place(found: _Found, document: Manifest, allowed: Sequence[str], placed: Place) -> _Found:
    """What the platform does not offer: it may one day, and until then nothing runs."""
    if document["kind"] != llamadeployment.KIND or found.refusal is not None:
        return found
    placement = parse(document)[0].spec.placement
    for reason, problem in (
        (ConditionReason.PRIORITY_NOT_ALLOWED, priority_problem(placement, allowed=allowed)),
        (ConditionReason.PLACEMENT_NOT_ALLOWED, placed(placement)),
    ):
        found = found if problem is None else found.and_lacking((f"{reason}: {problem}",))
    return found


def _numbers(document: Manifest, old: Manifest | None, charged: Charge) -> tuple[str, ...]:
    """What becomes of the copies that are asked for. Never a refusal: a quota may have room in a moment, and who
    scales down must always be let."""
    deployment, _ = parse(document)
    spec, notes = deployment.spec, []
    refused = charged(deployment)
    if refused is not None:
        notes.append(f"{ConditionReason.GPU_QUOTA_EXCEEDED}: {refused}")
    most = most_copies(spec)
    if 0 < most < spec.min_available:
        text = f"spec.minAvailable asks for {spec.min_available} copies, and there are {most} at most"
        notes.append(f"{FEWER_THAN_AVAILABLE}: {text}: the condition Serving holds when all of them answer")
    if spec.scaling is not None and old is not None and old["spec"].get("replicas") != document["spec"].get("replicas"):
        text = "spec.scaling decides how many copies run, and spec.replicas only with how many it begins"
        notes.append(f"{SCALED_BY_LOAD}: {text}: change spec.scaling.minReplicas or maxReplicas, or take scaling away")
    return tuple(notes)


def _unknown_callers(deployment: LlamaDeployment, policy: Policy) -> tuple[str, ...]:
    """Tenants that are given access but do not exist: they may be registered later, or be misspelt."""
    unknown = [] if policy.expired else sorted(set(deployment.spec.access.tenants) - set(policy.view.tenants))
    if not unknown:
        return ()
    text = f"spec.access.tenants names {', '.join(unknown)}: no such tenant is registered; correct it, or they can call"
    return (f"{TENANT_UNKNOWN}: {text} when the platform team has registered them",)


def _impossible(deployment: LlamaDeployment, policy: Policy, catalog: Catalog) -> _Found | None:
    """What no cluster could run: a tensor size that does not divide the heads, a context that is too long."""
    facts, model_id = policy.view.facts(), deployment.spec.model.id
    tenant = policy.view.namespace_tenant(deployment.metadata["namespace"])
    if tenant is not None and not may_deploy(model=model_id, tenant=tenant, facts=facts):
        return None
    model = resolve(model=model_id, registered=facts.models, catalog=catalog)
    if model is None or not model.weights:
        return None
    answer = complete(model=model, ask=ask_of(deployment.spec))
    return _Found(refusal=f"{answer.reason}: {answer.message}") if isinstance(answer, Refusal) else None


def _licensed(deployment: LlamaDeployment, policy: Policy, catalog: Catalog) -> _Found:
    spec = deployment.spec
    if spec.license.accept is False:
        text = "spec.license.accept is false: the model will not be served, and what runs is stopped"
        return _lacks(ConditionReason.ACCEPT_DECLINED, text)
    if policy.expired:
        return _cut_off()
    namespace = deployment.metadata["namespace"]
    tenant = policy.view.namespace_tenant(namespace)
    if tenant is None:
        text = f"namespace {namespace} belongs to no tenant: the platform team must add it to one before this is served"
        return _lacks(ConditionReason.NAMESPACE_UNKNOWN, text)
    decision = ask(spec=spec, tenant=tenant, view=policy.view, catalog=catalog, at=policy.at)
    if not decision.allowed:
        return _denied(decision, until=UNTIL)
    problem = mismatch(spec, decision, policy.view)
    lacks = f"{problem}. Until then {UNTIL}"
    found = _lacks(ConditionReason.RECORD_MISMATCH, lacks) if problem else _Found(notes=_notes(decision))
    return found.and_lacking(_unserved(spec.model.id, policy, catalog))


def _unserved(model: str, policy: Policy, catalog: Catalog) -> tuple[str, ...]:
    facts = policy.view.facts()
    entry = resolve(model=model, registered=facts.models, catalog=catalog)
    lacking = None if entry is None else unserved(model=model, facts=facts, entry=entry)
    return () if lacking is None else (f"{lacking[0]}: {lacking[1]}",)


def _model(document: Manifest, policy: Policy, catalog: Catalog) -> _Found:
    made, problem = parse_model(document)
    if problem is not None:
        return _Found(refusal=f"{ConditionReason.INVALID_SPEC}: {problem}")
    if policy.expired:
        return _cut_off()
    return _registration(made.registered(), policy, catalog)


def _registration(model: RegisteredModel, policy: Policy, catalog: Catalog) -> _Found:
    try:
        decision = judge(model=model, facts=policy.view.facts(), catalog=catalog, at=policy.at)
    except RegistrationError as error:
        text = f"{error.code}: {error}"
        return _Found(lacking=(f"{text}. Until then it is not registered",)) if error.mendable else _Found(refusal=text)
    return _Found(notes=_notes(decision)) if decision.allowed else _denied(decision, until="it is not registered")


_REVIEWS: dict[str, Callable[[Manifest, Policy, Catalog], _Found]] = {
    llamadeployment.KIND: _deployment,
    llamamodel.KIND: _model,
}
"""How objects of a kind are judged."""


def _cut_off() -> _Found:
    text = "the control plane cannot be reached now: the license is decided when it can"
    return _lacks(ConditionReason.POLICY_EXPIRED, text)


def _denied(decision: Decision, *, until: str) -> _Found:
    if not decision.mendable:
        return _Found(refusal=f"{decision.reason}: {decision.message}")
    return _lacks(decision.reason.value, f"{decision.message}. Until then {until}")


def _lacks(reason: str, message: str) -> _Found:
    return _Found(lacking=(f"{reason}: {message}",))


def _notes(decision: Decision) -> tuple[str, ...]:
    return tuple(f"Mend: {text}" for text in decision.warnings)


def pieces(text: str) -> tuple[str, ...]:
    """One warning, in as many pieces as the API server's limit asks for; commands are kept whole where they can be."""
    found, rest = [], text
    while len(rest) > MAX_WARNING:
        end = max(rest.rfind(mark, 0, MAX_WARNING - len(mark)) + len(mark) for mark in BREAKS)
        cut = end if end > MAX_WARNING // 4 else MAX_WARNING
        found.append(rest[:cut].rstrip())
        rest = rest[cut:]
    return (*found, rest)
