"""The health gate, and the figures that it is given."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import BenchmarkStatus, HealthGate
from paddock_core.signals import TTFT_BOUNDS_MS, RevisionSignal, percentile_ms
from paddock_operator.benchmarking import failure
from paddock_operator.decide.rollout.gate import Passed, Sides, errors, health_of, judge
from paddock_operator.decide.rollout.types import Health
from paddock_operator.ports import Load

GATE = HealthGate(max_error_percent=5, max_ttft_increase_percent=50, max_throughput_loss_percent=30, min_requests=20)


def answered(*, requests: int = 100, errors: int = 0, ttft: float = 1000.0, speed: float = 40.0) -> Health:
    return Health(requests=requests, errors=errors, ttft_p95_ms=ttft, tokens_per_second=speed)


def tried(*, ttft: int = 1000, speed: int = 40, concurrency: int = 4) -> BenchmarkStatus:
    return BenchmarkStatus(
        concurrency=concurrency,
        requests=8,
        output_tokens=256,
        ttft_p50_ms=ttft,
        ttft_p95_ms=ttft,
        tokens_per_second=speed,
        at="",
    )


def opinion(
    new: Health | None = None,
    former: Health | None = None,
    *,
    trial: BenchmarkStatus | None = None,
    before: BenchmarkStatus | None = None,
    waited: float = 1000.0,
    benchmarked: bool = False,
) -> Passed:
    sides = Sides(new=new, former=former, new_benchmark=trial, former_benchmark=before)
    return judge(GATE, sides, waited=waited, benchmarked=benchmarked).passed


class TestErrors:
    @pytest.mark.parametrize(("failed", "passed"), [(0, Passed.YES), (5, Passed.YES), (6, Passed.NO)])
    def test_more_than_allowed_is_too_many(self, failed: int, passed: Passed) -> None:
        assert opinion(answered(errors=failed)) is passed

    @pytest.mark.parametrize(("failed", "passed"), [(15, Passed.YES), (16, Passed.NO)])
    def test_what_the_former_one_fails_too_is_not_held_against_it(self, failed: int, passed: Passed) -> None:
        assert opinion(answered(errors=failed), answered(errors=10)) is passed

    def test_a_former_one_of_few_answers_excuses_nothing(self) -> None:
        assert opinion(answered(errors=16), answered(requests=4, errors=4)) is Passed.NO

    def test_what_the_former_one_fails_is_told_in_percent(self) -> None:
        former = answered(requests=20, errors=10)
        assert opinion(answered(requests=1000, errors=550), former) is Passed.YES
        assert opinion(answered(requests=1000, errors=551), former) is Passed.NO

    @pytest.mark.parametrize(
        ("requests", "failed", "passed"),
        [
            (20, 2, Passed.NO),
            (19, 9, Passed.YES),
            (19, 10, Passed.NO),
            (10, 5, Passed.YES),
            (9, 5, Passed.NO),
            (5, 5, Passed.NO),
            (4, 4, Passed.YES),
        ],
    )
    def test_of_few_answers_most_must_fail(self, requests: int, failed: int, passed: Passed) -> None:
        assert opinion(answered(requests=requests, errors=failed)) is passed

    def test_few_answers_are_allowed_no_less_than_many(self) -> None:
        gate = HealthGate(max_error_percent=80)
        for failed, passed in ((8, Passed.YES), (9, Passed.NO)):
            assert errors(gate, Sides(new=answered(requests=10, errors=failed), former=None)).passed is passed

    @pytest.mark.parametrize(("before", "passed"), [(2, Passed.NO), (3, Passed.YES)])
    def test_what_few_of_the_former_one_fail_excuses_few(self, before: int, passed: Passed) -> None:
        assert opinion(answered(requests=6, errors=6), answered(requests=5, errors=before)) is passed

    def test_fewer_than_that_of_the_former_one_excuse_nothing(self) -> None:
        assert opinion(answered(requests=5, errors=5), answered(requests=4, errors=4)) is Passed.NO

    def test_a_refusal_by_few_answers_says_so(self) -> None:
        found = errors(GATE, Sides(new=answered(requests=5, errors=5), former=None))
        assert found.why == "100 % of 5 answers failed, where 50 % are allowed"

    @given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 100))
    def test_fewer_errors_are_never_worse(self, requests: int, failed: int, allowed: int) -> None:
        gate = HealthGate(max_error_percent=allowed, min_requests=1)
        failed = min(failed, requests)
        found = [
            errors(gate, Sides(new=Health(requests=requests, errors=number), former=None)).passed
            for number in (failed, max(0, failed - 1))
        ]
        assert found[1] is Passed.YES or found[0] is Passed.NO


class TestSpeed:
    @pytest.mark.parametrize(("ttft", "passed"), [(1500.0, Passed.YES), (1501.0, Passed.NO)])
    def test_the_first_token_may_take_so_much_longer(self, ttft: float, passed: Passed) -> None:
        assert opinion(answered(ttft=ttft), answered()) is passed

    @pytest.mark.parametrize(("speed", "passed"), [(28.0, Passed.YES), (27.9, Passed.NO)])
    def test_so_many_tokens_may_be_lost(self, speed: float, passed: Passed) -> None:
        assert opinion(answered(speed=speed), answered()) is passed

    def test_as_many_answers_as_are_asked_for_are_enough(self) -> None:
        assert opinion(answered(requests=20, speed=1.0), answered(requests=20)) is Passed.NO

    def test_a_refusal_says_what_was_measured(self) -> None:
        found = judge(GATE, Sides(new=answered(speed=1.0), former=answered()), waited=0.0, benchmarked=False)
        assert found.why == "by requests, it gave 1 tokens a second against 40 before"

    def test_a_few_milliseconds_are_noise(self) -> None:
        assert opinion(answered(ttft=60.0), answered(ttft=10.0)) is Passed.YES
        assert opinion(answered(ttft=61.0), answered(ttft=10.0)) is Passed.NO

    def test_it_is_compared_only_where_both_have_answered_enough(self) -> None:
        assert opinion(answered(speed=1.0), answered(requests=19)) is Passed.YES
        assert opinion(answered(requests=19, speed=1.0), answered()) is Passed.YES

    @pytest.mark.parametrize("known", [(True, False), (False, True), (False, False)])
    def test_what_was_not_measured_of_both_is_not_compared(self, known: tuple[bool, bool]) -> None:
        """Answers may all have failed, or none of them may have been read to its end."""
        slow, fast = answered(ttft=9000.0, speed=1.0), answered()
        bare = Health(requests=100)
        assert opinion(slow if known[0] else bare, fast if known[1] else bare) is Passed.YES


class TestTrials:
    def test_a_slower_trial_is_enough_where_nobody_asks(self) -> None:
        assert opinion(trial=tried(ttft=1600), before=tried()) is Passed.NO
        assert opinion(trial=tried(speed=27), before=tried()) is Passed.NO
        assert opinion(trial=tried(ttft=1500, speed=29), before=tried()) is Passed.YES

    def test_a_slower_trial_is_enough_where_requests_are_as_fast(self) -> None:
        assert opinion(answered(), answered(), trial=tried(ttft=1600), before=tried()) is Passed.NO

    def test_one_slow_request_of_a_trial_says_nothing(self) -> None:
        slow = msgspec.structs.replace(tried(), ttft_p95_ms=9000)
        assert opinion(trial=slow, before=tried()) is Passed.YES

    def test_trials_at_another_load_are_not_compared(self) -> None:
        assert opinion(trial=tried(ttft=9000), before=tried(concurrency=8)) is Passed.YES

    def test_a_trial_without_one_to_compare_it_with_says_nothing(self) -> None:
        assert opinion(trial=tried(ttft=9000, speed=1)) is Passed.YES
        assert opinion(before=tried()) is Passed.YES

    @pytest.mark.parametrize(("waited", "passed"), [(299.0, Passed.WAIT), (300.0, Passed.YES)])
    def test_its_outcome_is_awaited_for_a_while(self, waited: float, passed: Passed) -> None:
        assert opinion(waited=waited, benchmarked=True) is passed

    def test_one_that_failed_is_enough_where_the_former_revision_passed_its_own(self) -> None:
        failed = failure("HTTP 500", load=Load(), at=0.0)
        assert opinion(trial=failed, before=tried()) is Passed.NO
        assert opinion(answered(), answered(), trial=failed, before=tried(concurrency=8)) is Passed.NO
        found = judge(
            GATE,
            Sides(new=None, former=None, new_benchmark=failed, former_benchmark=tried()),
            waited=0.0,
            benchmarked=True,
        )
        assert found.why == "its trial failed, which the former revision passed: HTTP 500"

    def test_one_that_failed_says_nothing_where_the_former_revision_did_not_pass_either(self) -> None:
        failed = failure("HTTP 500", load=Load(), at=0.0)
        assert opinion(trial=failed, before=failed) is Passed.YES
        assert opinion(trial=failed, benchmarked=True, waited=0.0) is Passed.YES
        assert opinion(trial=tried(ttft=9000), before=failed) is Passed.YES, "nothing to compare it with"

    def test_nothing_is_awaited_where_nothing_is_tried(self) -> None:
        assert opinion(waited=0.0) is Passed.YES


class TestSignals:
    def test_gateways_add_up(self) -> None:
        buckets = (0,) * 4 + (10,)
        one = RevisionSignal(revision="b", requests=10, errors=1, output_tokens=300, output_ms=6000, ttft_ms=buckets)
        found = health_of([one, one])
        assert (found.requests, found.errors, found.tokens_per_second) == (20, 2, 50.0)
        assert found.ttft_p95_ms == 100 + 0.95 * 100

    def test_what_took_longest_counts_and_places_that_nobody_knows_do_not(self) -> None:
        places = len(TTFT_BOUNDS_MS) + 1
        slow = (*[0] * (places - 1), 10)
        one = RevisionSignal(revision="b", requests=10, errors=0, output_tokens=0, output_ms=0, ttft_ms=slow)
        more = RevisionSignal(
            revision="b", requests=10, errors=0, output_tokens=0, output_ms=0, ttft_ms=(*[0] * places, 90)
        )
        assert health_of([one, more]).ttft_p95_ms == percentile_ms(list(slow), percent=95)

    def test_nothing_was_answered(self) -> None:
        assert health_of([]) == Health()

    @given(st.lists(st.integers(0, 50), min_size=len(TTFT_BOUNDS_MS) + 1, max_size=len(TTFT_BOUNDS_MS) + 1))
    def test_the_percentile_lies_in_the_bucket_of_its_answer(self, buckets: list[int]) -> None:
        found = percentile_ms(buckets, percent=95)
        if not any(buckets):
            assert found is None
            return
        sought = 0.95 * sum(buckets)
        place = next(number for number in range(len(buckets)) if sum(buckets[: number + 1]) >= sought)
        bounds = (0, *TTFT_BOUNDS_MS, 2 * TTFT_BOUNDS_MS[-1])
        assert found is not None
        assert bounds[place] <= found <= bounds[place + 1]
