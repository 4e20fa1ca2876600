"""The work queue: coalescing, one worker a key, delays, back-off."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_operator.ports import Key
from paddock_operator.queue import BACKOFF_MAX_SECONDS, WorkQueue

A, B = Key("x", "a"), Key("x", "b")


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[WorkQueue, Time]:
    clock = Time()
    return WorkQueue(time=clock, random_source=random.Random(1)), clock


async def test_many_wishes_are_one_round() -> None:
    queue, _ = make()
    for _ in range(10):
        queue.add(A)
    assert len(queue) == 1
    assert await queue.take() == A
    assert len(queue) == 0


async def test_a_key_that_is_worked_on_waits_for_its_worker() -> None:
    queue, _ = make()
    queue.add(A)
    assert await queue.take() == A
    queue.add(A)
    queue.add(B)
    assert await queue.take() == B
    queue.done(A)
    assert await queue.take() == A


async def test_the_earliest_wish_wins() -> None:
    queue, clock = make()
    queue.add(A, after_seconds=50)
    queue.add(A, after_seconds=5)
    queue.add(A, after_seconds=20)
    clock.now += 5
    assert await queue.take() == A
    assert queue.oldest_age_seconds() == 0


async def test_failures_back_off_and_a_success_forgets_them() -> None:
    queue, clock = make()
    queue.add(A)
    delays = []
    for _ in range(12):
        assert await queue.take() == A
        delays.append(queue.failed(A))
        clock.now += delays[-1]
    assert 0.75 <= delays[0] <= 1.25
    assert max(delays) <= BACKOFF_MAX_SECONDS * 1.25
    assert delays[-1] >= BACKOFF_MAX_SECONDS * 0.75
    assert await queue.take() == A
    queue.done(A, look_after_seconds=7)
    clock.now += 7
    assert await queue.take() == A
    assert queue.failed(A) <= 1.25


async def test_rounds_that_get_on_begin_their_back_off_anew_and_one_can_be_bounded() -> None:
    queue, clock = make()
    queue.add(A)

    async def failed(of: str, **bound: float) -> float:
        assert await queue.take() == A
        delay = queue.failed(A, of=of, **bound)
        clock.now += delay
        return delay

    assert [await failed("first") for _ in range(8)][-1] >= 2**7 * 0.75
    assert await failed("second") <= 1.25, "the first is done"
    assert [await failed("second", most_seconds=5.0) for _ in range(8)][-1] <= 5.0 * 1.25


async def test_a_sleeping_worker_is_woken_by_an_earlier_key() -> None:
    loop = asyncio.get_running_loop()
    queue = WorkQueue(time=loop.time, random_source=random.Random(1))
    queue.add(A, after_seconds=60)
    sleeper = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(B)
    assert await sleeper == B


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "done", "fail"]), st.integers(0, 4)), max_size=60))
def test_no_key_is_lost_and_none_is_taken_twice(steps: list[tuple[str, int]]) -> None:
    queue, clock = make()
    wanted: set[Key] = set()
    running: set[Key] = set()
    for step, number in steps:
        key = Key("n", str(number))
        if step == "add":
            queue.add(key)
            wanted.add(key)
        elif step == "take":
            taken = queue._pop_due()
            if taken is None:
                assert not wanted - running
            else:
                queue._running.add(taken)
                assert taken not in running
                assert taken in wanted
                running.add(taken)
                wanted.discard(taken)
        elif key in running:
            running.discard(key)
            if step == "done":
                queue.done(key)
            else:
                clock.now += queue.failed(key)
                wanted.add(key)


@pytest.mark.parametrize("after", [0.0, 3.0])
async def test_age_counts_from_when_a_key_was_due(after: float) -> None:
    queue, clock = make()
    queue.add(A, after_seconds=after)
    clock.now += 10
    assert queue.oldest_age_seconds() == 10 - after


async def test_it_is_told_for_how_long_each_key_was_due() -> None:
    clock, told = Time(), list[float]()
    queue = WorkQueue(time=clock, random_source=random.Random(1), waited=told.append)
    queue.add(A)
    queue.add(B, after_seconds=2.0)
    clock.now += 3.0
    assert {await queue.take(), await queue.take()} == {A, B}
    assert told == [3.0, 1.0]


async def test_a_key_is_there_until_it_is_taken() -> None:
    queue, clock = make()
    queue.add(A, after_seconds=5.0)
    assert A in queue
    assert B not in queue
    clock.now += 5.0
    await queue.take()
    assert A not in queue


async def test_what_is_on_its_way_goes_before_what_has_patience() -> None:
    queue, clock = make()
    queue.add(A, patience_seconds=60)
    clock.now += 30
    queue.add(B)
    assert await queue.take() == B
    assert await queue.take() == A


async def test_patience_ends() -> None:
    queue, clock = make()
    queue.add(A, patience_seconds=60)
    clock.now += 61
    queue.add(B)
    assert await queue.take() == A


async def test_a_wish_without_patience_ends_that_of_another() -> None:
    queue, _ = make()
    queue.add(A, patience_seconds=60)
    queue.add(B, patience_seconds=20)
    queue.add(A)
    assert await queue.take() == A


async def test_a_wish_for_later_counts_from_the_end_of_the_round() -> None:
    queue, clock = make()
    queue.add(A)
    assert await queue.take() == A
    queue.add(A, after_seconds=2.0)
    clock.now += 3.0
    assert A in queue
    assert len(queue) == 1
    queue.done(A, look_after_seconds=30.0)
    assert queue.oldest_age_seconds() == 0.0
    clock.now += 2.0
    queue.add(B)
    assert {await queue.take(), await queue.take()} == {A, B}


async def test_a_wish_for_now_does_not_wait_beyond_the_round() -> None:
    queue, _ = make()
    queue.add(A)
    assert await queue.take() == A
    queue.add(A, after_seconds=2.0)
    queue.add(A)
    queue.done(A)
    assert await queue.take() == A


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from([0.0, 0.5, 7.0]), st.sampled_from([0.0, 20.0, 60.0]), st.booleans()
        ),
        max_size=60,
    )
)
def test_nobody_waits_for_what_came_after_the_end_of_its_patience(steps: list[tuple[int, float, float, bool]]) -> None:
    """The age of a key is bounded: by what was due before its patience ended, whatever comes after."""
    queue, clock = make()
    due: dict[Key, float] = {}
    until: dict[Key, float] = {}
    for number, seconds, patience, takes in steps:
        key, at = Key("n", str(number)), clock.now + seconds
        queue.add(key, after_seconds=seconds, patience_seconds=patience)
        due[key], until[key] = min(at, due.get(key, at)), min(at + patience, until.get(key, at + patience))
        clock.now += seconds + 1.0
        if takes and (taken := queue._pop_due()) is not None:
            began = due.pop(taken)
            del until[taken]
            assert began <= clock.now
            assert all(began <= until[other] for other, since in due.items() if since <= clock.now)
    while (taken := queue._pop_due()) is not None:
        began = due.pop(taken)
        assert all(began <= until[other] for other in due)
        clock.now += 10.0
    assert not due
