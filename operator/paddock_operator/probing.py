"""Which pods have generated a token. What is remembered can be thrown away: after a restart each pod is asked again."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from paddock_operator.decide.copies import is_ready, pod_url
from paddock_operator.forgetting import Remembered
from paddock_operator.observed import Child
from paddock_operator.ports import Clock, Prober

FAILURES_TO_DROP = 3
"""A pod that has answered before is only dropped after so many failures in a row: a busy engine may miss one."""
RETRY_SECONDS = 1.0
FORGET_SECONDS = 3600.0


@dataclass(slots=True)
class _Memory:
    asked_at: float
    problem: str | None
    """What the last answers amount to: None if the pod counts as answering."""
    failures: int = 0


class ProbeBook:
    """Asks ready pods for one token, each at most once an interval."""

    def __init__(self, *, prober: Prober, clock: Clock, interval_seconds: float) -> None:
        self._prober = prober
        self._clock = clock
        self._interval = interval_seconds
        self._known: Remembered[str, _Memory] = Remembered(seconds=FORGET_SECONDS + interval_seconds)

    async def ask(self, pods: Iterable[Child], *, secret: str) -> dict[str, str | None]:
        """Uid of each ready pod to None if it answers, else the problem. Pods that are due are asked side by side."""
        ready = [pod for pod in pods if is_ready(pod) and not pod.going]
        await asyncio.gather(*(self._ask_one(pod, secret) for pod in ready if self._due(pod.uid)))
        self._known.forget(now=self._clock.boottime())
        return {pod.uid: self._known[pod.uid].problem for pod in ready if pod.uid in self._known}

    async def _ask_one(self, pod: Child, secret: str) -> None:
        problem = await self._prober.generates(url=pod_url(pod), secret=secret)
        now = self._clock.boottime()
        before = self._known.get(pod.uid)
        if problem is None:
            self._known[pod.uid] = _Memory(asked_at=now, problem=None)
        elif before is None or before.problem is not None:
            self._known[pod.uid] = _Memory(asked_at=now, problem=problem)
        else:
            failures = before.failures + 1
            lost = failures >= FAILURES_TO_DROP
            self._known[pod.uid] = _Memory(asked_at=now, problem=problem if lost else None, failures=failures)

    def _due(self, uid: str) -> bool:
        memory = self._known.get(uid)
        if memory is None:
            return True
        # One unanswered probe is followed up soon, to tell a busy engine from a dead one.
        wait = RETRY_SECONDS if memory.problem is not None or memory.failures else self._interval
        return self._clock.boottime() - memory.asked_at >= wait * 0.9
