"""Holdings of several gateways against one shared account each: no interleaving lets them pass a limit."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from paddock_core.policy.documents import Limits
from paddock_core.quotas.central import divide, from_bucket, from_sum
from paddock_core.quotas.holdings import Holding, Holdings, Plan, Reservation, Shortage
from paddock_core.quotas.kinds import KINDS, NANO, OUTPUT, POOL, RATE, TOKENS, bounds_of, period_of
from paddock_core.quotas.levels import Level, Refusal, output_cap
from paddock_core.quotas.rates import MINUTE, Bucket

NOON = 1_800_000_000.0
STEP = 4
GATEWAYS = 3


@dataclass
class Request:
    reservation: Reservation
    inputs: int
    cap: int
    produced: int = 0


@dataclass(eq=False)
class Process:
    """One gateway and its journal: rows that the ledger does not have yet."""

    holdings: Holdings = field(default_factory=Holdings)
    open: list[Request] = field(default_factory=list)
    journal: list[int] = field(default_factory=list)
    leased: int = 0
    """What the control plane has lent to this process and the ledger has not yet shown."""

    @property
    def reserved(self) -> int:
        """Of its open requests."""
        return sum(request.inputs + request.reservation.output_reserved for request in self.open)

    @property
    def uncovered(self) -> int:
        """What it will yet bring to the ledger beyond its lease: nothing, unless that ran out before."""
        return max(0, sum(self.journal) + self.reserved - self.leased)


class LeaseMachine(RuleBasedStateMachine):
    """The model is the truth: tokens that requests really took. It knows nothing of leases."""

    @initialize(limit=st.integers(0, 120), slots=st.integers(1, 4))
    def begin(self, limit: int, slots: int) -> None:
        self.slots = slots
        self._set(limit)
        self.most = self.most_lent = limit
        self.gateways = [Process() for _ in range(GATEWAYS)]
        self.dead: list[Process] = []
        self.spent = 0
        self.truth = 0
        self.late = 0

    def _set(self, limit: int) -> None:
        self.limit = limit
        limits = Limits(tokens_per_day=limit, concurrent_requests=self.slots)
        self.levels = (Level(id="tenant:a", limits=limits), Level(id="key:k", limits=Limits(tokens_per_day=limit)))

    def _plan(self, gateway: Process) -> Plan:
        return gateway.holdings.plan(levels=self.levels, source=self.levels, wall=NOON)

    @rule(limit=st.integers(1, 6) | st.integers(1, 120))
    def another_limit(self, limit: int) -> None:
        """Every gateway hears of it; what stands, stands."""
        self._set(limit)
        self.most = max(limit, self.truth + self._reserved())
        self.most_lent = max(limit, self.spent + self._day_leased())
        for gateway in self.gateways:
            gateway.holdings.relimit({level.id: level.limits for level in self.levels}.get)

    def _reserved(self) -> int:
        return sum(process.reserved for process in (*self.gateways, *self.dead))

    def _day_leased(self) -> int:
        return sum(process.leased for process in (*self.gateways, *self.dead))

    def _borrow(self, gateway: Process, shortage: Shortage) -> None:
        """Both budgets have one limit and see the same requests, so one set of books stands for both."""
        for holding, cost in shortage.lacking:
            lack = cost - holding.free
            if holding.kind.name == "concurrent_requests":
                used = sum(self._slots(process) for process in self.gateways)
                given = from_sum(limit=self.slots, used=used, need=lack, least=lack, want=lack)
            elif holding.level == "tenant:a":
                gateway.leased -= holding.returning
                holding.returning = 0
                used, mine = self.spent + self._day_leased(), gateway.leased
                given = from_sum(limit=self.limit, used=used, need=lack, least=lack, want=lack + 30, mine=mine)
                gateway.leased += given.granted
            else:
                given = from_sum(limit=10**9, used=0, need=lack, least=lack, want=lack)
            holding.answer(granted=given.granted, room=given.room, fill_ns=0, problem="", now=0, over=given.over)

    def _slots(self, process: Process) -> int:
        held = process.holdings.accounts.get(("tenant:a", "concurrent_requests", ""))
        return (held.free if held else 0) + len(process.open)

    @rule(which=st.integers(0, GATEWAYS - 1), inputs=st.integers(1, 12), cap=st.integers(1, 20))
    def reserve(self, which: int, inputs: int, cap: int) -> None:
        gateway = self.gateways[which]
        plan = self._plan(gateway)
        if plan.refusal is not None:
            assert self.limit == 0
            return
        for _ in range(2):
            outcome = gateway.holdings.reserve(
                plan, input_tokens=inputs, output_cap=cap, first_output=min(cap, STEP), nano=0, now=0
            )
            if isinstance(outcome, Reservation):
                gateway.open.append(Request(reservation=outcome, inputs=inputs, cap=cap))
                return
            self._borrow(gateway, outcome)

    @rule(which=st.integers(0, GATEWAYS - 1), gone=st.booleans(), data=st.data())
    def produce(self, which: int, data: st.DataObject, *, gone: bool) -> None:
        gateway = self._one(which, gone=gone)
        if not gateway.open:
            return
        request = data.draw(st.sampled_from(gateway.open))
        wanted = min(request.cap, request.produced + data.draw(st.integers(1, 5)))
        while request.reservation.output_reserved < wanted:
            more = min(STEP, request.cap - request.reservation.output_reserved)
            shortage = gateway.holdings.extend(request.reservation, output_tokens=more, nano=0)
            if shortage is not None:
                if gateway in self.dead:  # its lease ran out: what it covered until then is all it gets
                    break
                self._borrow(gateway, shortage)
                if gateway.holdings.extend(request.reservation, output_tokens=more, nano=0) is not None:
                    break
        request.produced = min(wanted, request.reservation.output_reserved)

    def _one(self, which: int, *, gone: bool) -> Process:
        """A gateway, or what is left of one whose lease ran out while it lived."""
        return self.dead[which % len(self.dead)] if gone and self.dead else self.gateways[which]

    @rule(which=st.integers(0, GATEWAYS - 1), gone=st.booleans(), data=st.data())
    def settle(self, which: int, data: st.DataObject, *, gone: bool) -> None:
        gateway = self._one(which, gone=gone)
        if not gateway.open:
            return
        request = gateway.open.pop(data.draw(st.integers(0, len(gateway.open) - 1)))
        self._end(gateway, request)
        for _ in range(2):
            gateway.holdings.settle(
                request.reservation, input_tokens=request.inputs, output_tokens=request.produced, nano=0
            )

    @rule(which=st.integers(0, GATEWAYS - 1), gone=st.booleans(), data=st.data())
    def cancel(self, which: int, data: st.DataObject, *, gone: bool) -> None:
        """One that was never begun: nothing of it will be in the ledger."""
        gateway = self._one(which, gone=gone)
        fresh = [request for request in gateway.open if not request.produced]
        if fresh:
            request = data.draw(st.sampled_from(fresh))
            gateway.open.remove(request)
            for _ in range(2):
                gateway.holdings.cancel(request.reservation)

    def _end(self, gateway: Process, request: Request) -> None:
        gateway.journal.append(request.inputs + request.produced)
        self.truth += gateway.journal[-1]

    @rule(dead=st.booleans(), which=st.integers(0, GATEWAYS - 1))
    def ship(self, which: int, *, dead: bool) -> None:
        for process in (self._one(which, gone=dead),):
            if process.journal:
                tokens = process.journal.pop(0)
                self.spent += tokens
                self.late += max(0, tokens - process.leased)
                process.leased = max(0, process.leased - tokens)

    @rule(which=st.integers(0, GATEWAYS - 1))
    def give_back(self, which: int) -> None:
        gateway = self.gateways[which]
        held = gateway.holdings.accounts.get(("tenant:a", "tokens_per_day", period_of(KINDS["tokens_per_day"], NOON)))
        if held is not None:
            gateway.leased -= held.free + held.returning
            held.free = held.returning = 0

    @rule(which=st.integers(0, GATEWAYS - 1))
    def crash(self, which: int) -> None:
        """Killed: its requests are settled from what its journal knows, by whoever reads it later."""
        gateway = self.gateways[which]
        for request in gateway.open:
            self._end(gateway, request)
        gateway.open = []
        self.dead.append(gateway)
        self.gateways[which] = Process()

    @rule(which=st.integers(0, GATEWAYS - 1))
    def expire(self, which: int) -> None:
        """Cut off for longer than its lease: it gives up what it holds and begins anew; its streams go on."""
        gateway = self.gateways[which]
        gateway.holdings.void()
        self.dead.append(gateway)
        self.gateways[which] = Process(holdings=gateway.holdings)

    @rule(which=st.integers(0, GATEWAYS - 1))
    def crash_of_a_gateway_with_old_streams(self, which: int) -> None:
        """Killed after its lease had run out: the successor reads both from one journal."""
        if self.dead and self.dead[-1].open:
            for request in self.dead[-1].open:
                self._end(self.dead[-1], request)
            self.dead[-1].open = []
        self.crash(which)

    @precondition(lambda self: self.dead)
    @rule(which=st.integers(0, GATEWAYS - 1))
    def reclaim(self, which: int) -> None:
        """The successor has shipped everything: what was not used comes back."""
        process = self._one(which, gone=True)
        if not process.journal and not process.open:
            self.dead.remove(process)

    @precondition(lambda self: self.dead)
    @rule(which=st.integers(0, GATEWAYS - 1))
    def reclaim_too_early(self, which: int) -> None:
        """The lease of a dead or cut-off gateway was taken back before its journal was found."""
        self._one(which, gone=True).leased = 0

    @invariant()
    def nothing_passes_the_limit(self) -> None:
        if not hasattr(self, "limit"):
            return
        reserved = self._reserved()
        pending = sum(process.uncovered for process in self.dead)
        assert all(gateway.uncovered == 0 for gateway in self.gateways)
        assert self.truth + reserved <= self.most + self.late + pending
        assert self.spent + self._day_leased() <= self.most_lent + self.late
        self.most = max(self.limit, min(self.most, self.truth + reserved))  # a limit that fell is only ever approached
        self.most_lent = max(self.limit, min(self.most_lent, self.spent + self._day_leased()))
        assert sum(len(gateway.open) for gateway in self.gateways) <= self.slots
        for gateway in self.gateways:
            assert all(holding.free >= 0 for holding in gateway.holdings.accounts.values())


LeaseMachine.TestCase.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
TestLeases = LeaseMachine.TestCase


@given(room=st.integers(0, 1000), need=st.integers(0, 1200), least=st.integers(0, 50), more=st.integers(0, 5000))
def test_a_share_never_passes_the_room_and_meets_the_need_first(room: int, need: int, least: int, more: int) -> None:
    given_units = divide(room=room, need=need, least=min(least, need), want=need + more)
    assert 0 <= given_units <= room
    assert given_units <= need + more
    if need <= room:
        assert given_units >= need


@given(
    limit=st.integers(1, 500),
    calls=st.lists(
        st.tuples(st.integers(0, MINUTE), st.integers(0, 200), st.integers(0, 400)), min_size=1, max_size=40
    ),
)
def test_a_rate_grants_at_most_its_limit_and_what_refilled(limit: int, calls: list[tuple[int, int, int]]) -> None:
    bucket, now, granted = Bucket(), 0, 0
    for passed, need, want in calls:
        now += passed
        given_units = from_bucket(bucket, limit=limit, now=now, need=need, least=need, want=max(need, want))
        granted += given_units.granted
        assert granted * MINUTE <= limit * MINUTE + limit * now
        assert 0 <= given_units.fill_ns <= MINUTE


def world(**limits: int) -> tuple[Holdings, Plan]:
    holdings = Holdings()
    levels = (Level(id="tenant:a", limits=Limits(**limits)),)
    return holdings, holdings.plan(levels=levels, source=1, wall=NOON)


def take(holdings: Holdings, plan: Plan, *, output: int = 1, now: int = 0) -> Reservation | Shortage:
    return holdings.reserve(plan, input_tokens=1, output_cap=output, first_output=output, nano=0, now=now)


def only(plan: Plan) -> Holding:
    return plan.pairs[0][0]


def test_a_shortage_names_every_account_and_takes_nothing() -> None:
    holdings, plan = world(requests_per_minute=5, concurrent_requests=2, tokens_per_day=9)
    requests, slots, tokens = (holding for holding, _ in plan.pairs)
    requests.free = 3
    shortage = take(holdings, plan, output=4)
    assert isinstance(shortage, Shortage)
    assert [(holding.kind.name, cost) for holding, cost in shortage.lacking] == [
        ("concurrent_requests", 1),
        ("tokens_per_day", 5),
    ]
    assert (requests.free, slots.free, tokens.free) == (3, 0, 0)


def test_a_rate_s_refusal_says_when_to_come_again() -> None:
    _, plan = world(requests_per_minute=1)
    holding = only(plan)
    holding.answer(granted=0, room=0, fill_ns=59_000_000_000, problem="", now=MINUTE)
    assert holding.short(1, MINUTE)
    assert not holding.short(1, MINUTE + 2_000_000_000)
    refusal = holding.refusal(1, now=MINUTE, wall=NOON)
    assert (refusal.retry_after, refusal.remaining, refusal.cut_off) == (59_000_000_000, 0, False)


def test_a_budget_s_refusal_lasts_until_its_period_ends() -> None:
    _, plan = world(tokens_per_month=100)
    refusal = only(plan).refusal(50, now=0, wall=NOON)
    begin, end = bounds_of(period_of(KINDS["tokens_per_month"], NOON))
    assert begin <= NOON < end
    assert refusal.retry_after == int((end - NOON) * 1e9)
    assert only(plan).refusal(500, now=0, wall=NOON).retry_after is None


def test_cut_off_a_gateway_has_its_share_of_a_rate_and_no_more() -> None:
    _, plan = world(output_tokens_per_minute=100)
    holding = only(plan)
    assert holding.top_up(30, share=50, now=0)
    holding.free -= 30
    assert not holding.top_up(30, share=50, now=0)
    refusal = holding.refusal(30, now=0, wall=NOON, share=50)
    assert refusal.cut_off
    assert refusal.retry_after == 12_000_000_000
    assert holding.top_up(30, share=50, now=refusal.retry_after)


def test_cut_off_nothing_of_a_budget_comes_from_nowhere() -> None:
    _, plan = world(tokens_per_day=100)
    assert not only(plan).top_up(1, share=100, now=0)
    assert only(plan).refusal(1, now=0, wall=NOON, share=100).cut_off


def test_slots_used_while_cut_off_are_counted() -> None:
    _, plan = world(concurrent_requests=4)
    holding = only(plan)
    assert holding.top_up(1, share=2, now=0)
    holding.free -= 1
    assert holding.top_up(1, share=2, now=0)
    holding.free -= 1
    assert not holding.top_up(1, share=2, now=0)
    assert holding.topped == 2


def test_a_new_policy_makes_new_plans_and_keeps_what_is_held() -> None:
    holdings, plan = world(tokens_per_day=100)
    only(plan).free = 40
    outcome = take(holdings, plan, output=9)
    assert isinstance(outcome, Reservation)
    levels = (Level(id="tenant:a", limits=Limits(tokens_per_day=150)),)
    newer = holdings.plan(levels=levels, source=2, wall=NOON)
    assert (only(newer).free, only(newer).limit) == (30, 150)
    holdings.idle(now=10**15, after=1)
    assert holdings.idle(now=10**15, after=1) == [], "an open request keeps its accounts"
    holdings.settle(outcome, input_tokens=1, output_tokens=4, nano=0)
    assert only(newer).free == 35
    assert holdings.idle(now=10**15, after=1) == [only(newer)]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_of_a_limit_that_fell_nothing_held_is_used(name: str) -> None:
    holdings, plan = world(**{name: 100})
    holding = only(plan)
    holding.free = 40
    outcome = holdings.reserve(plan, input_tokens=1, output_cap=9, first_output=9, nano=9, now=0)
    assert isinstance(outcome, Reservation)
    held = holding.free
    newer = holdings.plan(levels=(Level(id="tenant:a", limits=Limits(**{name: 5})),), source=2, wall=NOON)
    assert isinstance(take(holdings, newer), Shortage) or name == "money_per_month_nano"
    assert (holding.free, holding.returning) == (0, held)
    holdings.settle(outcome, input_tokens=1, output_tokens=0, nano=0)
    assert holding.free == 0, "what it did not use goes back as well"
    assert holding.returning == held + (holding.kind.unit in (OUTPUT, TOKENS, NANO)) * 9 + (holding.kind.shape == POOL)


def test_what_was_asked_by_the_limit_before_goes_back() -> None:
    _, plan = world(tokens_per_day=100)
    holding = only(plan)
    holding.set_limit(10)
    holding.answer(granted=60, room=40, fill_ns=0, problem="", now=0, limit=100)
    assert (holding.free, holding.returning, holding.answered_at) == (0, 60, None)
    holding.answer(granted=0, room=0, fill_ns=0, problem="", now=0, limit=10, over=7)
    assert holding.lowered
    holding.answer(granted=4, room=0, fill_ns=0, problem="", now=0, limit=10)
    assert (holding.free, holding.lowered) == (4, False)


def test_slots_that_were_never_lent_are_not_given_back() -> None:
    _, plan = world(concurrent_requests=10)
    holding = only(plan)
    holding.free = 3
    assert holding.top_up(5, share=5, now=0)
    holding.set_limit(4)
    assert (holding.free, holding.topped, holding.returning) == (2, 2, 3)


def test_a_new_day_is_a_new_account() -> None:
    holdings, plan = world(tokens_per_day=100)
    levels = (Level(id="tenant:a", limits=Limits(tokens_per_day=100)),)
    assert holdings.plan(levels=levels, source=1, wall=NOON) is plan
    later = holdings.plan(levels=levels, source=1, wall=NOON + 86400)
    assert only(later).period != only(plan).period


def test_of_a_request_that_was_not_begun_everything_comes_back_once() -> None:
    holdings, plan = world(**dict.fromkeys(KINDS, 1000))
    for holding, _ in plan.pairs:
        holding.free = 100
    made = holdings.reserve(plan, input_tokens=7, output_cap=20, first_output=8, nano=30, now=0)
    assert isinstance(made, Reservation)
    assert all(holding.free < 100 for holding, _ in plan.pairs)
    for _ in range(2):
        holdings.cancel(made)
    holdings.settle(made, input_tokens=0, output_tokens=0, nano=0)
    assert [holding.free for holding, _ in plan.pairs] == [100] * len(plan.pairs)
    assert plan.open == 0


def test_what_was_void_does_not_come_back() -> None:
    holdings, plan = world(tokens_per_day=100)
    only(plan).free = 40
    outcome = take(holdings, plan, output=9)
    assert isinstance(outcome, Reservation)
    holdings.void()
    holdings.settle(outcome, input_tokens=1, output_tokens=0, nano=0)
    levels = (Level(id="tenant:a", limits=Limits(tokens_per_day=100)),)
    assert only(holdings.plan(levels=levels, source=1, wall=NOON)).free == 0


_ANY = st.integers(-(2**70), 2**70) | st.integers(-5, 60)


@given(input_tokens=_ANY, output_tokens=_ANY, nano=_ANY, times=st.integers(1, 3))
def test_no_settlement_gives_back_more_than_was_reserved(
    input_tokens: int, output_tokens: int, nano: int, times: int
) -> None:
    """Whatever an engine or a bug of ours says was used."""
    holdings, plan = world(**dict.fromkeys(KINDS, 1000))
    for holding, _ in plan.pairs:
        holding.free = 100
    made = holdings.reserve(plan, input_tokens=7, output_cap=20, first_output=8, nano=30, now=0)
    assert isinstance(made, Reservation)
    assert holdings.extend(made, output_tokens=4, nano=5) is None
    held = [holding.free for holding, _ in plan.pairs]
    for _ in range(times):
        holdings.settle(made, input_tokens=input_tokens, output_tokens=output_tokens, nano=nano)
    for (holding, _), before in zip(plan.pairs, held, strict=True):
        assert before <= holding.free <= 100


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_limit_of_zero_admits_nothing_and_promises_nothing(name: str) -> None:
    _, plan = world(**{name: 0})
    assert plan.refusal is not None
    assert (plan.refusal.limit_name, plan.refusal.limit, plan.refusal.retry_after) == (name, 0, None)


@pytest.mark.parametrize("order", [1, -1])
def test_a_limit_of_zero_is_the_tightest(order: int) -> None:
    holdings = Holdings()
    levels = [Level(id=name, limits=Limits(requests_per_minute=limit)) for name, limit in (("a", 5), ("b", 0))]
    headroom = holdings.requests_headroom(holdings.plan(levels=levels[::order], source=1, wall=NOON), now=0)
    assert headroom is not None
    assert (headroom.limit, headroom.remaining) == (0, 0)


def test_headroom_counts_what_is_held_and_what_is_left() -> None:
    holdings, plan = world(requests_per_minute=60)
    only(plan).answer(granted=10, room=0, fill_ns=30_000_000_000, problem="", now=MINUTE)
    headroom = holdings.requests_headroom(plan, now=MINUTE)
    assert headroom is not None
    assert (headroom.limit, headroom.remaining, headroom.reset) == (60, 40, 20_000_000_000)


@given(
    asked=st.none() | st.integers(1, 10**6),
    room=st.integers(1, 10**5),
    cap=st.none() | st.integers(0, 40),
    minute=st.none() | st.integers(0, 40),
    context=st.none() | st.integers(0, 60),
    inputs=st.integers(1, 50),
)
def test_the_cap_never_passes_any_bound(
    asked: int | None, room: int, cap: int | None, minute: int | None, context: int | None, inputs: int
) -> None:
    limits = Limits(max_output_tokens=cap, output_tokens_per_minute=minute, max_context_tokens=context)
    levels = (Level(id="t", limits=limits),)
    result = output_cap(levels=levels, asked=asked, default=1024, room=room, input_tokens=inputs)
    assert isinstance(result, Refusal) == (cap == 0 or minute == 0 or (context is not None and context <= inputs))
    if isinstance(result, Refusal):
        assert (result.remaining, result.retry_after) == (0, None)
        assert result.asked >= 1
        return
    assert 1 <= result <= room
    assert cap is None or result <= cap
    assert context is None or result + inputs <= context
    assert asked is None or result <= asked
    assert asked is not None or minute is None or result <= minute


@given(at=st.floats(0, 4e9), name=st.sampled_from(["tokens_per_day", "tokens_per_month"]))
def test_every_moment_lies_in_its_period(at: float, name: str) -> None:
    begin, end = bounds_of(period_of(KINDS[name], at))
    assert begin <= at < end


def test_every_kind_is_a_limit() -> None:
    assert set(KINDS) <= set(Limits.__dataclass_fields__)
    assert all((kind.shape == RATE) == name.endswith("per_minute") for name, kind in KINDS.items())
