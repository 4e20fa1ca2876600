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
    leaving: Iterable[Copy] = (),
) -> RoutingStatus:
    """The routing of a round. `copies` are those that may be routed to, `leaving` those that end their requests, `goal`
    the revision that is told where no copy answers, `former` what was told last: of a revision that is lost, nothing
    else is known."""
    lost = {target.revision: target for target in (former.targets if former else ()) if target.revision not in known}
    shares = {name: weight for name, weight in weights.items() if weight > 0 and (name in known or name in lost)}
    targets = tuple(
        known[name].target(weight=weight, endpoints=endpoints(copies, name))
        if name in known
        else replace(lost[name], weight=weight, endpoints=endpoints(copies, name))
        for name, weight in sorted((shares or {goal: WHOLE}).items())
    )
    told = RoutingStatus(
        secret_rotation=secret_rotation, hold_seconds=hold_seconds, targets=targets, leaving=_addresses(leaving)
    )
    return _after(former, told)


def refreshed(routing: RoutingStatus, copies: Sequence[Copy], *, denied: Iterable[str] = ()) -> RoutingStatus:
    """The same routing with the endpoints that answer now; without the revisions that may not be used any more."""
    gone = frozenset(denied)
    targets = tuple(
        replace(target, endpoints=() if target.revision in gone else endpoints(copies, target.revision))
        for target in routing.targets
    )
    leaving = _addresses(copy for copy in copies if copy.draining)
    return _after(routing, replace(routing, targets=targets, leaving=leaving))


def emptied(routing: RoutingStatus, leaving: Iterable[Copy] = ()) -> RoutingStatus:
    """The same routing without any endpoint: it still says which models may be running, and which copies end."""
    targets = tuple(replace(target, endpoints=()) for target in routing.targets)
    return _after(routing, replace(routing, targets=targets, leaving=_addresses(leaving)))


def stamped(routing: RoutingStatus) -> RoutingStatus:
    """With the digest of everything in it that requests follow."""
    text = msgspec.json.encode(_followed(routing), order="sorted")
    return replace(routing, digest=hashlib.sha256(text).hexdigest()[:16])


def _after(former: RoutingStatus | None, told: RoutingStatus) -> RoutingStatus:
    """Numbered and stamped. What differs from the former gets the next number: of a way there and back, the end is then
    not confirmed by a gateway that has heard of the beginning alone."""
    version = 0 if former is None else former.version
    same = former is None or _followed(former) == _followed(replace(told, version=version))
    return stamped(replace(told, version=version if same else version + 1))


def _followed(routing: RoutingStatus) -> RoutingStatus:
    """All of it that requests follow."""
    return replace(routing, digest="", leaving=())


def endpoints(copies: Iterable[Copy], revision: str) -> tuple[Endpoint, ...]:
    """Where copies of a revision answer, but for those that are being drained."""
    found = (copy.endpoint for copy in copies if copy.revision == revision and not copy.draining and not copy.going)
    return tuple(item for item in found if item is not None)


def _addresses(copies: Iterable[Copy]) -> tuple[str, ...]:
    """Of copies that are there, and stay for as long as they have requests."""
    return tuple(sorted({copy.url for copy in copies if copy.url and not copy.going}))


def target_of(routing: RoutingStatus | None, revision: str) -> TargetStatus | None:
    """What gateways were told of a revision."""
    return next((item for item in (routing.targets if routing else ()) if item.revision == revision), None)
