"""Limits of money count one currency; limits of a key that was issued can be changed."""

import asyncio
import json
import time
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

KEYS = "/v1/tenants/acme/keys"
MONEY = {"money_per_month_nano": 5_000_000_000}


async def _limited(api: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Every call that sets a limit of money."""
    key = (await api("POST", KEYS, {}, status=201))["id"]
    return [
        ("PUT", "/v1/tenants/acme/limits", MONEY),
        ("PUT", "/v1/tenants/acme/end-user-limits", MONEY),
        ("PUT", "/v1/tenants/acme/projects/web", MONEY),
        ("PUT", f"{KEYS}/{key}/limits", MONEY),
        ("PUT", "/v1/platform/limits", MONEY),
        ("POST", KEYS, {"limits": MONEY}),
    ]


async def test_money_is_not_limited_while_prices_are_in_two_currencies(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    calls = await _limited(api)
    await ledger.price(api, 1)
    await ledger.price(api, 1, deployment="ns/chat", currency="EUR")
    for method, path, body in calls:
        refused = await api(method, path, body, status=409)
        assert refused["code"] == "CurrencyMixed", path
        assert "EUR and USD" in refused["detail"]
    await ledger.price(api, None, deployment="ns/chat", currency="EUR")  # ended: the rest is one currency
    for method, path, body in calls:
        await api(method, path, body)
    assert (await api("GET", "/v1/tenants/acme", status=200))["tenant"]["limits"]["money_per_month_nano"] == 5 * 10**9


@pytest.mark.parametrize("which", range(6))
async def test_no_price_in_another_currency_comes_while_money_is_limited(api: Any, ledger: Any, which: int) -> None:
    await api.tenant("acme")
    await ledger.price(api, 1)
    method, path, body = (await _limited(api))[which]
    answer = await api(method, path, body)
    assert answer.status_code in (200, 201)
    other = {"currency": "EUR", "deployment": "ns/chat", "prices": {"input_uncached": 1, "output_text": 1}}
    refused = await api("POST", "/v1/prices", other, status=409)
    assert (refused["code"], "USD" in refused["detail"]) == ("CurrencyMixed", True)
    await ledger.price(api, 2)  # the same currency may change
    if method == "PUT":
        await api("PUT", path, {}, status=200)
    else:
        await api("DELETE", f"{KEYS}/{answer.json()['id']}", status=204)
    await api("POST", "/v1/prices", other, status=201)


async def test_a_month_that_has_costs_in_another_currency_is_not_limited(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await ledger.price(api, 1, currency="EUR")
    await ledger.enter(api, [ledger.record(1)])
    await ledger.price(api, 1, currency="USD")
    refused = await api("PUT", "/v1/tenants/acme/limits", MONEY, status=409)
    assert refused["code"] == "CurrencyMixed"


async def test_a_limit_and_a_price_that_come_at_once_do_not_mix(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await ledger.price(api, 1)
    other = {"currency": "EUR", "deployment": "ns/chat", "prices": {"input_uncached": 1, "output_text": 1}}
    for _ in range(10):
        limit, price = await asyncio.gather(
            api("PUT", "/v1/tenants/acme/limits", MONEY), api("POST", "/v1/prices", other)
        )
        assert sorted((limit.status_code, price.status_code)) in ([200, 409], [201, 409])
        await api("PUT", "/v1/tenants/acme/limits", {}, status=200)
        await api("POST", "/v1/prices", {**other, "prices": None}, status=201)


async def test_the_standing_of_a_limit_of_money_names_its_currency(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await ledger.price(api, 1)
    period = time.strftime("%Y-%m", time.gmtime())
    asks = [
        {"level": "tenant:acme", "kind": "money_per_month_nano", "period": period, "limit": 100, "need": 1, "least": 1},
        {"level": "tenant:acme", "kind": "requests_per_minute", "period": "", "limit": 100, "need": 1, "least": 1},
    ]
    call = {"instance": "g", "session": "s", "number": 1, "started_at": time.time(), "asks": asks}
    await api("POST", "/internal/v1/leases", call, by="internal", status=200)
    items = (await api("GET", "/v1/quotas", status=200))["items"]
    assert {item["kind"]: item["currency"] for item in items} == {
        "money_per_month_nano": "USD",
        "requests_per_minute": "",
    }


async def test_limits_of_an_issued_key_are_replaced_and_followers_hear_of_it(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    made = await api("POST", KEYS, {"limits": {"max_output_tokens": 7}}, by="acme", status=201)
    path = f"{KEYS}/{made['id']}/limits"
    changed = await api("PUT", path, {"requests_per_minute": 3}, by="acme", status=200)
    assert (changed["limits"]["requests_per_minute"], changed["limits"]["max_output_tokens"]) == (3, None)
    objects = (await api("GET", "/internal/v1/policy", by="internal", status=200))["objects"]
    document = objects["api_key"][made["id"]]
    assert (document["limits"]["requests_per_minute"], document["limits"]["max_output_tokens"]) == (3, None)
    (entry,) = [item for item in (await api("GET", "/v1/audit", status=200))["items"] if item["action"] == "key.limits"]
    assert json.loads(entry["detail"])["limits"] == {"requests_per_minute": 3}
    await api("PUT", path, {}, by="globex", status=403)
    assert (await api("PUT", f"{KEYS}/{'a' * 12}/limits", {}, status=404))["code"] == "KeyUnknown"
    await api("DELETE", f"{KEYS}/{made['id']}", status=204)
    assert (await api("PUT", path, {}, status=409))["code"] == "KeyEnded"


async def test_groups_of_end_users_are_a_tenants_own(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    path = "/v1/tenants/acme/end-user-groups"
    changed = await api("PUT", path, {"groups": ["paid", "free", "paid"]}, by="acme", status=200)
    assert changed["end_user_groups"] == ["free", "paid"]
    objects = (await api("GET", "/internal/v1/policy", by="internal", status=200))["objects"]
    assert objects["tenant"]["acme"]["end_user_groups"] == ["free", "paid"]
    await api("PUT", path, {"groups": []}, by="globex", status=403)
    await api("PUT", path, {"groups": [f"g{number}" for number in range(51)]}, by="acme", status=422)
    await ledger.enter(api, [ledger.record(1, end_user_group="free", raw_usage='{"num_output_tokens":5}')])
    report = await api("GET", "/v1/usage?group_by=end_user_group", status=200)
    assert [(row["group"], row["requests"]) for row in report["rows"]] == [("free", 1)]
