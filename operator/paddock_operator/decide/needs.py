"""What a plan and a placement need of the cluster and of the platform beside nodes."""

from collections.abc import Sequence

from paddock_core.planning.types import Plan
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails
from paddock_core.resources.llamadeployment import PlacementSpec
from paddock_core.resources.placement import placement_problem

from paddock_operator.decide.outcome import Config
from paddock_operator.kinds import LEADER_WORKER_SET, LOCAL_QUEUES, POD_GROUP, RESOURCE_CLAIM_TEMPLATE, Kind
from paddock_operator.manifests.placement import VOLCANO

DEFAULT_SCHEDULER = "default-scheduler"
EVERY = "*"
"""Among the taints that may be tolerated: all of them."""
INSTALL_GROUPS = (
    "kubectl apply --server-side -f https://github.com/kubernetes-sigs/lws/releases/download/v0.9.0/manifests.yaml"
)


def missing(plan: Plan, placement: PlacementSpec, *, apis: frozenset[Kind], config: Config) -> Finding | None:
    """Why it cannot be rendered here though it is planned, or None. Each message says what to do."""
    found = (
        _refused(placement)
        or _groups(plan, apis)
        or _devices(plan, apis)
        or _exclusive(placement)
        or _queue(placement, apis)
        or _network(placement, config)
        or _priority(placement, config)
        or _placed(placement, config)
    )
    if found is None:
        return None
    reason, text = found
    return fails(ConditionType.PLANNED, reason, text)


_Lack = tuple[ConditionReason, str] | None


def _refused(placement: PlacementSpec) -> _Lack:
    """The schema refuses it too; but an object may be older than the schema. What runs by a former one runs on."""
    text = placement_problem(placement)
    return None if text is None else (ConditionReason.INVALID_SPEC, text)


def _groups(plan: Plan, apis: frozenset[Kind]) -> _Lack:
    if plan.pods_per_group == 1 or LEADER_WORKER_SET in apis:
        return None
    text = (
        f"{plan.explanation} One copy needs {plan.pods_per_group} pods, which LeaderWorkerSet keeps together, and the"
        f" cluster lacks it: the platform team installs it with `{INSTALL_GROUPS}`; or choose GPUs on which a copy fits"
        " one node (`paddock plan`)"
    )
    return ConditionReason.LEADER_WORKER_SET_MISSING, text


def _devices(plan: Plan, apis: frozenset[Kind]) -> _Lack:
    if plan.device_class is None or RESOURCE_CLAIM_TEMPLATE in apis:
        return None
    text = (
        f"spec.placement.deviceClass is {plan.device_class}, and the cluster does not serve resource.k8s.io/v1, which"
        " Kubernetes 1.34 and newer do: leave it unset, then GPUs are asked for as a resource of the node"
    )
    return ConditionReason.DEVICE_CLAIMS_MISSING, text


def _exclusive(placement: PlacementSpec) -> _Lack:
    """The schema refuses the pair too; but an object may be older than the schema."""
    if not placement.exclusive_topology or placement.scheduler_name != VOLCANO:
        return None
    text = (
        "spec.placement.exclusiveTopology lets the workers come when the leader has a node, and Volcano gives no pod of"
        " a group a node before all are there: leave exclusiveTopology or schedulerName unset"
    )
    return ConditionReason.INVALID_SPEC, text


def _queue(placement: PlacementSpec, apis: frozenset[Kind]) -> _Lack:
    by_volcano = placement.scheduler_name == VOLCANO
    admitting = (POD_GROUP,) if by_volcano else LOCAL_QUEUES
    if placement.queue is None or any(kind in apis for kind in admitting):
        return None
    text = (
        f"spec.placement.queue is {placement.queue}, and the cluster has no {'Volcano' if by_volcano else 'Kueue'} that"
        " would admit by it: have it installed, or leave the queue unset"
    )
    return ConditionReason.QUEUE_MISSING, text


def _network(placement: PlacementSpec, config: Config) -> _Lack:
    offered = [network.name for network in config.networks]
    if placement.network is None or placement.network in offered:
        return None
    text = (
        f"spec.placement.network is {placement.network}, and the platform offers {', '.join(offered)}: choose one of"
        " these, or ask the platform team for it (PADDOCK_OPERATOR_NETWORKS)"
    )
    return ConditionReason.NETWORK_NOT_ALLOWED, text


def priority_problem(placement: PlacementSpec, *, allowed: Sequence[str]) -> str | None:
    """Why the priority class may not be named, or None: those of the system would let a tenant push anything away."""
    asked = placement.priority_class_name
    if asked is None or asked in allowed:
        return None
    return (
        f"spec.placement.priorityClassName is {asked}, and the platform allows {', '.join(allowed) or 'none'}: choose"
        " one of these or leave it out, or ask the platform team for it (PADDOCK_OPERATOR_PRIORITY_CLASSES)"
    )


def _priority(placement: PlacementSpec, config: Config) -> _Lack:
    text = priority_problem(placement, allowed=config.priority_classes)
    return None if text is None else (ConditionReason.PRIORITY_NOT_ALLOWED, text)


def _placed(placement: PlacementSpec, config: Config) -> _Lack:
    text = place_problem(
        placement,
        schedulers=config.scheduler_names,
        queues=config.volcano_queues,
        taints=config.toleration_keys,
    )
    return None if text is None else (ConditionReason.PLACEMENT_NOT_ALLOWED, text)


def place_problem(
    placement: PlacementSpec, *, schedulers: Sequence[str], queues: Sequence[str], taints: Sequence[str]
) -> str | None:
    """Why it may not be placed so, or None. Taints keep nodes for somebody, Volcano's queues are the whole cluster's,
    and another scheduler passes by what the cluster's own goes by: each is for the platform to give."""
    name, queue = placement.scheduler_name, placement.queue
    if name not in (None, DEFAULT_SCHEDULER, *schedulers):
        return _not_offered("schedulerName", name, schedulers, "PADDOCK_OPERATOR_SCHEDULER_NAMES")
    if name == VOLCANO and queue is not None and queue not in queues:
        return _not_offered("queue", queue, queues, "PADDOCK_OPERATOR_VOLCANO_QUEUES")
    keys = [item.key or "every taint" for item in placement.tolerations]
    strange = next((key for key in keys if key not in taints), None)
    if strange is None or EVERY in taints:
        return None
    return _not_offered("tolerations", strange, taints, "PADDOCK_OPERATOR_TOLERATION_KEYS")


def _not_offered(field: str, asked: str | None, allowed: Sequence[str], setting: str) -> str:
    return (
        f"spec.placement.{field} is {asked}, and the platform allows {', '.join(allowed) or 'none'}: choose one of"
        f" these or leave it out, or ask the platform team for it ({setting})"
    )
