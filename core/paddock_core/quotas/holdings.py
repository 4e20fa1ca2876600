"""A gateway's side of every limit: units that it holds, taken by requests of all levels or of none.

What is held was debited at the control plane before (`central.py`), so a decision is a comparison and a subtraction for
each limit, and together the gateways cannot pass a limit. Where the holding does not do, `reserve` says which accounts
lack how much; `leases.py` of the gateway borrows that and asks again. One process, one event loop: nothing here waits.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from paddock_core.policy.documents import Limits
from paddock_core.quotas.kinds import (
    BUDGET,
    INPUT,
    KINDS,
    OUTPUT,
    POOL,
    RATE,
    REQUESTS,
    Costs,
    Kind,
    bounds_of,
    period_of,
)
from paddock_core.quotas.levels import Headroom, Level, Refusal, never
from paddock_core.quotas.rates import MINUTE, Bucket

SECOND = 1_000_000_000
GONE = -(1 << 62)
"""So little is held of an account whose lease was lost that nothing given back can make it enough."""
BELIEVED = {RATE: SECOND, BUDGET: SECOND, POOL: SECOND // 4}
"""How long an answer that there is no more stands before the control plane is asked again, in nanoseconds."""


@dataclass(slots=True, eq=False)
class Holding:
    """What this process holds of one account. `free` may be taken; what requests have reserved is no longer in it."""

    level: str
    kind: Kind
    period: str
    limit: int
    free: int = 0
    needed: int = 0
    """Units that waiting requests want."""
    least: int = 0
    """Of these, what the smallest request wants."""
    ahead: int = 0
    """Units to borrow in advance."""
    back: int = 0
    """Units to give back."""
    bucket: Bucket = field(default_factory=Bucket)
    """A rate's shared account, as of the last answer, drained by our own clock since."""
    room: int = 0
    """What a pool or budget had left for others at the last answer."""
    fill_ns: int = 0
    """How long a rate's shared account took to empty, at the last answer."""
    answered_at: int | None = None
    problem: str = ""
    spare: Bucket = field(default_factory=Bucket)
    """What a cut-off process has used of its share of a rate."""
    topped: int = 0
    """Slots used beyond the lease while cut off."""
    mark: int = 0
    """`free` at the last look, what was granted since included."""
    pace: int = 0
    """Units that go in a second, as last seen."""
    habit: int = 0
    """The most that one request wanted lately."""
    habit_at: int = 0
    lowered: bool = False
    """True while the account may be beyond a limit that fell: what requests give back is then not used again here."""
    returning: int = 0
    """Units beyond such a limit: no longer in `free`, and to be given back."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The account's name."""
        return self.level, self.kind.name, self.period

    def answer(
        self,
        *,
        granted: int,
        room: int,
        fill_ns: int,
        problem: str,
        now: int,
        over: int = 0,
        limit: int | None = None,
    ) -> None:
        """Take in what the control plane gave. `limit` is the one that was asked by, where it may have changed."""
        self.free += granted
        self.mark += granted
        if limit is not None and limit > self.limit:
            self.recall(self.free)
            return
        self.room, self.problem, self.answered_at, self.fill_ns = room, problem, now, fill_ns
        if self.kind.shape == RATE:
            self.bucket.level, self.bucket.at = fill_ns * self.limit, now
        if over:
            self.lowered = True
            self.recall(over)
        elif self.lowered and not problem and (self.kind.shape != RATE or room or granted):
            self.lowered = False

    def set_limit(self, limit: int) -> None:
        """Another limit. By a lower one nothing is ours until the control plane says so: all that is free goes back."""
        if limit == self.limit:
            return
        if limit < self.limit:
            self.lowered, self.room = True, 0
            self.recall(self.free)
        self.limit, self.answered_at = limit, None

    def recall(self, units: int) -> None:
        """Keep so many free units for giving back; slots that were never lent cannot be."""
        units = max(0, min(units, self.free - self.topped))
        self.free -= units
        self.mark -= units
        self.returning += units

    def short(self, cost: int, now: int) -> bool:
        """True if asking for the cost is idle: the last answer is fresh and leaves no room for it."""
        if self.answered_at is None or now - self.answered_at > BELIEVED[self.kind.shape]:
            return False
        return self.free + self.left(now) < cost

    def left(self, now: int) -> int:
        """Units that the shared account has, as far as is known here."""
        if self.kind.shape != RATE:
            return self.room
        if self.answered_at is None:
            return self.limit
        self.bucket.drain(self.limit, now)
        return self.bucket.room(self.limit)

    def remaining(self, now: int) -> int:
        """Units that a client may count on, held or not."""
        return max(0, min(self.limit, self.free + self.left(now)))

    def top_up(self, cost: int, *, share: int, now: int) -> bool:
        """While cut off: take what lacks from our own share of a rate or of slots. False if it is used up."""
        lacking = max(0, cost - self.free)
        if self.kind.shape == RATE:
            self.spare.drain(share, now)
            if not self.spare.fits(share, lacking):
                return False
            self.spare.add(lacking)
        elif self.kind.shape == POOL and self.topped + lacking <= share:
            self.topped += lacking
        else:
            return False
        self.free += lacking
        self.mark += lacking
        return True

    def refusal(self, cost: int, *, now: int, wall: float, share: int | None = None) -> Refusal:
        """Why the cost does not fit. `share` is given where this process is cut off."""
        if self.limit <= 0 or (cost > self.limit and self.kind.shape != POOL):
            wait: int | None = None
        elif self.kind.shape == RATE and share is not None:
            wait = self.spare.wait(share, cost) if share else SECOND
        elif self.kind.shape == RATE:
            self.bucket.drain(self.limit, now)
            wait = max(1, self.bucket.wait(self.limit, max(0, cost - self.free)) or 0)
        elif self.kind.shape == POOL:
            wait = SECOND
        else:
            wait = max(SECOND, int((bounds_of(self.period)[1] - wall) * SECOND)) if share is None else SECOND
        return Refusal(
            level=self.level,
            limit_name=self.kind.name,
            limit=self.limit,
            asked=cost,
            remaining=self.remaining(now),
            retry_after=wait,
            cut_off=share is not None or bool(self.problem),
        )


class Plan:
    """The accounts of one caller, ready for the quick path."""

    __slots__ = ("budgets", "key", "open", "pairs", "refunds", "refusal", "requests", "tokens", "used_at")

    def __init__(self, key: tuple[str, ...], holdings: Sequence[Holding], refusal: Refusal | None) -> None:
        self.key = key
        self.pairs = tuple((holding, holding.kind.unit) for holding in holdings)
        self.budgets = tuple(pair for pair in self.pairs if pair[0].kind.shape == BUDGET)
        self.refunds = tuple(pair for pair in self.pairs if pair[1] not in (REQUESTS, INPUT))
        self.requests = tuple(holding for holding, unit in self.pairs if unit == REQUESTS)
        self.tokens = tuple(holding for holding, unit in self.pairs if unit in (INPUT, OUTPUT))
        self.refusal = refusal
        self.open = 0
        self.used_at = 0


@dataclass(slots=True)
class Reservation:
    """What an admitted request holds until it is settled."""

    plan: Plan
    input_tokens: int
    output_cap: int
    output_reserved: int
    """Output covered by every budget so far."""
    nano: int
    open: bool = True


@dataclass(frozen=True, slots=True)
class Shortage:
    """The accounts that lack units, each with the whole cost."""

    lacking: tuple[tuple[Holding, int], ...]


class Holdings:
    """Every account that this process has dealings with."""

    def __init__(self) -> None:
        self.accounts: dict[tuple[str, str, str], Holding] = {}
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._retired: list[Plan] = []
        self._source: object = None
        self._day = ""
        self._day_ends = 0.0

    def plan(self, *, levels: Sequence[Level], source: object, wall: float) -> Plan:
        """The plan for these levels. `source` is where their limits come from: another one makes new plans."""
        if source is not self._source or not self._day_ends - 86400 <= wall < self._day_ends:
            self._retired += [plan for plan in self._plans.values() if plan.open]
            self._plans.clear()
            self._source, self._day = source, period_of(KINDS["tokens_per_day"], wall)
            self._day_ends = bounds_of(self._day)[1]
        key = tuple([level.id for level in levels])
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._compile(key, levels, wall)
        return plan

    def _compile(self, key: tuple[str, ...], levels: Sequence[Level], wall: float) -> Plan:
        holdings: list[Holding] = []
        refusal: Refusal | None = None
        for level in levels:
            for name, kind in KINDS.items():
                limit: int | None = getattr(level.limits, name)
                if limit is None:
                    continue
                if limit <= 0:
                    refusal = refusal or never(level=level.id, name=name, limit=limit, asked=1)
                holdings.append(self._account(level.id, kind, period_of(kind, wall), limit))
        return Plan(key, holdings, refusal)

    def _account(self, level: str, kind: Kind, period: str, limit: int) -> Holding:
        known = self.accounts.get((level, kind.name, period))
        if known is None:
            known = Holding(level=level, kind=kind, period=period, limit=limit)
            self.accounts[known.key] = known
        known.set_limit(limit)
        return known

    def reserve(
        self, plan: Plan, *, input_tokens: int, output_cap: int, first_output: int, nano: int, now: int
    ) -> Reservation | Shortage:
        """Take from every account or from none.

        Rates are charged the whole cap, which is given back at settlement as far as it was not produced; budgets the
        input and the first step of the output. `nano` is the price of these.
        """
        costs: Costs = (1, input_tokens, output_cap, 1, input_tokens + first_output, nano)
        done = 0
        for holding, unit in plan.pairs:
            left = holding.free - costs[unit]
            if left < 0:
                break
            holding.free = left
            done += 1
        else:
            plan.open += 1
            plan.used_at = now
            return Reservation(plan, input_tokens, output_cap, first_output, nano)
        for holding, unit in plan.pairs[:done]:
            holding.free += costs[unit]
        plan.used_at = now
        lacking = tuple((holding, costs[unit]) for holding, unit in plan.pairs if holding.free < costs[unit])
        return Shortage(lacking)

    def extend(self, reservation: Reservation, *, output_tokens: int, nano: int) -> Shortage | None:
        """Cover more output by every budget, or by none. None says that it is covered."""
        costs: Costs = (0, 0, 0, 0, output_tokens, nano)
        budgets = reservation.plan.budgets
        lacking = tuple((holding, costs[unit]) for holding, unit in budgets if holding.free < costs[unit])
        if lacking:
            return Shortage(lacking)
        for holding, unit in budgets:
            holding.free -= costs[unit]
        reservation.output_reserved += output_tokens
        reservation.nano += nano
        return None

    def settle(self, reservation: Reservation, *, input_tokens: int, output_tokens: int, nano: int) -> None:
        """Give back the slot and what was not used. Settling twice changes nothing.

        Whatever is said to have been used, no unit comes back that was not reserved, and none is taken.
        """
        if not reservation.open:
            return
        reservation.open = False
        reservation.plan.open -= 1
        given, made = max(0, input_tokens), max(0, output_tokens)
        refund: Costs = (
            0,
            0,
            max(0, reservation.output_cap - made),
            1,
            max(0, reservation.input_tokens + reservation.output_reserved - given - made),
            max(0, reservation.nano - max(0, nano)),
        )
        for holding, unit in reservation.plan.refunds:
            holding.free += refund[unit]
            if holding.lowered:
                holding.recall(refund[unit])

    def cancel(self, reservation: Reservation) -> None:
        """Give everything back, rates too: the request was not begun. Of one that is settled nothing comes back."""
        if not reservation.open:
            return
        reservation.open = False
        reservation.plan.open -= 1
        given, made = reservation.input_tokens, reservation.output_cap
        costs: Costs = (1, given, made, 1, given + reservation.output_reserved, reservation.nano)
        for holding, unit in reservation.plan.pairs:
            holding.free += costs[unit]
            if holding.lowered:
                holding.recall(costs[unit])

    def lost(self, reservation: Reservation) -> bool:
        """True if it was made under leases that are no longer ours."""
        return any(holding.free <= GONE // 2 for holding, _ in reservation.plan.pairs)

    def relimit(self, limits_of: Callable[[str], Limits | None]) -> None:
        """Apply limits that changed, by the level's id, also where no new request comes."""
        for holding in self.accounts.values():
            limits = limits_of(holding.level)
            limit: int | None = None if limits is None else getattr(limits, holding.kind.name)
            if limit is not None:
                holding.set_limit(limit)

    def requests_headroom(self, plan: Plan, *, now: int) -> Headroom | None:
        """The tightest limit of requests per minute; None if no level sets one."""
        return _tightest(plan.requests, now)

    def tokens_headroom(self, plan: Plan, *, now: int) -> Headroom | None:
        """The tightest limit of tokens per minute, of input or of output."""
        return _tightest(plan.tokens, now)

    def void(self) -> None:
        """Forget everything: the leases are no longer ours. Open reservations settle into nothing, and grow no more."""
        for holding in self.accounts.values():
            holding.free = GONE
        self.accounts = {}
        self._plans.clear()
        self._retired.clear()

    def idle(self, *, now: int, after: int) -> list[Holding]:
        """Accounts of no plan that is open or was used within `after` nanoseconds. Plans that are idle are dropped."""
        for key, plan in list(self._plans.items()):
            if not plan.open and now - plan.used_at > after:
                del self._plans[key]
        self._retired = [plan for plan in self._retired if plan.open]
        used = {id(holding) for plan in (*self._plans.values(), *self._retired) for holding, _ in plan.pairs}
        return [holding for holding in self.accounts.values() if id(holding) not in used]


def _tightest(holdings: Iterable[Holding], now: int) -> Headroom | None:
    """The one with the smallest share left."""
    found: Holding | None = None
    least = 1.0
    for holding in holdings:  # in floating point: exact integers of this size cost several times as much
        limit = holding.limit
        if limit <= 0:
            return Headroom(limit=limit, remaining=0, reset=0)
        share = holding.free / limit
        if holding.answered_at is not None and (filled := holding.fill_ns - now + holding.answered_at) > 0:
            share -= filled / MINUTE
        share = 0.0 if share > 0.0 else max(share, -1.0)  # of the limit, counted from all of it downwards
        if share < least:
            found, least = holding, share
    if found is None:
        return None
    limit, remaining = found.limit, found.remaining(now)
    missing = max(0, found.bucket.level - found.free * MINUTE) if found.answered_at is not None else 0
    return Headroom(limit=limit, remaining=remaining, reset=-(-missing // limit))
