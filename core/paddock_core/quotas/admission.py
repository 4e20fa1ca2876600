"""Admission: one request against the limits of several levels, all or none, then the refund of what it did not use.

A level is a tenant or a key (a project or an end user would be one more entry in the list). A reservation takes one
request, the counted input and the whole output cap from every level; settling gives back the output that was not
produced. The state lives here in memory and belongs to one process; time is an argument.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from paddock_core.policy.documents import Limits
from paddock_core.quotas.rates import Bucket

REQUESTS = "requests_per_minute"
INPUT_TOKENS = "input_tokens_per_minute"
OUTPUT_TOKENS = "output_tokens_per_minute"
CONCURRENCY = "concurrent_requests"
OUTPUT_OF_ONE = "max_output_tokens"


@dataclass(slots=True)
class LevelState:
    """What one level has used."""

    requests: Bucket = field(default_factory=Bucket)
    inputs: Bucket = field(default_factory=Bucket)
    outputs: Bucket = field(default_factory=Bucket)
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level that a request counts against. The id is unique over all kinds of level, as `tenant:acme`."""

    id: str
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request was not admitted."""

    level: str
    limit_name: str
    limit: int
    asked: int
    remaining: int
    retry_after: int | None
    """Nanoseconds until it would fit; None if it never will under this limit."""


@dataclass(slots=True, kw_only=True)
class Reservation:
    """What an admitted request holds until it is settled."""

    levels: tuple[tuple[Limits, LevelState], ...]
    output_tokens: int
    open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """The tightest limit over the levels, as a client may see it. None where no level sets such a limit."""

    limit: int
    remaining: int
    reset: int
    """Nanoseconds until the whole limit is free again."""


def output_cap(*, levels: Sequence[Level], asked: int | None, default: int, room: int) -> int | Refusal:
    """The number of output tokens that the engine may produce, at least 1, which is also what is reserved.

    `room` is what the context leaves, `asked` the client's max_tokens, each at least 1; `default` stands in for an
    absent max_tokens. A per-request cap of any level always holds. A per-minute limit lowers only the default: a client
    that asks for more than a minute's allowance is told so instead of getting a shorter answer. A limit of 0 is a
    refusal: there is no answer without output.
    """
    cap = wanted = min(room, default if asked is None else asked)
    for level in levels:
        one, minute = level.limits.max_output_tokens, level.limits.output_tokens_per_minute
        for name, limit in ((OUTPUT_OF_ONE, one), (OUTPUT_TOKENS, minute)):
            if limit is not None and limit <= 0:
                return _never(level.id, name, limit, wanted)
        cap = cap if one is None else min(cap, one)
        cap = cap if asked is not None or minute is None else min(cap, minute)
    return cap


def _never(level: str, name: str, limit: int, asked: int) -> Refusal:
    return Refusal(level=level, limit_name=name, limit=limit, asked=asked, remaining=0, retry_after=None)


class Admission:
    """The limits' state of one process. Not thread-safe: it belongs to the event loop."""

    def __init__(self) -> None:
        self._states: dict[str, LevelState] = {}

    def reserve(
        self, *, levels: Sequence[Level], input_tokens: int, output_tokens: int, now: int
    ) -> Reservation | Refusal:
        """Take from every level or from none. `now` is in nanoseconds of a steady clock."""
        held: list[tuple[Limits, LevelState]] = []
        for level in levels:
            state = self._states.get(level.id)
            if state is None:
                state = self._states[level.id] = LevelState()
            refusal = _check(level, state, input_tokens, output_tokens, now)
            if refusal is not None:
                return refusal
            held.append((level.limits, state))
        for limits, state in held:
            _take(limits, state, input_tokens, output_tokens)
        return Reservation(levels=tuple(held), output_tokens=output_tokens)

    def settle(self, reservation: Reservation, *, output_tokens: int, now: int) -> None:
        """Release the slot and give back the output that was not produced. Settling twice changes nothing."""
        if not reservation.open:
            return
        reservation.open = False
        unused = max(0, reservation.output_tokens - output_tokens)
        for limits, state in reservation.levels:
            state.in_flight -= 1
            if limits.output_tokens_per_minute is not None:
                state.outputs.drain(limits.output_tokens_per_minute, now)
                state.outputs.give_back(unused)

    def requests_headroom(self, *, levels: Iterable[Level], now: int) -> Headroom | None:
        """The tightest requests-per-minute limit."""
        tightest: Headroom | None = None
        for level in levels:
            if level.limits.requests_per_minute is not None:
                state = self._states.get(level.id) or LevelState()
                tightest = _tighter(tightest, state.requests, level.limits.requests_per_minute, now)
        return tightest

    def tokens_headroom(self, *, levels: Iterable[Level], now: int) -> Headroom | None:
        """The tightest tokens-per-minute limit, of input or of output."""
        tightest: Headroom | None = None
        for level in levels:
            limits, state = level.limits, self._states.get(level.id) or LevelState()
            if limits.input_tokens_per_minute is not None:
                tightest = _tighter(tightest, state.inputs, limits.input_tokens_per_minute, now)
            if limits.output_tokens_per_minute is not None:
                tightest = _tighter(tightest, state.outputs, limits.output_tokens_per_minute, now)
        return tightest

    def forget_idle(self, *, now: int, idle: int) -> int:
        """Drop the state of levels unused for `idle` nanoseconds (at least a minute); gives how many."""
        stale = [
            level
            for level, state in self._states.items()
            if state.in_flight == 0 and now - max(state.requests.at, state.inputs.at, state.outputs.at) > idle
        ]
        for level in stale:
            del self._states[level]
        return len(stale)

    def in_flight(self, level: str) -> int:
        """Requests of a level that are not settled."""
        state = self._states.get(level)
        return 0 if state is None else state.in_flight


def _check(level: Level, state: LevelState, input_tokens: int, output_tokens: int, now: int) -> Refusal | None:
    limits = level.limits
    slots = limits.concurrent_requests
    if slots is not None and slots <= 0:
        return _never(level.id, CONCURRENCY, slots, 1)
    if slots is not None and state.in_flight >= slots:
        return Refusal(
            level=level.id, limit_name=CONCURRENCY, limit=slots, asked=1, remaining=0, retry_after=1_000_000_000
        )
    # Every bucket's `at` is kept moving, limited or not, so that forget_idle knows when the level was last used.
    state.requests.at = max(state.requests.at, now) if limits.requests_per_minute is None else state.requests.at
    return (
        _refuses(level.id, REQUESTS, state.requests, limits.requests_per_minute, 1, now)
        or _refuses(level.id, INPUT_TOKENS, state.inputs, limits.input_tokens_per_minute, input_tokens, now)
        or _refuses(level.id, OUTPUT_TOKENS, state.outputs, limits.output_tokens_per_minute, output_tokens, now)
    )


def _refuses(level: str, name: str, bucket: Bucket, limit: int | None, cost: int, now: int) -> Refusal | None:
    if limit is None:
        return None
    bucket.drain(limit, now)
    if bucket.fits(limit, cost):
        return None
    return Refusal(
        level=level,
        limit_name=name,
        limit=limit,
        asked=cost,
        remaining=bucket.room(limit),
        retry_after=bucket.wait(limit, cost),
    )


def _take(limits: Limits, state: LevelState, input_tokens: int, output_tokens: int) -> None:
    state.in_flight += 1
    if limits.requests_per_minute is not None:
        state.requests.add(1)
    if limits.input_tokens_per_minute is not None:
        state.inputs.add(input_tokens)
    if limits.output_tokens_per_minute is not None:
        state.outputs.add(output_tokens)


def _tighter(known: Headroom | None, bucket: Bucket, limit: int, now: int) -> Headroom:
    """The one of both with the smaller share left."""
    bucket.drain(limit, now)
    remaining = bucket.room(limit)
    if known is not None and (known.limit == 0 or (limit and known.remaining * limit <= remaining * known.limit)):
        return known
    return Headroom(limit=limit, remaining=remaining, reset=bucket.reset(limit))
