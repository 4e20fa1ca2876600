"""Is a change coming about, or stuck? Told by one condition, so that one look finds what to look at."""

from collections.abc import Iterable

from paddock_core.resources.conditions import TRUE, ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.decide.outcome import Outcome

_KIND = ConditionType.PROGRESSING

MOVING = frozenset(
    {
        ConditionReason.DELETING,
        ConditionReason.DRAINING,
        ConditionReason.ENGINE_BUILDING,
        ConditionReason.LOADING,
        ConditionReason.PODS_PENDING,
        ConditionReason.QUEUED,
        ConditionReason.WEIGHTS_PREPARING,
    }
)
"""Reasons of conditions that do not hold yet, and will by waiting alone."""


def progressing(outcome: Outcome, *, wanted: int) -> tuple[Finding, ...]:
    """The condition Progressing; nothing where all is as asked. Its reason is that of the condition it waits for."""
    found = {finding.type: finding for finding in outcome.findings}
    serving = found.get(ConditionType.SERVING)
    if serving is not None and serving.reason == ConditionReason.STOPPED and _first(outcome.findings) is serving:
        return ()
    waits = _first(outcome.findings) or found.get(ConditionType.DEGRADED)
    if waits is not None:
        moves = waits.reason in MOVING
        text = f"{'waits for' if moves else 'does not get on: see'} the condition {waits.type.value}"
        return (holds(_KIND, waits.reason, text) if moves else fails(_KIND, waits.reason, text),)
    if outcome.rolling or outcome.ready_replicas < wanted:
        rest = "copies of the former specification are still there" if outcome.rolling else "the others are coming up"
        text = f"{outcome.ready_replicas} of {wanted} copies answer; {rest}"
        return (holds(_KIND, ConditionReason.ROLLING_OUT, text),)
    return ()


def _first(findings: Iterable[Finding]) -> Finding | None:
    """The first that does not hold. Degraded holds where something is wrong, so it is never that."""
    return next((finding for finding in findings if finding.status != TRUE), None)
