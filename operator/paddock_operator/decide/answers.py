"""What the probes of a pod amount to: when one counts as answering, when it is dropped, and when the prober itself is
doubted.

A pod that answered is dropped only after several failures in a row: a busy engine may miss one. Nor is it dropped where
most pods fail at the same time: what is lost then is more likely the operator's way to them than they themselves, and
gateways, which have a way of their own, stop by themselves to send to what refuses them.

The doubt has an end. Once it is over, pods that go on failing are dropped by as many new failures, except those from
which gateways get answers: engines may truly hang all at once, as behind one switch, and nothing would ever make them
anew while the operator only doubts itself. Ten minutes are time for a person who was told.

Nothing of that says that a pod is to be made anew. As long as most pods and deployments are silent, whether they are
doubted or were dropped, none is: a cut of hours would spend the restart budget of every deployment that nobody asks.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

FAILURES_TO_DROP = 3
LEAST_IN_DOUBT = 4
"""Of fewer pods that had answered, most may well fail at once by themselves."""
DOUBT_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 1.0
SLACK_SECONDS = 60.0
"""How much later than planned a probe may end and still tell of the time since the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is known of one pod. Times are in seconds since boot."""

    good: bool | None = None
    """Whether it counts as answering; None where nobody knows yet."""
    problem: str = ""
    """What the last probe said, where it failed."""
    heard_at: float = -math.inf
    """When the last probe ended."""
    failures: int = 0
    """Probes in a row that failed."""
    misses: int = 0
    """Those of them that count against a pod which had answered."""
    missed_at: float = 0.0
    """When the first of these failed."""
    silent_seconds: float = 0.0
    """From the first of the failures to the last; what nobody asked in between is left out."""


UNKNOWN = Answers()
SERVED = Answers(good=True)
"""Of an endpoint that another process has told gateways of: it had answered."""


def heard(before: Answers, problem: str | None, *, now: float, interval_seconds: float) -> Answers:
    """The same after one more probe; whether it is dropped is not judged yet."""
    if problem is None:
        return Answers(good=True, heard_at=now)
    between = min(now - before.heard_at, interval_seconds + SLACK_SECONDS) if before.failures else 0.0
    return replace(
        before,
        good=bool(before.good),
        problem=problem,
        heard_at=now,
        failures=before.failures + 1,
        misses=before.misses + 1,
        missed_at=before.missed_at if before.misses else now,
        silent_seconds=before.silent_seconds + between,
    )


def is_lost(answers: Answers, *, interval_seconds: float) -> bool:
    """True if one that had answered has failed often enough, and for so long that all others were asked meanwhile."""
    lasts = answers.heard_at - answers.missed_at >= interval_seconds
    return bool(answers.good) and answers.misses >= FAILURES_TO_DROP and lasts


def dropped(answers: Answers) -> Answers:
    """One that does not count as answering any more."""
    return replace(answers, good=False)


def pardoned(answers: Answers) -> Answers:
    """Failures in doubt are held against nobody."""
    return replace(answers, misses=0, silent_seconds=0.0)


def pause_seconds(answers: Answers, *, interval_seconds: float) -> float:
    """How long to wait for the next probe: soon after a failure, to tell a busy engine from a dead one, and ever later
    after more of them."""
    if not answers.failures:
        return interval_seconds
    return min(interval_seconds, FIRST_PAUSE_SECONDS * 2.0 ** min(answers.failures - 1, 32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """All pods that count as answering."""

    pods: int
    heard: int
    """Those whose last probe ended within the time that is looked at."""
    failing: int
    """Those of these whose last probe failed."""

    @property
    def doubtful(self) -> bool:
        """True if so many fail at once that the prober is more likely at fault."""
        return self.pods >= LEAST_IN_DOUBT and self.failing * 2 > self.heard


def most_silent(deployments: Iterable[Iterable[Answers]]) -> bool:
    """True if most pods of so many fail, and in most deployments all of them: the prober may be at fault.

    One deployment with many copies that hang is no sign of that, nor are many with one each beside one with more.
    """
    asked = [[item.failures > 0 for item in pods if item.good is not None] for pods in deployments]
    told = [failing for failing in asked if failing]
    pods = [failing for deployment in told for failing in deployment]
    silent = sum(1 for failing in told if all(failing))
    return len(pods) >= LEAST_IN_DOUBT and sum(pods) * 2 > len(pods) and silent * 2 > len(told)


def crowd_of(all_answers: Iterable[Answers], *, since: float) -> Crowd:
    """What all pods together say. One that was not heard of since then says nothing of this time."""
    good = [answers for answers in all_answers if answers.good]
    lately = [answers for answers in good if answers.heard_at >= since]
    return Crowd(pods=len(good), heard=len(lately), failing=sum(1 for answers in lately if answers.failures))
