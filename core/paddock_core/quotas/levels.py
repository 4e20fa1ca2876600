"""What a request counts against, and what it is told where it does not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from paddock_core.policy.documents import Limits

OUTPUT_OF_ONE = "max_output_tokens"
CONTEXT_OF_ONE = "max_context_tokens"
OUTPUT_PER_MINUTE = "output_tokens_per_minute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level that a request counts against.

    The id is unique over all kinds of level: `platform`, `tenant:T`, `project:T/P`, `key:K`, `user:T:HASH`.
    """

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
    cut_off: bool = False
    """True if the limit may not be reached at all: this gateway has used up its lease and cannot borrow more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """The tightest limit over the levels, as a client may see it."""

    limit: int
    remaining: int
    reset: int
    """Nanoseconds until the whole limit is free again."""


def output_cap(
    *, levels: Sequence[Level], asked: int | None, default: int, room: int, input_tokens: int = 0
) -> int | Refusal:
    """The number of output tokens that the engine may produce, at least 1.

    `room` is what the context leaves, `asked` the client's max_tokens, each at least 1; `default` stands in for an
    absent max_tokens. A per-request cap of any level always holds. A per-minute limit lowers only the default: a client
    that asks for more than a minute's allowance is told so instead of getting a shorter answer. A limit of 0 is a
    refusal: there is no answer without output.
    """
    cap = wanted = min(room, default if asked is None else asked)
    for level in levels:
        one, minute = level.limits.max_output_tokens, level.limits.output_tokens_per_minute
        for name, limit in ((OUTPUT_OF_ONE, one), (OUTPUT_PER_MINUTE, minute)):
            if limit is not None and limit <= 0:
                return never(level=level.id, name=name, limit=limit, asked=wanted)
        context = level.limits.max_context_tokens
        if context is not None and context <= input_tokens:
            return never(level=level.id, name=CONTEXT_OF_ONE, limit=context, asked=input_tokens + 1)
        cap = cap if one is None else min(cap, one)
        cap = cap if context is None else min(cap, context - input_tokens)
        cap = cap if asked is not None or minute is None else min(cap, minute)
    return cap


def never(*, level: str, name: str, limit: int, asked: int) -> Refusal:
    """A refusal that no waiting mends."""
    return Refusal(level=level, limit_name=name, limit=limit, asked=asked, remaining=0, retry_after=None)
