"""Sums of the ledger by group and by time, from the hours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.usage.models import UsageHourRow

Group = Literal["tenant", "project", "model", "deployment", "key", "end_user_group", "month", "day", "hour"]
Interval = Literal["hour", "day", "month"]

_TIMES: dict[str, ColumnElement[Any]] = {
    "month": func.date_trunc("month", UsageHourRow.hour, "UTC"),
    "day": func.date_trunc("day", UsageHourRow.hour, "UTC"),
    "hour": UsageHourRow.hour.expression,
}
_GROUPS: dict[str, ColumnElement[Any]] = {
    "tenant": UsageHourRow.tenant.expression,
    "project": UsageHourRow.project.expression,
    "model": UsageHourRow.model.expression,
    "deployment": UsageHourRow.deployment.expression,
    "key": UsageHourRow.key_id.expression,
    "end_user_group": UsageHourRow.end_user_group.expression,
    **_TIMES,
}
_COUNTS = (
    "requests",
    "input_tokens",
    "output_tokens",
    "inexact_requests",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "corrections",
)
_MOST_GROUPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Money in nano-units (10^-9) of a currency."""

    currency: str
    cost_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Counts of requests and tokens, and what they cost."""

    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    inexact_requests: int
    """Requests whose figures are not backed by the engine's own final count."""
    cache_read_tokens: int
    """Of the input."""
    cache_write_tokens: int
    """Of the input, too."""
    reasoning_tokens: int
    """Of the output."""
    corrections: int
    """Rows that correct others. What they add is in the sums."""
    costs: list[Cost]
    """One for each currency; nothing where there was no price."""
    unpriced_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup(Sums):
    """The sums of one group; `group` is the tenant, model and so on, or the start of the hour, day or month."""

    group: str
    start: str | None
    """Start of the interval, where one was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """Sums by group, and by interval within each, and over all of them."""

    group_by: Group
    interval: Interval | None
    rows: list[UsageGroup]
    truncated: bool
    """True if there are more groups than are shown; the total is over all of them. Ask again with `skip`."""
    total: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a report is about. From `start` (inclusive) to `end` (exclusive), Unix seconds; hours that begin in it."""

    group_by: Group
    interval: Interval | None = None
    tenant: str | None = None
    start: float | None = None
    end: float | None = None
    skip: int = 0
    """Groups that were read before: of these keys, in this order."""


async def report(session: AsyncSession, question: Question) -> UsageReport:
    """The sums over a period, of one tenant or of all that the caller may see."""
    keys = [_GROUPS[question.group_by]]
    if question.interval is not None:
        keys.append(_TIMES[question.interval])
    # A group has a line for each currency, so groups are counted by their rank; one more says that there are more.
    first, past = question.skip, question.skip + _MOST_GROUPS + 1
    ranked = _query(question, keys, func.dense_rank().over(order_by=keys).label("rank")).subquery()
    lines = select(ranked).where(ranked.c.rank > first, ranked.c.rank <= past).order_by(ranked.c.rank)
    groups = _fold([line[1:] for line in await session.execute(lines)], keys=len(keys))
    rows = [
        UsageGroup(group=_label(key[0]), start=_label(key[1]) if len(key) > 1 else None, **sums)
        for key, sums in list(groups.items())[:_MOST_GROUPS]
    ]
    total = _fold(await session.execute(_query(question, [])), keys=0).get((), _named(()))
    return UsageReport(
        group_by=question.group_by,
        interval=question.interval,
        rows=rows,
        truncated=len(groups) > len(rows),
        total=Sums(**total),
    )


def _query(question: Question, keys: Sequence[ColumnElement[Any]], *before: ColumnElement[Any]) -> Select[Any]:
    """Sums by the keys and, behind them, by currency; other columns before them."""
    by = [*keys, UsageHourRow.currency.expression]
    names = [one.label(f"by_{at}") for at, one in enumerate(by)]
    sums = [func.sum(getattr(UsageHourRow, name)).label(name) for name in (*_COUNTS, "cost_nano")]
    query = select(*before, *names, *sums).group_by(*by).order_by(*by)
    if question.tenant is not None:
        query = query.where(UsageHourRow.tenant == question.tenant)
    if question.start is not None:
        query = query.where(UsageHourRow.hour >= datetime.fromtimestamp(question.start, UTC))
    if question.end is not None:
        query = query.where(UsageHourRow.hour < datetime.fromtimestamp(question.end, UTC))
    return query


def _fold(found: Iterable[Any], *, keys: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The lines of each currency put together, by key."""
    lines: dict[tuple[Any, ...], list[Any]] = {}
    for line in found:
        lines.setdefault(tuple(line[:keys]), []).append(line[keys:])
    return {key: _named(group) for key, group in lines.items()}


def _named(lines: Sequence[Any]) -> dict[str, Any]:
    """Each line is a currency, the counts, and the cost."""
    counts = {name: sum(int(line[1 + at]) for line in lines) for at, name in enumerate(_COUNTS)}
    return {
        **counts,
        "total_tokens": counts["input_tokens"] + counts["output_tokens"],
        "costs": [Cost(currency=line[0], cost_nano=int(line[-1])) for line in lines if line[0]],
        "unpriced_requests": sum(int(line[1]) for line in lines if not line[0]),
    }


def _label(value: Any) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)
