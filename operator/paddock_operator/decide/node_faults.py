"""Which nodes have lost pods' ground: nodes that no longer answer, and nodes that have lost a GPU.

Nothing is held against a node on data that may be old, nor against many nodes at once: where most GPU nodes look lost,
what is lost is more likely the sight of them (as Kubernetes' own node controller has it), and where most say that their
GPUs are broken, what is broken is more likely what says so.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paddock_core.planning.gpus import GPU_RESOURCE

MAX_MESSAGE = 300
LAST_CHOICE = "~"
"""Before the name of a node that a copy comes to only where no other takes it; no node's name begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRules:
    """What counts as a fault; settings of the platform."""

    lost_seconds: float = 60.0
    """A node that is not ready for so long is lost."""
    conditions: tuple[str, ...] = (
        "AcceleratedHardwareReady=False",
        "GPUMissing=True",
        "GpuNvswitchFatalWatch=True",
        "NebiusGPUError=True",
        "SysLogsGPUFallenOff=True",
        "XidCriticalError=True",
    )
    """`<type>=<status>` of node conditions that mean a GPU is broken: what the monitors of EKS, AKS, GKE, Nebius and
    NVSentinel write for faults that no restart mends. Conditions that also tell of lesser faults are left out."""
    taints: tuple[str, ...] = ()
    """Keys of taints that mean the same."""
    resource: str = GPU_RESOURCE
    """What whole GPUs are counted as. Their parts (MIG) are counted with them."""
    bare_seconds: float = 360.0
    """A node that offers none of its GPUs for so long has lost them. Before that its device plugin may be restarting;
    of one that does not come back the kubelet takes the count away after 300 s, and then there is nothing to lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFaults:
    """The faults of a moment; names of nodes to what is known of each."""

    lost: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """A fatal fault of a GPU is told: no copy stays there."""
    short: Mapping[str, int] = field(default_factory=dict)
    """GPUs that a node still offers, where that is fewer than it has."""
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Nodes that do not answer or offer nothing, and in how many seconds that will count as a fault."""
    doubted: frozenset[str] = frozenset()
    """Nodes that look lost and are not held to be."""
    doubted_gpus: frozenset[str] = frozenset()
    """Nodes whose GPUs look broken or lost and are not held to be."""
    distrusted: str = ""
    """Why faults that seem to be there are not believed; empty where nothing is doubted."""

    @property
    def avoided(self) -> tuple[str, ...]:
        """Nodes that a new copy keeps off, though the scheduler might let it there. Those that are lost are tainted. A
        node that is short of a GPU has others: it is the last choice, and marked so."""
        return (*sorted(self.broken), *(f"{LAST_CHOICE}{name}" for name in sorted({*self.short} - {*self.broken})))


NO_FAULTS = NodeFaults()


def faults_of(
    nodes: Iterable[Mapping[str, Any]],
    *,
    now: float,
    fresh: bool,
    rules: FaultRules,
    silent: Mapping[str, float] | None = None,
    bare: Mapping[str, float] | None = None,
) -> NodeFaults:
    """The faults of these nodes. `fresh` says that they were heard of lately; else nothing is said of any. `silent`
    names those that do not answer, `bare` those that offer none of their GPUs, both with since when they were seen so,
    by the clock of `now`: what a node or its controller says of the moment is by a clock that may be wrong."""
    if not fresh:
        return NodeFaults(distrusted="nodes were not heard of lately, so none is held to be lost")
    found, silent, bare = list(nodes), silent or {}, bare or {}
    lost = {
        name: f"node {name} has not answered for {now - since:.0f} s"
        for name, since in silent.items()
        if now - since >= rules.lost_seconds
    }
    broken = {_name(node): why for node in found if (why := _broken(node, rules))}
    short = {_name(node): offers for node in found if (offers := _short(node, rules)) is not None}
    short |= {name: 0 for name, since in bare.items() if now - since >= rules.bare_seconds}
    unseen, ill = _doubted(lost, of=len(found)), _doubted({**broken, **short}, of=len(found))
    doubts = [_doubt(unseen, len(found), "look lost"), _doubt(ill, len(found), "look short of a GPU")]
    waits = {name: since + rules.bare_seconds - now for name, since in bare.items()}
    waits |= {name: since + rules.lost_seconds - now for name, since in silent.items()}
    return NodeFaults(
        lost={} if unseen else lost,
        broken={} if ill else broken,
        short={} if ill else short,
        waiting={name: wait for name, wait in waits.items() if wait > 0},
        doubted=unseen,
        doubted_gpus=ill,
        distrusted="; ".join(doubt for doubt in doubts if doubt),
    )


def _doubted(seeming: Iterable[str], *, of: int) -> frozenset[str]:
    """All of these nodes if they are too many to be believed, else none."""
    nodes = frozenset(seeming)
    return nodes if len(nodes) * 2 > of else frozenset()


def _doubt(nodes: Collection[str], of: int, how: str) -> str:
    return f"{len(nodes)} of {of} GPU nodes {how} at once, so none is held to be: nothing is moved" if nodes else ""


def is_bare(node: Mapping[str, Any], *, rules: FaultRules) -> bool:
    """True if it has GPUs and offers none of them."""
    has, offers = _counts(node, rules)
    return has > 0 and offers == 0


def gpu_amounts(amounts: Mapping[str, Any], *, rules: FaultRules) -> dict[str, Any]:
    """Those of a node's amounts that are GPUs or parts of them."""
    parts = f"{rules.resource.rpartition('/')[0]}/mig-"
    return {name: amount for name, amount in amounts.items() if name == rules.resource or name.startswith(parts)}


def silence_of(node: Mapping[str, Any]) -> str | None:
    """What is said of the moment since which it is not ready, which tells one silence from the next; None if it is
    ready, or nobody says since when."""
    for item in _conditions(node):
        if item["type"] == "Ready" and item["status"] != "True" and item.get("lastTransitionTime"):
            return str(item["lastTransitionTime"])
    return None


def _broken(node: Mapping[str, Any], rules: FaultRules) -> str:
    for item in _conditions(node):
        if f"{item['type']}={item['status']}" in rules.conditions:
            words = f"{item.get('reason') or ''} {item.get('message') or ''}".strip()
            return f"node {_name(node)} says {item['type']}={item['status']}: {words}"[:MAX_MESSAGE]
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("key") in rules.taints:
            return f"node {_name(node)} has the taint {taint['key']}={taint.get('value', '')}"[:MAX_MESSAGE]
    return ""


def _short(node: Mapping[str, Any], rules: FaultRules) -> int | None:
    """How many GPUs it offers, if that is fewer than it has, and any: see `bare_seconds`."""
    has, offers = _counts(node, rules)
    return offers if 0 < offers < has else None


def _counts(node: Mapping[str, Any], rules: FaultRules) -> tuple[int, int]:
    """The GPUs that it has, and those that it offers."""
    status = node.get("status") or {}
    has, offers = (gpu_amounts(status.get(field) or {}, rules=rules) for field in ("capacity", "allocatable"))
    return _sum(has), _sum(offers)


def _sum(amounts: Mapping[str, Any]) -> int:
    return sum(int(amount) for amount in amounts.values() if str(amount).isdigit())


def _conditions(node: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (node.get("status") or {}).get("conditions") or ()


def _name(node: Mapping[str, Any]) -> str:
    return str(node["metadata"]["name"])
