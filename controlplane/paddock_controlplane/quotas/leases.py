"""Leases: a gateway's call is answered from the shared accounts, in one transaction that locks them in order.

What is granted is debited here before the gateway hears of it. A rate's grant simply drains away; slots and budgets
stay with the gateway until it gives them back, until the ledger shows them as spent (migration 0008), or until it was
silent for so long that it no longer uses them itself.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from paddock_core.quotas.central import Given, from_bucket, from_sum
from paddock_core.quotas.kinds import BUDGET, KINDS, RATE, is_period, period_of
from paddock_core.quotas.rates import Bucket
from paddock_core.quotas.wire import MOST_ASKS, Ask, Grant, LeaseAnswer, LeaseCall
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.quotas import accounts
from paddock_controlplane.quotas.accounts import SKEW_SECONDS, Key, Wanted, columns
from paddock_controlplane.quotas.errors import LeaseCallInvalid, SessionUnknown

ALIVE_SECONDS = 60.0
"""A gateway that was silent for longer loses its slots, and no longer counts where rates are shared."""
GRACE_SECONDS = 60.0
"""A budget's lease is taken back so long after its gateway stopped using it."""
_LEVELS = ("platform", "tenant", "project", "key", "user")

_SESSION = text("SELECT * FROM quota_sessions WHERE instance = :instance FOR UPDATE")
_BEGIN = text(
    "INSERT INTO quota_sessions (instance, session, started_at, number, answer) VALUES (:instance, :session, :started,"
    " 0, '') ON CONFLICT (instance) DO UPDATE SET session = :session, started_at = :started, number = 0, answer = '',"
    " seen_at = clock_timestamp(), orphaned_at = clock_timestamp()"
)
_SEEN = text(
    "UPDATE quota_sessions SET number = :number, answer = :answer, seen_at = clock_timestamp()"
    " WHERE instance = :instance"
)
_AGAIN = text("UPDATE quota_sessions SET seen_at = clock_timestamp() WHERE instance = :instance")
_ALIVE = text("SELECT count(*) FROM quota_sessions WHERE seen_at > now() - make_interval(secs => :seconds)")
_LOCK = text(
    "SELECT a.*, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) * 1000 AS now FROM quota_accounts AS a"
    " JOIN unnest(CAST(:levels AS text[]), CAST(:kinds AS text[]), CAST(:periods AS text[])) AS w (level, kind, period)"
    " USING (level, kind, period) WHERE a.summed ORDER BY level, kind, period FOR UPDATE OF a"
)
_HELD = text("SELECT level, kind, period, leased FROM quota_leases WHERE instance = :instance")
_KEEP = text(
    "UPDATE quota_accounts AS a SET ceiling = w.ceiling, leased = w.leased, bucket = w.bucket, at = w.at,"
    " used_at = now() FROM unnest(CAST(:levels AS text[]), CAST(:kinds AS text[]), CAST(:periods AS text[]),"
    " CAST(:ceilings AS bigint[]), CAST(:leased AS bigint[]), CAST(:buckets AS numeric[]), CAST(:ats AS bigint[]))"
    " AS w (level, kind, period, ceiling, leased, bucket, at)"
    " WHERE (a.level, a.kind, a.period) = (w.level, w.kind, w.period)"
)
_HOLD = text(
    "INSERT INTO quota_leases (instance, level, kind, period, leased) SELECT CAST(:instance AS text), w.* FROM unnest("
    " CAST(:levels AS text[]), CAST(:kinds AS text[]), CAST(:periods AS text[]), CAST(:held AS bigint[])) AS w"
    " ON CONFLICT (instance, level, kind, period) DO UPDATE SET leased = excluded.leased"
)
_LOCK_OF = text(
    "SELECT a.level, a.kind, a.period FROM quota_accounts AS a WHERE EXISTS (SELECT FROM quota_leases AS l"
    " WHERE l.instance = :instance AND l.level = a.level AND l.kind = a.kind AND l.period = a.period)"
    " ORDER BY 1, 2, 3 FOR UPDATE"
)
_FREE_SLOTS = text(
    "WITH gone AS (DELETE FROM quota_leases WHERE instance = :instance AND period = '' RETURNING level, kind, leased)"
    " UPDATE quota_accounts AS a SET leased = greatest(0, a.leased - gone.leased) FROM gone"
    " WHERE a.level = gone.level AND a.kind = gone.kind AND a.period = ''"
)
_ORPHAN = text("UPDATE quota_leases SET orphaned = orphaned + leased, leased = 0 WHERE instance = :instance")
_FREE_ORPHANS = text(
    "WITH gone AS (SELECT level, kind, period, orphaned FROM quota_leases WHERE instance = :instance AND orphaned > 0),"
    " freed AS (UPDATE quota_accounts AS a SET leased = greatest(0, a.leased - gone.orphaned) FROM gone"
    "  WHERE (a.level, a.kind, a.period) = (gone.level, gone.kind, gone.period)),"
    " cleared AS (UPDATE quota_leases SET orphaned = 0 WHERE instance = :instance)"
    " UPDATE quota_sessions SET orphaned_at = NULL WHERE instance = :instance"
)
_OVERDUE = text(
    "SELECT instance, session, seen_at < now() - make_interval(secs => :dead) AS dead,"
    " coalesce(orphaned_at < now() - make_interval(secs => :dead), false) AS old FROM quota_sessions AS s"
    " WHERE seen_at < now() - make_interval(secs => :dead)"
    " OR orphaned_at < now() - make_interval(secs => :dead)"
    " OR (seen_at < now() - make_interval(secs => :silent) AND EXISTS (SELECT FROM quota_leases AS l"
    "  WHERE l.instance = s.instance AND l.period = ''))"
)
_STILL = text(
    "SELECT seen_at < now() - make_interval(secs => :silent) AS silent, seen_at < now() - make_interval(secs => :dead)"
    " AS dead, coalesce(orphaned_at < now() - make_interval(secs => :dead), false) AS old"
    " FROM quota_sessions WHERE instance = :instance FOR UPDATE"
)
_END = text("DELETE FROM quota_sessions WHERE instance = :instance")


@dataclass(slots=True)
class _Work:
    """One account while a call is answered."""

    ceiling: int
    spent: int
    leased: int
    bucket: Bucket
    now: int
    mine: int
    change: int = 0


async def answer(database: Database, call: LeaseCall, *, seconds: float) -> bytes:
    """Answer a gateway's call, as JSON. `seconds` is how long a lease of a budget holds without another call.

    Raises:
        LeaseCallInvalid: the call is not as expected.
        SessionUnknown: its leases were taken back meanwhile; the gateway begins anew.
    """
    wanted, problems = sorted_out(call)
    await take_back(database, seconds=seconds)
    await accounts.ensure(database, wanted)

    async def work(session: AsyncSession) -> bytes:
        known = await _session(session, call)
        if known is not None:
            return known
        if call.shipped:
            await session.execute(_LOCK_OF, {"instance": call.instance})
            await session.execute(_FREE_ORPHANS, {"instance": call.instance})
        grants = await _grants(session, call, wanted, problems)
        alive = int((await session.execute(_ALIVE, {"seconds": ALIVE_SECONDS})).scalar_one())
        encoded = msgspec.json.encode(LeaseAnswer(grants=grants, gateways=max(1, alive), seconds=seconds))
        values = {"instance": call.instance, "number": call.number, "answer": encoded}
        await session.execute(_SEEN, values)
        return encoded

    return await database.run(EVERYTHING, work)


async def take_back(database: Database, *, seconds: float) -> int:
    """Take back what silent gateways and ended processes hold; gives how many instances that were."""
    bounds = {"silent": ALIVE_SECONDS, "dead": seconds + GRACE_SECONDS}

    async def work(session: AsyncSession) -> list[str]:
        return [row.instance for row in await session.execute(_OVERDUE, bounds)]

    overdue = await database.run(EVERYTHING, work)
    for instance in overdue:
        await database.run(EVERYTHING, lambda session, of=instance: _free(session, of, bounds))  # type: ignore[misc]
    return len(overdue)


async def _free(session: AsyncSession, instance: str, bounds: Mapping[str, float]) -> None:
    name = {"instance": instance}
    found = (await session.execute(_STILL, {**name, **bounds})).one_or_none()
    if found is None:
        return
    await session.execute(_LOCK_OF, name)
    if found.silent:
        await session.execute(_FREE_SLOTS, name)
    if found.dead:
        await session.execute(_ORPHAN, name)
    if found.dead or found.old:
        await session.execute(_FREE_ORPHANS, name)
    if found.dead:
        await session.execute(_END, name)


async def _session(session: AsyncSession, call: LeaseCall) -> bytes | None:
    """Open or check the caller's session. The answer of a call that came before, if this is the same again."""
    name = {"instance": call.instance}
    row = (await session.execute(_SESSION, name)).one_or_none()
    if row is not None and row.session == call.session:
        if call.number == row.number:
            await session.execute(_AGAIN, name)  # the gateway counts its lease from this call
            return bytes(row.answer)
        if call.number == row.number + 1:
            return None
    if call.number != 1 or (row is not None and row.session == call.session):
        raise SessionUnknown("this session is not known here, or not at this number: begin a new one")
    await session.execute(_BEGIN, {**name, "session": call.session, "started": call.started_at})
    if row is not None:
        await session.execute(_LOCK_OF, name)
        await session.execute(_FREE_SLOTS, name)
        await session.execute(_ORPHAN, name)
    return None


def sorted_out(call: LeaseCall) -> tuple[list[Wanted], dict[Key, str]]:
    """The accounts that the call is about, and those that it may not ask about now.

    Raises:
        LeaseCallInvalid: the call is not as expected.
    """
    if len(call.asks) > MOST_ASKS:
        raise LeaseCallInvalid(f"a call holds at most {MOST_ASKS} asks: send them in parts")
    wanted: list[Wanted] = []
    problems: dict[Key, str] = {}
    now = time.time()
    for ask in call.asks:
        kind = KINDS.get(ask.kind)
        numbers = (ask.limit, ask.need, ask.least, ask.want, ask.back)
        if kind is None or ask.level.partition(":")[0] not in _LEVELS or not all(0 <= one < 2**62 for one in numbers):
            raise LeaseCallInvalid(f"no such account, or out of bounds: {ask.level[:80]} {ask.kind[:40]}")
        if ask.period and not is_period(ask.period):
            raise LeaseCallInvalid(f"{ask.period[:12]!r} is no period: write a month as 2026-11, a day as 2026-11-22")
        key = (ask.level, ask.kind, ask.period)
        if ask.period in {period_of(kind, now + skew) for skew in (-SKEW_SECONDS, 0.0, SKEW_SECONDS)}:
            wanted.append(Wanted(key=key, ceiling=ask.limit))
        elif not ask.need and not ask.want and kind.shape == BUDGET and _is_past(ask.period, kind.span):
            wanted.append(Wanted(key=key, ceiling=ask.limit))  # a period that has ended: units come back
        else:
            problems[key] = f"the period {ask.period[:12]!r} is not now: compare the gateway's clock with ours"
    return wanted, problems


def _is_past(period: str, span: str) -> bool:
    now = time.gmtime()
    today = f"{now.tm_year}-{now.tm_mon:02}-{now.tm_mday:02}"
    return len(period) == (10 if span == "day" else 7) and period <= today


async def _grants(
    session: AsyncSession, call: LeaseCall, wanted: list[Wanted], problems: Mapping[Key, str]
) -> tuple[Grant, ...]:
    values: dict[str, Any] = {**columns(wanted)}
    values.pop("ceilings")
    locked = list(await session.execute(_LOCK, values))
    held = {  # read under the locks: the ledger changes leases under them too
        (row.level, row.kind, row.period): int(row.leased)
        for row in await session.execute(_HELD, {"instance": call.instance})
    }
    books: dict[Key, _Work] = {}
    for row in locked:
        key = (row.level, row.kind, row.period)
        bucket = Bucket(level=int(row.bucket), at=row.at)
        books[key] = _Work(row.ceiling, row.spent, row.leased, bucket, row.now, held.get(key, 0))
    grants: list[Grant] = []
    for ask in call.asks:
        key = (ask.level, ask.kind, ask.period)
        book = books.get(key)
        if book is None:
            grants.append(Grant(granted=0, problem=problems.get(key, "the account has just gone: ask again")))
            continue
        given = _give(ask, book)
        grants.append(Grant(granted=given.granted, room=given.room, fill_ns=given.fill_ns, over=given.over))
    await _keep(session, call.instance, books)
    return tuple(grants)


def _give(ask: Ask, book: _Work) -> Given:
    book.ceiling = ask.limit
    want = max(ask.need, ask.want)
    if KINDS[ask.kind].shape == RATE:
        return from_bucket(
            book.bucket, limit=ask.limit, now=book.now, need=ask.need, least=ask.least, want=want, back=ask.back
        )
    mine = max(0, book.mine + book.change)
    back = min(ask.back, mine)
    used = book.spent + book.leased - back
    given = from_sum(limit=ask.limit, used=used, need=ask.need, least=ask.least, want=want, mine=mine - back)
    book.leased += given.granted - back
    book.change += given.granted - back
    return given


async def _keep(session: AsyncSession, instance: str, books: Mapping[Key, _Work]) -> None:
    if not books:
        return
    keys = list(books)
    values: dict[str, Any] = {
        "levels": [key[0] for key in keys],
        "kinds": [key[1] for key in keys],
        "periods": [key[2] for key in keys],
    }
    await session.execute(
        _KEEP,
        {
            **values,
            "ceilings": [books[key].ceiling for key in keys],
            "leased": [max(0, books[key].leased) for key in keys],
            "buckets": [Decimal(books[key].bucket.level) for key in keys],
            "ats": [books[key].bucket.at for key in keys],
        },
    )
    changed = [key for key in keys if books[key].change]
    if changed:
        await session.execute(
            _HOLD,
            {
                "instance": instance,
                "levels": [key[0] for key in changed],
                "kinds": [key[1] for key in changed],
                "periods": [key[2] for key in changed],
                "held": [books[key].mine + books[key].change for key in changed],
            },
        )
