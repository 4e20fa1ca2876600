"""Admission over several levels: all or none, refunds, slots; explored against a model that keeps plain lists."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from paddock_core.policy.documents import Limits
from paddock_core.quotas.admission import Admission, Level, Refusal, Reservation, output_cap
from paddock_core.quotas.rates import MINUTE

maybe = st.none() | st.integers(1, 40)
limit_sets = st.builds(
    Limits,
    requests_per_minute=maybe,
    input_tokens_per_minute=maybe,
    output_tokens_per_minute=maybe,
    concurrent_requests=st.none() | st.integers(1, 4),
)


class AdmissionMachine(RuleBasedStateMachine):
    """The model: per level and kind, an exact fraction that drains, and a count of open requests."""

    @initialize(limits=st.lists(limit_sets, min_size=1, max_size=3))
    def begin(self, limits: list[Limits]) -> None:
        self.admission = Admission()
        self.levels = tuple(Level(id=f"level:{index}", limits=item) for index, item in enumerate(limits))
        self.now = 10**18
        self.used = {(level.id, kind): Fraction(0) for level in self.levels for kind in ("r", "i", "o")}
        self.open: list[tuple[Reservation, int]] = []

    @rule(passed=st.integers(0, 2 * MINUTE))
    def wait(self, passed: int) -> None:
        self.now += passed
        for level in self.levels:
            for kind, limit in self._limits(level).items():
                drained = Fraction((limit or 0) * passed, MINUTE)
                self.used[level.id, kind] = max(Fraction(0), self.used[level.id, kind] - drained)

    @rule(inputs=st.integers(1, 50), outputs=st.integers(1, 50))
    def reserve(self, inputs: int, outputs: int) -> None:
        costs = {"r": 1, "i": inputs, "o": outputs}
        expected = all(
            (level.limits.concurrent_requests is None or len(self.open) < level.limits.concurrent_requests)
            and all(
                limit is None or self.used[level.id, kind] + costs[kind] <= limit
                for kind, limit in self._limits(level).items()
            )
            for level in self.levels
        )
        outcome = self.admission.reserve(levels=self.levels, input_tokens=inputs, output_tokens=outputs, now=self.now)
        assert isinstance(outcome, Reservation) == expected
        if isinstance(outcome, Reservation):
            self.open.append((outcome, outputs))
            for level in self.levels:
                for kind, limit in self._limits(level).items():
                    self.used[level.id, kind] += costs[kind] if limit is not None else 0

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if not self.open:
            return
        reservation, outputs = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        produced = data.draw(st.integers(0, outputs))
        self.admission.settle(reservation, output_tokens=produced, now=self.now)
        self.admission.settle(reservation, output_tokens=0, now=self.now)
        for level in self.levels:
            if level.limits.output_tokens_per_minute is not None:
                left = self.used[level.id, "o"] - (outputs - produced)
                self.used[level.id, "o"] = max(Fraction(0), left)

    @invariant()
    def slots_and_headroom_agree(self) -> None:
        if not hasattr(self, "levels"):
            return
        for level in self.levels:
            assert self.admission.in_flight(level.id) == len(self.open)
        headroom = self.admission.requests_headroom(levels=self.levels, now=self.now)
        shares = [
            Fraction(int(limit - self.used[level.id, "r"]), limit)
            for level in self.levels
            if (limit := level.limits.requests_per_minute) is not None
        ]
        assert (headroom is None) == (not shares)
        if headroom is not None:
            assert Fraction(headroom.remaining, headroom.limit) == min(shares)

    def _limits(self, level: Level) -> dict[str, int | None]:
        limits = level.limits
        return {
            "r": limits.requests_per_minute,
            "i": limits.input_tokens_per_minute,
            "o": limits.output_tokens_per_minute,
        }


AdmissionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAdmission = AdmissionMachine.TestCase


def level(name: str, **limits: int) -> Level:
    return Level(id=name, limits=Limits(**limits))


def test_a_refusal_names_level_limit_and_wait() -> None:
    admission = Admission()
    levels = (level("tenant:a", requests_per_minute=10), level("key:k", output_tokens_per_minute=100))
    admission.reserve(levels=levels, input_tokens=1, output_tokens=80, now=0)
    refusal = admission.reserve(levels=levels, input_tokens=1, output_tokens=50, now=0)
    assert isinstance(refusal, Refusal)
    assert (refusal.level, refusal.limit_name) == ("key:k", "output_tokens_per_minute")
    assert (refusal.limit, refusal.asked, refusal.remaining) == (100, 50, 20)
    assert refusal.retry_after == 18_000_000_000
    headroom = admission.requests_headroom(levels=levels, now=0)
    assert headroom is not None
    assert headroom.remaining == 9


@given(
    asked=st.none() | st.integers(1, 10**6),
    room=st.integers(1, 10**5),
    cap=st.none() | st.integers(0, 40),
    minute=st.none() | st.integers(0, 40),
)
def test_the_cap_never_passes_any_bound(asked: int | None, room: int, cap: int | None, minute: int | None) -> None:
    levels = (Level(id="t", limits=Limits(max_output_tokens=cap, output_tokens_per_minute=minute)),)
    result = output_cap(levels=levels, asked=asked, default=1024, room=room)
    assert isinstance(result, Refusal) == (cap == 0 or minute == 0)
    if isinstance(result, Refusal):
        assert (result.limit, result.remaining, result.retry_after) == (0, 0, None)
        assert result.asked >= 1
        return
    assert 1 <= result <= room
    assert cap is None or result <= cap
    assert asked is None or result <= asked
    assert asked is not None or minute is None or result <= minute


@pytest.mark.parametrize(
    "name", ["requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "concurrent_requests"]
)
def test_a_limit_of_zero_admits_nothing_and_promises_nothing(name: str) -> None:
    refusal = Admission().reserve(levels=(level("key:k", **{name: 0}),), input_tokens=1, output_tokens=1, now=0)
    assert isinstance(refusal, Refusal)
    assert (refusal.limit_name, refusal.limit, refusal.retry_after) == (name, 0, None)


@pytest.mark.parametrize("order", [1, -1])
def test_a_limit_of_zero_is_the_tightest(order: int) -> None:
    levels = (level("a", requests_per_minute=5), level("b", requests_per_minute=0))[::order]
    headroom = Admission().requests_headroom(levels=levels, now=0)
    assert headroom is not None
    assert (headroom.limit, headroom.remaining) == (0, 0)


def test_idle_levels_are_forgotten_and_open_ones_kept() -> None:
    admission = Admission()
    plain, limited = (level("a"),), (level("b", requests_per_minute=5),)
    first = admission.reserve(levels=plain, input_tokens=1, output_tokens=1, now=1)
    second = admission.reserve(levels=limited, input_tokens=1, output_tokens=1, now=1)
    assert isinstance(first, Reservation)
    assert isinstance(second, Reservation)
    admission.settle(first, output_tokens=1, now=2)
    assert admission.forget_idle(now=10 * MINUTE, idle=MINUTE) == 1
    admission.settle(second, output_tokens=1, now=2)
    assert admission.forget_idle(now=10 * MINUTE, idle=MINUTE) == 1
