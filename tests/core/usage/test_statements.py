"""Statements: whatever the rows, they add up; whatever is changed, it shows."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage.buckets import NAMES, Buckets
from paddock_core.usage.events import cloud_event
from paddock_core.usage.focus import Charge, focus_row
from paddock_core.usage.prices import Price, cost_of
from paddock_core.usage.row import LedgerRow
from paddock_core.usage.statements import Signed, Statement, StatementError, Tally, digest, signature

_PRICES = [
    Price(
        currency=currency, effective_from=float(n), prices=Buckets(**dict.fromkeys(NAMES, 333_333 * (n + 1))), model="m"
    )
    for n, currency in enumerate(["USD", "USD", "EUR"])
]
_BOOK = {price.id: price for price in _PRICES}


def _row(**other: Any) -> LedgerRow:
    values: dict[str, Any] = {
        "usage_id": "00000000-0000-7000-8000-000000000001",
        "tenant": "acme",
        "key_id": "k",
        "owner_tenant": "acme",
        "deployment": "ns/a",
        "model": "m",
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "status": "ok",
        "finish_reason": None,
        "t_admit": 100.0,
        "t_first_token": None,
        "t_end": 101.0,
        "reserved_tokens": 1,
        "input_tokens": 1,
        "output_tokens_engine": None,
        "output_tokens_sent": 1,
        "output_tokens": 1,
        "billed_from": "sent",
        "usage_source": "counted",
        "acceptance_id": "acc",
        "end_user_hash": None,
        "gateway_instance": "gw",
        "journal_seq": 1,
    }
    return LedgerRow(**{**values, **other})


@st.composite
def ledgers(draw: st.DrawFn) -> list[LedgerRow]:
    """Rows, priced or not, and corrections of some."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        price = draw(st.sampled_from([None, *_PRICES]))
        read, fresh, out = (draw(st.integers(0, 10**6)) for _ in range(3))
        row = _row(
            usage_id=f"00000000-0000-7000-8000-{number:012}",
            deployment=draw(st.sampled_from(["ns/a", "ns/b"])),
            input_tokens=read + fresh,
            cache_read_tokens=read,
            output_tokens=out,
            project=draw(st.sampled_from([None, "red"])),
        )
        if price is not None and price.prices is not None:
            row = replace(row, price_id=price.id, currency=price.currency, cost_nano=cost_of(row, price.prices))
            if draw(st.booleans()):
                credit = -draw(st.integers(0, 1000))
                row = replace(
                    row, corrects="00000000-0000-7000-8000-999999999999", cost_nano=(row.cost_nano or 0) + credit
                )
        found.append(row)
    return found


def _stated(rows: list[LedgerRow]) -> Statement:
    tally = Tally(_BOOK)
    tally.add(rows)
    return tally.statement(tenant="acme", month="2026-11", after_arrival=0, until_arrival=9, previous=None)


def _sums(statement: Statement) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in statement.lines:
        if line.price_id:
            currency = _BOOK[line.price_id].currency
            costs = sum(getattr(line.costs, name) for name in NAMES)
            sums[currency] = sums.get(currency, 0) + costs + line.adjusted
    return sums


@given(ledgers())
def test_lines_totals_and_rows_are_the_same_money(rows: list[LedgerRow]) -> None:
    statement = _stated(rows)
    expected: dict[str, int] = {}
    for row in rows:
        if row.currency is not None:
            expected[row.currency] = expected.get(row.currency, 0) + (row.cost_nano or 0)
    assert {total.currency: total.cost_nano for total in statement.totals} == expected == _sums(statement)
    assert sum(line.requests + line.corrections for line in statement.lines) == statement.rows == len(rows)
    tokens = sum(getattr(line.tokens, name) for line in statement.lines for name in NAMES)
    assert tokens == sum(row.input_tokens + row.output_tokens for row in rows)


@given(ledgers(), st.data())
def test_any_change_of_a_row_changes_the_text_or_is_refused(rows: list[LedgerRow], data: st.DataObject) -> None:
    if not rows:
        return
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["input_tokens", "output_tokens", "cost_nano", "t_admit", "arrival", "tenant"]))
    value = getattr(rows[at], name)
    changed = replace(rows[at], **{name: f"{value}x" if isinstance(value, str) else (value or 0) + 1})
    before = _stated(rows).text()
    try:
        after = _stated([*rows[:at], changed, *rows[at + 1 :]]).text()
    except StatementError:
        return
    assert after != before or changed == rows[at]


@given(ledgers())
def test_a_statement_is_read_as_it_was_written(rows: list[LedgerRow]) -> None:
    statement = _stated(rows)
    assert msgspec.json.decode(statement.text(), type=Statement) == statement


def test_rows_out_of_order_or_twice_are_refused() -> None:
    rows = [_row(usage_id=f"00000000-0000-7000-8000-00000000000{n}") for n in (2, 1)]
    for wrong in (rows, [rows[0], rows[0]]):
        with pytest.raises(StatementError, match="came after"):
            _stated(wrong)


def test_a_price_that_is_not_in_the_book_is_refused() -> None:
    row = _row(price_id="price-0", currency="USD", cost_nano=1)
    with pytest.raises(StatementError, match="not in the price book"):
        _stated([row])


def test_a_signature_is_of_one_key_and_one_text() -> None:
    text = _stated([]).text()
    told = digest(text)
    signed = Signed(
        id="stm-1",
        tenant="acme",
        month="2026-11",
        document=text,
        digest=told,
        signature=signature(key=b"key", digest=told),
        at=0.0,
    )
    assert signed.intact()
    assert signed.signed_by(b"key")
    assert not signed.signed_by(b"other")
    assert not replace(signed, document=text + " ").intact()
    assert signed.statement() == _stated([])
    with pytest.raises(StatementError, match="cannot be read"):
        replace(signed, document="{}").statement()


def test_an_event_has_what_cloudevents_asks_for() -> None:
    event = cloud_event(_row())
    assert {"specversion", "id", "source", "type", "time", "data"} <= set(event)
    assert all(name.isalnum() and name.islower() for name in event)
    assert event["time"] == "1970-01-01T00:01:40.000Z"


@given(st.integers(0, 2**40), st.integers(0, 10**15))
def test_a_charge_says_its_quantity_and_price_exactly(tokens: int, cost: int) -> None:
    charge = Charge(
        start=0.0,
        end=3600.0,
        tenant="acme",
        tenant_name="acme",
        project="",
        key_id="k",
        model="m",
        deployment="ns/a",
        bucket="cache_read",
        correction=False,
        tokens=tokens,
        cost_nano=cost,
        price_id=_PRICES[0].id,
        price=_PRICES[0],
        provider="P",
        currency="EUR",
    )
    row = focus_row(charge)
    whole, _, places = str(row.PricingQuantity).partition(".")
    assert int(whole) * 10**6 + int(places.ljust(6, "0")) == tokens == int(row.ConsumedQuantity or 0)
    assert (row.ListUnitPrice, row.BillingCurrency, row.SubAccountId) == ("0.000333333", "USD", None)
    assert (row.BillingPeriodStart, row.BillingPeriodEnd) == ("1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z")
    unpriced = focus_row(replace(charge, price=None, price_id=None, cost_nano=0))
    assert (unpriced.BillingCurrency, unpriced.x_Unpriced, unpriced.BilledCost) == ("EUR", True, "0.00")
