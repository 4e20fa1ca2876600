"""The price book, and what rows cost by it."""

import time
from typing import Any

import pytest

pytestmark = pytest.mark.postgres


async def _costs(api: Any) -> dict[str, int | None]:
    page = await api("GET", "/v1/usage/records?limit=500", status=200)
    return {item["key_id"]: item["cost_nano"] for item in page["items"]}


async def test_the_moment_of_admission_decides_also_when_a_price_changes(api: Any, ledger: Any) -> None:
    now = time.time()
    await ledger.price(api, 100, effective_from=now + 1000)
    second = await ledger.price(api, 250, effective_from=now + 2000)
    moments = {"before": now + 999, "first": now + 1000, "last": now + 1999.9, "changed": now + 2000}
    rows = [
        ledger.record(n, at=at, key_id=name, input_tokens=7, output_tokens=3)
        for n, (name, at) in enumerate(moments.items())
    ]
    assert await ledger.enter(api, rows[::-1]) == (4, 0)
    assert await _costs(api) == {"before": None, "first": 1000, "last": 1000, "changed": 2500}
    total = await ledger.total(api)
    assert total["costs"] == [{"currency": "USD", "cost_nano": 4500}]
    assert (total["unpriced_requests"], total["requests"]) == (1, 4)
    page = await api("GET", "/v1/usage/records?limit=500", status=200)
    assert {item["price_id"] for item in page["items"] if item["key_id"] == "changed"} == {second["price_id"]}


async def test_each_bucket_has_its_price_and_the_closest_scope_decides(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    prices = {
        "input_uncached": 100 * 10**6,
        "cache_read": 10 * 10**6,
        "cache_write": 125 * 10**6,
        "output_text": 400 * 10**6,
        "output_reasoning": 500_000,
    }
    await api("POST", "/v1/prices", {"model": "m", "currency": "USD", "prices": prices}, status=201)
    await ledger.price(api, 1, tenant="acme", deployment="ns/cheap")
    at = time.time() + 60
    counts = {"input_tokens": 10, "cache_read_tokens": 3, "cache_write_tokens": 2, "output_tokens": 8}
    rows = [
        ledger.record(1, at=at, key_id="buckets", **counts, reasoning_tokens=3),
        ledger.record(2, at=at, key_id="cheap", deployment="ns/cheap", **counts),
        ledger.record(3, at=at, key_id="other", deployment="ns/cheap", tenant="globex", **counts),
    ]
    await ledger.enter(api, rows)
    # 5 x 100 + 3 x 10 + 2 x 125 + 5 x 400 + round(3 x 0.5), halves upwards
    assert await _costs(api) == {"buckets": 500 + 30 + 250 + 2000 + 2, "cheap": 18, "other": 500 + 30 + 250 + 3200}
    total = await ledger.total(api)
    assert (total["cache_read_tokens"], total["cache_write_tokens"], total["reasoning_tokens"]) == (9, 6, 3)


async def test_a_price_that_ends_leaves_the_wider_one(api: Any, ledger: Any) -> None:
    now = time.time()
    await ledger.price(api, 5)
    await ledger.price(api, 2, deployment="ns/chat", effective_from=now + 100)
    await ledger.price(api, None, deployment="ns/chat", effective_from=now + 200)
    rows = [ledger.record(n, at=now + 150 + 100 * n, key_id=str(n), input_tokens=0) for n in range(2)]
    await ledger.enter(api, rows)
    assert await _costs(api) == {"0": 10, "1": 25}


async def test_a_price_is_set_once_and_never_in_the_past(api: Any, ledger: Any) -> None:
    at = time.time() + 500
    made = await ledger.price(api, 5, effective_from=at)
    assert await ledger.price(api, 5, effective_from=at) == made
    assert len((await api("GET", "/v1/prices", status=200))["items"]) == 1
    past = {"model": "m", "currency": "USD", "prices": None, "effective_from": time.time() - 60}
    assert (await api("POST", "/v1/prices", past, status=409))["code"] == "PriceInPast"
    replaced = await ledger.price(api, 6, effective_from=at)
    await ledger.enter(api, [ledger.record(1, at=at + 1, input_tokens=0)])
    assert await _costs(api) == {"key": 30}
    first = await api("GET", "/v1/prices?limit=1", status=200)
    rest = await api("GET", f"/v1/prices?after={first['next']}", status=200)
    assert [item["price_id"] for item in first["items"] + rest["items"]] == [made["price_id"], replaced["price_id"]]
    audit = (await api("GET", "/v1/audit?limit=1000", status=200))["items"]
    assert [entry["action"] for entry in audit].count("price.set") == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"currency": "USD"}, "PriceInvalid"),
        ({"currency": "USD", "model": "m", "deployment": "ns/chat"}, "PriceInvalid"),
        ({"currency": "usd", "model": "m"}, "Invalid"),
        ({"currency": "USD", "model": "m", "prices": {"input_uncached": 0.5, "output_text": 1}}, "Invalid"),
        ({"currency": "USD", "model": "m", "prices": {"input_uncached": -1, "output_text": 1}}, "Invalid"),
        ({"currency": "USD", "model": "m", "prices": {"input_uncached": 10**16, "output_text": 1}}, "Invalid"),
        ({"currency": "USD", "model": "m", "prices": {"output_text": 1}}, "Invalid"),
    ],
)
async def test_what_is_no_price_is_refused(body: dict[str, Any], code: str, api: Any) -> None:
    assert (await api("POST", "/v1/prices", {"prices": None, **body}, status=422))["code"] == code
    assert (await api("GET", "/v1/prices", status=200))["items"] == []


async def test_a_tenant_sees_general_prices_and_its_own(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    for tenant in (None, "acme", "globex"):
        await ledger.price(api, 1, tenant=tenant)
    assert (await api("GET", "/v1/prices", by="acme", status=200))["items"][-1]["tenant"] == "acme"
    shown = {item["tenant"] for item in (await api("GET", "/v1/prices", by="acme", status=200))["items"]}
    assert shown == {"", "acme"}
    unknown = {"model": "m", "currency": "USD", "prices": None, "tenant": "nobody"}
    assert (await api("POST", "/v1/prices", unknown, status=404))["code"] == "TenantUnknown"


async def test_sums_by_project_group_month_and_interval(api: Any, ledger: Any) -> None:
    await ledger.price(api, 1, effective_from=time.time() + 100)
    at = time.time() + 200
    rows = [
        ledger.record(1, at=at, project="red", end_user_group="students"),
        ledger.record(2, at=at, project="blue"),
        ledger.record(3, at=at + 7200),
    ]
    await ledger.enter(api, rows)

    async def groups(query: str) -> list[tuple[str, str | None, int]]:
        report = await api("GET", f"/v1/usage?{query}", status=200)
        return [(row["group"], row["start"], row["requests"]) for row in report["rows"]]

    assert await groups("group_by=project") == [("", None, 1), ("blue", None, 1), ("red", None, 1)]
    assert await groups("group_by=end_user_group") == [("", None, 2), ("students", None, 1)]
    by_hour = await groups("group_by=tenant&interval=hour")
    assert [(group, requests) for group, _, requests in by_hour] == [("acme", 2), ("acme", 1)]
    assert all(start is not None and start.endswith(":00:00Z") for _, start, _ in by_hour)
    assert sum(requests for _, _, requests in await groups("group_by=month")) == 3
