"""The shared side of a limit: what is granted to gateways out of one account. Pure; the control plane keeps the state.

A rate's account is a leaky bucket (`rates.py`); a pool's or a budget's is a sum. Either way a grant is debited here at
once, so whatever gateways do with it, together they cannot have more than the limit.
"""

from dataclasses import dataclass

from paddock_core.quotas.rates import MINUTE, Bucket

ADVANCE = 16
"""Of what an account has left beyond the need, one gateway gets at most this part (1/ADVANCE) in advance, so near the
limit every request is debited by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What came of an ask."""

    granted: int
    room: int
    """Units left."""
    fill_ns: int = 0
    over: int = 0
    """Units of those that the caller holds by which the account is beyond the limit."""


def divide(*, room: int, need: int, least: int, want: int) -> int:
    """How much of `room` one ask gets: the need, or as much of it as is of use, and a part of the rest in advance."""
    if need > room:
        return room if room >= least > 0 else 0
    return need + max(0, min(want - need, (room - need) // ADVANCE))


def from_bucket(bucket: Bucket, *, limit: int, now: int, need: int, least: int, want: int, back: int = 0) -> Given:
    """Grant out of a rate's account, which is changed. `now` is in nanoseconds of the shared clock."""
    bucket.drain(limit, now)
    bucket.give_back(back)
    granted = divide(room=bucket.room(limit), need=need, least=least, want=want)
    bucket.add(granted)
    fill = bucket.level // limit if limit > 0 else MINUTE
    return Given(granted=granted, room=bucket.room(limit), fill_ns=fill)


def from_sum(*, limit: int, used: int, need: int, least: int, want: int, mine: int = 0) -> Given:
    """Grant out of a pool or budget of which `used` is spent or leased already, what is given back taken off.

    `mine` is what of it the caller holds. Where a limit was lowered, whoever holds units is told of the whole excess:
    several who give it back may borrow again, but none goes on with what is beyond the limit.
    """
    room = max(0, limit - used)
    granted = divide(room=room, need=need, least=least, want=want)
    return Given(granted=granted, room=room - granted, over=max(0, min(mine, used - limit)))
