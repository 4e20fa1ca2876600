"""Money is whole nano-units; the price of the moment of admission decides; no token is billed twice."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage.buckets import NAMES, Buckets, buckets_of
from paddock_core.usage.money import (
    MOST_PRICE,
    MOST_TOKENS,
    AmountError,
    format_amount,
    parse_amount,
    tokens_cost,
)
from paddock_core.usage.prices import Price, PriceBook, cost_of, costs_of
from paddock_core.usage.row import LedgerRow

_ROW = LedgerRow(
    usage_id="0190a0a0-0000-7000-8000-000000000001",
    tenant="acme",
    key_id="k",
    owner_tenant="globex",
    deployment="ns/chat",
    model="m",
    dialect="openai",
    operation="chat",
    stream=True,
    status="ok",
    finish_reason="stop",
    t_admit=100.0,
    t_first_token=None,
    t_end=101.0,
    reserved_tokens=10,
    input_tokens=0,
    output_tokens_engine=None,
    output_tokens_sent=0,
    output_tokens=0,
    billed_from="engine",
    usage_source="exact",
    acceptance_id="acc",
    end_user_hash=None,
    gateway_instance="gw",
    journal_seq=1,
)
tokens = st.integers(0, MOST_TOKENS // 4)
amounts = st.integers(0, MOST_PRICE)


@st.composite
def rows(draw: st.DrawFn) -> LedgerRow:
    fresh, read, write, text, reasoning = (draw(tokens) for _ in range(5))
    return replace(
        _ROW,
        input_tokens=fresh + read + write,
        cache_read_tokens=read,
        cache_write_tokens=write,
        output_tokens=text + reasoning,
        reasoning_tokens=reasoning,
    )


price_lists = st.builds(Buckets, **dict.fromkeys(NAMES, amounts))


def price(at: float, *, per_token: int = 1, **scope: str) -> Price:
    named = {"model": "m", **scope} if "deployment" not in scope else scope
    prices = None if per_token < 0 else Buckets(**dict.fromkeys(NAMES, per_token * 1_000_000))
    return Price(currency="USD", effective_from=at, prices=prices, **named)


def paid(book: PriceBook, at: float, *, tenant: str = "acme") -> int | None:
    tariff = book.at(tenant=tenant, deployment="ns/chat", model="m", moment=at)
    return None if tariff is None else tariff.prices.output_text // 1_000_000


@given(st.integers(0, 10**21 - 1))
def test_an_amount_is_written_and_read_without_loss(nano: int) -> None:
    assert parse_amount(format_amount(nano)) == nano
    assert format_amount(-nano - 1) == "-" + format_amount(nano + 1)


@pytest.mark.parametrize("text", ["", "-1", "1e3", ".5", "1.", "0.0000000001", "1,5", "1" * 13, "١"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(AmountError, match="is no amount"):
        parse_amount(text)


@given(tokens, amounts)
def test_a_cost_is_the_nearest_nano_unit_and_halves_go_up(count: int, per_million: int) -> None:
    exact, cost = Fraction(count * per_million, 1_000_000), tokens_cost(tokens=count, price=per_million)
    assert -Fraction(1, 2) < cost - exact <= Fraction(1, 2)
    assert tokens_cost(tokens=-count, price=per_million) == -cost


@given(rows())
def test_every_token_is_in_exactly_one_bucket(row: LedgerRow) -> None:
    found = buckets_of(row)
    assert all(getattr(found, name) >= 0 for name in NAMES)
    assert sum(getattr(found, name) for name in NAMES) == row.input_tokens + row.output_tokens


@given(rows(), price_lists)
def test_a_row_costs_the_sum_of_its_buckets_and_fits_the_database(row: LedgerRow, prices: Buckets) -> None:
    costs = costs_of(row, prices)
    assert cost_of(row, prices) == sum(getattr(costs, name) for name in NAMES)
    plain = replace(row, cache_read_tokens=0, cache_write_tokens=0, reasoning_tokens=0)
    assert cost_of(plain, prices) == sum(getattr(costs_of(plain, prices), name) for name in NAMES)


def test_the_dearest_possible_row_fits_into_63_bits() -> None:
    most = replace(_ROW, input_tokens=MOST_TOKENS, output_tokens=MOST_TOKENS)
    assert cost_of(most, Buckets(**dict.fromkeys(NAMES, MOST_PRICE))) < 2**63


def test_a_price_holds_from_its_first_moment_on() -> None:
    book = PriceBook([price(100.0, per_token=1), price(200.0, per_token=2)])
    assert [paid(book, at) for at in (99.9, 100.0, 199.9, 200.0, 1e9)] == [None, 1, 1, 2, 2]


def test_the_closest_scope_decides_until_it_is_ended() -> None:
    book = PriceBook(
        [
            price(0.0, per_token=1),
            price(10.0, per_token=2, deployment="ns/chat"),
            price(20.0, per_token=3, tenant="acme"),
            price(30.0, per_token=4, tenant="acme", deployment="ns/chat"),
            price(40.0, per_token=-1, tenant="acme", deployment="ns/chat"),
            price(50.0, per_token=-1, tenant="acme"),
            price(60.0, per_token=-1, deployment="ns/chat"),
            price(70.0, per_token=-1),
        ]
    )
    assert [paid(book, at) for at in (0, 10, 20, 30, 40, 50, 60, 70)] == [1, 2, 3, 4, 3, 2, 1, None]
    assert [paid(book, at, tenant="globex") for at in (0, 10, 30, 60)] == [1, 2, 2, 1]


def test_of_two_prices_for_the_same_moment_the_later_entry_holds() -> None:
    assert paid(PriceBook([price(5.0, per_token=1), price(5.0, per_token=7)]), 5.0) == 7


_moments = st.integers(0, 20).map(float)
_entries = st.lists(
    st.builds(
        lambda at, per_token, scope: price(at, per_token=per_token, **scope),
        _moments,
        st.integers(-1, 5),
        st.sampled_from(
            [{}, {"tenant": "acme"}, {"deployment": "ns/chat"}, {"tenant": "acme", "deployment": "ns/chat"}]
        ),
    ),
    max_size=12,
)


@given(_entries, _moments)
def test_the_book_agrees_with_a_search_through_all_entries(entries: list[Price], moment: float) -> None:
    expected = None
    for scope in (("acme", "ns/chat", ""), ("acme", "", "m"), ("", "ns/chat", ""), ("", "", "m")):
        fitting = [entry for entry in entries if entry.scope == scope and entry.effective_from <= moment]
        if not fitting:
            continue
        latest = max(entry.effective_from for entry in fitting)
        found = [entry for entry in fitting if entry.effective_from == latest][-1]
        if found.prices is not None:
            expected = found.id
            break
    tariff = PriceBook(entries).at(tenant="acme", deployment="ns/chat", model="m", moment=moment)
    assert (tariff.id if tariff else None) == expected


def test_the_id_of_a_price_is_its_content() -> None:
    assert price(1.0).id == price(1.0).id
    assert len({entry.id for entry in (price(1.0), price(2.0), price(1.0, per_token=2), price(1.0, tenant="a"))}) == 4
