"""Which pods have generated a token. What is remembered can be thrown away: after a restart each pod is asked again.

Pods are asked beside the rounds (lanes.py). A round waits a moment for those that were never asked, as a healthy engine
answers by then; of what comes later the deployment is told where it changes anything.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from paddock_core.resources import names
from paddock_core.resources.llamadeployment import Endpoint, RoutingStatus

from paddock_operator.decide import answers as judging
from paddock_operator.decide.answers import Answers
from paddock_operator.decide.copies import is_ready, pod_url
from paddock_operator.forgetting import Remembered
from paddock_operator.lanes import Lane, Lanes, moment
from paddock_operator.observed import Child, label_of
from paddock_operator.ports import Clock, Key, Prober

log = logging.getLogger(__name__)

SLOW_SECONDS = 2.0
"""A pod that kept its asker waiting for longer is asked among those that do."""
FORGET_SECONDS = 3600.0
NOT_ASKED = "the operator could not ask it: its log says why"


@dataclass(slots=True)
class _Memory:
    key: Key
    revision: str
    answers: Answers
    asked_at: float
    """When a round wanted to know last."""
    slow: bool = False
    flowed_at: float = -math.inf
    """When gateways were last known to get answers from its revision."""
    awaited: asyncio.Event | None = None
    """Set while a round waits for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What is known of the ready pods of a deployment."""

    probes: dict[str, str | None] = field(default_factory=dict)
    """Uid of each to None if it counts as answering, else the problem; without those that were never asked."""
    silent: dict[str, float] = field(default_factory=dict)
    """Uid of each that fails to the seconds between its first failure and its last; none while that is doubted."""
    doubted: int = 0
    """Pods that count as answering only because the prober is doubted."""
    again_seconds: float | None = None
    """In how many seconds the next of those that do not answer is to be asked; None where none is."""


class ProbeBook:
    """Asks ready pods for one token, each at most once an interval, and never twice at the same time."""

    def __init__(
        self,
        *,
        prober: Prober,
        clock: Clock,
        interval_seconds: float,
        lanes: Lanes,
        changed: Callable[[Key], None],
    ) -> None:
        """`changed` is called when a pod begins to count as answering, or ceases to, and no round waits for that."""
        self._prober = prober
        self._clock = clock
        self._interval = interval_seconds
        self._lanes = lanes
        self._changed = changed
        self._known: Remembered[str, _Memory] = Remembered(seconds=FORGET_SECONDS + interval_seconds)
        self._of_key: dict[Key, frozenset[str]] = {}
        self._asking: set[str] = set()
        self._doubt: tuple[float, float] | None = None
        """When the prober began to be doubted, and since when pods are looked at to say whether it still is."""

    async def ask(
        self,
        key: Key,
        pods: Iterable[Child],
        *,
        secret: str,
        served: Collection[Endpoint] = (),
        flowing: Collection[str] = (),
    ) -> Looked:
        """What is known of them; those that are due are asked. `served` are the endpoints that gateways were told of:
        they had answered another process. `flowing` names revisions from which gateways get answers."""
        now = self._clock.boottime()
        ready = [pod for pod in pods if is_ready(pod) and not pod.going]
        self._keep(key, [pod.uid for pod in ready])
        first = []
        for pod in ready:
            memory = self._memory(key, pod, served)
            memory.asked_at = now
            if memory.revision in flowing:
                memory.flowed_at = now
            if self._due(pod.uid, memory):
                if memory.answers.good is None:
                    first.append(memory)
                self._send(pod, memory, secret)
        self._known.forget(now=now)
        await self._wait(first)
        return self._looked([pod.uid for pod in ready])

    def forget(self, key: Key) -> None:
        """A deployment is gone, or ends."""
        self._keep(key, ())

    @property
    def doubted(self) -> int:
        """Pods that count as answering only because the prober is doubted."""
        return sum(1 for memory in self._known.values() if self._is_pardoned(memory))

    def _keep(self, key: Key, uids: Sequence[str]) -> None:
        """A pod that is gone is forgotten; so is one that is not ready, which answers anew once it is."""
        for uid in self._of_key.pop(key, frozenset()) - {*uids}:
            self._known.pop(uid, None)
        if uids:
            self._of_key[key] = frozenset(uids)

    def _memory(self, key: Key, pod: Child, served: Collection[Endpoint]) -> _Memory:
        memory = self._known.get(pod.uid)
        if memory is None:
            had = any(item.pod == pod.name and item.url == pod_url(pod) for item in served)
            answers = judging.SERVED if had else judging.UNKNOWN
            memory = _Memory(key=key, revision=label_of(pod, names.REVISION), answers=answers, asked_at=0.0)
            self._known[pod.uid] = memory
        return memory

    def _due(self, uid: str, memory: _Memory) -> bool:
        return uid not in self._asking and self._due_in(memory) <= 0.0

    def _due_in(self, memory: _Memory) -> float:
        pause = judging.pause_seconds(memory.answers, interval_seconds=self._interval)
        return memory.answers.heard_at + pause * 0.9 - self._clock.boottime()

    def _send(self, pod: Child, memory: _Memory, secret: str) -> None:
        self._asking.add(pod.uid)
        lane = Lane.SLOW if memory.slow else Lane.FIRST if memory.answers.good is None else Lane.PROMPT
        self._lanes.put(lane, partial(self._ask, pod.uid, memory, url=pod_url(pod), secret=secret))

    async def _wait(self, first: Sequence[_Memory]) -> None:
        """Nothing may be awaited between this and what is told: what comes meanwhile wakes nobody."""
        events = [asyncio.Event() for _ in first]
        for memory, event in zip(first, events, strict=True):
            memory.awaited = event
        await moment(events)
        for memory in first:
            memory.awaited = None

    def _looked(self, uids: Iterable[str]) -> Looked:
        known = {uid: self._known[uid] for uid in uids if uid in self._known}
        told = {uid: item for uid, item in known.items() if item.answers.good is not None}
        waits = [self._due_in(item) for uid, item in told.items() if not item.answers.good and uid not in self._asking]
        return Looked(
            probes={uid: None if item.answers.good else item.answers.problem for uid, item in told.items()},
            silent=self._silent(told),
            doubted=sum(1 for item in told.values() if self._is_pardoned(item)),
            again_seconds=max(judging.FIRST_PAUSE_SECONDS, min(waits)) if waits else None,
        )

    def _silent(self, told: Mapping[str, _Memory]) -> dict[str, float]:
        found = {uid: item.answers.silent_seconds for uid, item in told.items() if item.answers.silent_seconds > 0.0}
        return {} if found and (self._is_doubted() or self._are_most_silent()) else found

    def _are_most_silent(self) -> bool:
        known = self._known
        return judging.most_silent(
            [known[uid].answers for uid in uids if uid in known] for uids in self._of_key.values()
        )

    async def _ask(self, uid: str, memory: _Memory, *, url: str, secret: str) -> None:
        began = self._clock.boottime()
        try:
            problem = await self._prober.generates(url=url, secret=secret)
        except Exception:
            # Whatever a pod answers, it is asked again, and another one too.
            log.exception("pod could not be asked", extra={"key": str(memory.key)})
            problem = NOT_ASKED
        self._asking.discard(uid)
        memory.slow = self._clock.boottime() - began > SLOW_SECONDS
        self._heard(uid, memory, problem)

    def _heard(self, uid: str, memory: _Memory, problem: str | None) -> None:
        known = self._known.get(uid)
        if known is not memory:
            if known is not None:
                # It was not ready for a moment, so this tells nothing of it; it can be asked now.
                self._changed(known.key)
            return
        now, before = self._clock.boottime(), memory.answers.good
        memory.answers = judging.heard(memory.answers, problem, now=now, interval_seconds=self._interval)
        self._weigh(memory)
        if judging.is_lost(memory.answers, interval_seconds=self._interval) and not self._flows(memory):
            memory.answers = judging.dropped(memory.answers)
            log.warning("a pod that had answered does not", extra={"key": str(memory.key), "error": problem})
        if memory.awaited is not None:
            memory.awaited.set()
        elif memory.answers.good is not before:
            self._changed(memory.key)

    def _weigh(self, memory: _Memory) -> None:
        """Begin or end the doubt of the prober itself."""
        if self._doubt is None:
            if judging.is_lost(memory.answers, interval_seconds=self._interval):
                self._begin_doubt(memory.answers.missed_at)
        elif not (crowd := self._crowd(self._doubt[1])).doubtful:
            if self._is_doubted():
                self._pardon()
            self._doubt = None
            log.warning("probes are no longer doubted", extra={"pods": crowd.pods, "failing": crowd.failing})
        elif self._is_doubted() and memory.answers.failures:
            memory.answers = judging.pardoned(memory.answers)

    def _begin_doubt(self, since: float) -> None:
        crowd = self._crowd(since)
        if not crowd.doubtful:
            return
        self._doubt = (self._clock.boottime(), since)
        self._pardon()
        log.warning(
            "most pods fail their probes at once: the operator's own way to them is doubted, and none is dropped",
            extra={"pods": crowd.pods, "failing": crowd.failing, "for_seconds": judging.DOUBT_SECONDS},
        )

    def _pardon(self) -> None:
        for memory in self._known.values():
            if memory.answers.failures:
                memory.answers = judging.pardoned(memory.answers)

    def _crowd(self, since: float) -> judging.Crowd:
        return judging.crowd_of((memory.answers for memory in self._known.values()), since=since)

    def _is_doubted(self) -> bool:
        return self._doubt is not None and self._clock.boottime() - self._doubt[0] < judging.DOUBT_SECONDS

    def _is_pardoned(self, memory: _Memory) -> bool:
        return self._is_doubted() and bool(memory.answers.good) and memory.answers.failures > 0

    def _flows(self, memory: _Memory) -> bool:
        """True where gateways get answers from copies of this revision, and no other copy of it can be whose."""
        if self._clock.boottime() - memory.flowed_at > 2 * self._interval:
            return False
        uids = self._of_key.get(memory.key, frozenset())
        own = [self._known[uid] for uid in uids if uid in self._known]
        return all(item.answers.failures for item in own if item.revision == memory.revision and item.answers.good)


def served_by(routing: RoutingStatus | None) -> tuple[Endpoint, ...]:
    """The endpoints that gateways were told of."""
    return tuple(endpoint for target in (routing.targets if routing else ()) for endpoint in target.endpoints)
