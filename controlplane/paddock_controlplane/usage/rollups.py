"""The sums by hour: how they are added to, built anew from the rows, and compared with them.

An hour is that in which requests were admitted. The rows are the truth; the sums only make reports quick.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.usage.errors import RowsGone

_KEY = "tenant, hour, model, deployment, key_id, project, end_user_group, currency"
_SUMS = (
    "requests, input_tokens, output_tokens, inexact_requests, cache_read_tokens, cache_write_tokens, reasoning_tokens,"
    " cost_nano, corrections"
)
SOURCE = (
    "tenant, t_admit, model, deployment, key_id, project, end_user_group, currency, input_tokens, output_tokens,"
    " usage_source, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nano, corrects"
)
"""Columns of the ledger from which the sums are made."""
_GROUPED = (
    "SELECT tenant, to_timestamp(floor(t_admit / 3600) * 3600) AS hour, model, deployment, key_id,"
    " coalesce(project, '') AS project, coalesce(end_user_group, '') AS end_user_group,"
    " coalesce(currency, '') AS currency, count(*) FILTER (WHERE corrects IS NULL) AS requests,"
    " sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,"
    " count(*) FILTER (WHERE corrects IS NULL AND usage_source <> 'exact') AS inexact_requests,"
    " sum(cache_read_tokens) AS cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens,"
    " sum(reasoning_tokens) AS reasoning_tokens, coalesce(sum(cost_nano), 0) AS cost_nano,"
    " count(corrects) AS corrections FROM {source} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
)
_LEFT = "NOT IN (SELECT hour FROM usage_retired_hours)"
"""Hours of which rows are gone, though they are not old by their id: only their sums are left, so they stay."""
_BETWEEN = f"t_admit >= :start AND t_admit < :end AND to_timestamp(floor(t_admit / 3600) * 3600) {_LEFT}"
_HOURS = f"hour >= to_timestamp(:start) AND hour < to_timestamp(:end) AND hour {_LEFT}"


def add(source: str) -> str:
    """SQL that adds the rows of `source` (a table's or query's name in the code) to the sums, keys in order."""
    updates = ", ".join(f"{name} = old.{name} + excluded.{name}" for name in _SUMS.split(", "))
    return (
        f"INSERT INTO usage_hour AS old ({_KEY}, {_SUMS}) {_GROUPED.format(source=source)}"
        f" ORDER BY 1, 2, 3, 4, 5, 6, 7, 8 ON CONFLICT ({_KEY}) DO UPDATE SET {updates}"
    )


_RETIRED = text("SELECT coalesce(extract(epoch FROM max(day) + 1), 0)::double precision FROM usage_retired")
_LOCK = text("LOCK TABLE usage_hour IN SHARE ROW EXCLUSIVE MODE")
_FORGET = text(f"DELETE FROM usage_hour WHERE {_HOURS}")  # noqa: S608 - text of the code
_REBUILD = text(f"WITH chosen AS (SELECT {SOURCE} FROM usage WHERE {_BETWEEN}) {add('chosen')}")  # noqa: S608
_COMPARE = text(
    f"WITH chosen AS (SELECT {SOURCE} FROM usage WHERE {_BETWEEN}),"  # noqa: S608
    f" rows AS ({_GROUPED.format(source='chosen')}),"
    f" kept AS (SELECT {_KEY}, {_SUMS} FROM usage_hour WHERE {_HOURS})"
    f" SELECT count(*), coalesce(sum(abs(coalesce(kept.requests, 0) - coalesce(rows.requests, 0))), 0)"
    f" FROM rows FULL JOIN kept USING ({_KEY})"
    f" WHERE ({', '.join(f'rows.{name}' for name in _SUMS.split(', '))}) IS DISTINCT FROM"
    f" ({', '.join(f'kept.{name}' for name in _SUMS.split(', '))})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the sums are from the rows. Both are 0 unless something is broken."""

    hours: int
    """Sums that are not what the rows give."""
    requests: int
    """Requests too many or too few in them."""


async def lock(session: AsyncSession) -> None:
    """Let no batch be added to the sums before this transaction ends."""
    await session.execute(_LOCK)


async def rebuild(session: AsyncSession, *, start: float, end: float) -> None:
    """Make the sums of the hours from `start` to `end` (Unix seconds) anew. Call `lock` first, or a batch that is
    entered meanwhile may be left out.

    Raises:
        RowsGone: rows of that time are no longer kept; their sums are all that is left.
    """
    hours = _whole_hours(start, end)
    await _check_kept(session, hours["start"])
    await session.execute(_FORGET, hours)
    await session.execute(_REBUILD, hours)


async def drift(session: AsyncSession, *, start: float, end: float) -> Drift:
    """Compare the sums of these hours with the rows. One statement, so both are of one moment.

    Raises:
        RowsGone: rows of that time are no longer kept.
    """
    hours = _whole_hours(start, end)
    await _check_kept(session, hours["start"])
    found = (await session.execute(_COMPARE, hours)).one()
    return Drift(hours=int(found[0]), requests=int(found[1]))


async def _check_kept(session: AsyncSession, start: float) -> None:
    kept_from = (await session.execute(_RETIRED)).scalar_one()
    if start < kept_from:
        raise RowsGone(f"rows admitted before {kept_from:.0f} (Unix seconds) are no longer kept: begin there or later")


def _whole_hours(start: float, end: float) -> dict[str, float]:
    return {"start": start // 3600 * 3600.0, "end": -(-end // 3600) * 3600.0}
