"""Reading the ledger: sums by group, and the rows themselves."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from paddock_core.usage.record import UsageRecord
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.usage.models import UsageHourRow, UsageRow

Group = Literal["tenant", "model", "deployment", "key", "day", "hour"]

_GROUPS: dict[str, ColumnElement[Any]] = {
    "tenant": UsageHourRow.tenant.expression,
    "model": UsageHourRow.model.expression,
    "deployment": UsageHourRow.deployment.expression,
    "key": UsageHourRow.key_id.expression,
    "day": func.date_trunc("day", UsageHourRow.hour, "UTC"),
    "hour": UsageHourRow.hour.expression,
}
_MOST_GROUPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Counts of requests and tokens."""

    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    inexact_requests: int
    """Requests whose figures are not backed by the engine's own final count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup(Sums):
    """The sums of one group; `group` is the tenant, model, deployment, key, or the start of the day or hour."""

    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """Sums by group and over all of them."""

    group_by: Group
    rows: list[UsageGroup]
    total: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From (inclusive) to (exclusive), Unix seconds; hours that begin in it count."""

    start: float | None
    end: float | None


async def report(session: AsyncSession, *, tenant: str | None, group_by: Group, period: Period) -> UsageReport:
    """The sums over a period, of one tenant or of all that the caller may see."""
    group = _GROUPS[group_by]
    query = _restricted(select(group, *_sums()), tenant, period).group_by(group).order_by(group).limit(_MOST_GROUPS)
    rows = [UsageGroup(group=_label(found[0]), **_named(found[1:])) for found in await session.execute(query)]
    total = (await session.execute(_restricted(select(*_sums()), tenant, period))).one()
    return UsageReport(group_by=group_by, rows=rows, total=Sums(**_named(total)))


async def records(session: AsyncSession, *, tenant: str | None, after: str, limit: int) -> list[UsageRecord]:
    """Rows of the ledger in the order of their ids, one more than `limit` if there are more."""
    query = select(UsageRow).order_by(UsageRow.usage_id).limit(limit + 1)
    if tenant is not None:
        query = query.where(UsageRow.tenant == tenant)
    if after:
        query = query.where(UsageRow.usage_id > UUID(after))
    return [_record(row) for row in await session.scalars(query)]


def _sums() -> list[ColumnElement[Any]]:
    columns = (
        UsageHourRow.requests,
        UsageHourRow.input_tokens,
        UsageHourRow.output_tokens,
        UsageHourRow.inexact_requests,
    )
    return [func.coalesce(func.sum(column), 0) for column in columns]


def _restricted(query: Select[Any], tenant: str | None, period: Period) -> Select[Any]:
    if tenant is not None:
        query = query.where(UsageHourRow.tenant == tenant)
    if period.start is not None:
        query = query.where(UsageHourRow.hour >= datetime.fromtimestamp(period.start, UTC))
    if period.end is not None:
        query = query.where(UsageHourRow.hour < datetime.fromtimestamp(period.end, UTC))
    return query


def _named(sums: Any) -> dict[str, int]:
    requests, given, made, inexact = (int(value) for value in sums)
    return {
        "requests": requests,
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": given + made,
        "inexact_requests": inexact,
    }


def _label(value: Any) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _record(row: UsageRow) -> UsageRecord:
    values = {field.name: getattr(row, field.name) for field in fields(UsageRecord)}
    return UsageRecord(**{**values, "usage_id": str(row.usage_id)})
