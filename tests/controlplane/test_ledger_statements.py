"""Corrections, monthly statements, and that both add up to the last nano-unit."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage.prices import Price
from paddock_core.usage.row import LedgerRow
from paddock_core.usage.statements import Signed, Statement, Tally, month_bounds

KEY = b"audit-key-for-the-tests"


def _month(back: int) -> str:
    first = datetime.now(UTC).replace(day=1)
    for _ in range(back):
        first = (first - timedelta(days=1)).replace(day=1)
    return first.strftime("%Y-%m")


@pytest.fixture
async def owner(server: Any, database: str) -> Any:
    """A connection as the owner of the database."""
    connection = await server.connect(database)
    yield connection
    await connection.close()


async def _issue(api: Any, month: str, tenant: str = "acme") -> Signed:
    return Signed(**await api("POST", "/v1/statements", {"tenant": tenant, "month": month}, status=201))


async def _rows(api: Any, statement: Signed, *, limit: int = 1000, by: str = "platform") -> list[LedgerRow]:
    found, after = [], ""
    while after is not None:
        query = f"?limit={limit}{after and '&after=' + after}"
        page = await api("GET", f"/v1/statements/{statement.id}/rows{query}", by=by, status=200)
        found += [LedgerRow(**item) for item in page["items"]]
        after = page["next"]
    return found


def _again(said: Statement, rows: list[LedgerRow]) -> Statement:
    """The statement added up once more, from the rows and its own prices."""
    prices: dict[str, Price] = {price.id: price for price in said.prices}
    tally = Tally(prices)
    tally.add(rows)
    return tally.statement(
        tenant=said.tenant,
        month=said.month,
        after_arrival=said.after_arrival,
        until_arrival=said.until_arrival,
        previous=said.previous,
    )


@pytest.mark.postgres
async def test_a_statement_adds_up_again_from_its_rows_and_is_signed(api: Any, ledger: Any, owner: Any) -> None:
    await api.tenant("acme")
    start, end = month_bounds(_month(1))
    middle = (start + end) / 2
    await ledger.old_price(owner, start - 1, per_million=333_333_333)
    await ledger.old_price(owner, middle, per_million=777_777_777)
    moments = [start, middle - 0.001, middle, end - 0.001]
    rows = [ledger.record(n, at=at, input_tokens=10 + n, output_tokens=3) for n, at in enumerate(moments)]
    outside = [ledger.record(10, at=start - 0.001), ledger.record(11, at=end), ledger.record(12, at=middle, tenant="x")]
    await ledger.enter(api, rows + outside)
    signed = await _issue(api, _month(1))
    assert signed.intact()
    assert signed.signed_by(KEY)
    assert not signed.signed_by(b"another-key-of-somebody")
    said = signed.statement()
    # Each bucket of each row is rounded by itself: 10, 11 and 3 tokens at 333.333333, 12, 13 and 3 at 777.777777
    assert said.totals[0].cost_nano == 3333 + 1000 + 3667 + 1000 + 9333 + 2333 + 10111 + 2333
    assert (said.rows, said.unpriced_requests, len(said.lines)) == (4, 0, 2)
    assert _again(said, await _rows(api, signed, limit=3)).text() == signed.document
    costs = (await ledger.total(api, f"?tenant=acme&from={start}&to={end}"))["costs"]
    assert costs == [{"currency": "USD", "cost_nano": said.totals[0].cost_nano}]


@pytest.mark.postgres
async def test_what_comes_late_is_in_the_next_statement_and_each_row_in_one(api: Any, ledger: Any, owner: Any) -> None:
    await api.tenant("acme")
    (first, end), (second, _) = month_bounds(_month(2)), month_bounds(_month(1))
    await ledger.old_price(owner, 0.0, per_million=10**9)
    await ledger.enter(api, [ledger.record(1, at=first + 5), ledger.record(2, at=second + 5)])
    one = await _issue(api, _month(2))
    late = ledger.record(3, at=end - 5)
    await ledger.enter(api, [late])
    assert await _issue(api, _month(2)) == one
    two = await _issue(api, _month(1))
    told = [{row.journal_seq for row in await _rows(api, statement)} for statement in (one, two)]
    assert told == [{1}, {2, 3}]
    assert two.statement().previous == one.digest
    assert _again(two.statement(), await _rows(api, two)).text() == two.document
    earlier = {"tenant": "acme", "month": _month(3)}
    assert (await api("POST", "/v1/statements", earlier, status=409))["code"] == "StatementExists"
    audit = (await api("GET", "/v1/audit?limit=1000", status=200))["items"]
    assert [entry["subject"] for entry in audit if entry["action"] == "statement.issue"] == [one.id, two.id]


@pytest.mark.postgres
async def test_a_month_that_is_not_over_or_none_has_no_statement(api: Any) -> None:
    await api.tenant("acme")
    this = {"tenant": "acme", "month": _month(0)}
    assert (await api("POST", "/v1/statements", this, status=409))["code"] == "MonthNotOver"
    for month in ("2026-13", "0000-01"):
        body = {"tenant": "acme", "month": month}
        assert (await api("POST", "/v1/statements", body, status=422))["code"] == "MonthInvalid"
    nobody = {"tenant": "nobody", "month": _month(1)}
    assert (await api("POST", "/v1/statements", nobody, status=404))["code"] == "TenantUnknown"


@pytest.mark.postgres
async def test_a_tenant_sees_its_own_statements_and_rows_only(api: Any, ledger: Any) -> None:
    for name in ("acme", "globex"):
        await api.tenant(name)
    start, _ = month_bounds(_month(1))
    await ledger.enter(api, [ledger.record(n, at=start + n, tenant=name) for n, name in enumerate(["acme", "globex"])])
    mine, others = await _issue(api, _month(1)), await _issue(api, _month(1), "globex")
    listed = (await api("GET", "/v1/statements", by="acme", status=200))["items"]
    assert [item["id"] for item in listed] == [mine.id]
    assert [row.tenant for row in await _rows(api, mine, by="acme")] == ["acme"]
    for path in (f"/v1/statements/{others.id}", f"/v1/statements/{others.id}/rows"):
        assert (await api("GET", path, by="acme", status=404))["code"] == "StatementUnknown"


@pytest.mark.postgres
async def test_a_ledger_that_was_tampered_with_gets_no_statement(api: Any, ledger: Any, owner: Any) -> None:
    await api.tenant("acme")
    start, _ = month_bounds(_month(1))
    await ledger.old_price(owner, 0.0, per_million=10**9)
    await ledger.enter(api, [ledger.record(1, at=start + 5)])
    await owner.execute("UPDATE usage SET cost_nano = cost_nano - 1")
    body = {"tenant": "acme", "month": _month(1)}
    problem = await api("POST", "/v1/statements", body, status=409)
    assert (problem["code"], "-1 nano-units off" in problem["detail"]) == ("LedgerBroken", True)


@pytest.mark.postgres
async def test_a_correction_is_a_row_of_its_own_and_counts_today(api: Any, ledger: Any, owner: Any) -> None:
    await api.tenant("acme")
    start, end = month_bounds(_month(1))
    await ledger.old_price(owner, 0.0, per_million=10**9)
    wrong = ledger.record(1, at=start + 5, input_tokens=100, output_tokens=50)
    await ledger.enter(api, [wrong])
    before = (await api("GET", "/v1/usage/records", status=200))["items"]
    body = {"usage_id": wrong["usage_id"], "reason": "counted twice by a broken backend", "output_tokens": 25}
    made = await api("POST", "/v1/usage/corrections", body, status=201)
    assert (made["corrects"], made["output_tokens"], made["cost_nano"]) == (wrong["usage_id"], -25, -25_000)
    assert made["t_admit"] > end
    assert (await api("GET", "/v1/usage/records?limit=1", status=200))["items"] == before
    assert (await api("POST", "/v1/usage/corrections", body, status=409))["code"] == "CorrectionRefused"
    credit = {"usage_id": wrong["usage_id"], "reason": "goodwill", "cost_nano": 0}
    assert (await api("POST", "/v1/usage/corrections", credit, status=201))["cost_nano"] == -125_000
    total = await ledger.total(api)
    assert (total["requests"], total["corrections"], total["output_tokens"]) == (1, 2, 25)
    assert total["costs"] == [{"currency": "USD", "cost_nano": 0}]
    last_month = await _issue(api, _month(1))
    assert last_month.statement().totals[0].cost_nano == 150_000
    assert await ledger.drift(api, start=start, end=time.time() + 3600) == {"hours": 0, "requests": 0}
    for usage_id, code, status in (
        (made["usage_id"], "CorrectionRefused", 409),
        (ledger.uuid7(1, 1), "RecordUnknown", 404),
    ):
        again = {"usage_id": usage_id, "reason": "x", "output_tokens": 0}
        assert (await api("POST", "/v1/usage/corrections", again, status=status))["code"] == code
    more = {"usage_id": wrong["usage_id"], "reason": "x", "cache_read_tokens": 101}
    assert (await api("POST", "/v1/usage/corrections", more, status=409))["code"] == "CorrectionRefused"


@pytest.mark.postgres
async def test_a_row_that_had_no_price_is_charged_by_a_correction(api: Any, ledger: Any) -> None:
    free = ledger.record(1, input_tokens=100, output_tokens=50)
    await ledger.enter(api, [free])
    price = await ledger.price(api, 7)
    no_price = {"usage_id": free["usage_id"], "reason": "x", "cost_nano": 5}
    assert (await api("POST", "/v1/usage/corrections", no_price, status=409))["code"] == "CorrectionRefused"
    body = {"usage_id": free["usage_id"], "reason": "the price was set too late", "price_id": price["price_id"]}
    made = await api("POST", "/v1/usage/corrections", body, status=201)
    assert (made["cost_nano"], made["input_tokens"]) == (1050, 0)
    assert (await ledger.total(api))["costs"] == [{"currency": "USD", "cost_nano": 1050}]
    other = await ledger.price(api, 7, currency="EUR")
    body["price_id"] = other["price_id"]
    assert (await api("POST", "/v1/usage/corrections", body, status=409))["code"] == "CorrectionRefused"


@given(st.integers(1970, 9998), st.integers(1, 12))
def test_months_follow_each_other_without_a_gap(year: int, month: int) -> None:
    following = f"{year + 1:04}-01" if month == 12 else f"{year:04}-{month + 1:02}"
    assert month_bounds(f"{year:04}-{month:02}")[1] == month_bounds(following)[0]
