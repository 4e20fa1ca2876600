"""Own cost beside listed prices: exact, and a list that cannot be meant is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage.comparison import (
    HOUR_MS,
    PriceListError,
    hardware_cost,
    per_million,
    ratio,
    read_price_list,
)
from paddock_core.usage.money import NANO

LIST = """
currency: USD
models:
  - {name: one, input: "2.50", output: 10.00, source: a page, as_of: 2026-10-01}
  - {name: two, input: 0.15, output: 0.6, source: a page, as_of: 2026-10-01}
"""


def test_a_list_is_read_to_the_last_nano_unit() -> None:
    found = read_price_list(LIST)
    one, two = found.models
    assert (found.currency, one.input_nano, one.output_nano) == ("USD", 2_500_000_000, 10_000_000_000)
    assert (two.input_nano, two.output_nano, two.as_of) == (150_000_000, 600_000_000, "2026-10-01")
    assert one.cost(input_tokens=1_000_000, output_tokens=500_000) == 7_500_000_000


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("USD", "dollars", "currency"),
        ("0.15", "-0.15", "amount"),
        ("0.15", "1e3", "amount"),
        ("0.15", ".nan", "amount"),
        ("name: two", "name: one", "twice"),
        ("name: two, ", "", "name"),
        ("input:", "inputs:", "input"),
        (", source: a page", "", "source"),
        ("models:", "models: [", "parsing"),
    ],
)
def test_another_list_is_refused_with_its_fault(old: str, new: str, why: str) -> None:
    with pytest.raises(PriceListError, match=why):
        read_price_list(LIST.replace(old, new))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(PriceListError):
        assert read_price_list(text).models


def test_hardware_costs_what_its_hours_cost() -> None:
    cost = hardware_cost(gpu_ms=2 * HOUR_MS, gpu_hour_nano=3 * NANO, cpu_milli_ms=500 * HOUR_MS, cpu_hour_nano=NANO)
    assert cost == 6 * NANO + NANO // 2


@given(gpu_ms=st.integers(0, 10**12), price=st.integers(0, 10**13))
def test_costs_are_rounded_to_the_nearest_and_never_beyond(gpu_ms: int, price: int) -> None:
    cost = hardware_cost(gpu_ms=gpu_ms, gpu_hour_nano=price, cpu_milli_ms=0, cpu_hour_nano=0)
    assert abs(2 * cost * HOUR_MS - 2 * gpu_ms * price) <= HOUR_MS


@given(nano=st.integers(0, 10**15), tokens=st.integers(1, 10**12))
def test_a_price_for_a_million_gives_the_cost_back(nano: int, tokens: int) -> None:
    price = per_million(nano=nano, tokens=tokens)
    assert price is not None
    assert abs(price * tokens - nano * 1_000_000) <= tokens


def test_nothing_to_divide_by_is_no_price() -> None:
    assert per_million(nano=5, tokens=0) is None
    assert ratio(own_nano=5, listed_nano=0) is None
    assert ratio(own_nano=1, listed_nano=2) == 0.5
