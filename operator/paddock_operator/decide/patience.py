"""How long it may take what is waited for: after that waiting is no answer any more, and Progressing says so.

It judges words alone: nothing is taken away or made for it. What takes copies away is a rollout's own deadline.
"""

from collections.abc import Iterator

from msgspec.structs import replace
from paddock_core.resources.conditions import FALSE, TRUE, ConditionReason, ConditionType, Finding, fails

from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.progress import progressing
from paddock_operator.decide.rollout.types import Verdict
from paddock_operator.observed import Observed
from paddock_operator.times import parse_time

LONG_SECONDS = 2 * 86400.0
"""For what has limits of its own, which end it sooner where all is well: Jobs their deadline, drains theirs."""
LONG = frozenset(
    {
        ConditionReason.DELETING,
        ConditionReason.DRAINING,
        ConditionReason.ENGINE_BUILDING,
        ConditionReason.WEIGHTS_PREPARING,
    }
)
COPIES = frozenset({ConditionReason.LOADING, ConditionReason.PODS_PENDING, ConditionReason.ROLLING_OUT})
"""Reasons for which a copy is waited for."""
_KIND = ConditionType.PROGRESSING
_EXCEEDED = ConditionReason.PROGRESS_DEADLINE_EXCEEDED


def judge(observed: Observed, outcome: Outcome) -> tuple[Finding, ...]:
    """The condition Progressing: as it is found, or that what it waits for has lasted for too long."""
    found = progressing(outcome)
    return tuple(_in_time(observed, outcome, finding) if finding.status == TRUE else finding for finding in found)


def seconds_left(observed: Observed, outcome: Outcome) -> float | None:
    """Until what is waited for has lasted for too long; None where that has no end, or is over."""
    for finding in progressing(outcome):
        limit, since = _limit(observed, outcome, finding), _since(observed, outcome, finding)
        if finding.status == TRUE and limit is not None and since + limit >= observed.now:
            return since + limit - observed.now + 1.0
    return None


def _in_time(observed: Observed, outcome: Outcome, finding: Finding) -> Finding:
    limit = _limit(observed, outcome, finding)
    if limit is None or observed.now - _since(observed, outcome, finding) <= limit:
        return finding
    waited, slowest = _waited(outcome, finding), outcome.slowest
    texts = [finding.message if waited is None else f"the condition {waited.type.value}: {waited.message}"]
    texts += [slowest.text] if slowest is not None and finding.reason in COPIES else []
    what = "; ".join(texts)
    text = f"{finding.reason} for more than {limit:.0f} s, in which nothing came about: {what}. It is still waited for"
    return fails(_KIND, _EXCEEDED, text)


def _limit(observed: Observed, outcome: Outcome, finding: Finding) -> float | None:
    """Seconds; None for what takes as long as it takes."""
    if finding.reason in LONG:
        return LONG_SECONDS
    judged = finding.reason == ConditionReason.ROLLING_OUT and outcome.verdict is not Verdict.STEADY
    if finding.reason == ConditionReason.QUEUED or judged:
        # A turn in a queue comes when it comes; a rollout has its steps, and a deadline for each of its copies.
        return None
    given = float(observed.live.spec.rollout.deadline_seconds)
    copies = finding.reason in COPIES and outcome.slowest is not None
    return max(given, outcome.slowest.patience_seconds) if copies and outcome.slowest is not None else given


def _since(observed: Observed, outcome: Outcome, finding: Finding) -> float:
    """When something came about last of what is waited for, by what the status and the API server know."""
    told = {item.type: item for item in observed.live.status.conditions}
    before = told.get(_KIND)
    if before is None or before.observed_generation != observed.generation:
        return observed.now
    if before.status == FALSE and before.reason != _EXCEEDED:
        # It did not get on for another reason, and does now.
        return observed.now
    return max(_moments(observed, outcome, finding))


def _moments(observed: Observed, outcome: Outcome, finding: Finding) -> Iterator[float]:
    told = {item.type: item for item in observed.live.status.conditions}
    # That it is exceeded is nothing that came about.
    kinds = [] if told[_KIND].reason == _EXCEEDED else [_KIND]
    waited = _waited(outcome, finding)
    yield 0.0
    for item in outcome.findings:
        if item is waited or item.type == ConditionType.SERVING:
            same = item.type in told and told[item.type].status == item.status
            yield parse_time(told[item.type].last_transition_time) if same else observed.now
    yield from (parse_time(told[kind].last_transition_time) for kind in kinds)
    if outcome.slowest is not None and finding.reason in COPIES:
        yield outcome.slowest.since


def _waited(outcome: Outcome, finding: Finding) -> Finding | None:
    """The condition that Progressing repeats."""
    same = (item for item in outcome.findings if item.reason == finding.reason)
    return next((item for item in same if item.status != TRUE or item.type == ConditionType.DEGRADED), None)


def within(observed: Observed, outcome: Outcome) -> Outcome:
    """The outcome with a look at the moment from which on waiting is no answer any more."""
    left = seconds_left(observed, outcome) if observed.deployment is not None else None
    if left is None:
        return outcome
    soon = left if outcome.look_after_seconds is None else min(left, outcome.look_after_seconds)
    return replace(outcome, look_after_seconds=soon)
