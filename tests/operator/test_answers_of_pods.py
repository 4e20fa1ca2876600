"""What probes amount to, and when the prober itself is doubted: all of it without a clock or a network."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_operator.decide.answers import (
    FAILURES_TO_DROP,
    LEAST_IN_DOUBT,
    SERVED,
    SLACK_SECONDS,
    UNKNOWN,
    Answers,
    crowd_of,
    dropped,
    heard,
    is_lost,
    pardoned,
    pause_seconds,
)

INTERVAL = 30.0


def after(before: Answers, *probes: tuple[float, str | None]) -> Answers:
    for now, problem in probes:
        before = heard(before, problem, now=now, interval_seconds=INTERVAL)
    return before


@pytest.mark.parametrize(
    ("probes", "lost"),
    [
        ([(0, None), (30, "x")], False),
        ([(0, None), (30, "x"), (60, "x")], False),
        ([(0, None), (30, "x"), (60, "x"), (90, "x")], True),
        ([(0, None), (30, "x"), (31, "x"), (32, "x")], False),  # others were not asked meanwhile
        ([(0, None), (30, "x"), (31, "x"), (32, "x"), (60, "x")], True),
        ([(0, None), (30, "x"), (60, None), (90, "x"), (120, "x")], False),
        ([(0, "x"), (30, "x"), (60, "x"), (90, "x")], False),  # it never counted as answering
    ],
)
def test_one_that_answered_is_lost_by_failures_in_a_row(probes: list[tuple[float, str | None]], lost: bool) -> None:
    assert is_lost(after(UNKNOWN, *probes), interval_seconds=INTERVAL) is lost


def test_an_endpoint_of_another_process_is_lost_as_one_that_answered_us() -> None:
    told = after(SERVED, (0, "x"), (30, "x"))
    assert told.good
    assert not is_lost(told, interval_seconds=INTERVAL)
    assert is_lost(after(told, (60, "x")), interval_seconds=INTERVAL)


@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.sampled_from([None, "x"])), max_size=30), st.booleans())
def test_whoever_answered_stays_until_three_failures_and_is_back_with_one_answer(
    steps: list[tuple[float, str | None]], served: bool
) -> None:
    answers, now, row = (SERVED if served else UNKNOWN), 0.0, 0
    for seconds, problem in steps:
        now += seconds
        was = answers.good
        answers = heard(answers, problem, now=now, interval_seconds=INTERVAL)
        row = 0 if problem is None else row + 1
        assert answers.failures == row
        assert answers.good is (True if problem is None else bool(was))
        assert 0 <= answers.silent_seconds <= max(0, row - 1) * (INTERVAL + SLACK_SECONDS)
        if is_lost(answers, interval_seconds=INTERVAL):
            assert was
            assert row >= FAILURES_TO_DROP
            answers = dropped(answers)


def test_pauses_grow_to_the_interval() -> None:
    waits, answers = [], UNKNOWN
    for number in range(8):
        answers = after(answers, (float(number), "x"))
        waits.append(pause_seconds(answers, interval_seconds=INTERVAL))
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert pause_seconds(replace(answers, failures=10**6), interval_seconds=INTERVAL) == INTERVAL
    assert pause_seconds(after(answers, (9.0, None)), interval_seconds=INTERVAL) == INTERVAL


def test_silence_is_what_probes_span_and_not_what_nobody_asked() -> None:
    silent = after(UNKNOWN, (0, None), (100, "x"))
    assert silent.silent_seconds == 0.0, "one failure has no length"
    assert after(silent, (130, "x"), (180, "x")).silent_seconds == 80.0
    assert after(silent, (100_000, "x")).silent_seconds == INTERVAL + SLACK_SECONDS, "it did not lead meanwhile"
    assert after(silent, (130, "x"), (160, None)).silent_seconds == 0.0
    assert pardoned(after(silent, (130, "x"))).silent_seconds == 0.0


def good(count: int, *, at: float = 100.0) -> list[Answers]:
    return [after(UNKNOWN, (at, None))] * count


def failing(count: int, *, at: float = 100.0) -> list[Answers]:
    return [after(UNKNOWN, (0, None), (at, "x"))] * count


@pytest.mark.parametrize(
    ("all_answers", "doubtful"),
    [
        (failing(3), False),
        (failing(4), True),
        (good(2) + failing(2), False),
        (good(2) + failing(3), True),
        (good(10) + failing(1), False),
        # Whoever has not been asked since then says nothing: those that hang keep many waiting.
        (good(10, at=10.0) + failing(1), True),
        # Whoever was dropped before, or never answered, is none of those that fail now.
        ([dropped(item) for item in failing(10)] + good(3) + failing(1), False),
        ([after(UNKNOWN, (100, "x"))] * 10 + good(3) + failing(1), False),
        ([SERVED] * 10 + failing(1), True),
        ([], False),
    ],
)
def test_most_at_once_is_the_probers_own_fault(all_answers: list[Answers], doubtful: bool) -> None:
    assert crowd_of(all_answers, since=50.0).doubtful is doubtful


@given(st.integers(0, 30), st.integers(0, 30))
def test_never_is_half_or_less_doubted_nor_fewer_than_four(well: int, ill: int) -> None:
    crowd = crowd_of(good(well) + failing(ill), since=50.0)
    assert crowd.doubtful == (ill > well and well + ill >= LEAST_IN_DOUBT)
