"""Which nodes have lost pods' ground: nodes that no longer answer, and nodes that have lost a GPU.

Nothing is held against a node on data that may be old, nor against many nodes at once: where most GPU nodes look lost,
what is lost is more likely the sight of them (as Kubernetes' own node controller has it).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paddock_core.planning.gpus import GPU_RESOURCE

from paddock_operator.times import parse_time

MAX_MESSAGE = 300


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
    """What whole GPUs are counted as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFaults:
    """The faults of a moment; names of nodes to what is known of each."""

    lost: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """A fatal fault of a GPU is told: no copy stays there."""
    short: Mapping[str, int] = field(default_factory=dict)
    """GPUs that a node still offers, where that is fewer than it has."""
    waiting: Mapping[str, float] = field(default_factory=dict)
    """Nodes that do not answer, and in how many seconds they will count as lost."""
    doubted: frozenset[str] = frozenset()
    """Nodes that look lost and are not held to be."""
    distrusted: str = ""
    """Why faults that seem to be there are not believed; empty where nothing is doubted."""

    @property
    def avoided(self) -> tuple[str, ...]:
        """Nodes that no new copy should come to, though the scheduler might let it. Those that are lost are tainted."""
        return tuple(sorted({*self.broken, *self.short}))


NO_FAULTS = NodeFaults()


def faults_of(nodes: Iterable[Mapping[str, Any]], *, now: float, fresh: bool, rules: FaultRules) -> NodeFaults:
    """The faults of these nodes. `fresh` says that they were heard of lately; else nothing is said of any."""
    if not fresh:
        return NodeFaults(distrusted="nodes were not heard of lately, so none is held to be lost")
    found = list(nodes)
    silent = {_name(node): since for node in found if (since := _silent_since(node)) is not None}
    lost = {name: since for name, since in silent.items() if now - since >= rules.lost_seconds}
    distrusted, doubted = "", frozenset[str]()
    if len(lost) * 2 > len(found):
        distrusted = f"{len(lost)} of {len(found)} GPU nodes look lost at once, so none is held to be: nothing is moved"
        doubted, lost = frozenset(lost), {}
    waits = {name: since + rules.lost_seconds - now for name, since in silent.items()}
    return NodeFaults(
        lost={name: f"node {name} has not answered for {now - since:.0f} s" for name, since in lost.items()},
        broken={_name(node): why for node in found if (why := _broken(node, rules))},
        short={_name(node): count for node in found if (count := _short(node, rules)) is not None},
        waiting={name: wait for name, wait in waits.items() if wait > 0},
        doubted=doubted,
        distrusted=distrusted,
    )


def _silent_since(node: Mapping[str, Any]) -> float | None:
    """Since when it is not ready; None if it is, or if nobody says since when."""
    for item in _conditions(node):
        if item["type"] == "Ready" and item["status"] != "True" and item.get("lastTransitionTime"):
            return parse_time(item["lastTransitionTime"])
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
    """How many GPUs it offers, if that is fewer than it has. None offered at all: its device plugin is restarting."""
    status = node.get("status") or {}
    has, offers = (_count(status.get(field), rules.resource) for field in ("capacity", "allocatable"))
    return offers if 0 < offers < has else None


def _count(amounts: Mapping[str, Any] | None, resource: str) -> int:
    text = str((amounts or {}).get(resource, "0"))
    return int(text) if text.isdigit() else 0


def _conditions(node: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (node.get("status") or {}).get("conditions") or ()


def _name(node: Mapping[str, Any]) -> str:
    return str(node["metadata"]["name"])
