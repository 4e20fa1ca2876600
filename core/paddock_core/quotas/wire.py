"""What a gateway and the control plane say to each other about leases: `POST /internal/v1/leases`.

One call carries everything: what is wanted, what is given back, and that the gateway lives. A call without an answer is
repeated with its number, and the control plane says again what it did the first time.
"""

from msgspec import Struct

MOST_ASKS = 2000
"""Asks in one call."""


class Ask(Struct, frozen=True, kw_only=True):
    """About one account."""

    level: str
    kind: str
    period: str
    limit: int
    """The limit as the gateway's policy has it."""
    need: int = 0
    """Units that requests wait for."""
    least: int = 0
    """Units of the smallest of them: less is of no use."""
    want: int = 0
    """Units that the gateway would like in advance, `need` included."""
    back: int = 0
    """Units that it does not need any more."""


class LeaseCall(Struct, frozen=True, kw_only=True):
    """A gateway's call."""

    instance: str
    session: str
    """Names the running process: leases of an earlier one of this instance are not its own."""
    number: int
    """1 for a session's first call, then one more with each."""
    started_at: float
    """When the process started, Unix seconds by the gateway's clock, as in `t_admit` of its records."""
    asks: tuple[Ask, ...] = ()
    shipped: bool = False
    """True once every record of the instance's earlier processes has reached the ledger."""


class Grant(Struct, frozen=True, kw_only=True):
    """The answer to one ask, in the same order."""

    granted: int
    room: int = 0
    """Units that are left for others, of a pool or budget."""
    fill_ns: int = 0
    """How long a rate's account takes to be empty, in nanoseconds."""
    over: int = 0
    """Units of a pool or budget by which the account is beyond its limit, which was lowered, as far as the caller holds
    them: what of these is free it gives back with its next call."""
    problem: str = ""
    """Why nothing was granted, where it is not the limit."""


class LeaseAnswer(Struct, frozen=True, kw_only=True):
    """The control plane's answer."""

    grants: tuple[Grant, ...]
    gateways: int
    """Gateways that are alive: one that is cut off goes on with that share of each rate."""
    seconds: float
    """How long the leases hold from the moment of asking."""
