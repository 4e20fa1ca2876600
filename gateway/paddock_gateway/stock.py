"""What a gateway keeps of each account for requests to come: what to borrow ahead of need, and what to give back."""

from paddock_core.quotas.holdings import Holding, Holdings
from paddock_core.quotas.wire import Ask

SECOND = 1_000_000_000
HABIT_NS = 60 * SECOND
"""What requests of an account usually cost is kept in stock for so long after the last one."""


def stock(holdings: Holdings, *, now: int, passed: int) -> bool:
    """Note on each account what to borrow and what to give back, from what went in the last `passed` nanoseconds.

    `now`: nanoseconds of a steady clock. True if there is anything to ask for.
    """
    asking = False
    for holding in holdings.accounts.values():
        taken = max(0, holding.mark - holding.free)
        holding.mark = holding.free
        holding.pace = (holding.pace + taken * SECOND // passed) // 2
        if taken:
            holding.habit_at = now
        elif now - holding.habit_at > HABIT_NS:
            holding.habit = 0
        wanted = 2 * max(holding.pace, holding.habit)
        holding.ahead = wanted - holding.free if 0 <= holding.free < wanted // 2 else 0
        holding.back = holding.free - wanted if holding.free > 2 * wanted else 0
        if not holding.ahead or holding.short(holding.free + holding.ahead // 2, now):
            holding.ahead = 0
        asking |= bool(holding.ahead or holding.back or holding.returning)
    for holding in holdings.idle(now=now, after=HABIT_NS):
        holding.ahead, holding.back = 0, max(0, holding.free)
        asking |= bool(holding.back)
        if not (holding.free or holding.returning):
            del holdings.accounts[holding.key]
    return asking


def has_a_matter(holding: Holding) -> bool:
    """True if there is anything to ask about an account."""
    return bool(holding.needed or holding.ahead or holding.back or holding.returning)


def asked_about(holding: Holding) -> Ask:
    """What is asked about one account; what is given back is no longer held from here on."""
    spare = max(0, holding.free)
    need = max(0, holding.needed - spare)
    least = min(need, max(1, holding.least - spare))
    back = 0 if need else min(holding.back, spare)
    ask = Ask(
        level=holding.level,
        kind=holding.kind.name,
        period=holding.period,
        limit=holding.limit,
        need=need,
        least=least,
        want=need + max(holding.ahead, need, 2 * holding.habit if need else 0),
        back=holding.returning + back,
    )
    holding.free -= back
    holding.mark -= back
    holding.needed = holding.least = holding.ahead = holding.back = holding.returning = 0
    return ask
