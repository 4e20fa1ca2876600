"""The algebra of sketches (a union is a set's union), what an estimate may be off by, and bytes from elsewhere."""

import contextlib
import hashlib
import random
import zlib
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.active_users.errors import SketchInvalidError
from paddock_core.active_users.sketch import (
    EMPTY,
    HIGHEST_RANK,
    MOST_BYTES,
    SIZE,
    STANDARD_ERROR,
    Sketch,
    decode,
    encode,
    estimate,
    merge,
    user_bits,
)

people = st.lists(st.integers(0, 2**64 - 1), max_size=400)


def sketch_of(users: list[int]) -> bytes:
    sketch = Sketch()
    for bits in users:
        sketch.add(bits)
    return sketch.registers()


def crowd(number: int, *, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.getrandbits(64) for _ in range(number)]


@given(people, people)
def test_a_union_saw_everybody_whom_either_saw(some: list[int], others: list[int]) -> None:
    assert merge(sketch_of(some), sketch_of(others)) == sketch_of(some + others)


@given(people, people)
def test_a_union_is_the_higher_rank_of_each_register(some: list[int], others: list[int]) -> None:
    one, other = sketch_of(some), sketch_of(others)
    assert merge(one, other) == bytes(map(max, one, other))


@given(people, people, people)
def test_the_order_of_unions_is_of_no_matter(one: list[int], two: list[int], three: list[int]) -> None:
    a, b, c = map(sketch_of, (one, two, three))
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(people, people)
def test_who_is_sent_again_is_not_counted_again(some: list[int], others: list[int]) -> None:
    one, other = sketch_of(some), sketch_of(others)
    both = merge(one, other)
    assert (
        merge(both, other) == merge(both, one) == merge(both, both) == merge(both, EMPTY) == merge(EMPTY, both) == both
    )


@given(st.integers(), st.integers())
@settings(max_examples=30)
def test_a_union_of_any_registers(seed: int, other_seed: int) -> None:
    one, other = dense(seed), dense(other_seed)
    assert merge(one, other) == bytes(map(max, one, other))


def dense(seed: int) -> bytes:
    rng = random.Random(seed)
    return bytes(rng.choices(range(HIGHEST_RANK + 1), k=SIZE))


@given(st.lists(people, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_many_gateways_are_one_whoever_comes_first(parts: list[list[int]], rng: random.Random) -> None:
    sketches = [sketch_of(part) for part in parts]
    expected = sketch_of([user for part in parts for user in part])
    rng.shuffle(sketches)
    assert reduce(merge, sketches, EMPTY) == expected


@given(people)
def test_counting_many_at_once_is_counting_each(users: list[int]) -> None:
    sketch = Sketch()
    sketch.add_all(users[:100])
    sketch.add_all(users[100:])
    assert sketch.registers() == sketch_of(users)


@given(people)
def test_what_is_sent_is_what_was_counted(users: list[int]) -> None:
    registers = sketch_of(users)
    assert decode(encode(registers)) == registers


@given(people, people)
def test_more_people_are_never_fewer_registers(some: list[int], more: list[int]) -> None:
    before, after = sketch_of(some), sketch_of(some + more)
    assert all(one <= two for one, two in zip(before, after, strict=True))
    assert estimate(before).users <= estimate(after).users


@pytest.mark.parametrize("number", [0, 1, 2, 3, 10, 50])
def test_a_handful_is_counted_exactly(number: int) -> None:
    # Two of fifty share a register in one of thirteen crowds; these do not.
    found = estimate(sketch_of(crowd(number, seed=7)))
    assert found.users == number
    assert found.low <= number <= found.high


@pytest.mark.parametrize("number", [1_000, 20_000, 60_000, 400_000])
def test_the_error_is_what_is_promised(number: int) -> None:
    """Over 20 fixed crowds: the mean error is no bias, its spread the standard error, and the bounds hold 95 %."""
    rounds = 20
    errors, inside = [], 0
    for seed in range(rounds):
        sketch = Sketch()
        sketch.add_all(crowd(number, seed=seed * 1_000_003 + number))
        found = estimate(sketch.registers())
        errors.append(found.users / number - 1)
        inside += found.low <= number <= found.high
    assert abs(sum(errors) / rounds) < 3 * STANDARD_ERROR / rounds**0.5
    assert (sum(error * error for error in errors) / rounds) ** 0.5 < 1.5 * STANDARD_ERROR
    assert inside >= rounds - 3


def test_the_estimator_is_right_up_to_full_registers() -> None:
    """At billions of users: registers drawn from the distribution that so many users give."""
    rng = random.Random(5)
    for number in (700_000_000, 8_000_000_000):
        each = number / SIZE
        registers = bytes(min(HIGHEST_RANK, max(0, _rank(rng.random(), each))) for _ in range(SIZE))
        assert abs(estimate(registers).users / number - 1) < 3.5 * STANDARD_ERROR


def _rank(chance: float, users: float) -> int:
    """The highest rank of a register that saw this many users: P(rank <= r) = (1 - 2^-r)^users."""
    rank = 0
    while (1 - 2.0**-rank) ** users < chance and rank < HIGHEST_RANK:
        rank += 1
    return rank


def test_full_registers_are_no_error() -> None:
    assert 2**49 < estimate(bytes([HIGHEST_RANK]) * SIZE).users < estimate(bytes([HIGHEST_RANK]) * SIZE).high < 2**51


def test_few_users_are_few_bytes_and_many_are_bounded() -> None:
    assert len(encode(sketch_of(crowd(1, seed=1)))) < 100
    assert len(encode(sketch_of(crowd(100, seed=1)))) < 600
    assert len(encode(sketch_of(crowd(200_000, seed=1)))) < 8 * 1024
    worst = random.Random(1)
    assert len(encode(bytes(worst.randrange(HIGHEST_RANK + 1) for _ in range(SIZE)))) <= MOST_BYTES


def test_a_hash_gives_its_first_64_bits() -> None:
    digest = hashlib.sha256(b"somebody").hexdigest()
    assert user_bits(digest) == int.from_bytes(hashlib.sha256(b"somebody").digest()[:8], "big")


GOOD = encode(sketch_of(crowd(3000, seed=3)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with"),
        (b"\x02" + GOOD[1:], "begins with"),
        (b"\x01\x0c" + GOOD[2:], "begins with"),
        (GOOD[:-1], "cut off"),
        (GOOD[:2], "cut off"),
        (GOOD + b"x", "cut off"),
        (GOOD + bytes(MOST_BYTES), "at most"),
        (GOOD[:2] + zlib.compress(bytes(SIZE - 1)), str(SIZE)),
        (GOOD[:2] + zlib.compress(bytes(SIZE + 1)), str(SIZE)),
        (GOOD[:2] + zlib.compress(bytes(2**24)), str(SIZE)),
        (GOOD[:2] + zlib.compress(bytes(SIZE - 1) + bytes([HIGHEST_RANK + 1])), "rank"),
        (GOOD[:2] + b"not deflated", "damaged"),
    ],
)
def test_what_is_no_sketch_is_refused_and_says_why(data: bytes, says: str) -> None:
    with pytest.raises(SketchInvalidError, match=says):
        decode(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(place: int, difference: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= difference
    with contextlib.suppress(SketchInvalidError):
        assert decode(bytes(data)) == decode(GOOD)  # a bit of deflate's header that means nothing


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_sketch_or_refused(data: bytes) -> None:
    for candidate in (data, GOOD[:2] + data):
        with contextlib.suppress(SketchInvalidError):
            assert len(decode(candidate)) == SIZE
