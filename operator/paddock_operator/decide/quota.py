"""Has the tenant GPUs left for it? Charged is what its plan takes for the most copies that it may have. Pure.

A grant stays until the pods are gone: what shrinks gives back what no pod holds any more. What grows beyond the quota
keeps its grant, and with it as many copies as that is for. Copies beyond the most, as a rollout makes them, need free
quota, and are charged as long as they are there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Tenant
from paddock_core.resources import names
from paddock_core.resources.conditions import UNKNOWN, ConditionReason, ConditionType, Finding, fails, holds
from paddock_core.resources.llamadeployment import QuotaStatus, Spec

from paddock_operator.decide.actions import Action, Apply
from paddock_operator.decide.lingering import LATE_SECONDS, is_late
from paddock_operator.decide.outcome import Outcome
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET, Kind, kind_of
from paddock_operator.observed import Child, Observed, label_of
from paddock_operator.ports import Manifest

COPIES = (REPLICA_SET, LEADER_WORKER_SET)
"""Kinds that make the pods of copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the quota lets a deployment do."""

    finding: Finding | None
    """None where it takes no GPU, so that no quota bears on it."""
    status: QuotaStatus | None
    """For the status; `settle` adds what exists beyond it."""
    copies: int | None
    """So many it may have; None: as many as it wants."""
    spare: int | None
    """So many more for a while, as in a rollout, counting those that are there already; None: any number."""


def most_copies(spec: Spec) -> int:
    """The most copies that it may have at once, rollouts aside."""
    return spec.replicas if spec.scaling is None else max(spec.scaling.max_replicas, spec.scaling.min_replicas)


def limit_of(tenant: Tenant, *, given: int) -> int:
    """GPUs of a tenant; `given` is what the platform gives those that have no quota of their own."""
    return given if tenant.gpus is None else tenant.gpus


def judge(observed: Observed, *, tenant: Tenant, plan: Plan, given: int) -> Judgement:
    """The condition QuotaAvailable, and how many copies the grant is for."""
    each, most = plan.gpus, most_copies(observed.live.spec)
    if each == 0:
        return Judgement(finding=None, status=None, copies=None, spare=None)
    wanted, limit = each * most, limit_of(tenant, given=given)
    granted, others = observed.charged.granted, observed.charged.others
    if wanted <= granted:
        gpus = max(wanted, min(granted, held(observed.children)))
    else:
        gpus = wanted if others + wanted <= limit else granted
    # The copies beyond the most that are there already are part of what is spare, and not its end.
    spare = max(0, limit - others - min(gpus, wanted)) // each
    if gpus < wanted:
        text = _refusal(
            tenant.id, _sum(plan, most), _kept(observed, granted), wanted=wanted, others=others, limit=limit
        )
        return Judgement(
            finding=fails(ConditionType.QUOTA_AVAILABLE, ConditionReason.GPU_QUOTA_EXCEEDED, text),
            status=QuotaStatus(gpus=gpus, limit=limit, wanted=wanted),
            copies=gpus // each,
            spare=spare,
        )
    # Nothing of the other deployments: each of their changes would be a write of this one's status.
    lowered = ", which was lowered after they were granted" if gpus > limit else ""
    text = f"{_sum(plan, most)}; tenant {tenant.id} may take {limit}{lowered}"
    return Judgement(
        finding=holds(ConditionType.QUOTA_AVAILABLE, ConditionReason.QUOTA_AVAILABLE, text),
        status=QuotaStatus(gpus=gpus, limit=limit),
        copies=most,
        spare=spare,
    )


def foreseen(spec: Spec, *, plan: Plan, tenant: Tenant, given: int, granted: int, others: int) -> str | None:
    """Why a specification that is about to be stored would be refused GPUs; None if there is room for it now.
    `granted` are those that the deployment has, `others` those of the tenant's other ones."""
    most = most_copies(spec)
    wanted, limit = plan.gpus * most, limit_of(tenant, given=given)
    if wanted <= granted or others + wanted <= limit:
        return None
    kept = f"It keeps the {granted} that it has" if granted else "Until there is room nothing is created for it"
    return _refusal(tenant.id, _sum(plan, most), kept, wanted=wanted, others=others, limit=limit)


def settle(observed: Observed, outcome: Outcome) -> Outcome:
    """The outcome with what the deployment is charged from now on.

    Whatever exists, or is about to, is charged. Where the quota was not judged because something could not be known,
    the grant stays; else it shrinks to what exists.
    """
    outcome = _bounded(observed, outcome)
    status = outcome.life.quota
    if observed.deployment is None:
        status = QuotaStatus(gpus=0, limit=0)
    elif not any(finding.type == ConditionType.QUOTA_AVAILABLE for finding in outcome.findings):
        granted, noted = observed.charged.granted, observed.live.status.quota
        unsure = any(finding.status == UNKNOWN for finding in outcome.findings)
        status = QuotaStatus(gpus=granted if unsure else 0, limit=0 if noted is None else noted.limit)
    if status is not None:
        total = max(status.gpus, held(observed.children), _after(observed, outcome))
        status = replace(status, gpus=total) if total or status.wanted else None
    return replace(outcome, life=replace(outcome.life, quota=status))


def _bounded(observed: Observed, outcome: Outcome) -> Outcome:
    """Without copies for which those that are going have not made room yet: they come when these are gone."""
    quota = outcome.life.quota
    if quota is None:
        return outcome
    room = max(quota.gpus, quota.limit - observed.charged.others) - _occupied(observed)
    there = {(child.kind, child.name) for child in observed.children}
    kept: list[Action] = []
    for action in outcome.actions:
        if isinstance(action, Apply) and (kind := kind_of(action.manifest)) in COPIES:
            gpus = of_copy(action.manifest)
            if gpus and (kind, str(action.manifest["metadata"]["name"])) not in there:
                if gpus > room:
                    continue
                room -= gpus
        kept.append(action)
    if len(kept) == len(outcome.actions):
        return outcome
    soon = LATE_SECONDS if outcome.look_after_seconds is None else min(LATE_SECONDS, outcome.look_after_seconds)
    return replace(outcome, actions=tuple(kept), look_after_seconds=soon)


def _occupied(observed: Observed) -> int:
    """GPUs that are taken now. A pod that should have ended long since is on a node that nobody hears of."""
    live = {
        child.name: of_copy(child.manifest) for child in observed.children if child.kind in COPIES and not child.going
    }
    pods = (child for child in observed.children if child.kind == POD and label_of(child, names.COPY) not in live)
    return sum(live.values()) + sum(_of_pod(pod.manifest) for pod in pods if not _is_over(pod, observed.now))


def _is_over(pod: Child, now: float) -> bool:
    if (pod.manifest.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    return is_late(pod, now)


def held(children: Iterable[Child]) -> int:
    """GPUs of what exists: copies, or their pods where those are more, since pods outlive what made them."""
    found = tuple(children)
    copies = sum(of_copy(child.manifest) for child in found if child.kind in COPIES)
    return max(copies, sum(_of_pod(child.manifest) for child in found if child.kind == POD))


def of_copy(manifest: Manifest) -> int:
    """GPUs that the pods of a workload take."""
    spec = manifest.get("spec") or {}
    groups = spec.get("leaderWorkerTemplate")
    if groups is None:
        return int(spec.get("replicas", 1)) * _of_pod(spec.get("template") or {})
    worker = _of_pod(groups.get("workerTemplate") or {})
    leader = _of_pod(groups["leaderTemplate"]) if "leaderTemplate" in groups else worker
    return int(spec.get("replicas", 1)) * (leader + worker * (int(groups.get("size", 1)) - 1))


def _after(observed: Observed, outcome: Outcome) -> int:
    """GPUs of the copies that are there once it is done; what goes holds its own until it is gone."""
    copies: dict[tuple[Kind, str], int] = {}
    for child in observed.children:
        if child.kind in COPIES:
            copies[child.kind, child.name] = of_copy(child.manifest)
    for action in outcome.actions:
        if isinstance(action, Apply) and (kind := kind_of(action.manifest)) in COPIES:
            place = (kind, str(action.manifest["metadata"]["name"]))
            copies[place] = max(copies.get(place, 0), of_copy(action.manifest))
    return sum(copies.values())


def _of_pod(document: Mapping[str, Any]) -> int:
    noted = str(((document.get("metadata") or {}).get("annotations") or {}).get(names.GPUS, ""))
    return int(noted) if noted.isdigit() else 0


def _sum(plan: Plan, most: int) -> str:
    copies = "1 copy" if most == 1 else f"{most} copies"
    devices = "GPUs" if plan.mig_profile is None else f"parts {plan.mig_profile}, each of which counts as a GPU"
    return f"{copies} of {plan.gpus} {'takes' if most == 1 else 'take'} {plan.gpus * most} {devices}"


def _kept(observed: Observed, granted: int) -> str:
    if granted:
        return f"It keeps the {granted} that it has"
    if any(child.kind in COPIES for child in observed.children):
        return "What runs goes on, and nothing is created in its place"
    return "Nothing is created for it"


def _refusal(tenant: str, takes: str, kept: str, *, wanted: int, others: int, limit: int) -> str:
    return (
        f"{takes}; tenant {tenant} may take {limit}, and {others} are its other deployments', or kept for one that came"
        f" before. {kept}: lower replicas or scaling.maxReplicas here or elsewhere, or ask the platform team to run"
        f" `paddock quota set --tenant {tenant} --gpus {others + wanted}`"
    )
