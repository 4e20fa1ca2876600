"""Is an object as it was rendered?"""

from typing import Any


def contains(live: Any, wanted: Any) -> bool:
    """True if every field of `wanted` has the same value in `live`, which may have more (defaults, other managers).

    Lists must be equally long and in the same order. An empty value equals an absent one, as the API drops it.
    """
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return not wanted and live is None
        return all(contains(live.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return not wanted and live is None
        return len(live) == len(wanted) and all(map(contains, live, wanted))
    return bool(live == wanted)
