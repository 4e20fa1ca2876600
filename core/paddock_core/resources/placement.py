"""What Kubernetes takes as node labels and tolerations of a pod. `crds/llamadeployments.yaml` says the same; objects
that were stored before it did are judged here."""

import re

from paddock_core.resources.llamadeployment import PlacementSpec, Toleration

MAX_KEY = 317
"""Of a label: 253 of a domain, a slash, 63 of a name."""
_PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
KEY = rf"^({_PART}(\.{_PART})*/)?{_NAME}$"
VALUE = rf"^({_NAME})?$"
_KEY, _VALUE = re.compile(KEY), re.compile(VALUE)
_SHOWN = 80


def placement_problem(placement: PlacementSpec) -> str | None:
    """Why Kubernetes would refuse the pods, and what to write; None if it would not."""
    for key, value in sorted(placement.node_selector.items()):
        where = f"spec.placement.nodeSelector has {key[:_SHOWN]!r}: {value[:_SHOWN]!r}"
        if not is_key(key):
            return f"{where}, and that is no key of a label: it is a name, or a domain, a slash and a name"
        if _VALUE.fullmatch(value) is None:
            return f"{where}, and that is no value of a label: letters, digits, '-', '_' and '.', at most 63"
    for number, toleration in enumerate(placement.tolerations):
        problem = _of_toleration(toleration)
        if problem is not None:
            return f"spec.placement.tolerations[{number}] {problem}"
    return None


def is_key(key: str) -> bool:
    """True for what may be the key of a label or of a taint."""
    return len(key) <= MAX_KEY and _KEY.fullmatch(key) is not None


def _of_toleration(toleration: Toleration) -> str | None:
    if toleration.key:
        if not is_key(toleration.key):
            return f"has the key {toleration.key[:_SHOWN]!r}, which no taint can have: write the taint's own"
    elif toleration.operator != "Exists":
        return "names no key: name the taint's, or write operator: Exists for all taints"
    if toleration.operator == "Exists":
        return "has operator: Exists and a value: leave one of them out" if toleration.value else None
    if _VALUE.fullmatch(toleration.value or "") is None:
        return f"has the value {(toleration.value or '')[:_SHOWN]!r}, which no taint can have: write the taint's own"
    return None
