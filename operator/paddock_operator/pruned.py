"""Does the cluster keep all that is written? An API server takes away what its schema of a kind does not know."""

import logging
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)


def lost(*, sent: Any, stored: Any, path: str) -> Iterator[str]:
    """Fields that were sent and are not there; an empty value may be left out. Items of a list are `path[]`."""
    if isinstance(sent, dict):
        kept = stored if isinstance(stored, dict) else {}
        for name, value in sent.items():
            if name not in kept and value not in (None, {}, []):
                yield f"{path}.{name}"
            elif name in kept:
                yield from lost(sent=value, stored=kept[name], path=f"{path}.{name}")
    elif isinstance(sent, list | tuple) and isinstance(stored, list):
        for one, other in zip(sent, stored, strict=False):
            yield from lost(sent=one, stored=other, path=f"{path}[]")


class PrunedFields:
    """Tells in the log, each field once, what the cluster's schema lacks."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def look(self, *, kind: str, sent: Any, stored: Any, path: str) -> None:
        """Compare what was written with the API server's answer."""
        found = set(lost(sent=sent, stored=stored, path=path)) - self._told
        if found:
            self._told |= found
            log.error(
                "the cluster's schema is older than this operator: it lacks fields that are written. Apply crds/ of"
                " this version: kubectl apply --server-side -f crds/",
                extra={"kind": kind, "fields": sorted(found)},
            )
