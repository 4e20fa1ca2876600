"""How a document is laid over another: server-side apply and merge patches, as far as this project uses them."""

from typing import Any

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "conditions": "type",
    "ownerReferences": "uid",
}
"""Lists whose items Kubernetes tells apart by a field; every other list is one value."""


def applied(live: Any, before: Any, wanted: Any, *, name: str = "") -> Any:
    """`live` with what a manager wants, and without what it wanted before and no longer does.

    What others wrote stays. A field that two managers applied and one dropped would stay in Kubernetes too, and goes
    here: nobody in this project shares one.
    """
    if isinstance(wanted, dict):
        return _applied_map(live, before, wanted)
    if isinstance(wanted, list) and name in _KEYS:
        return _applied_list(live, before, wanted, key=_KEYS[name])
    return wanted


def merged(live: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _applied_map(live: Any, before: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    result = dict(live) if isinstance(live, dict) else {}
    before = before if isinstance(before, dict) else {}
    for name, old in before.items():
        if name not in wanted and name in result:
            left = _without(result[name], old)
            if left is None:
                del result[name]
            else:
                result[name] = left
    for name, value in wanted.items():
        result[name] = applied(result.get(name), before.get(name), value, name=name)
    return result


def _without(live: Any, old: Any) -> Any:
    """What is left of a value of which a manager drops its part; None where nothing is."""
    if not (isinstance(live, dict) and isinstance(old, dict)):
        return None
    left = {name: value for name, value in live.items() if name not in old}
    for name in set(live) & set(old):
        rest = _without(live[name], old[name])
        if rest is not None:
            left[name] = rest
    return left or None


def _applied_list(live: Any, before: Any, wanted: list[Any], *, key: str) -> list[Any]:
    have = {item.get(key): item for item in live or () if isinstance(item, dict)}
    had = {item.get(key): item for item in before or () if isinstance(item, dict)}
    mine = {item.get(key) for item in wanted}
    result = [applied(have.get(item.get(key)), had.get(item.get(key)), item) for item in wanted]
    return result + [item for name, item in have.items() if name not in mine and name not in had]
