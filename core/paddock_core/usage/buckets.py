"""The disjoint buckets into which a request's tokens fall. Each token is in exactly one, so none is billed twice."""

from dataclasses import dataclass, fields
from typing import Protocol


class Counted(Protocol):
    """Whatever carries a ledger row's counts."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def cache_read_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """One number for each bucket: tokens, prices or costs."""

    input_uncached: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int


NAMES = tuple(field.name for field in fields(Buckets))
"""The buckets, in the order in which they are shown."""


def buckets_of(row: Counted) -> Buckets:
    """The row's tokens by bucket; together they are its input and output tokens."""
    return Buckets(
        input_uncached=row.input_tokens - row.cache_read_tokens - row.cache_write_tokens,
        cache_read=row.cache_read_tokens,
        cache_write=row.cache_write_tokens,
        output_text=row.output_tokens - row.reasoning_tokens,
        output_reasoning=row.reasoning_tokens,
    )
