"""How the policy travels: a snapshot at a revision, then the changes after it (list, then watch).

`GET /internal/v1/policy` answers a `Snapshot`, with the revision as ETag.
`GET /internal/v1/policy/changes?after=N&wait=SECONDS` answers `Changes`: at once if there are any, else when one comes
or the wait is over (then with no changes). 410 means that the log no longer reaches back to N: take a snapshot.
Each answer proves that the control plane was reached and renews the follower's copy for `max_age_seconds`. Its `at` is
the control plane's clock (Unix seconds) as it answered: followers judge licenses and keys by that clock, not by theirs.
"""

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the log: the object's whole new body, or None if it was removed."""

    revision: int
    kind: str
    id: str
    body: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes after a revision, oldest first. `revision` is where the follower stands after applying them."""

    revision: int
    max_age_seconds: float
    at: float
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Every policy object: `objects[kind][id]` is the body."""

    revision: int
    max_age_seconds: float
    at: float
    objects: dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSnapshot:
    """A `Snapshot` as a follower of a large platform reads it: a body stays JSON until it is put where it belongs."""

    revision: int
    max_age_seconds: float
    at: float
    objects: dict[str, dict[str, msgspec.Raw]]
