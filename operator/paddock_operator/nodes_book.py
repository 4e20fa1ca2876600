"""Faults of nodes, kept for a moment, and which change of a node is news. All of it can be thrown away."""

from collections.abc import Iterable, Mapping
from typing import Any

from paddock_operator.decide.node_faults import FaultRules, NodeFaults, faults_of, gpu_amounts, is_bare, silence_of
from paddock_operator.ports import Manifest

KEEP_SECONDS = 1.0
"""So long the faults of all nodes are taken for the same, unless a node changes: many deployments ask for them."""


class FaultBook:
    """What is wrong with nodes, looked at once for all who ask at about the same time."""

    def __init__(self, *, rules: FaultRules) -> None:
        self._rules = rules
        self._seen: tuple[int, bool, float] | None = None
        self._found = NodeFaults()
        self._known: dict[str, object] = {}
        self._bare: dict[str, float] = {}
        """Nodes that offer none of their GPUs, and since when: the node itself does not say that."""
        self._silent: dict[str, tuple[str, float]] = {}
        """Nodes that do not answer: what they say of the moment, and when we first heard it. Pods of a lost node are
        forced away, though it may run them on: that rests on no clock but ours."""

    def look(self, nodes: Iterable[Manifest], *, version: int, now: float, fresh: bool) -> NodeFaults:
        """The faults. `version` differs after every change of nodes; `fresh` says that they were heard of lately; `now`
        is in seconds since boot."""
        if self._seen is None or self._seen[:2] != (version, fresh) or self._has_aged(now - self._seen[2]):
            self._seen = (version, fresh, now)
            found = list(nodes)
            bare = [str(node["metadata"]["name"]) for node in found if is_bare(node, rules=self._rules)]
            self._bare = {name: self._bare.get(name, now) for name in bare}
            for node in found:
                self._note_silence(node, now)
            here = {str(node["metadata"]["name"]) for node in found}
            self._silent = {name: known for name, known in self._silent.items() if name in here}
            silent = {name: since for name, (_, since) in self._silent.items()}
            self._found = faults_of(found, now=now, fresh=fresh, rules=self._rules, bare=self._bare, silent=silent)
        return self._found

    def _has_aged(self, seconds: float) -> bool:
        """True if time alone may have made another thing of what was found: it counts for those that are silent or
        offer nothing."""
        return bool(self._silent or self._bare) and not 0 <= seconds < KEEP_SECONDS

    def is_news(self, node: Manifest, *, now: float) -> bool:
        """True if something that can be a fault is another than when it was last asked about; not for a new node. `now`
        is in seconds since boot: from the first word that a node does not answer on, its time runs, also where we do
        not lead."""
        self._note_silence(node, now)
        name, told = str(node["metadata"]["name"]), _telling(node, self._rules)
        before = self._known.get(name)
        self._known[name] = told
        return before is not None and before != told

    def _note_silence(self, node: Manifest, now: float) -> None:
        name, moment = str(node["metadata"]["name"]), silence_of(node)
        if moment is None:
            self._silent.pop(name, None)
        elif self._silent.get(name, ("",))[0] != moment:
            self._silent[name] = (moment, now)


def telling(conditions: Iterable[Mapping[str, Any]], *, rules: FaultRules) -> list[dict[str, Any]]:
    """Those of a node's conditions that bear on faults, without what changes with every heartbeat."""
    fields = ("type", "status", "reason", "message", "lastTransitionTime")
    return [
        {name: item[name] for name in fields if name in item}
        for item in conditions
        if item["type"] == "Ready" or f"{item['type']}={item['status']}" in rules.conditions
    ]


def _telling(node: Manifest, rules: FaultRules) -> object:
    status, spec = node.get("status") or {}, node.get("spec") or {}
    counts = [gpu_amounts(status.get(field) or {}, rules=rules) for field in ("capacity", "allocatable")]
    conditions = [(item["type"], item["status"]) for item in status.get("conditions") or ()]
    return conditions, counts, sorted(str(taint.get("key")) for taint in spec.get("taints") or ())
