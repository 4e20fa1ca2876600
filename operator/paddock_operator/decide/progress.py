"""Is a change coming about, or stuck? Told by one condition, so that one look finds what to look at."""

from collections.abc import Iterable

from paddock_core.resources.conditions import TRUE, ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.rollout.types import Verdict
from paddock_operator.decide.serving import counted

_KIND = ConditionType.PROGRESSING

MOVING = frozenset(
    {
        ConditionReason.DELETING,
        ConditionReason.DRAINING,
        ConditionReason.ENGINE_BUILDING,
        ConditionReason.ENGINE_HUNG,
        ConditionReason.GATEWAY_BEHIND,
        ConditionReason.GPU_LOST,
        ConditionReason.LOADING,
        ConditionReason.NODE_LOST,
        ConditionReason.PODS_PENDING,
        ConditionReason.QUEUED,
        ConditionReason.WEIGHTS_PREPARING,
    }
)
"""Reasons of conditions that do not hold yet, and will by waiting alone."""


_AT_REST = (ConditionReason.STOPPED, ConditionReason.SCALED_TO_ZERO)
"""Reasons of Serving for which nothing is to come."""
_FAILED = {
    Verdict.STOPPED: ConditionReason.ROLLOUT_FAILED,
    Verdict.ROLLED_BACK: ConditionReason.ROLLED_BACK,
}


def progressing(outcome: Outcome) -> tuple[Finding, ...]:
    """The condition Progressing; nothing where all is as asked. Its reason is that of the condition it waits for."""
    if outcome.refused:
        return (fails(_KIND, ConditionReason.APPLY_FAILED, outcome.refused),)
    found = {finding.type: finding for finding in outcome.findings}
    serving = found.get(ConditionType.SERVING)
    if serving is not None and serving.reason in _AT_REST and _first(outcome.findings) is serving:
        return ()
    waits = _first(outcome.findings)
    failed = _FAILED.get(outcome.verdict)
    queued = waits is not None and waits.reason == ConditionReason.QUEUED
    if failed is not None and (waits is None or (queued and outcome.verdict is Verdict.STOPPED)):
        return (fails(_KIND, failed, outcome.note),)
    if queued and outcome.in_vain:
        return (fails(_KIND, ConditionReason.QUEUED, outcome.in_vain),)
    waits = waits or found.get(ConditionType.DEGRADED)
    if waits is not None:
        moves = waits.reason in MOVING
        text = f"{'waits for' if moves else 'does not get on: see'} the condition {waits.type.value}"
        return (holds(_KIND, waits.reason, text) if moves else fails(_KIND, waits.reason, text),)
    wanted = outcome.wanted or 0
    if outcome.verdict is not Verdict.STEADY or outcome.ready_replicas < wanted:
        count = counted(outcome.ready_replicas, wanted, "copies answer")
        text = f"{count}; {outcome.note or 'the others are coming up'}"
        return (holds(_KIND, ConditionReason.ROLLING_OUT, text),)
    return ()


def _first(findings: Iterable[Finding]) -> Finding | None:
    """The first that does not hold. Degraded holds where something is wrong, so it is never that."""
    return next((finding for finding in findings if finding.status != TRUE), None)
