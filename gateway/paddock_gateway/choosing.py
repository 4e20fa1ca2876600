"""Which revision of a deployment a request gets: by weight, among those that its caller is licensed for."""

from collections.abc import Sequence

from paddock_gateway.authenticate import Caller
from paddock_gateway.deployments import Revision
from paddock_gateway.errors import RequestError
from paddock_gateway.route import Permit, Target, find_target
from paddock_gateway.wiring import Wiring

_TICKET_BITS = 62
"""Of a UUIDv7 so many bits at its end are random (RFC 9562, section 5.7)."""


def ticket_of(random: bytes) -> int:
    """What a request draws with: the last bits of the random part of its id, so its row tells what it drew."""
    return int.from_bytes(random[-8:], "big") & (1 << _TICKET_BITS) - 1


def draw(revisions: Sequence[Revision], ticket: int) -> Revision:
    """One of them, in proportion to their weights (all above 0). The same ticket draws the same of the same."""
    if len(revisions) == 1:
        return revisions[0]
    at = ticket * sum(revision.weight for revision in revisions) >> _TICKET_BITS
    for revision in revisions:
        at -= revision.weight
        if at < 0:
            return revision
    raise AssertionError("a ticket is below its bound")


def permit(*, model: str, caller: Caller, ticket: int, wiring: Wiring) -> Permit | Target:
    """Where the caller may send a request by the rights of this moment; the bare target if nothing is served there.

    A revision that it is not licensed for is passed over as long as there is another, as while the model changes.
    Raises RequestError.
    """
    target = find_target(model=model, caller=caller, routes=wiring.routes, view=wiring.policy.view)
    deployment = target.deployment
    choice = deployment.usable or (deployment.coming if deployment.hold_seconds else ())
    if not choice:
        allowed = [model for model in deployment.models if _may(target, model, caller, wiring)]
        _acceptance(target, (allowed or deployment.models)[0], caller, wiring)
        return target
    revision = draw(choice, ticket)
    if len(deployment.models) > 1:
        revision = _licensed(target, choice, caller, ticket, wiring) or revision
    return Permit(target=target, revision=revision, acceptance=_acceptance(target, revision.model, caller, wiring))


def again(*, model: str, caller: Caller, former: Permit, wiring: Wiring) -> Permit | None:
    """The same revision by the rights of this moment; None where it is to be chosen anew.

    Raises RequestError where the caller may not use the deployment at all.
    """
    target = find_target(model=model, caller=caller, routes=wiring.routes, view=wiring.policy.view)
    deployment = target.deployment
    for revision in deployment.usable or (deployment.coming if deployment.hold_seconds else ()):
        if revision.serves_as(former.revision):
            break
    else:
        return None
    if len(deployment.models) > 1 and not _may(target, revision.model, caller, wiring):
        return None
    return Permit(target=target, revision=revision, acceptance=_acceptance(target, revision.model, caller, wiring))


def _licensed(
    target: Target, choice: Sequence[Revision], caller: Caller, ticket: int, wiring: Wiring
) -> Revision | None:
    allowed = {model for model in target.deployment.models if _may(target, model, caller, wiring)}
    left = [revision for revision in choice if revision.model in allowed]
    return draw(left, ticket) if left else None


def _may(target: Target, model: str, caller: Caller, wiring: Wiring) -> bool:
    try:
        _acceptance(target, model, caller, wiring, asked=False)
    except RequestError:
        return False
    return True


def _acceptance(target: Target, model: str, caller: Caller, wiring: Wiring, *, asked: bool = True) -> str:
    policy = wiring.policy
    return wiring.licenses.check(
        target=target, model=model, caller=caller, view=policy.view, now=policy.now(), asked=asked
    )
