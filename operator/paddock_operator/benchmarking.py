"""Each revision's first answering copy is tried once with a small load. The result goes into the status; what is known
here can be thrown away.

It never holds up a round: it runs beside, and the deployment is looked at again when it is over.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from paddock_core.resources.llamadeployment import BenchmarkStatus

from paddock_operator.errors import BenchmarkError
from paddock_operator.ports import Bencher, Clock, Key, Load, Measured
from paddock_operator.times import format_time

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Copies that are tried side by side, whosever they are."""
TRIES = 3
"""A copy that cannot be measured so often has failed its trial."""
RETRY_SECONDS = 40.0
MOST_WORDS = 300
"""Characters of what went wrong that the status keeps."""
BEHIND_SECONDS = 1.0
"""An operator whose rounds come later than this is behind: it would measure itself, and those that wait for a round
would wait for that too."""
CALM_SECONDS = 5.0
"""For so long it has caught up before copies are tried: of many that come at once, the last ones still come up when no
round is late any more."""
MOST_BEHIND_SECONDS = 120.0
"""Longer than this no copy waits to be tried."""
LOOK_SECONDS = 0.25
"""How often it is asked meanwhile."""
FORGET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A copy that answers, and the revision that it would stand for."""

    revision: str
    url: str


@dataclass(slots=True)
class _Memory:
    asked_at: float
    queued: bool = False
    result: BenchmarkStatus | None = None
    failures: int = 0
    failed_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    key: Key
    memory: _Memory
    url: str
    secret: str = field(repr=False)


class BenchmarkBook:
    """Who is to be tried, and what came of it until the status holds it."""

    def __init__(
        self,
        *,
        bencher: Bencher,
        clock: Clock,
        load: Load | None,
        changed: Callable[[Key], None],
        late_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`load` None: nobody is tried. `changed` is called when a trial is over. `late_seconds` says how far this
        operator's rounds are behind."""
        self._bencher = bencher
        self._clock = clock
        self._load = load
        self._changed = changed
        self._late_seconds = late_seconds
        self._behind_at = -math.inf
        self._queue = asyncio.Queue[_Trial]()
        self._known: dict[tuple[str, str], _Memory] = {}

    @property
    def tries(self) -> bool:
        """Whether copies are tried at all."""
        return self._load is not None

    def ask(
        self, key: Key, *, uid: str, candidates: Iterable[Candidate], known: Collection[str], secret: str
    ) -> dict[str, BenchmarkStatus]:
        """Results by revision that the status lacks; each revision that is not in `known` will be tried.

        `uid` is the deployment's: one of the same name is another one.
        """
        self._forget_old()
        found: dict[str, BenchmarkStatus] = {}
        for candidate in candidates:
            if candidate.revision in known:
                # The status holds it. Where that forgets it, as for a new try, nothing is remembered here.
                self._known.pop((uid, candidate.revision), None)
                continue
            if self._load is None or candidate.revision in found:
                continue
            memory = self._memory(uid, candidate.revision)
            if memory.result is not None:
                found[candidate.revision] = memory.result
            elif not memory.queued and self._due(memory):
                memory.queued = True
                self._queue.put_nowait(_Trial(key=key, memory=memory, url=candidate.url, secret=secret))
        return found

    async def run(self) -> None:
        """Try them, until cancelled."""
        if self._load is None:
            return
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work(self._load))

    async def _work(self, load: Load) -> None:
        while True:
            trial = await self._queue.get()
            memory = trial.memory
            await self._caught_up()
            try:
                measured = await self._bencher.measure(url=trial.url, secret=trial.secret, load=load)
                memory.result = summary(measured, load=load, at=self._clock.now())
            except BenchmarkError as error:
                memory.failures += 1
                memory.failed_at = self._clock.boottime()
                words = {"key": str(trial.key), "error": str(error), "try": memory.failures}
                log.warning("benchmark failed", extra=words)
                if memory.failures >= TRIES:
                    text = _told(str(error), secret=trial.secret)
                    memory.result = failure(text, load=load, at=self._clock.now())
            memory.queued = False
            self._changed(trial.key)

    async def _caught_up(self) -> None:
        until = self._clock.boottime() + MOST_BEHIND_SECONDS
        while self._is_behind() and self._clock.boottime() < until:  # noqa: ASYNC110 - no event
            await asyncio.sleep(LOOK_SECONDS)

    def _is_behind(self) -> bool:
        """Whether rounds are late, or were when it was asked a moment ago."""
        now = self._clock.boottime()
        if self._late_seconds() > BEHIND_SECONDS:
            self._behind_at = now
        return now - self._behind_at < CALM_SECONDS

    def _memory(self, uid: str, revision: str) -> _Memory:
        now = self._clock.boottime()
        memory = self._known.setdefault((uid, revision), _Memory(asked_at=now))
        memory.asked_at = now
        return memory

    def _due(self, memory: _Memory) -> bool:
        if not memory.failures:
            return True
        return self._clock.boottime() - memory.failed_at >= RETRY_SECONDS

    def _forget_old(self) -> None:
        limit = self._clock.boottime() - FORGET_SECONDS
        old = [key for key, memory in self._known.items() if memory.asked_at < limit and not memory.queued]
        for key in old:
            del self._known[key]


def summary(measured: Measured, *, load: Load, at: float) -> BenchmarkStatus:
    """What the status says of it. Percentiles are of the nearest rank: of eight answers, the 95th is the slowest."""
    return BenchmarkStatus(
        concurrency=load.concurrency,
        requests=len(measured.ttft_ms),
        output_tokens=measured.output_tokens,
        ttft_p50_ms=_rank(measured.ttft_ms, 50),
        ttft_p95_ms=_rank(measured.ttft_ms, 95),
        tokens_per_second=round(measured.output_tokens / measured.seconds) if measured.seconds > 0 else 0,
        at=format_time(at),
    )


def failure(error: str, *, load: Load, at: float) -> BenchmarkStatus:
    """What the status says of one that could not be measured."""
    return BenchmarkStatus(
        concurrency=load.concurrency,
        requests=0,
        output_tokens=0,
        ttft_p50_ms=0,
        ttft_p95_ms=0,
        tokens_per_second=0,
        at=format_time(at),
        error=error,
    )


def _told(words: str, *, secret: str) -> str:
    """Fit for a status: one line, bounded, and without what the copy was asked with, should it say that back."""
    shown = words.replace(secret, "(secret)") if secret else words
    return " ".join("".join(sign if sign.isprintable() else " " for sign in shown).split())[:MOST_WORDS]


def _rank(values: Sequence[float], percent: int) -> int:
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]) if ordered else 0
