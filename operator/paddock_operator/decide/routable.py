"""Is it known that requests reach the endpoints? Only gateways can say."""

from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds, unknown
from paddock_core.resources.llamadeployment import Condition, RoutingStatus

from paddock_operator.gateways import Gateways

_MOST_NAMED = 5


def routable(
    *, routing: RoutingStatus | None, gateways: Gateways, former: Condition | None = None, expired: bool = False
) -> Finding | None:
    """The condition Routable for the routing that this round tells; None where it does not apply.

    `expired`: whether the policy is; a gateway whose own is as old refuses every request, whatever it was told.
    `former`: as the status has it. It stays while gateways are only beginning to be asked, as after a change of leader.

    It does not apply without gateways to ask, where nothing was ever served, and where requests are held until the
    deployment is started.
    """
    if routing is None or not gateways.configured:
        return None
    if not any(target.endpoints and target.weight > 0 for target in routing.targets):
        if routing.hold_seconds > 0:
            return None
        return fails(
            ConditionType.ROUTABLE,
            ConditionReason.NO_ENDPOINT,
            "no copy answers, so gateways have nowhere to send requests: the condition Serving says why",
        )
    fresh = gateways.fresh
    silent = [view.instance for view in gateways.views if view not in fresh]
    behind = [view.instance for view in fresh if not view.follows(routing.digest)]
    young = not gateways.settled and (silent or not fresh) and not behind
    if young and former is not None and former.reason != ConditionReason.NO_ENDPOINT:
        return Finding(type=ConditionType.ROUTABLE, status=former.status, reason=former.reason, message=former.message)
    if not fresh:
        return unknown(
            ConditionType.ROUTABLE,
            ConditionReason.GATEWAY_UNREACHABLE,
            "no gateway answers the operator, so it is not known whether requests reach the endpoints",
        )
    if behind:
        return fails(
            ConditionType.ROUTABLE,
            ConditionReason.GATEWAY_BEHIND,
            f"not confirmed yet by {_named(behind)}, of {len(fresh)} gateways that answer",
        )
    text = _confirmed(len(fresh), silent=silent)
    if expired:
        more = "the policy is expired, and gateways refuse every request whose own is: see LicenseAccepted"
        return unknown(ConditionType.ROUTABLE, ConditionReason.POLICY_EXPIRED, f"{text}; but {more}")
    return holds(ConditionType.ROUTABLE, ConditionReason.ROUTABLE, text)


def _confirmed(count: int, *, silent: list[str]) -> str:
    text = f"confirmed by {_gateways(count)}"
    if not silent:
        return text
    many = "that answers" if count == 1 else "that answer"
    # No age: a message that changes all the time would be written all the time.
    return f"{text} {many}; not by {_named(silent)}, which may serve by an older routing and does not answer now"


def _named(instances: list[str]) -> str:
    more = len(instances) - _MOST_NAMED
    return ", ".join(instances[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _gateways(count: int) -> str:
    return "the gateway" if count == 1 else f"all {count} gateways"
