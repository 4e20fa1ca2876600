"""How many copies should run: each rule, and what holds whatever is seen."""

import math

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import ModelSpec, ScalingSpec, ScalingStatus, Spec
from paddock_core.signals import TTFT_BOUNDS_MS, WINDOW_SECONDS, percentile_ms
from paddock_operator.decide.scaling import CACHE_SECONDS, SAVED_SECONDS, Look, Verdict, hold_seconds, judge
from paddock_operator.decide.scaling_advice import (
    TOLERANCE,
    Answering,
    Demand,
    by_cache,
    by_latency,
    settles_in,
    target_of,
)
from paddock_operator.times import format_time

T0 = 1_800_000_000.0
LONG_AGO = T0 - 100_000
TEN = ScalingSpec(min_replicas=1, max_replicas=10, in_flight_per_replica=10)
TO_ZERO = ScalingSpec(min_replicas=0, max_replicas=10, in_flight_per_replica=10, idle_seconds=600)


def was(copies: int, **memory: object) -> ScalingStatus:
    return msgspec.structs.replace(
        ScalingStatus(desired_replicas=copies, reason="before", scaled_at="2027-01-01T00:00:00Z"), **memory
    )


def copies(count: int, *, since: float = LONG_AGO, kv_use: float | None = None) -> tuple[Answering, ...]:
    return (Answering(since=since, kv_use=kv_use),) * count


def asked(load: int, *, held: int = 0, **more: object) -> Demand:
    return Demand(in_flight=load, held=held, **more)  # type: ignore[arg-type]


def slow(milliseconds: int, answers: int = 100) -> tuple[int, ...]:
    """Answers that all lie in the bucket that ends there."""
    return (*(answers if bound == milliseconds else 0 for bound in TTFT_BOUNDS_MS), 0)


def look(
    demand: Demand | None,
    *,
    scaling: ScalingSpec | None = TEN,
    before: ScalingStatus | None = None,
    answering: tuple[Answering, ...] | None = None,
    now: float = T0,
    replicas: int = 1,
    gpus: int = 0,
) -> Verdict:
    there = copies(before.desired_replicas if before else replicas) if answering is None else answering
    return judge(
        Look(
            now=now,
            scaling=scaling,
            replicas=replicas,
            before=before,
            demand=demand,
            answering=there,
            max_concurrency=20,
            gpus_per_copy=gpus,
        )
    )


def after(verdict: Verdict) -> ScalingStatus:
    """What the next round reads, as the API server keeps it."""
    assert verdict.status is not None
    return msgspec.json.decode(msgspec.json.encode(verdict.status), type=ScalingStatus)


def test_without_scaling_the_replicas_count() -> None:
    verdict = look(asked(1000), scaling=None, before=was(7), replicas=3)
    assert verdict == Verdict(desired=3)


def test_it_begins_with_the_replicas_within_bounds() -> None:
    assert look(None, replicas=3).desired == 3
    assert look(None, replicas=50).desired == 10
    assert look(None, replicas=0).desired == 1
    assert look(None, replicas=0, scaling=TO_ZERO).desired == 0


def test_later_the_replicas_say_nothing() -> None:
    assert look(asked(30), before=was(3), replicas=9).desired == 3


def test_more_requests_are_answered_by_more_copies_at_once() -> None:
    verdict = look(asked(30, held=5), before=was(2))
    assert verdict.desired == 4
    assert "30 requests in flight and 5 held, 10 for a copy" in after(verdict).reason
    assert after(verdict).scaled_at == "2027-01-15T08:00:00Z"


def test_within_the_tolerance_nothing_moves() -> None:
    assert look(asked(33), before=was(3)).desired == 3
    assert look(asked(34), before=was(3)).desired == 4
    calm = look(asked(27), before=was(3))
    assert (calm.desired, after(calm).below_since) == (3, "")
    assert after(look(asked(26), before=was(4))).below_most == 3


def test_never_above_the_most() -> None:
    assert look(asked(5000), before=was(9)).desired == 10


def test_changed_bounds_hold_at_once() -> None:
    assert look(None, before=was(10), scaling=ScalingSpec(max_replicas=4)).desired == 4
    assert look(None, before=was(1), scaling=ScalingSpec(min_replicas=3, max_replicas=4)).desired == 3
    assert look(None, before=was(0), scaling=ScalingSpec(min_replicas=1, max_replicas=4)).desired == 1


def test_copies_that_still_load_brake_the_rest() -> None:
    wide = ScalingSpec(max_replicas=60, in_flight_per_replica=1)
    assert look(asked(60), scaling=wide, before=was(1), answering=copies(1)).desired == 5
    assert look(asked(60), scaling=wide, before=was(5), answering=copies(1)).desired == 5
    assert look(asked(60), scaling=wide, before=was(10), answering=copies(10)).desired == 20


def test_the_plan_says_what_a_copy_bears_where_the_specification_does_not() -> None:
    assert target_of(in_flight_per_replica=None, max_concurrency=20) == 16
    assert target_of(in_flight_per_replica=None, max_concurrency=1) == 1
    assert target_of(in_flight_per_replica=7, max_concurrency=20) == 7
    assert look(asked(17), scaling=ScalingSpec(max_replicas=5), before=was(1)).desired == 1
    assert look(asked(18), scaling=ScalingSpec(max_replicas=5), before=was(1)).desired == 2


def test_fewer_only_after_the_whole_delay_and_then_the_most_that_was_wanted() -> None:
    first = look(asked(10), before=was(5))
    assert (first.desired, first.look_after_seconds) == (5, 300.0)
    more = look(asked(30), before=after(first), now=T0 + 100)
    less = look(asked(1), before=after(more), now=T0 + 200)
    assert less.desired == 5
    assert less.look_after_seconds == 100.0
    assert look(asked(1), before=after(less), now=T0 + 299).desired == 5
    last = look(asked(1), before=after(less), now=T0 + 300)
    assert last.desired == 3
    assert (after(last).below_since, after(last).below_most) == ("", 0)


def test_one_moment_of_load_starts_the_delay_again() -> None:
    first = look(asked(10), before=was(5))
    spike = look(asked(50), before=after(first), now=T0 + 290)
    assert after(spike).below_since == ""
    again = look(asked(10), before=after(spike), now=T0 + 300)
    assert (again.desired, again.look_after_seconds) == (5, 300.0)


def test_the_delay_outlives_the_operator() -> None:
    first = look(asked(10), before=was(5))
    assert look(asked(10), before=after(first), now=T0 + 301).desired == 1


def test_unknown_demand_takes_nothing_away() -> None:
    first = look(asked(0), before=was(5))
    blind = look(None, before=after(first), now=T0 + 4000)
    assert blind.desired == 5
    assert look(None, scaling=TO_ZERO, before=was(1, idle_since="2027-01-01T00:00:00Z")).desired == 1
    assert look(None, scaling=TO_ZERO, before=was(0), answering=()).desired == 0


def test_a_silent_gateway_may_add_copies_and_takes_none_away() -> None:
    first = look(asked(10), before=was(5))
    partly = look(asked(10, complete=False), before=after(first), now=T0 + 4000)
    assert (partly.desired, after(partly).below_since) == (5, after(first).below_since)
    assert look(asked(80, complete=False), before=was(5)).desired == 8
    quiet = was(1, idle_since="2027-01-01T00:00:00Z")
    kept = look(asked(0, complete=False), scaling=TO_ZERO, before=quiet)
    assert (kept.desired, after(kept).idle_since) == (1, quiet.idle_since)
    busy = look(asked(1, complete=False), scaling=TO_ZERO, before=quiet)
    assert after(busy).idle_since == ""
    assert look(asked(0, held=1, complete=False), scaling=TO_ZERO, before=was(0), answering=()).desired == 1


def test_to_zero_when_nobody_has_asked_for_long_enough() -> None:
    first = look(asked(0), scaling=TO_ZERO, before=was(2))
    assert (first.desired, first.look_after_seconds) == (2, 300.0)
    assert look(asked(0), scaling=TO_ZERO, before=after(first), now=T0 + 299).desired == 2
    fewer = look(asked(0), scaling=TO_ZERO, before=after(first), now=T0 + 300)
    assert fewer.desired == 1
    almost = look(asked(0), scaling=TO_ZERO, before=after(fewer), now=T0 + 599)
    assert (almost.desired, almost.look_after_seconds) == (1, 1.0)
    over = look(asked(0), scaling=TO_ZERO, before=after(almost), now=T0 + 600)
    assert over.desired == 0
    assert after(over).reason == "nobody has asked for 600 s"
    assert after(over).idle_since == after(first).idle_since, "for people, as long as it stays so"
    woken = look(asked(0, held=1), scaling=TO_ZERO, before=after(over), answering=(), now=T0 + 700)
    assert after(woken).idle_since == ""


def test_to_zero_only_where_the_specification_allows_it() -> None:
    verdict = look(asked(0), before=was(1, idle_since="2027-01-01T00:00:00Z"))
    assert verdict.desired == 1


def test_a_request_that_came_and_went_between_two_looks_counts() -> None:
    first = look(asked(0), scaling=TO_ZERO, before=was(1))
    later = look(asked(0, idle_seconds=100), scaling=TO_ZERO, before=after(first), now=T0 + 600)
    assert (later.desired, later.look_after_seconds) == (1, 500.0)


def test_rounding_does_not_write_the_status() -> None:
    first = look(asked(0, idle_seconds=50), scaling=TO_ZERO, before=was(1))
    second = look(asked(0, idle_seconds=51), scaling=TO_ZERO, before=after(first), now=T0 + 52.4)
    assert after(second) == after(first)


def test_what_was_just_started_is_not_idle() -> None:
    old = was(1, idle_since="2027-01-01T00:00:00Z")
    assert look(asked(0), scaling=TO_ZERO, before=old, answering=()).desired == 1
    young = look(asked(0), scaling=TO_ZERO, before=old, answering=copies(1, since=T0 - 10))
    assert (young.desired, young.look_after_seconds) == (1, 590.0)
    assert look(asked(0), scaling=TO_ZERO, before=old, answering=copies(1, since=T0 - 600)).desired == 0


def test_what_wakes_it_is_met_by_as_many_copies_as_it_asks_for() -> None:
    """No copy is there for which a little more than its share would be tolerable."""
    woken = look(asked(0, held=11), scaling=TO_ZERO, before=was(0), answering=())
    assert woken.desired == 2


def test_a_request_that_waits_wakes_at_once() -> None:
    assert look(asked(0), scaling=TO_ZERO, before=was(0), answering=()).desired == 0
    assert look(asked(0, held=1), scaling=TO_ZERO, before=was(0), answering=()).desired == 1
    assert look(asked(0, held=35), scaling=TO_ZERO, before=was(0), answering=()).desired == 4
    assert look(asked(0, held=3500), scaling=TO_ZERO, before=was(0), answering=()).desired == 4


def test_the_cache_adds_copies() -> None:
    by_kv = ScalingSpec(max_replicas=10, in_flight_per_replica=10, kv_use_percent=50)
    full = look(asked(1), scaling=by_kv, before=was(2), answering=copies(2, kv_use=0.95))
    assert full.desired == 4
    assert "95 percent of the key-value cache is used, 50 are allowed" in after(full).reason
    assert full.look_after_seconds == CACHE_SECONDS
    assert look(asked(1), scaling=by_kv, before=was(2), answering=copies(2, kv_use=0.54)).desired == 2
    assert look(None, scaling=by_kv, before=was(2), answering=()).look_after_seconds is None, "there is no cache yet"


def test_a_cache_that_is_not_known_moves_nothing() -> None:
    by_kv = ScalingSpec(max_replicas=10, in_flight_per_replica=10, kv_use_percent=50, scale_down_delay_seconds=0)
    assert look(asked(1), scaling=by_kv, before=was(3)).desired == 3
    some = (*copies(1, kv_use=0.9), *copies(2))
    assert by_cache(some, percent=50, current=3).copies == 3
    none = (*copies(1, kv_use=0.0), *copies(2))
    assert by_cache(none, percent=50, current=3).copies == 2


def test_slow_first_tokens_add_copies_at_most_twice_as_many() -> None:
    fast = ScalingSpec(max_replicas=20, in_flight_per_replica=100, time_to_first_token_ms=400)
    late = look(asked(9, ttft_ms=slow(800)), scaling=fast, before=was(2))
    assert late.desired == 4
    assert "the time to the first token is 780 ms" in after(late).reason
    assert look(asked(9, ttft_ms=slow(25_600)), scaling=fast, before=was(6)).desired == 12
    assert look(asked(9, ttft_ms=slow(400)), scaling=fast, before=was(2)).desired == 2


def test_a_few_slow_answers_prove_nothing() -> None:
    fast = ScalingSpec(max_replicas=20, in_flight_per_replica=100, time_to_first_token_ms=400)
    assert look(asked(9, ttft_ms=slow(25_600, answers=9)), scaling=fast, before=was(2)).desired == 2


def test_answers_from_before_the_newest_copy_are_not_held_against_it() -> None:
    fast = ScalingSpec(max_replicas=20, in_flight_per_replica=100, time_to_first_token_ms=400)
    young = (*copies(2), *copies(2, since=T0 - 20))
    settling = look(asked(9, ttft_ms=slow(25_600)), scaling=fast, before=was(4), answering=young)
    assert (settling.desired, settling.look_after_seconds) == (4, WINDOW_SECONDS - 20)
    settled = look(asked(9, ttft_ms=slow(25_600)), scaling=fast, before=was(4), answering=young, now=T0 + 41)
    assert settled.desired == 8


def test_what_was_saved_is_counted_at_changes_and_now_and_then() -> None:
    zero = was(0, saved_until="2027-01-15T08:00:00Z", saved_gpu_seconds=5)
    quiet = look(asked(0), scaling=TO_ZERO, before=zero, answering=(), replicas=2, gpus=8, now=T0 + 599)
    assert after(quiet) == zero
    counted = look(asked(0), scaling=TO_ZERO, before=zero, answering=(), replicas=2, gpus=8, now=T0 + SAVED_SECONDS)
    assert after(counted).saved_gpu_seconds == 5 + 2 * 8 * 600
    woken = look(
        asked(0, held=1), scaling=TO_ZERO, before=after(counted), answering=(), replicas=2, gpus=8, now=T0 + 700
    )
    assert (woken.desired, after(woken).saved_gpu_seconds) == (1, 5 + 2 * 8 * 700)
    full = was(2, saved_until="2027-01-15T08:00:00Z", saved_gpu_seconds=5)
    assert after(look(asked(20), before=full, replicas=2, gpus=8, now=T0 + 9000)).saved_until == full.saved_until
    more = look(asked(90), scaling=TO_ZERO, before=was(3), replicas=2, gpus=8)
    assert after(more).saved_gpu_seconds == 0


def test_the_percentile_lies_within_its_bucket() -> None:
    assert percentile_ms((), percent=95) is None
    assert percentile_ms((0,) * 13, percent=95) is None
    assert percentile_ms(slow(10, answers=100), percent=50) == 5
    assert percentile_ms(slow(800), percent=100) == 800
    assert percentile_ms((*(0,) * 12, 7), percent=50) == 1.5 * TTFT_BOUNDS_MS[-1]
    assert percentile_ms((50, 0, 0, 0, 0, 50, *(0,) * 7), percent=95) == 380


SPECS = st.builds(
    ScalingSpec,
    min_replicas=st.integers(0, 4),
    max_replicas=st.integers(4, 20),
    in_flight_per_replica=st.none() | st.integers(1, 30),
    kv_use_percent=st.none() | st.integers(1, 100),
    time_to_first_token_ms=st.none() | st.integers(1, 2000),
    scale_down_delay_seconds=st.integers(0, 600),
    idle_seconds=st.integers(1, 900),
)
DEMANDS = st.builds(
    Demand,
    in_flight=st.integers(0, 300),
    held=st.integers(0, 50),
    idle_seconds=st.none() | st.integers(0, 5000),
    ttft_ms=st.lists(st.integers(0, 40), min_size=13, max_size=13).map(tuple),
    complete=st.booleans(),
)
COPIES = st.builds(Answering, since=st.floats(T0 - 9000, T0), kv_use=st.none() | st.floats(0, 1))
ROUNDS = st.lists(
    st.tuples(st.floats(0, 400), st.none() | DEMANDS, st.lists(COPIES, max_size=20).map(tuple)), min_size=1, max_size=25
)


@given(spec=SPECS, rounds=ROUNDS, replicas=st.integers(0, 30))
def test_whatever_is_seen_the_bounds_hold(
    spec: ScalingSpec, rounds: list[tuple[float, Demand | None, tuple[Answering, ...]]], replicas: int
) -> None:
    now, before = T0, None
    for seconds, demand, answering in rounds:
        now += seconds
        verdict = look(demand, scaling=spec, before=before, answering=answering, now=now, replicas=replicas, gpus=8)
        assert spec.min_replicas <= verdict.desired <= spec.max_replicas
        if before is not None:
            fewer = verdict.desired < before.desired_replicas
            assert not (fewer and (demand is None or not demand.complete)), "what is unknown takes no copy away"
            assert not (verdict.desired == 0 != before.desired_replicas and demand is not None and demand.load)
            assert after(verdict).saved_gpu_seconds >= before.saved_gpu_seconds
            assert fewer <= (before.below_since != "" or spec.scale_down_delay_seconds == 0 or verdict.desired == 0)
        again = look(
            demand, scaling=spec, before=after(verdict), answering=answering, now=now, replicas=replicas, gpus=8
        )
        if verdict.desired >= (before.desired_replicas if before else 0) and spec.scale_down_delay_seconds:
            assert again.desired >= verdict.desired, "a second look at the same takes nothing back"
        before = after(verdict)


@given(
    spec=SPECS,
    demand=DEMANDS,
    more=st.integers(1, 100),
    answering=st.lists(COPIES, max_size=12).map(tuple),
    current=st.integers(0, 20),
    since=st.none() | st.integers(0, 900),
)
def test_more_load_never_asks_for_fewer_copies(
    spec: ScalingSpec,
    demand: Demand,
    more: int,
    answering: tuple[Answering, ...],
    current: int,
    since: int | None,
) -> None:
    quiet = look(asked(0), scaling=spec, before=was(max(current, 1)), now=T0 - since) if since is not None else None
    before = after(quiet) if quiet else was(current)
    busier = msgspec.json.decode(msgspec.json.encode(demand), type=Demand)
    busier = Demand(
        in_flight=busier.in_flight + more,
        held=busier.held,
        idle_seconds=busier.idle_seconds,
        ttft_ms=busier.ttft_ms,
        complete=busier.complete,
    )
    lesser = look(demand, scaling=spec, before=before, answering=answering)
    greater = look(busier, scaling=spec, before=before, answering=answering)
    assert greater.desired >= lesser.desired


@settings(max_examples=60)
@example(loads=[196], target=13, start=3, step=5)
@given(
    loads=st.lists(st.integers(0, 200), min_size=1, max_size=12),
    target=st.integers(1, 30),
    start=st.integers(1, 20),
    step=st.integers(5, 20),
)
def test_noise_does_not_make_it_flap(loads: list[int], target: int, start: int, step: int) -> None:
    """Whatever repeats within the delay: once it has settled, the number stays."""
    spec = ScalingSpec(max_replicas=20, in_flight_per_replica=target, scale_down_delay_seconds=300)
    before, seen = was(start), []
    for index in range(1000 // step + 30 * len(loads)):
        demand = asked(loads[index % len(loads)])
        verdict = look(demand, scaling=spec, before=before, now=T0 + index * step)
        before = after(verdict)
        seen.append(verdict.desired)
    settled = seen[700 // step + 2 * len(loads) :]
    assert len(set(settled)) == 1
    exact = max(loads) / target
    tolerated = 1 + TOLERANCE + 1e-9
    assert settled[-1] >= min(20, max(1, exact / tolerated)), "what is asked most is borne, but for the tolerance"
    assert settled[-1] <= min(20, max(1, math.ceil(exact), exact / (1 - TOLERANCE - 1e-9))), "and no more than that"


@pytest.mark.parametrize("gap", [1, 60, 3600])
def test_a_restart_of_the_operator_changes_nothing(gap: int) -> None:
    """It starts with no signals; the memory is the status alone."""
    first = after(look(asked(10), before=was(5)))
    blind = after(look(None, before=first, now=T0 + gap))
    assert (blind.desired_replicas, blind.below_since) == (5, first.below_since)
    seen = look(asked(10), before=blind, now=T0 + 299 + gap)
    assert seen.desired == 1


@pytest.mark.parametrize(("scaling", "seconds"), [(None, 0), (TEN, 0), (TO_ZERO, 120)])
def test_a_request_waits_only_where_there_may_be_no_copy_by_intent(scaling: ScalingSpec | None, seconds: int) -> None:
    assert hold_seconds(Spec(model=ModelSpec(id="m"), scaling=scaling)) == seconds


def test_copies_that_all_fell_silent_stay_as_many_as_are_asked_for() -> None:
    found = after(look(asked(60), before=was(6), answering=()))
    assert (found.desired_replicas, found.below_since) == (6, "")


def test_what_goes_leaves_the_fewest_that_are_allowed_at_once() -> None:
    long = was(5, below_since=format_time(LONG_AGO))
    assert look(asked(0), scaling=msgspec.structs.replace(TEN, min_replicas=3), before=long).desired == 3


def test_what_was_learned_of_fewer_copies_is_forgotten_once_as_many_are_needed() -> None:
    known = was(2, below_since=format_time(LONG_AGO), below_most=1)
    found = after(look(asked(20), before=known))
    assert (found.desired_replicas, found.below_since, found.below_most) == (2, "", 0)


def test_the_begin_is_told_and_counted_from() -> None:
    found = after(look(None, replicas=3))
    now = format_time(T0)
    assert (found.reason, found.scaled_at, found.saved_until) == ("to begin with", now, now)


def test_where_a_gateway_is_silent_no_time_without_requests_begins() -> None:
    assert after(look(asked(0, complete=False), scaling=TO_ZERO, before=was(1))).idle_since == ""


def test_one_copy_that_had_its_time_is_enough_to_go_to_zero() -> None:
    idle = was(2, idle_since=format_time(LONG_AGO))
    answering = (*copies(1), *copies(1, since=T0 - 1.0))
    assert look(asked(0), scaling=TO_ZERO, before=idle, answering=answering).desired == 0


def test_what_was_never_counted_counts_from_when_it_was_scaled() -> None:
    before = was(1, scaled_at=format_time(T0 - 1000))
    counted = look(asked(10), before=before, replicas=3, gpus=2)
    assert after(counted).saved_gpu_seconds == 2 * 2 * 1000


def test_a_clock_that_was_set_back_takes_nothing_of_what_was_saved_away() -> None:
    before = was(1, saved_until=format_time(T0 + 500), saved_gpu_seconds=5)
    counted = look(asked(20), before=before, replicas=3, gpus=2)
    assert (counted.desired, after(counted).saved_gpu_seconds) == (2, 5)


def test_without_gpus_nothing_saved_is_written() -> None:
    known = was(1, saved_until=format_time(LONG_AGO))
    assert look(asked(10), before=known, replicas=4, gpus=0).status == known


def test_less_than_a_second_is_not_waited_for() -> None:
    known = was(2, below_since=format_time(T0 - 300.0))
    assert look(asked(0), before=known, now=T0 - 0.4).look_after_seconds == 1.0


def test_a_part_of_a_request_is_none() -> None:
    assert target_of(in_flight_per_replica=None, max_concurrency=9) == 7


def test_an_unknown_cache_counts_as_full_as_allowed_where_the_others_are_below_on_average() -> None:
    known = (*copies(3, kv_use=0.3), *copies(1))
    assert by_cache(known, percent=80, current=4).copies == 3


@pytest.mark.parametrize(
    ("milliseconds", "answers", "wanted"), [(25_600, 100, 4), (25_600, 10, 4), (25_600, 9, 0), (800, 100, 5)]
)
def test_slow_answers_ask_for_twice_as_many_at_most_and_tolerable_ones_for_what_there_is(
    milliseconds: int, answers: int, wanted: int
) -> None:
    """Of the bucket that ends at 800 ms the 95th percentile is 780 ms."""
    demand = asked(1, ttft_ms=slow(milliseconds, answers))
    assert by_latency(demand, copies(2), limit_ms=750, now=T0, current=5).copies == wanted


def test_where_no_copy_answers_there_is_nothing_to_wait_for_nor_to_judge() -> None:
    assert settles_in((), now=T0) == 0.0
    assert settles_in(copies(1), now=T0) == 0.0
    assert by_latency(asked(1, ttft_ms=slow(25_600)), (), limit_ms=750, now=T0, current=3).copies == 0


def test_the_use_of_caches_is_told_in_percent() -> None:
    advice = by_cache(copies(2, kv_use=0.95), percent=50, current=2)
    assert advice.reason == "95 percent of the key-value cache is used, 50 are allowed"


def test_times_say_nothing_until_the_last_moment_of_the_window_before_a_copy_came() -> None:
    late = asked(1, ttft_ms=slow(TTFT_BOUNDS_MS[5]))
    for left, wanted in ((0.5, 3), (0.0, 6)):
        there = copies(3, since=T0 - WINDOW_SECONDS + left)
        assert by_latency(late, there, limit_ms=1, now=T0, current=3).copies == wanted


def test_where_no_copy_answers_times_ask_for_none() -> None:
    as_allowed = asked(1, ttft_ms=slow(TTFT_BOUNDS_MS[5]))
    limit = round(percentile_ms(as_allowed.ttft_ms, percent=95) or 0)
    assert by_latency(as_allowed, copies(3), limit_ms=limit, now=T0, current=3).copies == 3
    assert by_latency(as_allowed, (), limit_ms=limit, now=T0, current=3).copies == 0
