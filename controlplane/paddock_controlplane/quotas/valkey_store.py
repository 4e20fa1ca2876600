"""Accounts of rates and slots in Valkey, for platforms where so many calls for leases are too much for PostgreSQL.

Budgets stay in PostgreSQL: what is spent of them is what the ledger shows, moved in the ledger's own transaction, and a
store that fails over may forget a grant. The arithmetic is the same (`paddock_core.quotas.central`); a call is one
optimistic transaction, so several control planes may work on the same accounts. Whoever loses the race does it again.
"""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace as replace_struct
from paddock_core.quotas.central import from_bucket, from_sum
from paddock_core.quotas.kinds import BUDGET, KINDS, RATE
from paddock_core.quotas.rates import Bucket
from paddock_core.quotas.wire import Ask, Grant, LeaseAnswer, LeaseCall
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError, WatchError

from paddock_controlplane.quotas import leases
from paddock_controlplane.quotas.accounts import Key
from paddock_controlplane.quotas.errors import SessionUnknown, StoreAway
from paddock_controlplane.quotas.store import Account, LeaseStore

T = TypeVar("T")
_PREFIX = "paddock:{quota}:"
"""The braces keep all keys on one node of a cluster, as a transaction needs."""
_SEEN = f"{_PREFIX}seen"
_SECOND = 1_000_000_000
_TRIES = 200
_LIMIT = ""
"""The field of an account of slots that holds its limit; the others are named by instances."""
_IDLE_SECONDS = 3600
"""A rate's account that nobody asked about for so long is empty."""
_BUDGETS_SECONDS = 15.0
"""How often at least PostgreSQL hears of a gateway: it takes back the budgets of silent ones."""
_WAIT_SECONDS = 3.0
_MOST_ACCOUNTS = 10_000


class _Session(msgspec.Struct):
    """A gateway's running process, and its last call."""

    session: str
    number: int = 0
    grants: tuple[Grant, ...] = ()
    """Of the last call, those of rates and slots."""
    budget_number: int = 0
    """Of the last call to the store of budgets."""
    budgets_asked: bool = False
    """True if the last call went there, too."""
    budgets_at: float = 0.0
    """When one last did, Unix seconds."""


class _Rate(msgspec.Struct, array_like=True):
    """The account of a rate."""

    level: int
    at: int
    limit: int


class ValkeyLeases:
    """Rates and slots in Valkey, budgets in the store `budgets`."""

    def __init__(self, *, url: str, budgets: LeaseStore) -> None:
        self._valkey: Any = Valkey.from_url(
            url, socket_timeout=_WAIT_SECONDS, socket_connect_timeout=_WAIT_SECONDS, decode_responses=True
        )
        self._budgets = budgets

    async def answer(self, call: LeaseCall, *, seconds: float) -> bytes:
        """As `leases.answer`.

        Raises:
            LeaseCallInvalid: the call is not as expected.
            SessionUnknown: this session is not known here; the gateway begins anew.
            StoreAway: Valkey does not answer.
        """
        _, problems = leases.sorted_out(call)
        near = [ask for ask in call.asks if not _is_budget(ask)]
        known, _ = _checked(await _reached(self._valkey.get(_session_key(call.instance))), call)
        budgets = await self._of_budgets(call, known, seconds)
        told = replace_struct(
            known,
            budgets_asked=budgets is not None,
            budget_number=known.budget_number if budgets is None else _number(call, known),
            budgets_at=known.budgets_at if budgets is None else time.time(),
        )
        granted, alive = await _reached(self._of_the_rest(call, near, problems, told))
        of_the_rest, of_budgets = iter(granted), iter(() if budgets is None else budgets.grants)
        grants = tuple(next(of_budgets if _is_budget(ask) else of_the_rest) for ask in call.asks)
        return msgspec.json.encode(LeaseAnswer(grants=grants, gateways=max(1, alive), seconds=seconds))

    async def _of_budgets(self, call: LeaseCall, known: _Session, seconds: float) -> LeaseAnswer | None:
        """What PostgreSQL says; None if it need not be asked. A call that comes again comes there with its number of
        the first time, and gets the answer of the first time, wherever it broke off."""
        asks = tuple(ask for ask in call.asks if _is_budget(ask))
        if known.number == call.number:
            due = known.budgets_asked
        else:
            silent = time.time() - known.budgets_at > _BUDGETS_SECONDS
            due = bool(asks) or call.shipped or silent
        if not due:
            return None
        own = replace_struct(call, number=_number(call, known), asks=asks)
        return msgspec.json.decode(await self._budgets.answer(own, seconds=seconds), type=LeaseAnswer)

    async def _of_the_rest(
        self, call: LeaseCall, asks: Sequence[Ask], problems: Mapping[Key, str], told: _Session
    ) -> tuple[tuple[Grant, ...], int]:
        """Grants of rates and slots, and the number of gateways that are alive. One transaction, done again if anybody
        else changed an account meanwhile."""
        for _ in range(_TRIES):
            async with self._valkey.pipeline(transaction=True) as pipe:
                try:
                    return await _Work(pipe=pipe, call=call, problems=problems).do(asks, told)
                except WatchError:
                    await asyncio.sleep(0)
        raise StoreAway("too many control planes change the same accounts in Valkey at once: try again")

    async def accounts(self) -> list[Account]:
        """Every account of a rate or of slots, at most 10,000.

        Raises:
            StoreAway: Valkey does not answer.
        """
        return await _reached(self._accounts())

    async def _accounts(self) -> list[Account]:
        found: list[Account] = []
        now, alive = await _moment(self._valkey)
        async for key in self._valkey.scan_iter(match=f"{_PREFIX}account:*", count=1000):
            kind, level = key.removeprefix(f"{_PREFIX}account:").split(":", 1)
            if KINDS[kind].shape == RATE:
                if (raw := await self._valkey.get(key)) is not None:
                    rate = msgspec.json.decode(raw, type=_Rate)
                    bucket = Bucket(level=rate.level, at=rate.at)
                    found.append(Account(level=level, kind=kind, limit=rate.limit, bucket=bucket, now=now))
            else:
                held = await self._valkey.hgetall(key)
                limit = int(held.pop(_LIMIT, 0))
                found.append(Account(level=level, kind=kind, limit=limit, leased=_leased(held, alive)))
            if len(found) >= _MOST_ACCOUNTS:
                break
        return found

    async def close(self) -> None:
        """Let the connections go."""
        await self._valkey.aclose()


@dataclass(slots=True, kw_only=True)
class _Work:
    """One try to answer a call."""

    pipe: Any
    """The client's own types leave open whether its answers are to be awaited."""
    call: LeaseCall
    problems: Mapping[Key, str]

    async def do(self, asks: Sequence[Ask], told: _Session) -> tuple[tuple[Grant, ...], int]:
        pipe, name, session = self.pipe, self.call.instance, _session_key(self.call.instance)
        held_key = f"{_PREFIX}held:{name}"
        keys = {_account_key(ask) for ask in asks}
        await pipe.watch(session, held_key, *keys)
        raw = await pipe.get(session)
        known, fresh = _checked(raw, self.call)
        now, alive = await _moment(pipe)
        if known.number == self.call.number:
            pipe.multi()
            pipe.zadd(_SEEN, {name: now / _SECOND})
            await pipe.execute()
            return known.grants, len(alive | {name})
        lapsed = await pipe.smembers(held_key) if fresh or name not in alive else set()
        books = {key: await self._book(key, lapsed=key in lapsed) for key in keys}
        grants = tuple(self._grant(ask, books[_account_key(ask)], now, alive | {name}) for ask in asks)
        pipe.multi()
        for key in lapsed:
            pipe.hdel(key, name)
        if lapsed:
            pipe.delete(held_key)
        for key, book in books.items():
            _keep(pipe, key, book, held_key, name)
        pipe.zadd(_SEEN, {name: now / _SECOND})
        pipe.zremrangebyscore(_SEEN, "-inf", now / _SECOND - _IDLE_SECONDS)
        ended = replace_struct(told, session=self.call.session, number=self.call.number, grants=grants)
        pipe.set(session, msgspec.json.encode(ended), ex=24 * _IDLE_SECONDS)
        await pipe.execute()
        return grants, len(alive | {name})

    async def _book(self, key: str, *, lapsed: bool) -> "_Rate | dict[str, int]":
        """An account as it is stored; what a lapsed lease of ours still says does not count."""
        if KINDS[key.removeprefix(f"{_PREFIX}account:").split(":", 1)[0]].shape == RATE:
            raw = await self.pipe.get(key)
            return _Rate(0, 0, 0) if raw is None else msgspec.json.decode(raw, type=_Rate)
        held = {instance: int(units) for instance, units in (await self.pipe.hgetall(key)).items()}
        if lapsed:
            held.pop(self.call.instance, None)
        return held

    def _grant(self, ask: Ask, book: "_Rate | dict[str, int]", now: int, alive: Set[str]) -> Grant:
        """The answer to one ask; the book is changed."""
        problem = self.problems.get((ask.level, ask.kind, ask.period))
        if problem is not None:
            return Grant(granted=0, problem=problem)
        want = max(ask.need, ask.want)
        if isinstance(book, _Rate):
            bucket = Bucket(level=book.level, at=book.at)
            given = from_bucket(
                bucket, limit=ask.limit, now=now, need=ask.need, least=ask.least, want=want, back=ask.back
            )
            book.level, book.at, book.limit = bucket.level, bucket.at, ask.limit
            return Grant(granted=given.granted, room=given.room, fill_ns=given.fill_ns)
        mine = book.get(self.call.instance, 0)
        back = min(ask.back, mine)
        others = {instance: units for instance, units in book.items() if instance != _LIMIT}
        used = _leased(others, alive) - back
        given = from_sum(limit=ask.limit, used=used, need=ask.need, least=ask.least, want=want, mine=mine - back)
        book[self.call.instance], book[_LIMIT] = mine + given.granted - back, ask.limit
        return Grant(granted=given.granted, room=given.room, over=given.over)


def _keep(pipe: Any, key: str, book: "_Rate | dict[str, int]", held_key: str, name: str) -> None:
    """Queue what is to be stored of an account."""
    if isinstance(book, _Rate):
        pipe.set(key, msgspec.json.encode(book), ex=_IDLE_SECONDS)
        return
    for instance in (name, _LIMIT):
        if instance in book:
            pipe.hset(key, instance, str(book[instance]))
    pipe.sadd(held_key, key)


def _leased(held: Mapping[str, Any], alive: Set[str]) -> int:
    """Slots in the hands of gateways that were heard of lately; those of others are free again."""
    return sum(int(units) for instance, units in held.items() if instance in alive)


async def _moment(valkey: Any) -> tuple[int, Set[str]]:
    """Valkey's clock in nanoseconds, and the gateways that are alive by it."""
    seconds, micros = await valkey.time()
    now = (seconds * 1_000_000 + micros) * 1000
    return now, set(await valkey.zrangebyscore(_SEEN, now / _SECOND - leases.ALIVE_SECONDS, "+inf"))


def _checked(raw: str | None, call: LeaseCall) -> tuple[_Session, bool]:
    """The session as stored, and whether the call opens a new one. Raises SessionUnknown."""
    stored = None if raw is None else msgspec.json.decode(raw, type=_Session)
    if stored is not None and stored.session == call.session:
        if call.number in (stored.number, stored.number + 1):
            return stored, False
    elif call.number == 1:
        return _Session(session=call.session), True
    raise SessionUnknown("this session is not known here, or not at this number: begin a new one")


def _number(call: LeaseCall, known: _Session) -> int:
    """Of the call to the store of budgets."""
    return known.budget_number if known.number == call.number else known.budget_number + 1


def _is_budget(ask: Ask) -> bool:
    return KINDS[ask.kind].shape == BUDGET


def _session_key(instance: str) -> str:
    return f"{_PREFIX}session:{instance}"


def _account_key(ask: Ask) -> str:
    return f"{_PREFIX}account:{ask.kind}:{ask.level}"


async def _reached(asked: Awaitable[T]) -> T:
    """Raises StoreAway where Valkey cannot be asked: gateways then go on with what they hold and their share."""
    try:
        return await asked
    except (ValkeyError, OSError, TimeoutError) as error:
        raise StoreAway(f"Valkey does not answer ({type(error).__name__}): is it running?") from error
