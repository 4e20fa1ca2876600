"""Leases of limits: units are borrowed from the control plane ahead of need, so that requests seldom wait for it.

One call at a time carries everything: what requests wait for, what the pace of the last seconds suggests, what is given
back, and that this gateway lives. Cut off, a gateway spends what it holds of budgets and goes on with its share of each
rate; `seconds` after the last answer it holds nothing any more, as the control plane then lends the same to others.
"""

import asyncio
import logging
import math
import uuid
from collections.abc import Callable, Sequence

import aiohttp
import msgspec
from paddock_core.policy.view import PolicyView
from paddock_core.quotas.holdings import Holding, Holdings, Plan, Reservation, Shortage
from paddock_core.quotas.kinds import POOL
from paddock_core.quotas.levels import Level, Refusal
from paddock_core.quotas.wire import MOST_ASKS, LeaseAnswer, LeaseCall

from paddock_gateway.authenticate import limits_of
from paddock_gateway.clock import Clock
from paddock_gateway.errors import told
from paddock_gateway.lease_calls import AccountKeeper
from paddock_gateway.stock import SECOND, asked_about, has_a_matter, stock

_log = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
"""How often holdings are looked through."""
ACCOUNTS_A_SECOND = 10_000
"""With more accounts than fit into LOOK_SECONDS at this pace, holdings are looked through less often."""
HEARTBEAT_SECONDS = 5.0
MOST_DELAY_SECONDS = 2.0
"""Between calls while cut off."""
_TRIES = 16
"""Others may take what was borrowed for a request; so often it asks again before it is refused."""


class Leases:
    """The only way for a request to its limits. Belongs to the event loop."""

    def __init__(
        self,
        *,
        url: str,
        token: str,
        instance: str,
        clock: Clock,
        shipped: Callable[[], bool],
        view: Callable[[], PolicyView],
    ) -> None:
        self.holdings = Holdings()
        self.cut_off = False
        self.gateways = 1
        self.refused_cut_off = 0
        self._account_keeper = AccountKeeper(url=url, token=token)
        self._instance = instance
        self._clock = clock
        self._shipped = shipped
        self._view = view
        self._judged_by: PolicyView | None = None
        self._told_shipped = False
        self._started_at = clock.wall()
        self._session = uuid.uuid4().hex
        self._number = 0
        self._pending: tuple[LeaseCall, list[Holding]] | None = None
        self._valid_until: float = math.inf
        self._kick = asyncio.Event()
        self._round: asyncio.Future[None] | None = None
        self._looked_at = 0
        self._asking = False
        """True if there is anything to ask for or to give back."""

    # what requests use

    def plan(self, *, levels: Sequence[Level], source: object, wall: float) -> Plan:
        """The accounts of a caller. `source` is the policy view that the levels come from."""
        self._let_go_of_the_old()
        return self.holdings.plan(levels=levels, source=source, wall=wall)

    async def reserve(
        self,
        *,
        levels: Sequence[Level],
        source: object,
        wall: float,
        input_tokens: int,
        output_cap: int,
        first_output: int,
        nano: int = 0,
    ) -> tuple[Reservation | Refusal, bool]:
        """Take from every account or from none, borrowing what lacks. True beside it if that took waiting."""
        waited, tries = False, 0
        while (plan := self.plan(levels=levels, source=source, wall=wall)).refusal is None:
            now = self._clock.steady_ns()
            outcome = self.holdings.reserve(
                plan, input_tokens=input_tokens, output_cap=output_cap, first_output=first_output, nano=nano, now=now
            )
            if isinstance(outcome, Reservation):
                return outcome, waited
            refusal = self._hopeless(outcome, now)
            tries += 1
            if refusal is not None or tries > _TRIES:
                return refusal or self._refusal(*outcome.lacking[0]), waited
            if not self.cut_off:
                await asyncio.shield(self._ask_for(outcome))
                waited = True
        return plan.refusal, waited

    async def extend(self, reservation: Reservation, *, output_tokens: int, nano: int = 0) -> bool:
        """Cover more output of a request under way. False: a budget has no more, or its lease has ended."""
        for _ in range(_TRIES):
            self._let_go_of_the_old()
            if self.holdings.lost(reservation):
                return False
            shortage = self.holdings.extend(reservation, output_tokens=output_tokens, nano=nano)
            if shortage is None:
                return True
            if self._hopeless(shortage, self._clock.steady_ns()) is not None:
                return False
            if not self.cut_off:
                await asyncio.shield(self._ask_for(shortage))
        return False

    def extend_ahead(self, reservation: Reservation, *, output_tokens: int, nano: int = 0) -> None:
        """Cover more output before it is needed, if that takes no waiting; else have it borrowed meanwhile."""
        self._let_go_of_the_old()
        if self.holdings.lost(reservation):
            return
        shortage = self.holdings.extend(reservation, output_tokens=output_tokens, nano=nano)
        if shortage is None or self.cut_off or self._pending is not None:
            return
        asked = any(holding.needed for holding, _ in shortage.lacking)
        if not asked and self._hopeless(shortage, self._clock.steady_ns()) is None:
            self._ask_for(shortage)  # nobody waits for it

    def settle(self, reservation: Reservation, *, input_tokens: int, output_tokens: int, nano: int = 0) -> None:
        """Give back the slot and what was not used."""
        self.holdings.settle(reservation, input_tokens=input_tokens, output_tokens=output_tokens, nano=nano)

    def cancel(self, reservation: Reservation) -> None:
        """Give everything back: the request was not begun."""
        self.holdings.cancel(reservation)

    def _let_go_of_the_old(self) -> None:
        """What ran out is spent by nobody, new request or stream: the control plane may have lent it to others."""
        if self._clock.steady_ns() > self._valid_until:
            _log.warning("leases have run out: the control plane was away for too long")
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.holdings.void()
        self._session, self._number, self._pending = uuid.uuid4().hex, 0, None
        self._started_at = self._clock.wall()
        self._told_shipped = False
        self._valid_until = math.inf

    def _hopeless(self, shortage: Shortage, now: int) -> Refusal | None:
        """A refusal where asking is idle: it never fits, there is no more, or there is nobody to ask."""
        for holding, cost in shortage.lacking:
            if holding.kind.shape != POOL and cost > holding.limit:
                return self._refusal(holding, cost)
            if self.cut_off:
                if not holding.top_up(cost, share=self._share(holding), now=now):
                    return self._refusal(holding, cost)
            elif holding.short(cost, now):
                return self._refusal(holding, cost)
        return None

    def _refusal(self, holding: Holding, cost: int) -> Refusal:
        share = self._share(holding) if self.cut_off else None
        self.refused_cut_off += self.cut_off
        return holding.refusal(cost, now=self._clock.steady_ns(), wall=self._clock.wall(), share=share)

    def _share(self, holding: Holding) -> int:
        return holding.limit // self.gateways

    def _ask_for(self, shortage: Shortage) -> "asyncio.Future[None]":
        now = self._clock.steady_ns()
        for holding, cost in shortage.lacking:
            holding.least = min(holding.least or cost, cost)
            holding.needed += cost
            holding.habit, holding.habit_at = max(holding.habit, cost), now
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        self._asking = True
        self._kick.set()
        return self._round

    # what runs beside them

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Borrow, give back and show that this gateway lives, until cancelled."""
        delay, last = LOOK_SECONDS, -HEARTBEAT_SECONDS
        while True:
            try:
                async with asyncio.timeout(delay if self.cut_off else LOOK_SECONDS):
                    await self._kick.wait()
            except TimeoutError:
                pass
            self._kick.clear()
            now = self._clock.steady()
            pause = max(LOOK_SECONDS, len(self.holdings.accounts) / ACCOUNTS_A_SECOND)
            if now - self._looked_at / SECOND >= pause:
                self._look()
            if not self._asking and self._pending is None and now - last < HEARTBEAT_SECONDS:
                continue
            await self.call(session)
            last = now
            delay = min(delay * 2, MOST_DELAY_SECONDS) if self.cut_off else LOOK_SECONDS / 2

    async def close(self, session: aiohttp.ClientSession) -> None:
        """Give everything back. What the ledger does not have yet stays debited."""
        if self.cut_off:
            return
        if self._pending is not None:
            await self.call(session)
        for holding in self.holdings.accounts.values():
            holding.needed, holding.ahead, holding.back = 0, 0, max(0, holding.free - holding.topped)
        await self.call(session)

    def _look(self) -> None:
        """From what went since the last look: what to borrow ahead, and what to give back."""
        view, now = self._view(), self._clock.steady_ns()
        if view is not self._judged_by:
            self._judged_by = view
            self.holdings.relimit(lambda level: limits_of(level, view))
        passed = max(1, now - self._looked_at)
        self._looked_at = now
        self._asking |= stock(self.holdings, now=now, passed=passed)

    async def call(self, session: aiohttp.ClientSession) -> None:
        """One call; again the same one if the last was not answered."""
        if self._pending is None:
            self._pending = self._compose()
        waiting, self._round = self._round, None
        asked = self._clock.steady_ns()
        try:
            answer = await self._account_keeper.answer(session, self._pending[0])
            if answer is not None:
                self._take(answer, asked)
            else:
                self._begin_anew()
                self._kick.set()
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            if not self.cut_off:
                _log.warning("leases cannot be had: cut off from the control plane", extra={"error": told(error)})
            self.cut_off = True
        finally:
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _compose(self) -> tuple[LeaseCall, list[Holding]]:
        held = [item for item in self.holdings.accounts.values() if has_a_matter(item)]
        held.sort(key=lambda item: not item.needed)
        self._asking = len(held) > MOST_ASKS
        del held[MOST_ASKS:]
        asks = tuple(asked_about(holding) for holding in held)
        self._number += 1
        shipped = not self._told_shipped and self._shipped()
        call = LeaseCall(
            instance=self._instance,
            session=self._session,
            number=self._number,
            started_at=self._started_at,
            asks=asks,
            shipped=shipped,
        )
        return call, held

    def _take(self, answer: LeaseAnswer, asked: int) -> None:
        if self._pending is None:
            return
        call, held = self._pending
        self._pending = None
        self._told_shipped = self._told_shipped or call.shipped
        now = self._clock.steady_ns()
        if self.cut_off:
            self._back_again()
        self.gateways = max(1, answer.gateways)
        self._valid_until = asked + answer.seconds * SECOND
        for ask, holding, grant in zip(call.asks, held, answer.grants, strict=True):
            holding.answer(
                granted=grant.granted,
                room=grant.room,
                fill_ns=grant.fill_ns,
                problem=grant.problem,
                now=now,
                over=grant.over,
                limit=ask.limit,
            )
            self._asking = self._asking or bool(holding.returning)

    def _back_again(self) -> None:
        _log.info("leases can be had again")
        self.cut_off = False
        for holding in self.holdings.accounts.values():
            holding.free -= holding.topped if holding.kind.shape == POOL else 0
            holding.topped = 0
            holding.answered_at = None
