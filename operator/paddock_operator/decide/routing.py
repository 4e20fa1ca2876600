"""What gateways are told: which revisions get which share of the requests, and where their copies answer."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace
from paddock_core.resources.llamadeployment import Endpoint, RoutingStatus, TargetStatus

from paddock_operator.decide.copies import Copy
from paddock_operator.decide.revisions import Revision

WHOLE = 100
"""All weights together."""


def of_step(
    known: Mapping[str, Revision],
    copies: Sequence[Copy],
    *,
    weights: Mapping[str, int],
    goal: str,
    hold_seconds: int,
    secret_rotation: int,
    former: RoutingStatus | None,
) -> RoutingStatus:
    """The routing of a round. `copies` are those that may be routed to, `goal` the revision that is told where no copy
    answers, `former` what was told last: of a revision that is lost, nothing else is known."""
    lost = {target.revision: target for target in (former.targets if former else ()) if target.revision not in known}
    shares = {name: weight for name, weight in weights.items() if weight > 0 and (name in known or name in lost)}
    targets = tuple(
        known[name].target(weight=weight, endpoints=endpoints(copies, name))
        if name in known
        else replace(lost[name], weight=weight, endpoints=endpoints(copies, name))
        for name, weight in sorted((shares or {goal: WHOLE}).items())
    )
    return stamped(
        RoutingStatus(digest="", secret_rotation=secret_rotation, hold_seconds=hold_seconds, targets=targets)
    )


def refreshed(routing: RoutingStatus, copies: Sequence[Copy], *, denied: Iterable[str] = ()) -> RoutingStatus:
    """The same routing with the endpoints that answer now; without the revisions that may not be used any more."""
    gone = frozenset(denied)
    targets = tuple(
        replace(target, endpoints=() if target.revision in gone else endpoints(copies, target.revision))
        for target in routing.targets
    )
    return stamped(replace(routing, targets=targets))


def emptied(routing: RoutingStatus) -> RoutingStatus:
    """The same routing without any endpoint: it still says which models may be running."""
    return stamped(replace(routing, targets=tuple(replace(target, endpoints=()) for target in routing.targets)))


def stamped(routing: RoutingStatus) -> RoutingStatus:
    """With the digest of everything else in it."""
    text = msgspec.json.encode(replace(routing, digest=""), order="sorted")
    return replace(routing, digest=hashlib.sha256(text).hexdigest()[:16])


def endpoints(copies: Iterable[Copy], revision: str) -> tuple[Endpoint, ...]:
    """Where copies of a revision answer, but for those that are being drained."""
    found = (copy.endpoint for copy in copies if copy.revision == revision and not copy.draining and not copy.going)
    return tuple(item for item in found if item is not None)


def has_endpoints(routing: RoutingStatus | None) -> bool:
    """True if requests can go anywhere."""
    return routing is not None and any(target.endpoints for target in routing.targets)


def target_of(routing: RoutingStatus | None, revision: str) -> TargetStatus | None:
    """What gateways were told of a revision."""
    return next((item for item in (routing.targets if routing else ()) if item.revision == revision), None)
