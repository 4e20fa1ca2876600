"""The shared accounts of limits: made from the ledger, held against it, cleared away."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paddock_core.quotas.kinds import KINDS, NANO, bounds_of, period_of
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
    "INSERT INTO quota_accounts (level, kind, period, tenant, ceiling, summed) VALUES (:level, :kind, :period,"
    " coalesce(:tenant, (SELECT tenant FROM api_keys WHERE id = :key), ''), :ceiling, :summed) ON CONFLICT DO NOTHING"
)
_UNSUMMED = text(
    "SELECT a.level, a.kind, a.period, a.tenant FROM quota_accounts AS a"
    " JOIN unnest(CAST(:levels AS text[]), CAST(:kinds AS text[]), CAST(:periods AS text[])) AS w (level, kind, period)"
    " USING (level, kind, period) WHERE NOT a.summed ORDER BY 1, 2, 3"
)
_HOURS = (
    "SELECT coalesce(sum(input_tokens + output_tokens), 0) AS tokens, coalesce(sum(cost_nano), 0) AS nano"
    " FROM usage_hour WHERE hour >= to_timestamp(:begin) AND hour < to_timestamp(:end)"
)
_SUMS = {
    "platform": _HOURS,
    "tenant": _HOURS + " AND tenant = :first",
    "project": _HOURS + " AND tenant = :first AND project = :second",
    "key": _HOURS + " AND key_id = :first AND (:owner = '' OR tenant = :owner)",
    "user": (
        "SELECT coalesce(sum(tokens), 0) AS tokens, coalesce(sum(cost_nano), 0) AS nano FROM usage_end_user_day"
        " WHERE tenant = :first AND end_user_hash = :second AND day >= (to_timestamp(:begin) AT TIME ZONE 'UTC')::date"
        " AND day < (to_timestamp(:end) AT TIME ZONE 'UTC')::date"
    ),
}
_ONE = "level = :level AND kind = :kind AND period = :period"
_LOOK = {
    what: text(f"SELECT a.spent, s.tokens, s.nano FROM ({sums}) AS s, quota_accounts AS a WHERE {_ONE}")  # noqa: S608
    for what, sums in _SUMS.items()
}
"""What an account says is spent and what the ledger shows, as of one moment: a statement has one snapshot."""
_BEGIN = text(f"UPDATE quota_accounts SET spent = spent + :change, summed = true WHERE {_ONE} AND NOT summed")  # noqa: S608
_CORRECT = text(f"UPDATE quota_accounts SET spent = spent + :change WHERE {_ONE}")  # noqa: S608
_ONE_REBUILD = text("SELECT pg_advisory_xact_lock(hashtext('paddock.quota_rebuild'))")
_DRIFTED = text(
    "WITH spans AS MATERIALIZED (SELECT period, to_timestamp(begin) AS begin, to_timestamp(finish) AS finish,"
    "  (to_timestamp(begin) AT TIME ZONE 'UTC')::date AS first, (to_timestamp(finish) AT TIME ZONE 'UTC')::date AS past"
    "  FROM unnest(CAST(:periods AS text[]), CAST(:begins AS double precision[]), CAST(:ends AS double precision[]))"
    "  AS s (period, begin, finish)),"
    " accounts AS MATERIALIZED (SELECT a.level, a.kind, a.period, a.tenant, a.spent, first, past"
    "  FROM quota_accounts AS a JOIN spans USING (period) WHERE a.summed),"
    " people AS MATERIALIZED (SELECT DISTINCT level, period, tenant, substr(level, length(tenant) + 7) AS hash, first,"
    "  past FROM accounts WHERE level LIKE 'user:%'),"
    " hours AS MATERIALIZED (SELECT period, tenant, project, key_id, sum(input_tokens + output_tokens) AS tokens,"
    "  sum(cost_nano) AS nano FROM spans JOIN usage_hour ON hour >= begin AND hour < finish"
    "  WHERE EXISTS (SELECT FROM accounts) GROUP BY 1, 2, 3, 4),"
    " sums AS (SELECT 'platform' AS level, period, sum(tokens) AS tokens, sum(nano) AS nano FROM hours GROUP BY 2"
    "  UNION ALL SELECT 'tenant:' || tenant, period, sum(tokens), sum(nano) FROM hours GROUP BY 1, 2"
    "  UNION ALL SELECT 'project:' || tenant || '/' || project, period, sum(tokens), sum(nano) FROM hours GROUP BY 1, 2"
    "  UNION ALL SELECT 'key:' || key_id, period, sum(tokens), sum(nano) FROM hours GROUP BY 1, 2"
    "  UNION ALL SELECT p.level, p.period, sum(d.tokens), sum(d.cost_nano)"
    "   FROM people AS p JOIN usage_end_user_day AS d"
    "   ON d.tenant = p.tenant AND d.end_user_hash = p.hash AND d.day >= p.first AND d.day < p.past GROUP BY 1, 2),"
    " beside AS (SELECT level, kind, period, spent, max(tokens) OVER shared AS tokens, max(nano) OVER shared AS nano"
    "  FROM (SELECT level, kind, period, spent, NULL::numeric AS tokens, NULL::numeric AS nano FROM accounts"
    "   UNION ALL SELECT level, NULL, period, NULL, tokens, nano FROM sums) AS both_of_them"
    "  WINDOW shared AS (PARTITION BY level, period)),"
    " compared AS (SELECT level, kind, period, coalesce(CASE WHEN kind = ANY(:money) THEN nano ELSE tokens END,"
    "  0)::bigint - spent AS change FROM beside WHERE kind IS NOT NULL)"
    " SELECT level, kind, period, change FROM compared WHERE change <> 0 ORDER BY 1, 2, 3"
)
"""One statement, so one snapshot: in it accounts and sums agree, for the ledger moves both in one transaction. What
row-level security may not see computed beside its own condition is computed before, so that indexes serve; accounts and
sums are sorted together, not joined, for behind such conditions the planner expects few rows and compares all pairs."""
_MONEY = [kind.name for kind in KINDS.values() if kind.unit == NANO]
_CLEAR = text(
    "DELETE FROM quota_accounts AS a WHERE used_at < now() - CAST(CASE period WHEN '' THEN '1 hour' ELSE '63 days' END"
    " AS interval) AND NOT EXISTS (SELECT FROM quota_leases AS l WHERE l.level = a.level AND l.kind = a.kind"
    "  AND l.period = a.period AND l.leased + l.orphaned > 0)"
)
_CLEAR_DAYS = text(
    "DELETE FROM usage_end_user_day"
    " WHERE day < (date_trunc('month', now() - interval '2 days', 'UTC') AT TIME ZONE 'UTC')::date"
)
SKEW_SECONDS = 3600.0
"""How far a gateway's clock may be off: a budget's period must hold within so much of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An account that a gateway asks about."""

    key: Key
    ceiling: int


async def ensure(database: Database, wanted: Sequence[Wanted]) -> None:
    """Make the accounts that are missing. A budget begins with what the ledger shows for its period.

    The fence is held for as long as the accounts are entered, and makes the ledger's own transactions wait: whatever
    comes after it moves the account. What came before is added up beside them, while rows go on coming.
    """
    if not wanted:
        return
    names = columns(wanted)

    async def enter(session: AsyncSession) -> None:
        missing = list(await session.execute(_MISSING, names))
        if any(row.period for row in missing):
            await session.execute(_FENCE)
        for level, kind, period, ceiling in missing:
            what, first = parts(level)[0], parts(level)[1][0]
            owner = {"tenant": None, "key": first} if what == "key" else {"tenant": first, "key": ""}
            values = {"level": level, "kind": kind, "period": period, "ceiling": ceiling, "summed": not period}
            await session.execute(_INSERT, {**values, **owner})

    async def unsummed(session: AsyncSession) -> list[tuple[str, str, str, str]]:
        values = {name: value for name, value in names.items() if name != "ceilings"}
        return [(row[0], row[1], row[2], row[3]) for row in await session.execute(_UNSUMMED, values)]

    await database.run(EVERYTHING, enter)
    new = await database.run(EVERYTHING, unsummed)
    if new:
        await database.run(EVERYTHING, lambda session: _begin(session, new))


async def _begin(session: AsyncSession, new: Sequence[tuple[str, str, str, str]]) -> None:
    """Add to each account what the ledger shows beyond it. First all looks, then all changes: a changed account is
    locked, and the ledger waits for it. Whoever comes second changes nothing."""
    changes: list[dict[str, str | int]] = []
    for level, kind, period, owner in new:
        key = {"level": level, "kind": kind, "period": period}
        what, (first, second) = parts(level)
        begin, end = bounds_of(period)
        named = {"first": first, "second": second, "owner": owner}
        values = {name: value for name, value in named.items() if f":{name}" in _SUMS[what]}
        found = await session.execute(_LOOK[what], {**key, **values, "begin": begin, "end": end})
        spent, tokens, nano = found.one()
        changes.append({**key, "change": int(nano if KINDS[kind].unit == NANO else tokens) - spent})
    for change in changes:
        await session.execute(_BEGIN, change)


def parts(level: str) -> tuple[str, tuple[str, str]]:
    """What kind of level it is, then its tenant (a key's own id) and what is named within the tenant."""
    what, _, rest = level.partition(":")
    first, _, second = rest.partition("/" if what == "project" else ":")
    return what, (first, second)


async def rebuild(session: AsyncSession) -> int:
    """Set what is spent of every budget of now to what the ledger shows. Gives the drift: units that were wrong.

    Nobody waits while it looks; only accounts that are wrong are locked then. What came in meanwhile stays.
    """
    await session.execute(_ONE_REBUILD)
    now = time.time()
    moments = (now - SKEW_SECONDS, now, now + SKEW_SECONDS)
    periods = sorted({period_of(kind, at) for kind in KINDS.values() for at in moments} - {""})
    bounds = [bounds_of(period) for period in periods]
    values = {"periods": periods, "begins": [begin for begin, _ in bounds], "ends": [end for _, end in bounds]}
    drifted = list(await session.execute(_DRIFTED, {**values, "money": _MONEY}))
    for level, kind, period, change in drifted:
        await session.execute(_CORRECT, {"level": level, "kind": kind, "period": period, "change": change})
    return sum(abs(row.change) for row in drifted)


async def clear(session: AsyncSession) -> None:
    """Drop accounts that nobody has used for long, and the days of end users that no budget of now counts."""
    await session.execute(_CLEAR)
    await session.execute(_CLEAR_DAYS)


def columns(wanted: Iterable[Wanted]) -> dict[str, list[str] | list[int]]:
    """The accounts as arrays for `unnest`, each key once."""
    once = {item.key: item.ceiling for item in wanted}
    return {
        "levels": [key[0] for key in once],
        "kinds": [key[1] for key in once],
        "periods": [key[2] for key in once],
        "ceilings": list(once.values()),
    }
