"""The shared accounts of limits: made from the ledger, held against it, cleared away."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paddock_core.quotas.kinds import KINDS, NANO, bounds_of
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database

Key = tuple[str, str, str]
"""Level, kind, period."""

_FENCE = text("SELECT pg_advisory_xact_lock(hashtext('paddock.quota_accounts'))")
_MISSING = text(
    "SELECT w.level, w.kind, w.period, w.ceiling FROM"
    " unnest(CAST(:levels AS text[]), CAST(:kinds AS text[]), CAST(:periods AS text[]), CAST(:ceilings AS bigint[]))"
    " AS w (level, kind, period, ceiling) WHERE NOT EXISTS (SELECT FROM quota_accounts AS a"
    "  WHERE a.level = w.level AND a.kind = w.kind AND a.period = w.period) ORDER BY 1, 2, 3"
)
_INSERT = text(
    "INSERT INTO quota_accounts (level, kind, period, tenant, ceiling, spent) VALUES (:level, :kind, :period,"
    " coalesce(:tenant, (SELECT tenant FROM api_keys WHERE id = :key), ''), :ceiling, :spent) ON CONFLICT DO NOTHING"
)
_HOURS = (
    "SELECT coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(cost_nano), 0) FROM usage_hour"
    " WHERE hour >= to_timestamp(:begin) AND hour < to_timestamp(:end)"
)
_SUMS = {
    "platform": text(_HOURS),
    "tenant": text(_HOURS + " AND tenant = :first"),
    "project": text(_HOURS + " AND tenant = :first AND project = :second"),
    "key": text(_HOURS + " AND key_id = :first"),
    "user": text(
        "SELECT coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(coalesce(cost_nano, 0)), 0) FROM usage"
        " WHERE tenant = :first AND end_user_hash = :second AND t_admit >= :begin AND t_admit < :end"
    ),
}
_BUDGETS = text("SELECT level, kind, period, spent FROM quota_accounts WHERE period <> '' ORDER BY 1, 2, 3")
_CORRECT = text(
    "UPDATE quota_accounts SET spent = :spent WHERE level = :level AND kind = :kind AND period = :period"
    " AND spent <> :spent"
)
_CLEAR = text(
    "DELETE FROM quota_accounts AS a WHERE used_at < now() - CAST(CASE period WHEN '' THEN '1 hour' ELSE '63 days' END"
    " AS interval) AND NOT EXISTS (SELECT FROM quota_leases AS l WHERE l.level = a.level AND l.kind = a.kind"
    "  AND l.period = a.period AND l.leased + l.orphaned > 0)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An account that a gateway asks about."""

    key: Key
    ceiling: int


async def ensure(database: Database, wanted: Sequence[Wanted]) -> None:
    """Make the accounts that are missing. A budget begins with what the ledger shows for its period.

    The fence makes the ledger's own transactions wait: none may take rows in between the sum and the account.
    """
    if not wanted:
        return

    async def work(session: AsyncSession) -> None:
        missing = list(await session.execute(_MISSING, columns(wanted)))
        if any(row.period for row in missing):
            await session.execute(_FENCE)
        for level, kind, period, ceiling in missing:
            spent = await ledger_sum(session, (level, kind, period)) if period else 0
            what, names = parts(level)
            owner = {"tenant": None, "key": names[0]} if what == "key" else {"tenant": names[0], "key": ""}
            values = {"level": level, "kind": kind, "period": period, "ceiling": ceiling, "spent": spent}
            await session.execute(_INSERT, {**values, **owner})

    await database.run(EVERYTHING, work)


async def ledger_sum(session: AsyncSession, key: Key) -> int:
    """What the ledger shows of a budget: tokens or nano-units."""
    level, kind, period = key
    begin, end = bounds_of(period)
    what, (first, second) = parts(level)
    named = {"first": first, "second": second}
    wanted = {name: value for name, value in named.items() if f":{name}" in _SUMS[what].text}
    tokens, nano = (await session.execute(_SUMS[what], {"begin": begin, "end": end, **wanted})).one()
    return int(nano if KINDS[kind].unit == NANO else tokens)


def parts(level: str) -> tuple[str, tuple[str, str]]:
    """What kind of level it is, then its tenant (a key's own id) and what is named within the tenant."""
    what, _, rest = level.partition(":")
    first, _, second = rest.partition("/" if what == "project" else ":")
    return what, (first, second)


async def rebuild(session: AsyncSession) -> int:
    """Set what is spent of every budget to what the ledger shows. Gives the drift: units that were wrong, in all."""
    await session.execute(_FENCE)
    drift = 0
    for level, kind, period, spent in list(await session.execute(_BUDGETS)):
        true = await ledger_sum(session, (level, kind, period))
        if true != spent:
            drift += abs(true - spent)
            values = {"level": level, "kind": kind, "period": period, "spent": true}
            await session.execute(_CORRECT, values)
    return drift


async def clear(session: AsyncSession) -> None:
    """Drop accounts that nobody has used for long."""
    await session.execute(_CLEAR)


def columns(wanted: Iterable[Wanted]) -> dict[str, list[str] | list[int]]:
    """The accounts as arrays for `unnest`, each key once."""
    once = {item.key: item.ceiling for item in wanted}
    return {
        "levels": [key[0] for key in once],
        "kinds": [key[1] for key in once],
        "periods": [key[2] for key in once],
        "ceilings": list(once.values()),
    }
